//! `--soak`: ten minutes of mixed load, and the memory after each minute of it.

use std::io;
use std::time::{Duration, Instant};

use crate::load::{self, Plan, Shape};
use crate::report::Row;
use crate::scenario;
use crate::systems::System;

/// The kinds of load that follow each other, by the names of their scenarios.
const MIX: [&str; 4] = ["1k-c16", "100k-c16", "1m-c16", "streams-200"];
/// How much memory may grow after the second minute and still be called flat: an allocator's noise.
const FLAT_MIB: f64 = 2.0;

/// Runs the mix against one system and returns its memory, minute by minute. Streams are cut in
/// their middle when their part ends, as clients do that leave.
///
/// # Errors
/// The load generator cannot run.
pub(crate) fn run(system: &System, length: Duration) -> io::Result<Vec<Row>> {
    let mix: Vec<_> = scenario::all().into_iter().filter(|scenario| MIX.contains(&scenario.name)).collect();
    let part = Duration::from_secs(60) / u32::try_from(mix.len().max(1)).unwrap_or(1);
    let begin = Instant::now();
    let mut rows: Vec<Row> = Vec::new();
    while begin.elapsed() < length {
        let (mut requests, mut failed, mut fault) = (0, 0, None);
        for scenario in &mix {
            let is_stream = matches!(scenario.shape, Shape::Streams { .. });
            let plan = Plan {
                address: if is_stream { system.stream_address } else { system.address },
                request: scenario.request().into(),
                shape: scenario.shape,
                warm_up: Duration::from_millis(500),
                measured: part.saturating_sub(Duration::from_millis(500)),
            };
            let (tally, (), ()) = load::run(plan, || ())?;
            requests += tally.requests;
            failed += tally.failed;
            fault = fault.or(tally.first_fault);
        }
        rows.push(Row {
            scenario: format!("soak minute {}", rows.len() + 1),
            system: system.kind.name(),
            rss_mib: Some(system.program.rss_kib() / 1024.0),
            per_second: Some(requests as f64 / 60.0),
            failed: Some(failed as f64),
            fault,
            ..Row::default()
        });
    }
    if let (Some(early), Some(last)) = (rows.get(1).and_then(|row| row.rss_mib), rows.last_mut()) {
        let growth = last.rss_mib.unwrap_or(0.0) - early;
        let word = if growth <= FLAT_MIB { "reached" } else { "NOT reached" };
        last.verdict = format!("flat since minute 2 (≤ {FLAT_MIB} MiB): {word} ({growth:+.1} MiB)");
    }
    Ok(rows)
}
