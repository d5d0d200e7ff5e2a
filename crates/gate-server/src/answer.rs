//! An answer before its body is bound to the account of its request.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gate_usage::{Attempts, ContentType, Dialect, EndReason, Estimate, Meter, StepTimes};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use crate::body::GateBody;
use crate::exchange::Exchange;
use crate::hold::Replay;
use crate::relay::{Framing, Relay, Treatment};
use crate::shutdown::InFlight;
use crate::text::Text;
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
    let mut time = Text::<24>::default();
    time.number(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
    time.push(b"ms");
    if let Ok(value) = HeaderValue::from_bytes(time.as_bytes()) {
        headers.insert(TIME, value);
    }
    if let Some(value) = attempts(&exchange.record.tried) {
        headers.insert(ATTEMPTS, value);
    }
    // The upstream's own timings stay beside ours; the header is a list.
    if let Ok(value) = HeaderValue::from_bytes(server_timing(elapsed, &exchange.record.steps).as_bytes()) {
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
fn server_timing(elapsed: Duration, steps: &StepTimes) -> Text<MAX_TIMING> {
    let StepTimes { auth, receive, route, queue, connect, tls, upstream, gateway } = *steps;
    let metrics: [(&[u8], _); 9] = [
        (b"total;dur=", Some(elapsed)),
        (b", auth;dur=", auth),
        (b", receive;dur=", receive),
        (b", route;dur=", route),
        (b", queue;dur=", queue),
        (b", connect;dur=", connect),
        (b", tls;dur=", tls),
        (b", upstream;dur=", upstream),
        (b", gateway;dur=", gateway),
    ];
    let mut text = Text::default();
    for (name, time) in metrics {
        if let Some(time) = time {
            text.push(name);
            push_time(&mut text, time);
        }
    }
    text
}

/// What the nine metrics take at most: a name of 8 bytes, `, ;dur=.00` and the digits of a `u64`.
const MAX_TIMING: usize = 9 * (8 + 10 + 20);

fn push_time(text: &mut Text<MAX_TIMING>, time: Duration) {
    // Whole numbers are written several times faster than fractions, and far faster than by `fmt`.
    let of_second = u64::from((time.subsec_nanos() + 5_000) / 10_000);
    let hundredths = time.as_secs().saturating_mul(100_000).saturating_add(of_second);
    if hundredths >= 1_000 {
        text.number(hundredths / 1_000);
    }
    let digit = |unit: u64| b'0' + (hundredths / unit % 10) as u8;
    text.push(&[digit(100), b'.', digit(10), digit(1)]);
}

/// The longest id of a vendor that is kept, in bytes.
const MAX_ID: usize = 128;

/// Returns the id that the vendor gave the request, by the name that its SDK reads.
fn upstream_id(headers: &HeaderMap) -> Option<Arc<str>> {
    const NAMES: [HeaderName; 2] =
        [HeaderName::from_static("x-request-id"), HeaderName::from_static("request-id")];
    NAMES
        .iter()
        .find_map(|name| headers.get(name)?.to_str().ok())
        .map(|id| id.get(..MAX_ID).unwrap_or(id).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_milliseconds_with_two_places() {
        let rows = [
            (Duration::ZERO, "0.00"),
            (Duration::from_nanos(4_999), "0.00"),
            (Duration::from_nanos(5_000), "0.01"),
            (Duration::from_nanos(9_994_999), "9.99"),
            (Duration::from_nanos(9_995_000), "10.00"),
            (Duration::from_micros(123_456), "123.46"),
            (Duration::from_nanos(999_999_999), "1000.00"),
            (Duration::from_secs(3600), "3600000.00"),
            (Duration::MAX, "184467440737095516.15"),
        ];
        for (time, expected) in rows {
            let steps = StepTimes { auth: Some(time), ..StepTimes::default() };
            let expected = format!("total;dur={expected}, auth;dur={expected}");
            assert_eq!(str::from_utf8(server_timing(time, &steps).as_bytes()), Ok(&*expected));
        }
    }

    #[test]
    fn the_longest_timings_have_room() {
        let longest = Some(Duration::MAX);
        let steps = StepTimes {
            auth: longest,
            receive: longest,
            route: longest,
            queue: longest,
            connect: longest,
            tls: longest,
            upstream: longest,
            gateway: longest,
        };
        let text = server_timing(Duration::MAX, &steps);
        assert!(text.as_bytes().ends_with(b"gateway;dur=184467440737095516.15"));
    }
}
