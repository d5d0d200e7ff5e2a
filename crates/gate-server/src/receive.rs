//! Reads a request body into memory, to a limit of bytes and of time.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use gate_config::Limits;
use http_body::Body;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::body_memory::{Bounds, MOST_SPARE_BYTES};
use crate::error::{ApiError, ErrorCode};
use crate::failure;
use crate::pace::{Late, Pace};

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
    // hyper has read the header.
    let declared = body.size_hint().exact();
    if declared.is_some_and(|declared| declared > limit) {
        return Err(too_large(limit));
    }
    let mut hold = bounds.enter(declared).await?;
    // The client's time begins here: until now it was the gateway that had to be waited for.
    let mut incoming = Incoming::new(limits);
    let Some(first) = incoming.next(body.as_mut()).await? else { return Ok(Bytes::new()) };
    check_length(first.len(), limit)?;
    hold.cover(first.len())?;
    let expected = usize::try_from(declared.unwrap_or(0)).unwrap_or(usize::MAX);
    // Most bodies arrive in one frame, which is then used as it is.
    let mut second = None;
    if expected <= first.len() {
        if !body.is_end_stream() {
            second = incoming.next(body.as_mut()).await?;
        }
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
    while let Some(data) = incoming.next(body.as_mut()).await? {
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
    let mut incoming = Incoming::within(most_time, Pace::unhurried(most_time));
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
    /// Set only while the client is waited for.
    wait: Option<Wait>,
}

/// A wait for the client.
#[derive(Debug)]
struct Wait {
    since: Instant,
    end: Pin<Box<Sleep>>,
    /// How the client is late at its end; `None` if the time for the whole body is over.
    late: Option<Late>,
}

impl Incoming {
    /// Starts the clocks.
    pub(crate) fn new(limits: &Limits) -> Self {
        Self::within(limits.max_request_duration, Pace::new(limits))
    }

    fn within(time: Duration, pace: Pace) -> Self {
        Self { deadline: Instant::now() + time, pace, wait: None }
    }

    /// Waits for the next piece of data; trailers are skipped, since none is ever passed on.
    ///
    /// # Errors
    /// 408 if it does not come in time, 400 if the framing breaks.
    pub(crate) async fn next<B>(&mut self, mut body: Pin<&mut B>) -> Result<Option<Bytes>, ApiError>
    where
        B: Body<Data = Bytes>,
    {
        poll_fn(|cx| self.poll_next(body.as_mut(), cx)).await
    }

    fn poll_next<B>(
        &mut self,
        mut body: Pin<&mut B>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, ApiError>>
    where
        B: Body<Data = Bytes>,
    {
        loop {
            let Poll::Ready(frame) = body.as_mut().poll_frame(cx) else {
                return self.poll_late(cx).map(Err);
            };
            // Most pieces are there before anyone asks, and need no clock.
            let waited = self.wait.take().map_or(Duration::ZERO, |wait| wait.since.elapsed());
            let data = match frame {
                None => return Poll::Ready(Ok(None)),
                Some(Ok(frame)) => frame.into_data(),
                Some(Err(_)) => return Poll::Ready(Err(failure::request_body_broke())),
            };
            self.pace.came(data.as_ref().map_or(0, Bytes::len), waited);
            if let Ok(data) = data {
                return Poll::Ready(Ok(Some(data)));
            }
        }
    }

    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<ApiError> {
        let wait = self.wait.get_or_insert_with(|| {
            let ((patience, late), since) = (self.pace.patience(), Instant::now());
            let piece_by = since + patience;
            let late = Some(late).filter(|_| piece_by < self.deadline);
            Wait { since, end: Box::pin(sleep_until(piece_by.min(self.deadline))), late }
        });
        wait.end.as_mut().poll(cx).map(|()| wait.late.map_or_else(overdue, Late::to_api_error))
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
