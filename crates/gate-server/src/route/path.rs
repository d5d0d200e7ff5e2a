//! Paths that two readers could read differently, which are not passed on.

use crate::error::{ApiError, ErrorCode};

/// Refuses a path that two readers could read differently: it is passed on as it came, so
/// whatever a provider might normalise must not be in it.
pub(super) fn check(path: &str) -> Result<(), ApiError> {
    if is_plain(path) {
        return Ok(());
    }
    if !path.is_ascii() {
        return Err(unsafe_path("a byte that is not ASCII"));
    }
    let has_dot_segment = path
        .split('/')
        .any(|segment| segment == "." || segment == ".." || contains_ignore_case(segment, "%2e"));
    for (is_there, what) in [
        (has_dot_segment, "a dot segment, plain or encoded"),
        (encodes_unreserved(path), "an encoded letter or digit"),
        (path.contains("//"), "an empty segment (`//`)"),
        (path.contains('\\') || contains_ignore_case(path, "%5c"), "a backslash"),
        (contains_ignore_case(path, "%00"), "an encoded NUL"),
    ] {
        if is_there {
            return Err(unsafe_path(what));
        }
    }
    Ok(())
}

/// Tells whether a path is of nothing but words between single slashes, as nearly all are.
fn is_plain(path: &str) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_');
    path.as_bytes().iter().all(is_plain) && !path.as_bytes().windows(2).any(|pair| pair == b"//")
}

/// Tells whether a path encodes a character that needs no encoding (RFC 3986 §2.3): readers may
/// decode it, so that they see another path than the one that was checked.
fn encodes_unreserved(path: &str) -> bool {
    path.split('%').skip(1).any(|after| {
        let byte = after.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~'))
    })
}

pub(super) fn contains_ignore_case(text: &str, lower: &str) -> bool {
    text.as_bytes().windows(lower.len()).any(|window| window.eq_ignore_ascii_case(lower.as_bytes()))
}

pub(super) fn unsafe_path(what: &str) -> ApiError {
    ApiError::new(ErrorCode::BadRequest, format!("the path holds {what}, which is not passed on"))
}
