//! Reads a request body into memory, to a limit of bytes and of time.

use std::pin::Pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use gate_config::Limits;
use http::header::{CONTENT_LENGTH, HeaderMap};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};

use crate::error::{ApiError, ErrorCode};
use crate::failure;

/// Room made before the first byte beyond one frame arrives: a declared length is a claim, and
/// memory is given for bytes.
const FIRST_ROOM: usize = 1024 * 1024;

/// Reads the whole body.
///
/// # Errors
/// 413 as soon as the length is known to be over the limit, before anything is read if the client
/// declared it; 408 if it does not arrive in time; 400 if its framing breaks.
///
/// # Cancel safety
/// Dropping the future loses what was read; the connection is then closed by its owner.
pub(crate) async fn receive<B>(
    mut body: Pin<&mut B>,
    headers: &HeaderMap,
    limits: &Limits,
) -> Result<Bytes, ApiError>
where
    B: Body<Data = Bytes>,
{
    let limit = limits.max_request_bytes;
    let declared = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse::<u64>().ok());
    if declared.is_some_and(|declared| declared > limit) {
        return Err(too_large(limit));
    }
    let deadline = Instant::now() + limits.max_request_duration;
    let mut next = async || next_data(body.as_mut(), deadline, limits.body_idle_timeout).await;
    // Most bodies arrive in one frame, which is then used as it is.
    let Some(first) = next().await? else { return Ok(Bytes::new()) };
    check_length(first.len(), limit)?;
    let Some(second) = next().await? else { return Ok(first) };
    let expected = usize::try_from(declared.unwrap_or(0)).unwrap_or(usize::MAX);
    let mut whole = BytesMut::with_capacity(
        expected.clamp(first.len() + second.len(), FIRST_ROOM.max(first.len() + second.len())),
    );
    whole.extend_from_slice(&first);
    check_length(whole.len().saturating_add(second.len()), limit)?;
    whole.extend_from_slice(&second);
    while let Some(data) = next().await? {
        check_length(whole.len().saturating_add(data.len()), limit)?;
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

/// Reads and forgets what is left of a body, so that the client gets to read its answer: closing
/// a connection with unread bytes resets it, and a reset can overtake the answer.
///
/// Returns whether all of it was read, so that the connection can be used again.
pub(crate) async fn drain<B>(mut body: Pin<&mut B>, most_bytes: usize, most_time: Duration) -> bool
where
    B: Body<Data = Bytes>,
{
    let deadline = Instant::now() + most_time;
    let mut left = most_bytes;
    loop {
        match next_data(body.as_mut(), deadline, most_time).await {
            Ok(Some(data)) => match left.checked_sub(data.len()) {
                Some(rest) => left = rest,
                None => return false,
            },
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

/// Waits for the next piece of data; trailers are skipped, since none is ever passed on.
pub(crate) async fn next_data<B>(
    mut body: Pin<&mut B>,
    deadline: Instant,
    idle: Duration,
) -> Result<Option<Bytes>, ApiError>
where
    B: Body<Data = Bytes>,
{
    loop {
        let by = deadline.min(Instant::now() + idle);
        let frame = timeout_at(by, body.frame()).await.map_err(|_| {
            ApiError::new(
                ErrorCode::RequestTimeout,
                "the request body did not arrive in time; send it without pauses",
            )
            .closing()
        })?;
        match frame {
            None => return Ok(None),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
            Some(Err(_)) => return Err(failure::request_body_broke()),
        }
    }
}

fn check_length(length: usize, limit: u64) -> Result<(), ApiError> {
    if u64::try_from(length).unwrap_or(u64::MAX) > limit { Err(too_large(limit)) } else { Ok(()) }
}

fn too_large(limit: u64) -> ApiError {
    ApiError::new(
        ErrorCode::RequestTooLarge,
        format!(
            "the request body has more than {limit} bytes; `[llm.limits] max_request_size_mb` sets the limit"
        ),
    )
    .closing()
}

#[cfg(test)]
mod tests;
