//! Reads a request body into memory, to a limit of bytes and of time.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use gate_config::Limits;
use http::header::{CONTENT_LENGTH, HeaderMap};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};

use crate::body_memory::{Bounds, MOST_SPARE_BYTES};
use crate::error::{ApiError, ErrorCode};
use crate::failure;
use crate::pace::Pace;

/// Room made before the first byte beyond one frame arrives: a declared length is a claim, and
/// memory is given for bytes.
const FIRST_ROOM: usize = MOST_SPARE_BYTES;

/// Reads the whole body. Where it comes in several frames, `look` is shown what there is of it after each.
///
/// # Errors
/// 413 as soon as the length is known to be over the limit, before anything is read if the client
/// declared it; 408 if it does not arrive in time; 503 if it finds no room in the memory for bodies;
/// 400 if its framing breaks.
///
/// # Cancel safety
/// Dropping the future loses what was read; the connection is then closed by its owner.
pub(crate) async fn receive<B>(
    mut body: Pin<&mut B>,
    headers: &HeaderMap,
    bounds: Bounds<'_>,
    mut look: impl FnMut(&[u8]),
) -> Result<Bytes, ApiError>
where
    B: Body<Data = Bytes>,
{
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let limits = bounds.limits;
    let limit = limits.max_request_bytes;
    let declared = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse::<u64>().ok());
    if declared.is_some_and(|declared| declared > limit) {
        return Err(too_large(limit));
    }
    let mut hold = bounds.enter(declared).await?;
    // The client's time begins here: until now it was the gateway that had to be waited for.
    let mut incoming = Incoming::new(limits);
    let mut next = async || incoming.next(body.as_mut()).await;
    let Some(first) = next().await? else { return Ok(Bytes::new()) };
    check_length(first.len(), limit)?;
    hold.cover(first.len())?;
    let expected = usize::try_from(declared.unwrap_or(0)).unwrap_or(usize::MAX);
    // Most bodies arrive in one frame, which is then used as it is.
    let mut second = None;
    if expected <= first.len() {
        second = next().await?;
        if second.is_none() {
            return Ok(hold.keep(first));
        }
    }
    let mut whole = bounds.memory.buffer(expected.clamp(first.len(), FIRST_ROOM.max(first.len())));
    let mut add = |data: Bytes| {
        let length = whole.len().saturating_add(data.len());
        check_length(length, limit)?;
        hold.cover(length)?;
        whole.extend_from_slice(&data);
        look(&whole);
        // The frame ends here, so that hyper reads the next one into the same memory.
        Ok::<_, ApiError>(())
    };
    add(first)?;
    second.map(&mut add).transpose()?;
    while let Some(data) = next().await? {
        add(data)?;
    }
    Ok(hold.keep_collected(whole))
}

/// Reads and forgets what is left of a body, so that the client gets to read its answer: closing
/// a connection with unread bytes resets it, and a reset can overtake the answer.
///
/// Returns whether all of it was read, so that the connection can be used again.
pub(crate) async fn drain<B>(mut body: Pin<&mut B>, most_bytes: usize, most_time: Duration) -> bool
where
    B: Body<Data = Bytes>,
{
    let mut incoming = Incoming { deadline: Instant::now() + most_time, pace: Pace::unhurried(most_time) };
    let mut left = most_bytes;
    loop {
        match incoming.next(body.as_mut()).await {
            Ok(Some(data)) => match left.checked_sub(data.len()) {
                Some(rest) => left = rest,
                None => return false,
            },
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

/// The clocks of a body that is read.
#[derive(Debug)]
pub(crate) struct Incoming {
    deadline: Instant,
    pace: Pace,
}

impl Incoming {
    /// Starts the clocks.
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { deadline: Instant::now() + limits.max_request_duration, pace: Pace::new(limits) }
    }

    /// Waits for the next piece of data; trailers are skipped, since none is ever passed on.
    ///
    /// # Errors
    /// 408 if it does not come in time, 400 if the framing breaks.
    pub(crate) async fn next<B>(&mut self, mut body: Pin<&mut B>) -> Result<Option<Bytes>, ApiError>
    where
        B: Body<Data = Bytes>,
    {
        loop {
            let (patience, late) = self.pace.patience();
            let begin = Instant::now();
            let by = self.deadline.min(begin + patience);
            let frame = timeout_at(by, body.frame())
                .await
                .map_err(|_| if by == self.deadline { overdue() } else { late.to_api_error() })?;
            let waited = begin.elapsed();
            let data = match frame {
                None => return Ok(None),
                Some(Ok(frame)) => frame.into_data(),
                Some(Err(_)) => return Err(failure::request_body_broke()),
            };
            self.pace.came(data.as_ref().map_or(0, Bytes::len), waited);
            if let Ok(data) = data {
                return Ok(Some(data));
            }
        }
    }
}

fn overdue() -> ApiError {
    let message = "the request body did not arrive in time (`[llm.limits] max_request_duration_sec`)";
    ApiError::new(ErrorCode::RequestTimeout, message).closing()
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
