//! Figures without a window of load: start, size, memory, and a configuration of 10,000 models.

use std::fs;
use std::hint::black_box;
use std::io;
use std::process::Command;
use std::time::{Duration, Instant};

use gate_config::{Scope, Sources, load};
use gate_model_ref::ModelRef;

use crate::http::chat_request;
use crate::load::{self as generator, Plan, Shape};
use crate::report::{Row, median, verdict};
use crate::scenario::{Limit, Measure, Target};
use crate::systems::{Kind, MODEL, Setting, System, gateway_config};

/// The size of a large configuration.
const MODELS: u32 = 10_000;
/// Streams that are open while their memory is read.
const STREAMS: usize = 5_000;

/// Measures how long each system takes from its start to its first answer.
///
/// # Errors
/// A system does not start.
pub(crate) fn start(kinds: &[Kind], setting: &Setting, times: usize) -> io::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for &kind in kinds.iter().filter(|kind| **kind != Kind::Direct) {
        let mut seen = Vec::new();
        for _ in 0..times {
            seen.push(System::start(kind, setting)?.start_time.as_secs_f64() * 1000.0);
        }
        rows.extend(median(seen).map(|median| single("start", kind, median, "ms")));
    }
    Ok(judged(rows, 15.0))
}

/// Measures the size of each program.
pub(crate) fn size(kinds: &[Kind], setting: &Setting) -> Vec<Row> {
    let of = |kind: Kind| Some(fs::metadata(setting.program_path(kind)?).ok()?.len() as f64 / 1e6);
    let kinds = kinds.iter().filter(|kind| **kind != Kind::Direct);
    let rows = kinds.filter_map(|kind| Some(single("binary", *kind, of(*kind)?, "MB")));
    judged(rows.collect(), 14.0)
}

/// Measures what the gateway makes of a configuration with 10,000 models.
///
/// # Errors
/// The configuration does not load, or a gateway does not start with it.
pub(crate) fn models(setting: &Setting, times: usize) -> io::Result<Vec<Row>> {
    let text = gateway_config(setting.mock_port, MODELS);
    let path = setting.write("models.toml", &text)?;
    let sources = Sources::empty().with_file(&path);
    let mut loads = Vec::new();
    let mut starts = Vec::new();
    for _ in 0..times {
        let begin = Instant::now();
        let loaded = load(&sources).map_err(|problems| io::Error::other(problems.to_string()))?;
        loads.push(begin.elapsed().as_secs_f64() * 1000.0);
        drop(black_box(loaded));
        let system = System::start_gateway(Command::new(&setting.gateway), &text, setting)?;
        starts.push(system.start_time.as_secs_f64() * 1000.0);
    }
    let mut rows = Vec::new();
    if let Some(median) = median(loads) {
        rows.extend(judged(vec![single("load-10k-models", Kind::Gateway, median, "ms")], 200.0));
    }
    if let Some(median) = median(starts) {
        rows.push(single("start-10k-models", Kind::Gateway, median, "ms"));
    }
    rows.extend(judged(vec![single("resolve-10k-models", Kind::Gateway, resolve_us(&sources)?, "µs")], 1.0));
    Ok(rows)
}

/// Returns the time to resolve one exact name among all, in microseconds.
fn resolve_us(sources: &Sources) -> io::Result<f64> {
    let loaded = load(sources).map_err(|problems| io::Error::other(problems.to_string()))?;
    let providers = &loaded.config.providers;
    let names: Vec<String> = (0..MODELS).map(|index| format!("model-{}", index * 7919 % MODELS)).collect();
    let begin = Instant::now();
    for name in &names {
        let name = ModelRef::parse(name).map_err(|error| io::Error::other(error.to_string()))?;
        let target = providers.resolve(name, Scope::Kind(gate_model_ref::ProviderKind::OpenAi));
        black_box(target.map_err(|error| io::Error::other(format!("{error:?}")))?);
    }
    Ok(begin.elapsed().as_secs_f64() * 1e6 / f64::from(MODELS))
}

/// Measures the memory of a system that has just started, and what each of 5,000 streams adds.
///
/// # Errors
/// A system does not start.
pub(crate) fn memory(kinds: &[Kind], setting: &Setting, open_files: u64) -> io::Result<Vec<Row>> {
    let (mut idle, mut streaming) = (Vec::new(), Vec::new());
    for &kind in kinds.iter().filter(|kind| **kind != Kind::Direct) {
        let system = System::start(kind, setting)?;
        let before = system.program.rss_kib();
        idle.push(single("idle-memory", kind, before / 1024.0, "MiB"));
        // Two for each stream in the proxy, and some for itself.
        if open_files < 2 * STREAMS as u64 + 200 {
            continue;
        }
        // Each says a word a second, longer than the window: all of them are open at its end.
        let request = chat_request(MODEL, 1024, true, "events=60 interval_ms=1000");
        let plan = Plan {
            address: system.stream_address,
            request: request.into(),
            shape: Shape::Streams { streams: STREAMS, events: 60 },
            warm_up: Duration::from_secs(6),
            measured: Duration::from_secs(2),
        };
        let (tally, _, after) = generator::run(plan, || system.program.rss_kib())?;
        let mut row = single("streams-5000", kind, (after - before) / STREAMS as f64, "KiB/stream");
        // Memory for fewer streams than were asked for is no answer.
        row.figure = row.figure.filter(|_| tally.failed == 0);
        row.rss_mib = Some(after / 1024.0);
        row.failed = Some(tally.failed as f64);
        row.per_second = Some(tally.events as f64 / 2.0);
        row.fault = tally.first_fault;
        streaming.push(row);
    }
    Ok([judged(idle, 10.0), judged(streaming, 32.0)].concat())
}

fn single(scenario: &str, kind: Kind, figure: f64, unit: &'static str) -> Row {
    Row { scenario: scenario.to_owned(), system: kind.name(), figure: Some(figure), unit, ..Row::default() }
}

/// Adds the verdict to the gateway's row.
fn judged(mut rows: Vec<Row>, at_most: f64) -> Vec<Row> {
    let target = Target { measure: Measure::Figure, limit: Limit::AtMost(at_most) };
    let gateway = Kind::Gateway.name();
    let said = rows.first().map(|row| verdict(&rows, &row.scenario, gateway, &[target]));
    if let (Some(row), Some(said)) = (rows.iter_mut().find(|row| row.system == gateway), said) {
        row.verdict = said;
    }
    rows
}
