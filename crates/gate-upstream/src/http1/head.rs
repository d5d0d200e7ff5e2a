//! Reads the head of an answer, and past the interim ones before it.

use std::mem::{self, MaybeUninit};

use bytes::{Buf as _, Bytes};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{StatusCode, Version};
use httparse::{Header, ParserConfig, Response, Status};

use super::bounds::Bounds;
use crate::error::{Fault, Violation};

/// Most header lines of an answer.
const MAX_HEADERS: usize = 100;

/// The head of an answer.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    /// Whether only the end of the connection ends the body.
    pub(crate) is_close_delimited: bool,
}

/// What has come of an answer's head.
#[derive(Default)]
pub(super) struct HeadReader {
    bounds: Bounds,
    /// All of it, if there was a piece without its end.
    partial: Vec<u8>,
}

impl HeadReader {
    /// Takes what came next, and returns the head once it is there, with what came behind it.
    ///
    /// # Errors
    /// It is no head of an answer, or larger than one may be.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Option<(Head, Bytes)>, Fault> {
        if !self.bounds.ends_in(bytes)? {
            // What does not begin like HTTP is not waited for.
            if self.partial.is_empty() {
                parse(&Bytes::copy_from_slice(bytes))?;
            }
            self.partial.extend_from_slice(bytes);
            return Ok(None);
        }
        let mut bytes = if self.partial.is_empty() {
            Bytes::copy_from_slice(bytes)
        } else {
            let mut all = mem::take(&mut self.partial);
            all.extend_from_slice(bytes);
            all.into()
        };
        while let Some((head, length)) = parse(&bytes)? {
            bytes.advance(length);
            if !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS {
                return Ok(Some((head, bytes)));
            }
        }
        Err(Violation::Head.into())
    }
}

/// Reads a head and returns how long it is, if it is whole.
fn parse(bytes: &Bytes) -> Result<Option<(Head, usize)>, Fault> {
    let mut lines = [const { MaybeUninit::<Header<'_>>::uninit() }; MAX_HEADERS];
    let mut response = Response::new(&mut []);
    let config = ParserConfig::default();
    let status = config.parse_response_with_uninit_headers(&mut response, bytes, &mut lines)?;
    let Status::Complete(length) = status else { return Ok(None) };
    let code = response.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(Violation::Head)?;
    let version = if response.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    let mut headers = HeaderMap::with_capacity(response.headers.len());
    for line in response.headers.iter() {
        let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| Violation::Head)?;
        let value =
            HeaderValue::from_maybe_shared(bytes.slice_ref(line.value)).map_err(|_| Violation::Head)?;
        headers.append(name, value);
    }
    Ok(Some((Head { status: code, version, headers, is_close_delimited: false }, length)))
}
