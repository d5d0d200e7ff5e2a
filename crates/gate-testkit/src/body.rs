//! A response body that follows a script: data, pauses, a stall, a break. It never computes anything.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;
use tokio::time::Sleep;

/// One thing that a scripted body does. The body ends cleanly after its last step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Sends these bytes as one frame; an empty frame is skipped.
    Data(Bytes),
    /// Pauses, on the runtime's clock.
    Wait(Duration),
    /// Sends nothing more and never ends; the peer has to give up.
    Stall,
    /// Breaks the connection without a proper end, after what was sent before has been flushed.
    Abort,
}

/// A body that plays [`Step`]s, from a list or from a channel.
#[derive(Debug)]
pub struct ScriptBody {
    source: Source,
    framing: Framing,
    state: State,
}

#[derive(Debug)]
enum Source {
    List(VecDeque<Step>),
    Channel(mpsc::Receiver<Step>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// The length is told in advance; this many bytes are still to come.
    Sized(u64),
    /// The length is not told: HTTP/1.1 sends chunks.
    Chunked,
}

#[derive(Debug)]
enum State {
    Ready,
    Waiting(Pin<Box<Sleep>>),
    Stalled,
    Breaking,
    Ended,
}

impl ScriptBody {
    /// Makes a body whose length is announced: the HTTP/1 writer adds `content-length`.
    pub fn sized(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let framing = Framing::Sized(bytes.len() as u64);
        Self { source: Source::List(VecDeque::from([Step::Data(bytes)])), framing, state: State::Ready }
    }

    /// Makes a body of unknown length, which HTTP/1.1 sends in chunks, one for each [`Step::Data`].
    pub fn chunked(steps: impl IntoIterator<Item = Step>) -> Self {
        let source = Source::List(steps.into_iter().collect());
        Self { source, framing: Framing::Chunked, state: State::Ready }
    }

    /// Makes a chunked body that plays what arrives in the channel and ends when the sender is gone.
    pub fn from_channel(steps: mpsc::Receiver<Step>) -> Self {
        Self { source: Source::Channel(steps), framing: Framing::Chunked, state: State::Ready }
    }

    /// Tells whether the script was played to its end, be it a proper end or an intended break.
    pub fn is_played(&self) -> bool {
        match (&self.state, self.framing) {
            (State::Ended, _) => true,
            // The HTTP/1 writer drops a body of known length once its last byte is taken.
            (_, Framing::Sized(left)) => left == 0,
            (_, Framing::Chunked) => false,
        }
    }

    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Option<Step>> {
        match &mut self.source {
            Source::List(steps) => Poll::Ready(steps.pop_front()),
            Source::Channel(steps) => steps.poll_recv(cx),
        }
    }
}

impl Body for ScriptBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        loop {
            match &mut self.state {
                State::Ready => {}
                State::Waiting(sleep) => {
                    ready!(sleep.as_mut().poll(cx));
                    self.state = State::Ready;
                }
                State::Stalled => return Poll::Pending,
                State::Breaking => {
                    self.state = State::Ended;
                    return Poll::Ready(Some(Err(Broken)));
                }
                State::Ended => return Poll::Ready(None),
            }
            match ready!(self.poll_step(cx)) {
                Some(Step::Data(bytes)) if bytes.is_empty() => {}
                Some(Step::Data(bytes)) => {
                    if let Framing::Sized(left) = &mut self.framing {
                        *left = left.saturating_sub(bytes.len() as u64);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Some(Step::Wait(time)) if time.is_zero() => {}
                Some(Step::Wait(time)) => self.state = State::Waiting(Box::pin(tokio::time::sleep(time))),
                Some(Step::Stall) => self.state = State::Stalled,
                // hyper drops what it has buffered when a body fails. One `Pending` in between
                // makes it flush first, so that the peer sees the bytes and then the break.
                Some(Step::Abort) => {
                    self.state = State::Breaking;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                None => {
                    self.state = State::Ended;
                    return Poll::Ready(None);
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_played()
    }

    fn size_hint(&self) -> SizeHint {
        match self.framing {
            Framing::Sized(left) => SizeHint::with_exact(left),
            Framing::Chunked => SizeHint::default(),
        }
    }
}

/// The error of a body that breaks because its script says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the script breaks the body here")
    }
}

impl std::error::Error for Broken {}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;
    use tokio::time::Instant;

    fn data(text: &'static str) -> Step {
        Step::Data(Bytes::from_static(text.as_bytes()))
    }

    async fn frames(mut body: ScriptBody) -> (Vec<Bytes>, Result<(), Broken>) {
        let mut seen = Vec::new();
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => seen.push(frame.into_data().unwrap()),
                Err(error) => return (seen, Err(error)),
            }
        }
        (seen, Ok(()))
    }

    #[tokio::test]
    async fn a_sized_body_announces_its_length_and_is_played_once_taken() {
        let mut body = ScriptBody::sized("hello");
        assert_eq!((body.size_hint().exact(), body.is_played()), (Some(5), false));
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "hello");
        assert_eq!((body.size_hint().exact(), body.is_played()), (Some(0), true));
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_take_the_time_that_the_script_says() {
        let started = Instant::now();
        let wait = Step::Wait(Duration::from_secs(3));
        let body = ScriptBody::chunked([data("a"), wait.clone(), data(""), data("b"), wait]);
        assert_eq!(body.size_hint().exact(), None);
        let (seen, end) = frames(body).await;
        assert_eq!((seen, end), (vec![Bytes::from("a"), Bytes::from("b")], Ok(())));
        assert_eq!(started.elapsed(), Duration::from_secs(6));
    }

    #[tokio::test]
    async fn a_break_comes_after_the_data_and_counts_as_played() {
        let mut body = ScriptBody::chunked([data("a"), Step::Abort, data("never")]);
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "a");
        assert!(!body.is_played());
        assert_eq!(body.frame().await.unwrap().unwrap_err().to_string(), "the script breaks the body here");
        assert!(body.is_played());
        assert!(body.frame().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stall_never_ends() {
        let body = ScriptBody::chunked([data("a"), Step::Stall, data("never")]);
        tokio::time::timeout(Duration::from_secs(3600), frames(body)).await.unwrap_err();
    }

    #[tokio::test]
    async fn a_channel_body_plays_what_arrives_and_ends_with_its_sender() {
        let (sender, steps) = mpsc::channel(4);
        let mut body = ScriptBody::from_channel(steps);
        sender.send(data("one")).await.unwrap();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "one");
        drop(sender);
        assert!(body.frame().await.is_none());
        assert!(body.is_played());
    }
}
