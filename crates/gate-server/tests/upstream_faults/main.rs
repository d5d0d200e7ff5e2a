//! Everything that can go wrong at a provider, one numbered row each, against what the client sees,
//! what the provider gets to see, and what the record says.
//!
//! Time is measured, not guessed at: a row that waits for a deadline runs on a paused clock, which
//! moves only when nothing else can happen, so that the load of the machine does not count and the
//! deadline is exact. That needs connections in memory, or a peer that never sends a byte. Rows
//! about resets and TLS need real sockets and run on the real clock; no deadline is near in them.
//!
//! Every key and every credential in these requests has one word in it, which neither an answer nor a
//! record nor a line of the log at any level may show.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, also in its helpers")]

mod answers;
mod bodies;
mod breaking;
mod connecting;
mod descriptors;
mod heads;
mod lifecycle;
#[path = "../secrets/logged.rs"]
mod logged;
mod rig;
mod row;
mod streams;
mod uploads;

use row::Row;

/// Rows that have a test of their own, since they need a process of their own.
const ALONE: [(u8, &str); 1] = [(6, "descriptors: a process without descriptors sheds and recovers")];

fn rows() -> Vec<Row> {
    [
        connecting::rows(),
        heads::rows(),
        bodies::rows(),
        streams::rows(),
        answers::rows(),
        uploads::rows(),
        lifecycle::rows(),
        breaking::rows(),
    ]
    .concat()
}

#[test]
fn every_fault_has_a_row() {
    let numbered: Vec<u8> = rows().iter().map(|row| row.number).collect();
    let others = ALONE.iter().map(|(number, _)| *number);
    for number in others.clone() {
        assert!(!numbered.contains(&number), "row {number} no longer stands apart");
    }
    let mut all: Vec<u8> = numbered.iter().copied().chain(others).collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all, (1..=46).collect::<Vec<u8>>());
}
