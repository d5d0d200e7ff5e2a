//! One scripted reply: status, headers, body, and when its head is sent.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use tokio::sync::mpsc;

use crate::body::{ScriptBody, Step};

/// How many steps the channel of [`Reply::live`] holds before its sender has to wait.
const LIVE_STEPS: usize = 16;

/// What a mock upstream answers to one request.
#[derive(Debug)]
pub struct Reply {
    response: Response<ScriptBody>,
    /// The time from the request to the head; `None` is for ever.
    delay: Option<Duration>,
}

impl Reply {
    /// Makes a reply without a body.
    ///
    /// # Panics
    ///
    /// When `status` is not between 100 and 999, as every function here that takes one.
    pub fn status(status: u16) -> Self {
        Self::new(status, ScriptBody::sized(Bytes::new()))
    }

    /// Makes a JSON reply with a `content-length`.
    pub fn json(status: u16, body: impl Into<Bytes>) -> Self {
        Self::new(status, ScriptBody::sized(body)).header("content-type", "application/json")
    }

    /// Makes a plain-text reply with a `content-length`.
    pub fn text(status: u16, body: impl Into<Bytes>) -> Self {
        Self::new(status, ScriptBody::sized(body)).header("content-type", "text/plain; charset=utf-8")
    }

    /// Makes a chunked reply, one chunk for each frame.
    pub fn frames<F: Into<Bytes>>(status: u16, frames: impl IntoIterator<Item = F>) -> Self {
        Self::steps(status, frames.into_iter().map(|frame| Step::Data(frame.into())))
    }

    /// Makes a chunked 200 event stream, one chunk for each frame.
    pub fn events<F: Into<Bytes>>(frames: impl IntoIterator<Item = F>) -> Self {
        Self::frames(200, frames).header("content-type", "text/event-stream")
    }

    /// Makes a chunked reply that plays these steps: pauses, a stall or a break among the data.
    pub fn steps(status: u16, steps: impl IntoIterator<Item = Step>) -> Self {
        Self::new(status, ScriptBody::chunked(steps))
    }

    /// Makes a chunked 200 reply whose steps the test sends while it runs; dropping the sender ends
    /// the body cleanly.
    pub fn live() -> (mpsc::Sender<Step>, Self) {
        let (sender, steps) = mpsc::channel(LIVE_STEPS);
        (sender, Self::new(200, ScriptBody::from_channel(steps)))
    }

    fn new(status: u16, body: ScriptBody) -> Self {
        let mut response = Response::new(body);
        #[expect(clippy::expect_used, reason = "a script with such a status is a mistake of the test")]
        let status = StatusCode::from_u16(status).expect("a status has three digits");
        *response.status_mut() = status;
        Self { response, delay: Some(Duration::ZERO) }
    }

    /// Adds a header; a `content-type` replaces the one that is there. A `content-length` on a reply
    /// of steps is announced as it is, so that a break leaves it unfulfilled.
    ///
    /// # Panics
    ///
    /// When the name or the value is not legal in HTTP.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a script with such a header is a mistake of the test")]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a header name is a token");
        let value = HeaderValue::from_str(value).expect("a header value is printable");
        if name == http::header::CONTENT_TYPE {
            self.response.headers_mut().insert(name, value);
        } else {
            self.response.headers_mut().append(name, value);
        }
        self
    }

    /// Sends the head only after this time.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }

    /// Never sends the head.
    #[must_use]
    pub fn never(mut self) -> Self {
        self.delay = None;
        self
    }

    pub(super) fn into_parts(self) -> (Option<Duration>, Response<ScriptBody>) {
        (self.delay, self.response)
    }
}
