//! What a provider answered: the head, how long each step took, and a body still to come.

use std::time::Duration;

use http::header::{CONTENT_LENGTH, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use http::{Method, StatusCode, Version, response};
use http_body::Body;
use hyper::body::Incoming;

use crate::UpstreamBody;
use crate::error::Violation;

/// A provider's answer. Any status is one, also 3xx, 4xx, 5xx and an unasked 101.
#[derive(Debug)]
pub struct UpstreamResponse {
    /// The status.
    pub status: StatusCode,
    /// The version that the provider claims.
    pub version: Version,
    /// All headers. Of a message that names both, only `transfer-encoding` is left, which is one
    /// `chunked`. There is one `content-length` or none, and the body obeys it; of an answer to HEAD
    /// and of a 304 it tells the length of the body that did not come.
    pub headers: HeaderMap,
    /// The body.
    pub body: UpstreamBody,
    /// How long each step took.
    pub timings: Timings,
    /// Whether only the end of the connection ends the body, so that a cut looks like an end.
    pub is_close_delimited: bool,
}

/// How long each step of an exchange took, up to the response head or to the fault that came instead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// Until a connection was free.
    pub pool_wait: Duration,
    /// The name lookup, if there was one. This and what follows count also where they failed, as long as
    /// they took to do so.
    pub dns: Option<Duration>,
    /// TCP, if a connection was made.
    pub connect: Option<Duration>,
    /// The TLS handshake, if there was one.
    pub tls: Option<Duration>,
    /// From the start of sending on the connection in use to the response head; `None` where none was
    /// made.
    pub first_byte: Option<Duration>,
    /// Whether the connection had served before.
    pub reused: bool,
    /// How often the request was sent again because its kept connection turned out to be closed.
    pub retries: u32,
}

/// Makes the headers say how the body is framed, as hyper has read it, and returns whether it ends
/// with the connection.
///
/// # Errors
/// [`Violation::TransferCoding`] for a coding that hyper would leave on the body.
pub(crate) fn settle_framing(
    head: &mut response::Parts,
    method: &Method,
    body: &Incoming,
) -> Result<bool, Violation> {
    let is_chunked = is_chunked(&head.headers)?;
    // RFC 9112 §6.3: these have no body, whatever the headers say. For HEAD and 304 the framing is
    // that of another message, and stays as information; for the rest it is a mistake.
    let is_about_another = *method == Method::HEAD || head.status == StatusCode::NOT_MODIFIED;
    let is_bare = head.status.is_informational() || head.status == StatusCode::NO_CONTENT;
    if is_bare {
        head.headers.remove(TRANSFER_ENCODING);
    }
    let mut lines = head.headers.get_all(CONTENT_LENGTH).iter();
    let (line, other) = (lines.next(), lines.next());
    // A length beside a coding is how responses are smuggled: the next reader must not see it.
    let length = match body.size_hint().exact() {
        _ if is_bare || is_chunked => None,
        _ if is_about_another => announced_length(&head.headers),
        exact => exact.filter(|_| line.is_some()),
    };
    // `2, 2` is legal to receive (RFC 9110 §8.6) and not to pass on, and neither are two lines. One
    // that is written as we would write it stays.
    let is_settled = other.is_none() && line.map(plain_length) == length.map(Some);
    match length {
        _ if is_settled => {}
        Some(length) => drop(head.headers.insert(CONTENT_LENGTH, length.into())),
        None => drop(head.headers.remove(CONTENT_LENGTH)),
    }
    Ok(!is_bare && !is_about_another && !is_chunked && body.size_hint().exact().is_none())
}

/// Returns whether the message is chunked.
///
/// No request of ours asks for a coding, so that `chunked` is the only one allowed (RFC 9110
/// §10.1.4). Hyper undoes that one alone and looks at the last name alone: of `gzip, chunked` it would
/// leave zipped bytes that nothing calls so, and of `chunked` and `identity` on two lines the sizes
/// of the chunks as part of the text.
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
