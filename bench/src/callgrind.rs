//! `cargo xtask callgrind`: instructions of a request, counted by valgrind. Time depends on what
//! else the machine does; instructions hardly do, so they show what a change costs.
//!
//! Each figure is the difference of two runs of the release binary, one with more requests of a
//! kind than the other: what the start, the first connection and the end cost cancels out.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use crate::http::chat_request;
use crate::load::Connection;
use crate::systems::{MODEL, Setting, System, gateway_config};

/// How many of each kind a run has at least; the first of them warm caches and pools.
const BASE: Counts = Counts { small: 100, large: 30, events: 50 };
/// How many a run has more of the one kind that it is for.
const MORE: Counts = Counts { small: 1000, large: 300, events: 3000 };

/// What a run sends, one after another on one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counts {
    /// Requests of 1 KiB.
    small: u32,
    /// Requests of 100 KiB.
    large: u32,
    /// Events of one stream.
    events: u32,
}

/// Counts, and prints one line for each figure.
///
/// # Errors
/// Valgrind is not there, or the gateway does not start below it.
pub(crate) fn run(setting: &Setting, mock: &System) -> io::Result<()> {
    let base = count(setting, mock, BASE)?;
    for (name, counts, more) in [
        ("1 KiB chat request", Counts { small: BASE.small + MORE.small, ..BASE }, MORE.small),
        ("100 KiB chat request", Counts { large: BASE.large + MORE.large, ..BASE }, MORE.large),
        ("streamed event", Counts { events: BASE.events + MORE.events, ..BASE }, MORE.events),
    ] {
        let difference = count(setting, mock, counts)?.saturating_sub(base);
        println!("{name:<22} {:>9} instructions", difference / u64::from(more));
    }
    Ok(())
}

/// Runs the gateway below valgrind, sends what is asked for, and returns its instructions.
fn count(setting: &Setting, mock: &System, counts: Counts) -> io::Result<u64> {
    let out = setting.folder.join("callgrind.out");
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--quiet"]);
    command.arg(format!("--callgrind-out-file={}", out.display())).arg(&setting.gateway);
    // One worker: threads that look for each other's work would make the count depend on time.
    command.env("TOKIO_WORKER_THREADS", "1");
    let config = gateway_config(mock.address.port(), 0);
    let mut system = System::start_gateway(command, &config, setting)?;
    send(&system, counts)?;
    system.program.stop();
    total(&out)
}

fn send(system: &System, counts: Counts) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut connection = Connection::open(system.address).await?;
        for (times, bytes) in [(counts.small, 1024), (counts.large, 100 * 1024)] {
            let request = chat_request(MODEL, bytes, false, "");
            for _ in 0..times {
                connection.exchange(&request, |_| {}).await?;
            }
        }
        // Slow enough that each event comes by itself, also below valgrind.
        let user = format!("events={} interval_ms=3", counts.events);
        connection.exchange(&chat_request(MODEL, 1024, true, &user), |_| {}).await
    })
}

/// Reads the total out of callgrind's file.
fn total(path: &Path) -> io::Result<u64> {
    let text = fs::read_to_string(path)?;
    let line = text.lines().find_map(|line| line.strip_prefix("summary: "));
    let total = line.and_then(|line| line.trim().parse().ok());
    total.ok_or_else(|| io::Error::other("callgrind left no summary: did the gateway end by itself?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_in_the_summary() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        fs::write(&path, "version: 1\nevents: Ir\nsummary: 123456\n\nfn=(1)\n").unwrap();
        assert_eq!(total(&path).unwrap(), 123_456);
        fs::write(&path, "events: Ir\n").unwrap();
        assert!(total(&path).is_err());
    }
}
