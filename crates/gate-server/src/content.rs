//! Content types, of requests that must be JSON and of answers that may carry usage.

use gate_usage::ContentType;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};

use crate::client_headers::{ClientHeaders, Field};
use crate::error::{ApiError, ErrorCode};
use crate::form::Boundary;

/// Checks that a request says that its body is JSON in UTF-8.
///
/// This also keeps web pages out: without asking first, a browser sends other origins only forms
/// and plain text.
///
/// # Errors
/// 415, with the header to send.
pub(crate) fn require_json(headers: ClientHeaders<'_>) -> Result<(), ApiError> {
    let refuse = |message: &'static str| Err(ApiError::new(ErrorCode::UnsupportedMediaType, message));
    if is_compressed(headers) {
        return Err(compressed());
    }
    let mut types = headers.get_all(Field::ContentType);
    let media_type = match (types.next(), types.next()) {
        (Some(one), None) => one.to_str().unwrap_or_default(),
        (None, _) => return refuse("the body has no type; send the header `content-type: application/json`"),
        (Some(_), Some(_)) => {
            return refuse("two `content-type` headers; send one, `content-type: application/json`");
        }
    };
    if media_type.eq_ignore_ascii_case(JSON) {
        return Ok(());
    }
    let (essence, parameters) = media_type.split_once(';').unwrap_or((media_type, ""));
    let essence = essence.trim();
    if essence.eq_ignore_ascii_case(FORM) {
        return refuse(
            "this route reads no forms; send JSON with the header `content-type: application/json`",
        );
    }
    if !essence.eq_ignore_ascii_case(JSON) {
        return refuse("the body must be JSON; send the header `content-type: application/json`");
    }
    let is_utf8 =
        parameters.split(';').filter_map(|parameter| parameter.split_once('=')).all(|(name, value)| {
            !name.trim().eq_ignore_ascii_case("charset")
                || value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        });
    if is_utf8 {
        Ok(())
    } else {
        refuse("the body must be in UTF-8; send the header `content-type: application/json`")
    }
}

const JSON: &str = "application/json";
/// The content type of forms with parts.
const FORM: &str = "multipart/form-data";

/// Returns the boundary of a request that says that it is a form.
///
/// # Errors
/// 400 for a form without one boundary, 415 for one that is compressed.
pub(crate) fn form_boundary(headers: ClientHeaders<'_>) -> Result<Option<Boundary>, ApiError> {
    let mut types = headers.get_all(Field::ContentType);
    let (Some(media_type), None) = (types.next(), types.next()) else { return Ok(None) };
    let media_type = media_type.to_str().unwrap_or_default();
    let (essence, parameters) = media_type.split_once(';').unwrap_or((media_type, ""));
    if !essence.trim().eq_ignore_ascii_case(FORM) {
        return Ok(None);
    }
    if is_compressed(headers) {
        return Err(compressed());
    }
    Boundary::parse(parameters).map(Some)
}

fn is_compressed(headers: ClientHeaders<'_>) -> bool {
    headers.get_all(Field::ContentEncoding).any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

fn compressed() -> ApiError {
    ApiError::new(
        ErrorCode::UnsupportedMediaType,
        "the body is compressed, and the model in it cannot be read; send it without `content-encoding`",
    )
}

/// Returns how the bytes of an answer are to be read.
pub(crate) fn type_of_answer(headers: &HeaderMap) -> ContentType {
    let text = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let content_type = if is_type(text, JSON) {
        ContentType::Json
    } else if is_type(text, "text/event-stream") {
        ContentType::EventStream
    } else {
        return ContentType::Other;
    };
    match headers.get(CONTENT_ENCODING) {
        // Compressed although we asked for plain bytes: it passes, unread.
        Some(coding) if !coding.as_bytes().eq_ignore_ascii_case(b"identity") => ContentType::Other,
        _ => content_type,
    }
}

/// Tells whether a media type is this one, whatever its parameters.
fn is_type(media_type: &str, essence: &str) -> bool {
    let (start, rest) = media_type.trim_start().split_at_checked(essence.len()).unwrap_or_default();
    start.eq_ignore_ascii_case(essence) && matches!(rest.trim_start().bytes().next(), None | Some(b';'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn check(types: &[&str], expected: Result<(), &str>) {
        let mut headers = HeaderMap::new();
        for value in types {
            headers.append(CONTENT_TYPE, HeaderValue::from_str(value).unwrap());
        }
        match (require_json(ClientHeaders::of(&headers)), expected) {
            (Ok(()), Ok(())) => {}
            (Err(error), Err(part)) => {
                assert_eq!(error.code, ErrorCode::UnsupportedMediaType);
                assert!(error.message.contains(part), "{types:?}: {}", error.message);
            }
            (result, _) => panic!("{types:?}: {result:?}"),
        }
    }

    #[test]
    fn only_json_in_utf8_is_read() {
        check(&["application/json"], Ok(()));
        check(&["Application/JSON; charset=UTF-8"], Ok(()));
        check(&["application/json;charset=\"utf-8\""], Ok(()));
        check(&["application/json; charset=utf-16"], Err("UTF-8"));
        check(&["application/vnd.x+json"], Err("must be JSON"));
        check(&["text/plain"], Err("`content-type: application/json`"));
        check(&["application/x-www-form-urlencoded"], Err("must be JSON"));
        check(&["multipart/form-data; boundary=x"], Err("reads no forms"));
        check(&[], Err("no type"));
        check(&["application/json", "application/json"], Err("two `content-type`"));
    }

    #[test]
    fn a_compressed_request_is_refused() {
        let headers = HeaderMap::from_iter([
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (CONTENT_ENCODING, HeaderValue::from_static("gzip")),
        ]);
        assert!(require_json(ClientHeaders::of(&headers)).unwrap_err().message.contains("compressed"));
    }

    #[test]
    fn an_answer_is_read_by_its_type() {
        for (text, expected) in [
            ("text/event-stream", ContentType::EventStream),
            ("text/event-stream; charset=utf-8", ContentType::EventStream),
            ("application/json", ContentType::Json),
            ("Application/JSON ;charset=utf-8", ContentType::Json),
            ("application/jsonl", ContentType::Other),
            ("application/json x", ContentType::Other),
            ("text/html", ContentType::Other),
            ("", ContentType::Other),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_str(text).unwrap())]);
            assert_eq!(type_of_answer(&headers), expected, "{text}");
            // What is compressed cannot be read.
            let mut packed = headers;
            packed.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            assert_eq!(type_of_answer(&packed), ContentType::Other, "{text}");
        }
    }
}
