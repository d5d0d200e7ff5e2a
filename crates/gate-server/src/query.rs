//! The model in a query, as `/v1/realtime?model=…` has it: found, and replaced where it differs.
//! Every other byte of the query passes as it came.

use std::ops::Range;

use crate::error::{ApiError, ErrorCode};
use crate::listing::decode;

/// What a query says that decides where its request goes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ModelQuery {
    /// The name, decoded; an empty one is none.
    pub(crate) model: Option<String>,
    /// The call that a session joins, which has its model already.
    pub(crate) call: Option<String>,
    /// Where the value of `model` stands.
    span: Option<Range<usize>>,
}

impl ModelQuery {
    /// Reads a query, without its `?`.
    ///
    /// # Errors
    /// 400 for a `model` that stands there twice, or that is not UTF-8 in percent encoding.
    pub(crate) fn parse(query: &str) -> Result<Self, ApiError> {
        let mut found = Self::default();
        let mut start = 0;
        for pair in query.split('&') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            match decode(key).as_deref() {
                Some("model") if found.span.is_some() => {
                    let message = "`model` stands in the query more than once; send it once";
                    return Err(ApiError::new(ErrorCode::DuplicateKey, message));
                }
                Some("model") => {
                    let end = start + pair.len();
                    found.span = Some(end - value.len()..end);
                    let name = decode(value).ok_or_else(|| {
                        let message = "`model` in the query is not UTF-8 in percent encoding";
                        ApiError::new(ErrorCode::InvalidModelName, message)
                    })?;
                    found.model = Some(name).filter(|name| !name.is_empty());
                }
                Some("call_id") => found.call = Some(decode(value).unwrap_or_default()),
                _ => {}
            }
            start += pair.len() + 1;
        }
        Ok(found)
    }

    /// Returns the query that names `upstream_model`.
    pub(crate) fn splice(&self, query: &str, upstream_model: &str) -> String {
        if self.model.as_deref() == Some(upstream_model) {
            return query.to_owned();
        }
        let value = encode(upstream_model);
        match self.span.clone() {
            Some(Range { start, end }) => {
                let before = query.get(..start).unwrap_or_default();
                let after = query.get(end..).unwrap_or_default();
                // `model` without `=` has no value to replace.
                let equals = if before.ends_with('=') { "" } else { "=" };
                format!("{before}{equals}{value}{after}")
            }
            None if query.is_empty() => format!("model={value}"),
            None => format!("{query}&model={value}"),
        }
    }
}

/// Writes a value so that nothing in it can end it.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    // Spec: api A-53.
    #[test]
    fn only_the_model_in_a_query_is_changed() {
        fn check(query: &str, model: Option<&str>, spliced: &str) {
            let found = ModelQuery::parse(query).unwrap();
            assert_eq!(found.model.as_deref(), model, "{query}");
            assert_eq!(found.splice(query, "gpt-1"), spliced, "{query}");
        }
        check("", None, "model=gpt-1");
        check("model=gpt-1", Some("gpt-1"), "model=gpt-1");
        check("model=gpt%2D1", Some("gpt-1"), "model=gpt%2D1");
        check("model=openai.gpt-1&x=%20", Some("openai.gpt-1"), "model=gpt-1&x=%20");
        check("a=1&mod%65l=x&b", Some("x"), "a=1&mod%65l=gpt-1&b");
        check("model=", None, "model=gpt-1");
        check("model&x=1", None, "model=gpt-1&x=1");
        check("intent=transcription", None, "intent=transcription&model=gpt-1");
        assert_eq!(ModelQuery::parse("call_id=rtc_%31").unwrap().call.as_deref(), Some("rtc_1"));
        assert_eq!(ModelQuery::parse("model=a").unwrap().splice("model=a", "a/b:c d"), "model=a%2Fb%3Ac%20d");
    }

    // Spec: api A-53.
    #[test]
    fn a_query_that_can_be_read_in_two_ways_is_refused() {
        fn check(query: &str, code: ErrorCode, message: &str) {
            let error = ModelQuery::parse(query).unwrap_err();
            assert_eq!((error.code, error.message.as_ref()), (code, message), "{query}");
        }
        let twice = "`model` stands in the query more than once; send it once";
        check("model=a&model=a", ErrorCode::DuplicateKey, twice);
        check("model=a&%6dodel=b", ErrorCode::DuplicateKey, twice);
        let encoding = "`model` in the query is not UTF-8 in percent encoding";
        check("model=%ff", ErrorCode::InvalidModelName, encoding);
    }
}
