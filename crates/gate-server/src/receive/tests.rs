//! Limits of bytes and time, on a paused clock.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderMap, HeaderValue};
use http_body::{Frame, SizeHint};
use tokio::time::Sleep;

use super::*;

/// A body that yields pieces, each after a wait; without an end it stalls.
struct Script {
    /// What the client says about it.
    declared: Option<u64>,
    steps: VecDeque<(Duration, Frame<Bytes>)>,
    ends: bool,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Body for Script {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(&(wait, _)) = self.steps.front() else {
            return if self.ends { Poll::Ready(None) } else { Poll::Pending };
        };
        let sleep = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(wait)));
        std::task::ready!(sleep.as_mut().poll(cx));
        self.waiting = None;
        Poll::Ready(self.steps.pop_front().map(|(_, frame)| Ok(frame)))
    }

    fn size_hint(&self) -> SizeHint {
        self.declared.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

fn script(pieces: &[(u64, &'static str)], ends: bool) -> Script {
    let steps = pieces
        .iter()
        .map(|&(seconds, data)| {
            (Duration::from_secs(seconds), Frame::data(Bytes::from_static(data.as_bytes())))
        })
        .collect();
    Script { declared: None, steps, ends, waiting: None }
}

fn limits() -> Limits {
    Limits {
        max_request_bytes: 10,
        max_request_duration: Duration::from_secs(100),
        body_idle_timeout: Duration::from_secs(30),
        min_body_rate: 0,
        ..Limits::default()
    }
}

async fn run(body: Script, declared: Option<u64>) -> Result<String, (ErrorCode, u64)> {
    run_within(limits(), body, declared).await
}

async fn run_within(limits: Limits, body: Script, declared: Option<u64>) -> Result<String, (ErrorCode, u64)> {
    let started = Instant::now();
    let mut body = std::pin::pin!(Script { declared, ..body });
    let bounds = Bounds { limits: &limits, memory: &Arc::default() };
    match receive(body.as_mut(), bounds, |_| ()).await {
        Ok(bytes) => Ok(String::from_utf8(bytes.to_vec()).unwrap()),
        Err(error) => {
            assert!(error.close, "{error:?}");
            Err((error.code, started.elapsed().as_secs()))
        }
    }
}

#[tokio::test(start_paused = true)]
async fn pieces_become_one_body() {
    for (pieces, expected) in [
        (&[][..], ""),
        (&[(0, "ab")], "ab"),
        (&[(0, "ab"), (1, "cd")], "abcd"),
        (&[(0, "a"), (0, "b"), (29, "c")], "abc"),
    ] {
        assert_eq!(run(script(pieces, true), None).await, Ok(expected.to_owned()));
    }
}

// Spec: security S-15.
#[tokio::test(start_paused = true)]
async fn trailers_are_dropped() {
    let mut body = script(&[(0, "ab")], true);
    let trailers =
        HeaderMap::from_iter([(http::header::AUTHORIZATION, HeaderValue::from_static("Bearer x"))]);
    body.steps.push_back((Duration::ZERO, Frame::trailers(trailers)));
    assert_eq!(run(body, None).await, Ok("ab".to_owned()));
}

// Spec: security S-8; api A-10.
#[tokio::test(start_paused = true)]
async fn a_body_over_the_limit_is_refused() {
    assert_eq!(run(script(&[(0, "0123456789")], true), Some(10)).await, Ok("0123456789".to_owned()));
    // A declared length is enough: nothing is read, so a body that never comes does not matter.
    assert_eq!(run(script(&[], false), Some(11)).await, Err((ErrorCode::RequestTooLarge, 0)));
    let whole = script(&[(0, "0123456789a")], true);
    assert_eq!(run(whole, None).await, Err((ErrorCode::RequestTooLarge, 0)));
    let split = script(&[(0, "01234"), (0, "56789"), (0, "a")], false);
    assert_eq!(run(split, None).await, Err((ErrorCode::RequestTooLarge, 0)));
}

// Spec: security S-8; api A-10.
#[tokio::test(start_paused = true)]
async fn a_body_must_arrive_in_time() {
    assert_eq!(run(script(&[(0, "a")], false), None).await, Err((ErrorCode::RequestTimeout, 30)));
    let drip = script(&[(20, "a"), (20, "b"), (20, "c"), (20, "d"), (20, "e"), (20, "f")], true);
    assert_eq!(run(drip, None).await, Err((ErrorCode::RequestTimeout, 100)));
}

// Spec: security S-46.
#[tokio::test(start_paused = true)]
async fn a_body_must_not_trickle() {
    // A byte before each pause gets too long earns nothing; enough bytes do.
    let limits = || Limits { min_body_rate: 1, max_request_bytes: 100, ..limits() };
    let drip = script(&[(20, "a"), (20, "b"), (20, "c")], true);
    assert_eq!(run_within(limits(), drip, None).await, Err((ErrorCode::RequestTimeout, 31)));
    let steady = script(&[(20, "0123456789abcdefghij"), (20, "0123456789abcdefghij"), (20, "c")], true);
    assert!(run_within(limits(), steady, None).await.is_ok());
}

// Spec: security S-14.
#[tokio::test(start_paused = true)]
async fn draining_has_both_bounds() {
    let started = Instant::now();
    let mut endless = std::pin::pin!(script(&[(0, "a")], false));
    assert!(!drain(endless.as_mut(), 100, Duration::from_secs(5)).await);
    assert_eq!(started.elapsed(), Duration::from_secs(5));

    let mut long = std::pin::pin!(script(&[(0, "aaaa"), (0, "aaaa"), (0, "aaaa")], true));
    assert!(!drain(long.as_mut(), 6, Duration::from_secs(5)).await);
    assert_eq!(long.steps.len(), 1, "reading stops once the bound is passed");

    let mut short = std::pin::pin!(script(&[(0, "aaaa")], true));
    assert!(drain(short.as_mut(), 6, Duration::from_secs(5)).await);
}

/// A body of frames that all stand in one memory: the next can only be read once nobody has the last.
struct OneMemory {
    memory: Arc<[u8; 4]>,
    frames: usize,
}

impl Body for OneMemory {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        struct Piece(Arc<[u8; 4]>);
        impl AsRef<[u8]> for Piece {
            fn as_ref(&self) -> &[u8] {
                &*self.0
            }
        }
        assert_eq!(Arc::strong_count(&self.memory), 1, "a frame is still held");
        let Some(left) = self.frames.checked_sub(1) else { return Poll::Ready(None) };
        self.frames = left;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_owner(Piece(Arc::clone(&self.memory)))))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(4 * self.frames as u64)
    }
}

#[tokio::test(start_paused = true)]
async fn frames_are_let_go_of_and_buffers_used_again() {
    let limits = Limits { max_request_bytes: 100, ..limits() };
    let bounds = Bounds { limits: &limits, memory: &Arc::default() };
    let mut places = Vec::new();
    for _ in 0..2 {
        let mut body = std::pin::pin!(OneMemory { memory: Arc::new(*b"abcd"), frames: 3 });
        let bytes = receive(body.as_mut(), bounds, |_| ()).await.unwrap();
        assert_eq!(bytes, "abcdabcdabcd");
        places.push(bytes.as_ptr());
    }
    assert_eq!(places[0], places[1]);
}

/// One piece, behind which it must not be asked again.
struct Piece(Option<Bytes>);

impl Body for Piece {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(self.0.take().expect("it said that it is over")))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, Bytes::len) as u64)
    }
}

#[tokio::test]
async fn a_body_that_says_it_is_over_is_not_asked_again() {
    let mut body = Piece(Some(Bytes::from_static(b"{}")));
    let (limits, memory) = (limits(), Arc::default());
    let bounds = Bounds { limits: &limits, memory: &memory };
    assert_eq!(receive(Pin::new(&mut body), bounds, |_| ()).await.unwrap(), "{}");
}
