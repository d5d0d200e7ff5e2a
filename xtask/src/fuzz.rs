//! `cargo xtask fuzz`: builds the targets of `fuzz/` once, runs them one after the other, each for a
//! while, and says what came of it. What libFuzzer discovers goes to the target directory, never into
//! the committed corpus.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufRead as _, BufReader, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// The longest input: beyond it they only get slower.
const MAX_INPUT_BYTES: u32 = 4096;
/// An input that takes longer is a find. The inputs themselves never wait: clocks are paused.
const INPUT_SECONDS: u32 = 10;
const MEMORY_MB: u32 = 2048;
/// The last lines of a target that are shown where it failed.
const LOG_LINES: usize = 100;

/// What came of one target.
struct Outcome {
    target: String,
    binary: PathBuf,
    log: Log,
    time: Duration,
    is_ok: bool,
}

/// What libFuzzer printed.
#[derive(Default)]
struct Log {
    executions: u64,
    /// The input that failed; `None` also where the target did not even run.
    artifact: Option<String>,
    last_lines: VecDeque<String>,
}

/// Runs one target, or all, for `seconds` each.
pub(crate) fn run(seconds: u32, only: Option<&str>, seed: Option<u32>) -> ExitCode {
    match fuzz(seconds, only, seed) {
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

fn fuzz(seconds: u32, only: Option<&str>, seed: Option<u32>) -> Result<Vec<Outcome>, String> {
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
    let binaries = build(&root, only)?;
    let count = targets.len();
    let run_one = |(at, target): (usize, String)| {
        println!("[{}/{count}] {target}, {seconds} s", at + 1);
        let binary = binaries.join(&target);
        run_target(&root, target, binary, (seconds, seed))
            .map_err(|error| format!("cannot run a target: {error}"))
    };
    targets.into_iter().enumerate().map(run_one).collect()
}

/// Builds one target, or all, and returns the folder of the executables.
fn build(root: &Path, only: Option<&str>) -> Result<PathBuf, String> {
    let host = host()?;
    println!("building {}; the first time takes minutes", only.unwrap_or("all targets"));
    let begin = Instant::now();
    let mut cargo = Command::new("cargo");
    cargo.args(["+nightly", "fuzz", "build", "--target", &host]).args(only).current_dir(root);
    // Built apart from everything else, with other flags by another toolchain. The cargo that runs
    // this names itself in `CARGO`, and cargo-fuzz would take it for the one to build with.
    cargo.env("CARGO_TARGET_DIR", target_dir(root)).env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
    let status = cargo.status().map_err(|error| format!("cannot run cargo fuzz: {error}"))?;
    if !status.success() {
        return Err("the fuzz targets do not build".to_owned());
    }
    println!("built in {} s", begin.elapsed().as_secs());
    Ok(target_dir(root).join(host).join("release"))
}

/// Names the platform that nightly builds for, for that is a folder of the target directory.
fn host() -> Result<String, String> {
    let output = Command::new("rustc").args(["+nightly", "-vV"]).output();
    let output = output.map_err(|error| format!("cannot run rustc: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "`rustc +nightly -vV` names no host".to_owned())
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

fn target_dir(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root.join("fuzz/target"), |dir| root.join(dir).join("fuzz"))
}

/// Runs a target's executable, and shows the end of what it printed where that failed.
fn run_target(
    root: &Path,
    target: String,
    binary: PathBuf,
    (seconds, seed): (u32, Option<u32>),
) -> io::Result<Outcome> {
    let (found, artifacts) =
        (target_dir(root).join("discovered").join(&target), target_dir(root).join("artifacts").join(&target));
    fs::create_dir_all(&found)?;
    fs::create_dir_all(&artifacts)?;
    // libFuzzer reads every folder and writes to the first.
    let mut command = Command::new(&binary);
    command.arg(&found).arg(root.join("fuzz/corpus").join(&target));
    let mut prefix = OsStr::new("-artifact_prefix=").to_owned();
    prefix.push(artifacts.join(""));
    command.arg(prefix).args([
        format!("-max_total_time={seconds}"),
        // Zero is one of its own choice.
        format!("-seed={}", seed.unwrap_or_default()),
        format!("-max_len={MAX_INPUT_BYTES}"),
        format!("-timeout={INPUT_SECONDS}"),
        format!("-rss_limit_mb={MEMORY_MB}"),
        // With the features of a whole server, weighing the inputs takes ten times the running of them,
        // and so does naming each function that is new.
        "-entropic=0".to_owned(),
        "-print_funcs=0".to_owned(),
        "-print_final_stats=1".to_owned(),
    ]);
    let begin = Instant::now();
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let log = child.stderr.take().map(|stderr| follow(stderr, begin)).transpose()?.unwrap_or_default();
    let is_ok = child.wait()?.success();
    let time = begin.elapsed();
    if !is_ok {
        log.last_lines.iter().for_each(|line| eprintln!("  {line}"));
    }
    Ok(Outcome { target, binary, log, time, is_ok })
}

/// Reads what a target prints until it ends, and shows on a terminal how far it is.
fn follow(stderr: ChildStderr, begin: Instant) -> io::Result<Log> {
    let (mut log, mut shown) = (Log::default(), None);
    let is_terminal = io::stdout().is_terminal();
    for line in BufReader::new(stderr).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        log.executions = executions_of(&line).unwrap_or(log.executions);
        if let Some((_, path)) = line.split_once("Test unit written to ") {
            log.artifact = Some(path.trim().to_owned());
        }
        if log.last_lines.len() == LOG_LINES {
            log.last_lines.pop_front();
        }
        log.last_lines.push_back(line);
        let now = Some(begin.elapsed().as_secs());
        if is_terminal && shown != now {
            shown = now;
            print!("\r  {} executions, {} s ", log.executions, begin.elapsed().as_secs());
            io::stdout().flush()?;
        }
    }
    if is_terminal {
        println!();
    }
    Ok(log)
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
    for Outcome { target, log, time, is_ok, .. } in outcomes {
        let rate = u128::from(log.executions) * 1000 / time.as_millis().max(1);
        let result = if *is_ok { "ok" } else { "FAILED" };
        println!("{target:<14} {:>12} {rate:>10} {:>8}  {result}", log.executions, time.as_secs());
    }
    for Outcome { target, binary, log, .. } in outcomes.iter().filter(|outcome| !outcome.is_ok) {
        match &log.artifact {
            Some(path) => println!(
                "\n{target}: {path}\n  reproduce: {} {path}\n  then copy it to \
                 fuzz/corpus/{target}/<what_it_shows>.txt: cargo test runs it from there",
                binary.display()
            ),
            None => println!("\n{target}: it failed without an input; its last lines are above"),
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
