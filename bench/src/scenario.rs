//! What is measured, and which figures are to be reached.

use std::time::Duration;

use crate::http::chat_request;
use crate::load::Shape;
use crate::systems::MODEL;

/// Events of a stream, and the time between two of them: 50 a second, for two seconds.
const EVENTS: u64 = 100;
const INTERVAL_MS: u64 = 20;

/// A window of load that every system gets.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub name: &'static str,
    pub shape: Shape,
    pub body_bytes: usize,
    /// What the mock waits before it answers, in milliseconds.
    pub latency_ms: u64,
    pub targets: &'static [Target],
    /// Part of `--quick`.
    pub is_quick: bool,
}

/// A figure of the gateway's that is to be reached.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub measure: Measure,
    pub limit: Limit,
}

/// Which figure of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// The row's main figure: CPU time per request or event, or what the row's name says.
    Figure,
    /// The median latency less that of the mock alone.
    AddedP50,
    /// Of a stream: the time to the first event, 99th percentile.
    FirstP99,
    /// Of a stream: the time between two events, 99th percentile.
    GapP99,
    /// Requests that failed.
    Failed,
}

/// How much it may be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    /// So many times the figure of another system.
    Times(f64, &'static str),
    /// So much.
    AtMost(f64),
}

const fn times(measure: Measure, factor: f64, system: &'static str) -> Target {
    Target { measure, limit: Limit::Times(factor, system) }
}

const UNBROKEN: Target = Target { measure: Measure::Failed, limit: Limit::AtMost(0.0) };
const ONE_CLIENT: &[Target] = &[times(Measure::AddedP50, 1.5, "nginx")];
const SMALL: &[Target] = &[times(Measure::Figure, 1.25, "nginx")];
const LARGE: &[Target] = &[times(Measure::Figure, 1.25, "haproxy")];
const STREAMS: &[Target] = &[
    times(Measure::Figure, 1.1, "nginx"),
    times(Measure::FirstP99, 1.0, "nginx"),
    times(Measure::GapP99, 1.0, "nginx"),
    UNBROKEN,
];

/// Returns every scenario, in the order of the table.
pub(crate) fn all() -> Vec<Scenario> {
    let closed = |name, body_kib: usize, clients, targets, is_quick| Scenario {
        name,
        shape: Shape::Closed { clients },
        body_bytes: body_kib * 1024,
        latency_ms: 0,
        targets,
        is_quick,
    };
    let streams = |name, streams, targets| Scenario {
        name,
        shape: Shape::Streams { streams, events: EVENTS },
        body_bytes: 1024,
        latency_ms: 0,
        targets,
        is_quick: true,
    };
    vec![
        closed("1k-c1", 1, 1, ONE_CLIENT, true),
        closed("1k-c16", 1, 16, SMALL, true),
        closed("1k-c64", 1, 64, &[], false),
        closed("100k-c1", 100, 1, &[], false),
        closed("100k-c16", 100, 16, LARGE, true),
        closed("100k-c64", 100, 64, &[], false),
        closed("1m-c1", 1024, 1, &[], false),
        closed("1m-c16", 1024, 16, LARGE, true),
        closed("1m-c64", 1024, 64, &[], false),
        Scenario {
            name: "open-500",
            shape: Shape::Open { per_second: 500 },
            body_bytes: 1024,
            latency_ms: 20,
            targets: &[],
            is_quick: true,
        },
        streams("streams-20", 20, &[UNBROKEN]),
        streams("streams-200", 200, STREAMS),
        streams("streams-1000", 1000, STREAMS),
    ]
}

impl Scenario {
    /// Returns the request's bytes.
    pub(crate) fn request(&self) -> Vec<u8> {
        let is_stream = self.is_stream();
        let user = format!("latency_ms={} events={EVENTS} interval_ms={INTERVAL_MS}", self.latency_ms);
        chat_request(MODEL, self.body_bytes, is_stream, &user)
    }

    pub(crate) const fn is_stream(&self) -> bool {
        matches!(self.shape, Shape::Streams { .. })
    }

    /// Returns how long load runs before it counts, and how long it counts.
    pub(crate) const fn times(&self, is_quick: bool) -> (Duration, Duration) {
        let (warm_up, measured) = match (self.shape, is_quick) {
            (Shape::Closed { .. }, false) => (300, 1500),
            (Shape::Closed { .. }, true) => (150, 600),
            (Shape::Open { .. }, false) => (400, 2500),
            (Shape::Open { .. }, true) => (200, 1000),
            // Half of the warm-up is the ramp, over which streams start one after another.
            (Shape::Streams { .. }, false) => (1400, 2500),
            (Shape::Streams { .. }, true) => (800, 1000),
        };
        (Duration::from_millis(warm_up), Duration::from_millis(measured))
    }
}
