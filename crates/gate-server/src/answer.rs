//! An answer before its body is bound to the account of its request.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use gate_usage::{Attempts, ContentType, Dialect, EndReason, Estimate, Meter, StepTimes};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use crate::body::GateBody;
use crate::exchange::Exchange;
use crate::hold::Replay;
use crate::relay::{Framing, Relay, Treatment};
use crate::shutdown::InFlight;
use crate::websocket::{Switch, Tunnel};

/// An answer, whoever gives it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Payload,
    /// What else is done to a payload that is still to come.
    pub(crate) treatment: Treatment,
}

/// The bytes of an answer.
#[derive(Debug)]
pub(crate) enum Payload {
    /// All there.
    Full(Bytes),
    /// Still to come.
    Upstream { body: Replay, dialect: Dialect, content_type: ContentType, framing: Framing },
    /// None: the connection leaves HTTP.
    Tunnel(Box<Switch>),
}

impl Answer {
    /// Makes an answer of the gateway's own.
    pub(crate) fn json(status: StatusCode, value: &impl serde::Serialize) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        // What is serialized here are plain structs of strings and numbers: they always serialize.
        let body = serde_json::to_vec(value).unwrap_or_default();
        Self { status, headers, payload: Payload::Full(body.into()), treatment: Treatment::default() }
    }

    /// Has the usage estimated from the request and this answer, unless it reports its own. An error
    /// uses nothing.
    pub(crate) fn estimate(&mut self, request: &[u8]) {
        if let Payload::Upstream { dialect, content_type, .. } = &self.payload
            && self.status.is_success()
        {
            self.treatment.estimate = Estimate::begin(*dialect, *content_type, request).map(Box::new);
        }
    }

    /// Binds the body to the account, which is settled when the body ends or is dropped.
    pub(crate) fn into_response(
        self: Box<Self>,
        in_flight: InFlight,
        mut exchange: Box<Exchange>,
    ) -> Response<GateBody> {
        let Self { status, mut headers, payload, treatment } = *self;
        exchange.set_status(status);
        mark(&mut headers, &mut exchange);
        if let Some(id) = upstream_id(&headers) {
            exchange.record.upstream_request_id = Some(id);
        }
        let body = match payload {
            Payload::Full(data) => {
                let mut body = GateBody::full(data);
                exchange.end(EndReason::Complete);
                body.settle(exchange);
                body
            }
            Payload::Upstream { body, dialect, content_type, framing } => {
                let meter = Box::new(Meter::new(dialect, content_type));
                GateBody::relay(Relay::new(body, meter, framing, treatment, in_flight, exchange))
            }
            Payload::Tunnel(switch) => GateBody::tunnel(Tunnel::new(*switch, in_flight, exchange)),
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }
}

/// Adds what every answer carries: the request's id and where its time went.
pub(crate) fn mark(headers: &mut HeaderMap, exchange: &mut Exchange) {
    const ID: HeaderName = HeaderName::from_static("x-gateway-request-id");
    const TIME: HeaderName = HeaderName::from_static("x-gateway-response-time");
    const TIMING: HeaderName = HeaderName::from_static("server-timing");
    const ATTEMPTS: HeaderName = HeaderName::from_static("x-gateway-attempts");
    headers.insert(ID, exchange.id.header_value());
    let elapsed = exchange.settle_steps();
    let mut digits = itoa::Buffer::new();
    let mut time = BytesMut::with_capacity(24);
    time.extend_from_slice(digits.format(elapsed.as_millis()).as_bytes());
    time.extend_from_slice(b"ms");
    if let Ok(value) = HeaderValue::from_maybe_shared(time.freeze()) {
        headers.insert(TIME, value);
    }
    if let Some(value) = attempts(&exchange.record.tried) {
        headers.insert(ATTEMPTS, value);
    }
    // The upstream's own timings stay beside ours; the header is a list.
    if let Ok(value) = HeaderValue::from_maybe_shared(server_timing(elapsed, &exchange.record.steps)) {
        headers.append(TIMING, value);
    }
}

/// Shows how often a request was sent, and of more than one time what became of each.
fn attempts(tried: &Attempts) -> Option<HeaderValue> {
    match tried.len() {
        0 => None,
        1 => Some(HeaderValue::from_static("1")),
        count => {
            let mut text = count.to_string();
            for (place, attempt) in tried.iter().enumerate() {
                let separator = if place == 0 { "; " } else { ", " };
                // A `String` takes everything.
                let _ = write!(text, "{separator}{attempt}");
            }
            HeaderValue::try_from(text).ok()
        }
    }
}

/// Writes the time to the head as `server-timing` metrics, in milliseconds: the whole, and what it
/// was spent on.
fn server_timing(elapsed: Duration, steps: &StepTimes) -> Bytes {
    let mut text = BytesMut::with_capacity(192);
    let times = std::iter::once(("total", Some(elapsed))).chain(steps.named());
    let mut digits = itoa::Buffer::new();
    for (name, time) in times.filter_map(|(name, time)| Some((name, time?))) {
        if !text.is_empty() {
            text.extend_from_slice(b", ");
        }
        text.extend_from_slice(name.as_bytes());
        text.extend_from_slice(b";dur=");
        // Whole numbers are written several times faster than fractions, and far faster than by `fmt`.
        let hundredths = (time.as_nanos() + 5_000) / 10_000;
        let hundredths = u64::try_from(hundredths).unwrap_or(u64::MAX);
        text.extend_from_slice(digits.format(hundredths / 100).as_bytes());
        text.extend_from_slice(if hundredths % 100 < 10 { b".0" } else { b"." });
        text.extend_from_slice(digits.format(hundredths % 100).as_bytes());
    }
    text.freeze()
}

/// The longest id of a vendor that is kept, in bytes.
const MAX_ID: usize = 128;

/// Returns the id that the vendor gave the request, by the name that its SDK reads.
fn upstream_id(headers: &HeaderMap) -> Option<Arc<str>> {
    ["x-request-id", "request-id"]
        .into_iter()
        .find_map(|name| headers.get(name)?.to_str().ok())
        .map(|id| id.get(..MAX_ID).unwrap_or(id).into())
}
