//! Hides the gateway's own key in an answer that quotes it.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use http::{HeaderName, header};
use http_body_util::BodyExt;
use memchr::memmem;

use crate::answer::{Answer, Payload};
use crate::error::{ApiError, ErrorCode};

/// An error that explains itself fits; more is not read.
const MAX_ERROR_BYTES: usize = 256 * 1024;
const MASK: &[u8] = b"***";

/// Reads an answer's whole body and replaces each occurrence of `key` in it. Headers that quote the
/// key go, and so does the challenge: it asks for the gateway's credential, not for the client's.
///
/// # Errors
/// 502 if the body breaks off, or is too large for an error: parts of it must not pass unread.
pub(crate) async fn mask(answer: &mut Answer, key: &str) -> Result<(), ApiError> {
    answer.headers.remove(header::WWW_AUTHENTICATE);
    let spellings = spellings(key);
    let quotes = |text: &[u8]| spellings.iter().any(|key| memmem::find(text, key.as_bytes()).is_some());
    let quoting: Vec<HeaderName> = answer
        .headers
        .iter()
        .filter(|(_, value)| quotes(value.as_bytes()))
        .map(|(name, _)| name.clone())
        .collect();
    for name in &quoting {
        answer.headers.remove(name);
    }
    let Payload::Upstream { body, .. } = &mut answer.payload else { return Ok(()) };
    if answer.headers.contains_key(header::CONTENT_ENCODING) {
        return Err(unreadable());
    }
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let data = frame.ok().and_then(|frame| frame.into_data().ok());
        match data {
            Some(data) if whole.len() + data.len() <= MAX_ERROR_BYTES => whole.extend_from_slice(&data),
            _ => return Err(unreadable()),
        }
    }
    answer.payload = Payload::Full(replaced(whole.freeze(), &spellings));
    Ok(())
}

/// An answer that cannot be searched is not passed on.
fn unreadable() -> ApiError {
    let message = "the provider refused the gateway's key; its operator must check it";
    ApiError::new(ErrorCode::UpstreamAuth, message)
}

/// Returns the key as it is, and as JSON writers that escape slashes write it.
fn spellings(key: &str) -> Vec<Cow<'_, str>> {
    let escaped = key.contains('/').then(|| Cow::Owned(key.replace('/', "\\/")));
    [Cow::Borrowed(key)].into_iter().chain(escaped).collect()
}

fn replaced(body: Bytes, spellings: &[Cow<'_, str>]) -> Bytes {
    spellings.iter().fold(body, |body, key| replace_all(body, key.as_bytes()))
}

fn replace_all(body: Bytes, needle: &[u8]) -> Bytes {
    let finder = memmem::Finder::new(needle);
    if needle.is_empty() || finder.find(&body).is_none() {
        return body;
    }
    let mut masked = BytesMut::with_capacity(body.len());
    let mut rest: &[u8] = &body;
    while let Some((before, after)) = finder.find(rest).map(|at| (&rest[..at], &rest[at + needle.len()..])) {
        masked.extend_from_slice(before);
        masked.extend_from_slice(MASK);
        rest = after;
    }
    masked.extend_from_slice(rest);
    masked.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_key_is_hidden_wherever_it_stands() {
        fn check(body: &str, key: &str, expected: &str) {
            let masked = replaced(Bytes::copy_from_slice(body.as_bytes()), &spellings(key));
            assert_eq!(masked, expected, "{body}");
        }
        check("no key here", "sk-1", "no key here");
        check("bad key sk-1!", "sk-1", "bad key ***!");
        check("sk-1sk-1", "sk-1", "******");
        check(r#"{"key":"a\/b"}"#, "a/b", r#"{"key":"***"}"#);
        check(r#"{"key":"a/b"}"#, "a/b", r#"{"key":"***"}"#);
    }
}
