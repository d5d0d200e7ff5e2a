//! `cargo xtask fuzz`: runs the targets of `fuzz/` one after the other, each for a while, and says
//! what came of it. What libFuzzer discovers goes to the target
//! directory, never into the committed corpus.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// The longest input: beyond it they only get slower.
const MAX_INPUT_BYTES: u32 = 4096;
/// An input that takes longer is a find. The inputs themselves never wait: clocks are paused.
const INPUT_SECONDS: u32 = 10;
const MEMORY_MB: u32 = 2048;

/// What came of one target.
struct Outcome {
    target: String,
    executions: u64,
    time: Duration,
    /// The input that failed; `None` also where the target did not even run.
    artifact: Option<String>,
    is_ok: bool,
}

/// Runs one target, or all, for `seconds` each.
pub(crate) fn run(seconds: u32, only: Option<&str>) -> ExitCode {
    match fuzz(seconds, only) {
        Ok(outcomes) => {
            print_table(&outcomes);
            if outcomes.iter().all(|outcome| outcome.is_ok) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn fuzz(seconds: u32, only: Option<&str>) -> Result<Vec<Outcome>, String> {
    require("cargo", &["+nightly", "--version"], "rustup toolchain install nightly --profile minimal")?;
    require("cargo", &["fuzz", "--version"], "cargo install cargo-fuzz --locked")?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut targets = targets(&root).map_err(|error| format!("cannot list fuzz/targets: {error}"))?;
    if let Some(only) = only {
        if !targets.iter().any(|target| target == only) {
            return Err(format!("`{only}` is no target; there are {}", targets.join(", ")));
        }
        targets.retain(|target| target == only);
    }
    println!("building {} targets…", targets.len());
    let mut build = cargo_fuzz(&root, "build");
    if let Some(only) = only {
        build.arg(only);
    }
    let status = build.status().map_err(|error| format!("cannot run cargo fuzz: {error}"))?;
    if !status.success() {
        return Err("the fuzz targets do not build".to_owned());
    }
    let count = targets.len();
    let run_one = |(at, target): (usize, String)| {
        println!("[{}/{count}] {target}, {seconds} s", at + 1);
        run_target(&root, target, seconds).map_err(|error| format!("cannot run a target: {error}"))
    };
    targets.into_iter().enumerate().map(run_one).collect()
}

/// Checks that a tool is there, before anything takes long.
fn require(program: &str, arguments: &[&str], remedy: &str) -> Result<(), String> {
    let mut command = Command::new(program);
    match command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        _ => Err(format!("`{program} {}` does not work; run `{remedy}`", arguments.join(" "))),
    }
}

/// Lists the targets by their files.
fn targets(root: &Path) -> io::Result<Vec<String>> {
    let mut targets = Vec::new();
    for entry in fs::read_dir(root.join("fuzz/targets"))? {
        let path = entry?.path();
        targets.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
    targets.sort();
    Ok(targets)
}

fn cargo_fuzz(root: &Path, command: &str) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.args(["+nightly", "fuzz", command]).current_dir(root);
    // Built apart from everything else, with other flags by another toolchain. The cargo that runs
    // this names itself in `CARGO`, and cargo-fuzz would take it for the one to build with.
    cargo.env("CARGO_TARGET_DIR", target_dir(root)).env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
    cargo
}

fn target_dir(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root.join("fuzz/target"), |dir| root.join(dir).join("fuzz"))
}

fn run_target(root: &Path, target: String, seconds: u32) -> io::Result<Outcome> {
    let found = target_dir(root).join("discovered").join(&target);
    fs::create_dir_all(&found)?;
    let begin = Instant::now();
    let mut child = cargo_fuzz(root, "run")
        .arg(&target)
        .arg(&found)
        .arg(root.join("fuzz/corpus").join(&target))
        .arg("--")
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={MAX_INPUT_BYTES}"))
        .arg(format!("-timeout={INPUT_SECONDS}"))
        .arg(format!("-rss_limit_mb={MEMORY_MB}"))
        .arg("-print_final_stats=1")
        .stderr(Stdio::piped())
        .spawn()?;
    let mut log = Vec::new();
    let (mut executions, mut artifact) = (0, None);
    if let Some(stderr) = child.stderr.take() {
        for line in BufReader::new(stderr).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).into_owned();
            if let Some(count) = executions_of(&line) {
                executions = count;
                print!("\r  {executions} executions, {} s ", begin.elapsed().as_secs());
                io::stdout().flush()?;
            }
            if let Some((_, path)) = line.split_once("Test unit written to ") {
                artifact = Some(path.trim().to_owned());
            }
            log.push(line);
        }
    }
    let is_ok = child.wait()?.success();
    println!();
    if !is_ok {
        log.iter().rev().take(60).rev().for_each(|line| eprintln!("  {line}"));
    }
    Ok(Outcome { target, executions, time: begin.elapsed(), artifact, is_ok })
}

/// Reads `#4096 pulse …` and `stat::number_of_executed_units: 4096`.
fn executions_of(line: &str) -> Option<u64> {
    let count = match line.strip_prefix("stat::number_of_executed_units:") {
        Some(count) => count.trim(),
        None => line.strip_prefix('#')?.split_whitespace().next()?,
    };
    count.parse().ok()
}

fn print_table(outcomes: &[Outcome]) {
    println!("\n{:<14} {:>12} {:>10} {:>8}  result", "target", "executions", "exec/s", "seconds");
    for Outcome { target, executions, time, is_ok, .. } in outcomes {
        let rate = u128::from(*executions) * 1000 / time.as_millis().max(1);
        let result = if *is_ok { "ok" } else { "FAILED" };
        println!("{target:<14} {executions:>12} {rate:>10} {:>8}  {result}", time.as_secs());
    }
    for outcome in outcomes.iter().filter(|outcome| !outcome.is_ok) {
        match &outcome.artifact {
            Some(path) => println!(
                "\n{}: {path}\n  reproduce: cargo +nightly fuzz run {0} {path}\n  \
                 then copy it to fuzz/corpus/{0}/<what-it-shows>.txt: cargo test runs it from there",
                outcome.target
            ),
            None => println!("\n{}: it failed without an input; its last lines are above", outcome.target),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executions_are_read_from_what_libfuzzer_prints() {
        fn check(line: &str, expected: Option<u64>) {
            assert_eq!(executions_of(line), expected, "{line}");
        }
        check("#4096\tpulse  cov: 61 ft: 64 corp: 3/4b exec/s: 2048 rss: 30Mb", Some(4096));
        check("stat::number_of_executed_units: 1234567", Some(1_234_567));
        check("stat::average_exec_per_sec:     1", None);
        check("    #1 0x55 in main", None);
        check("INFO: seed corpus: files: 3", None);
    }

    #[test]
    fn every_target_has_a_corpus_and_a_place_in_the_manifest() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let manifest = fs::read_to_string(root.join("fuzz/Cargo.toml")).unwrap();
        let targets = targets(&root).unwrap();
        assert!(!targets.is_empty());
        for target in targets {
            assert!(root.join("fuzz/corpus").join(&target).is_dir(), "{target} has no corpus");
            assert!(manifest.contains(&format!("path = \"targets/{target}.rs\"")), "{target}");
        }
    }
}
