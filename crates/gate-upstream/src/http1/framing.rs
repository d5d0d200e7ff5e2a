//! Where an answer's body ends (RFC 9112 §6.3), and headers that say so to the next reader.

use http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use http::{Method, StatusCode, Version};

use super::head::Head;
use crate::error::Violation;

/// What ends a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// Its length. It is 0 for an answer without a body.
    Length(u64),
    /// The last chunk.
    Chunked,
    /// The end of the connection.
    Close,
}

/// Returns what ends the body of the answer to a request with this method, and makes the headers say so: of
/// a length and a coding the coding stays, and the length is written once, as we would write it.
///
/// # Errors
/// The headers leave it in doubt.
pub(super) fn settle(method: &Method, head: &mut Head) -> Result<Framing, Violation> {
    let is_chunked = is_chunked(&head.headers)?;
    // These have no body, whatever the headers say. For HEAD and 304 the framing is that of another message,
    // and stays as information; for the rest it is a mistake.
    let is_about_another = *method == Method::HEAD || head.status == StatusCode::NOT_MODIFIED;
    let is_bare = head.status.is_informational() || head.status == StatusCode::NO_CONTENT;
    let has_body = !is_bare && !is_about_another;
    if has_body && is_chunked && head.version == Version::HTTP_10 {
        return Err(Violation::OldTransferCoding);
    }
    if is_bare {
        head.headers.remove(TRANSFER_ENCODING);
    }
    let mut lines = head.headers.get_all(CONTENT_LENGTH).iter();
    let (line, other) = (lines.next(), lines.next());
    // A length beside a coding is how responses are smuggled: the next reader must not see it.
    let length = match line {
        Some(_) if is_bare || is_chunked => None,
        Some(_) => {
            let length = announced_length(&head.headers);
            if has_body && length.is_none() {
                return Err(Violation::Length);
            }
            length
        }
        None => None,
    };
    // `2, 2` is legal to receive (RFC 9110 §8.6) and not to pass on, and neither are two lines. One that is
    // written as we would write it stays.
    let is_settled = other.is_none() && line.map(plain_length) == length.map(Some);
    match length {
        _ if is_settled => {}
        Some(length) => drop(head.headers.insert(CONTENT_LENGTH, length.into())),
        None => drop(head.headers.remove(CONTENT_LENGTH)),
    }
    Ok(match length {
        _ if !has_body => Framing::Length(0),
        _ if is_chunked => Framing::Chunked,
        Some(length) => Framing::Length(length),
        None => Framing::Close,
    })
}

/// Returns whether the server keeps the connection open after this answer, as far as its headers say.
pub(super) fn is_kept_open(version: Version, headers: &HeaderMap) -> bool {
    let mut is_kept = version == Version::HTTP_11;
    for line in headers.get_all(CONNECTION) {
        for option in line.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if option.eq_ignore_ascii_case(b"close") {
                return false;
            }
            is_kept |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }
    is_kept
}

/// Returns whether the message is chunked.
///
/// No request of ours asks for a coding, so that `chunked` is the only one allowed (RFC 9110 §10.1.4).
fn is_chunked(headers: &HeaderMap) -> Result<bool, Violation> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(false),
        (Some(only), None) if only.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(true),
        _ => Err(Violation::TransferCoding),
    }
}

/// Returns the one length that all lines name; `None` if they differ or one is no number.
fn announced_length(headers: &HeaderMap) -> Option<u64> {
    let mut announced = None;
    for line in headers.get_all(CONTENT_LENGTH) {
        for member in line.to_str().ok()?.split(',') {
            let length = parse_length(member.trim())?;
            if announced.is_some_and(|other| other != length) {
                return None;
            }
            announced = Some(length);
        }
    }
    announced
}

/// Returns the length that a line names in the one way in which a number is written.
fn plain_length(line: &HeaderValue) -> Option<u64> {
    let digits = line.to_str().ok()?;
    if digits.len() > 1 && digits.starts_with('0') { None } else { parse_length(digits) }
}

fn parse_length(digits: &str) -> Option<u64> {
    // `parse` alone would take a sign.
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}
