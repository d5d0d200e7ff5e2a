//! Everything wrong that a client can send, one numbered row each, against what it is told, what of it
//! reaches a provider, what the record says, and whether the connection lives on.
//!
//! All of it runs over connections in memory and on a paused clock, which moves only when nothing else
//! can happen: a row that waits for a deadline takes no time, and the deadline is exact.
//!
//! Every key and every cookie has one word in it, which neither an answer nor a record nor a line of the
//! log at any level may show.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, also in its helpers")]

mod content;
mod descriptors;
mod framing;
mod json;
#[path = "../secrets/logged.rs"]
mod logged;
mod rig;
mod row;
mod slow;
mod target;
mod trust;

use row::Row;

/// Rows that other tests cover.
const ELSEWHERE: [(u8, &str); 3] = [
    (
        62,
        "descriptors: no descriptor left; gateway/serving.rs and overload.rs: too many connections and requests",
    ),
    (63, "gateway/http2.rs: floods of frames"),
    (64, "gateway/http2.rs: heads of HTTP/2 that are none"),
];

/// Rows whose capability does not exist yet.
const WAITING: [(u8, &str); 7] = [
    (67, "keys that are nearly right: needs keys that the gateway issues"),
    (68, "timing of near misses: needs keys that the gateway issues"),
    (69, "tokens of JWT: needs JWT"),
    (70, "a key that may not use a model: needs keys that the gateway issues"),
    (71, "a key that is revoked during a stream: needs keys that the gateway issues"),
    (72, "forged addresses of clients: no rule depends on an address that a header names"),
    (74, "names without end as labels: needs metrics"),
];

fn rows() -> Vec<Row> {
    [json::rows(), content::rows(), framing::rows(), target::rows(), slow::rows(), trust::rows()].concat()
}

#[test]
fn every_bad_input_has_a_row() {
    let numbered: Vec<u8> = rows().iter().map(Row::number).collect();
    let others = ELSEWHERE.iter().chain(&WAITING).map(|(number, _)| *number);
    for number in others.clone() {
        assert!(!numbered.contains(&number), "row {number} no longer stands apart");
    }
    let mut all: Vec<u8> = numbered.iter().copied().chain(others).collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all, (1..=77).collect::<Vec<u8>>());
}
