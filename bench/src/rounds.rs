//! The rounds: every scenario for every system in turn, so that what else the machine does meets
//! all of them alike.

use std::io;
use std::rc::Rc;

use crate::load::{self, Plan, Tally};
use crate::process;
use crate::report::{Row, median_row, percentile_us, verdict};
use crate::scenario::Scenario;
use crate::systems::{Kind, System};

/// Runs a scenario for all systems, `rounds` times, and returns one row for each.
///
/// # Errors
/// The load generator cannot run. A system that fails has that in its row.
pub(crate) fn run(
    scenario: &Scenario,
    systems: &[System],
    rounds: usize,
    is_quick: bool,
) -> io::Result<Vec<Row>> {
    let request: Rc<[u8]> = scenario.request().into();
    let mut seen: Vec<Vec<Row>> = systems.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for (system, rows) in systems.iter().zip(&mut seen) {
            rows.push(window(scenario, system, systems, Rc::clone(&request), is_quick)?);
            // Connections that were just cut are closed on the other side before the next window.
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
    let mut rows: Vec<Row> = seen.iter().filter_map(|rounds| median_row(rounds)).collect();
    let said = verdict(&rows, scenario.name, Kind::Gateway.name(), scenario.targets);
    if let Some(row) = rows.iter_mut().find(|row| row.system == Kind::Gateway.name()) {
        row.verdict = said;
    }
    Ok(rows)
}

/// What is read when the measured part begins and when it ends.
struct Mark {
    /// CPU time of the system under test.
    cpu_us: f64,
    /// CPU time of everything that belongs to the benchmark.
    ours_us: f64,
    machine_us: f64,
    rss_kib: f64,
    time: std::time::Instant,
}

fn window(
    scenario: &Scenario,
    system: &System,
    all: &[System],
    request: Rc<[u8]>,
    is_quick: bool,
) -> io::Result<Row> {
    let (warm_up, measured) = scenario.times(is_quick);
    let address = if scenario.is_stream() { system.stream_address } else { system.address };
    let plan = Plan { address, request, shape: scenario.shape, warm_up, measured };
    let (tally, begin, end) = load::run(plan, || Mark {
        cpu_us: system.program.cpu_us(),
        ours_us: process::own_cpu_us() + all.iter().map(|system| system.program.cpu_us()).sum::<f64>(),
        machine_us: process::machine_busy_us(),
        rss_kib: system.program.rss_kib(),
        time: std::time::Instant::now(),
    })?;
    Ok(row(scenario, system, tally, &begin, &end))
}

fn row(scenario: &Scenario, system: &System, mut tally: Tally, begin: &Mark, end: &Mark) -> Row {
    let seconds = (end.time - begin.time).as_secs_f64();
    let (count, unit) = match scenario.is_stream() {
        true => (tally.events, "µs/event"),
        false => (tally.requests, "µs/req"),
    };
    let count = count as f64;
    tally.latencies.sort_unstable();
    tally.gaps.sort_unstable();
    let others = (end.machine_us - begin.machine_us) - (end.ours_us - begin.ours_us);
    Row {
        scenario: scenario.name.to_owned(),
        system: system.kind.name(),
        figure: (count > 0.0).then_some((end.cpu_us - begin.cpu_us) / count),
        unit,
        per_second: Some(count / seconds),
        p50_us: percentile_us(&tally.latencies, 50),
        p90_us: percentile_us(&tally.latencies, 90),
        p99_us: percentile_us(&tally.latencies, 99),
        gap_p99_us: percentile_us(&tally.gaps, 99),
        rss_mib: Some(end.rss_kib / 1024.0),
        failed: Some(tally.failed as f64),
        fault: tally.first_fault,
        others: Some((others / seconds / 1e6).max(0.0)),
        verdict: String::new(),
    }
}
