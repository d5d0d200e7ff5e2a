//! `cargo xtask release`: builds the release binary twice. The first counts where requests go, under
//! the benchmark's load; the second is laid out by that, so that what a request runs lies together.

mod profile;

use std::env::consts::EXE_SUFFIX;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use self::profile::Profile;

/// The load that says what matters: requests of each size, and streams. Names of the benchmark's scenarios.
const LOAD: [&str; 5] = ["1k-c16", "100k-c16", "1m-c16", "streams-20", "streams-200"];

/// Asks for no more than a [`Profile`] keeps.
const COUNTERS_ALONE: &str = "-Cllvm-args=-disable-vp";

/// Builds, and prints where the binary is.
pub(crate) fn run() -> ExitCode {
    match build() {
        Ok(binary) => {
            println!("built {}", binary.display());
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<PathBuf, String> {
    let tool = merge_tool()?;
    let target = crate::bench::target_folder();
    let folder = target.join("guided");
    let raw = folder.join("raw");

    step("1/4 build that counts");
    let counting = folder.join("counting");
    let flags = format!(
        "-Cprofile-generate={} -Cllvm-args=-enable-name-compression=false {COUNTERS_ALONE}",
        raw.display()
    );
    cargo(&["--package", "emx-gate"], Some((&counting, &flags)))?;
    step("2/4 load, half a minute");
    cargo(&["--package", "gate-bench"], None)?;
    // What runs while it is built, such as macros, counts as well, and so did the code of the last time.
    let _ = fs::remove_dir_all(&raw);
    let counting = counting.join("release").join(format!("emx-gate{EXE_SUFFIX}"));
    let mut load = Command::new(target.join("release").join(format!("gate-bench{EXE_SUFFIX}")));
    load.args(["run", "--quick", "--against", ""]).arg("--gateway").arg(counting);
    succeed(load.args(LOAD.iter().flat_map(|name| ["--scenario", name])))?;
    step("3/4 profile");
    let merged = folder.join("emx-gate.profdata");
    merge(&tool, &raw, &merged)?;
    step("4/4 build that is guided by it");
    let flags = format!("-Cprofile-use={} {COUNTERS_ALONE}", merged.display());
    cargo(&["--package", "emx-gate"], Some((&folder, &flags)))?;
    Ok(folder.join("release").join(format!("emx-gate{EXE_SUFFIX}")))
}

/// Finds `llvm-profdata`: the compiler's own, or the system's.
fn merge_tool() -> Result<PathBuf, String> {
    let output = Command::new("rustc").args(["--print", "target-libdir"]).output();
    let libraries = output.map_err(|error| format!("cannot run rustc: {error}"))?.stdout;
    let libraries = String::from_utf8_lossy(&libraries);
    let own = Path::new(libraries.trim()).with_file_name("bin").join(format!("llvm-profdata{EXE_SUFFIX}"));
    [own, PathBuf::from("llvm-profdata")]
        .into_iter()
        .find(|tool| {
            Command::new(tool)
                .args(["merge", "--version"])
                .output()
                .is_ok_and(|output| output.status.success())
        })
        .ok_or_else(|| {
            "there is no llvm-profdata: `rustup component add llvm-tools`, or the system's package `llvm`"
                .to_owned()
        })
}

/// Merges what runs have left in a folder.
fn merge(tool: &Path, raw: &Path, merged: &Path) -> Result<(), String> {
    let mut profile = Profile::default();
    let cannot =
        |path: &Path, error: &dyn std::fmt::Display| format!("cannot read {}: {error}", path.display());
    for entry in fs::read_dir(raw).map_err(|error| cannot(raw, &error))? {
        let path = entry.map_err(|error| cannot(raw, &error))?.path();
        let bytes = fs::read(&path).map_err(|error| cannot(&path, &error))?;
        profile.add(&bytes).map_err(|error| cannot(&path, &error))?;
    }
    if profile.used() == 0 {
        return Err("the load left no profile: did the gateway end by itself?".to_owned());
    }
    println!("{} functions ran", profile.used());
    let text = merged.with_extension("proftext");
    fs::write(&text, profile.to_text())
        .map_err(|error| format!("cannot write {}: {error}", text.display()))?;
    succeed(Command::new(tool).arg("merge").arg("--output").arg(merged).arg(text))
}

/// Builds in release mode; `guided` names a target folder and flags of its own for the compiler.
fn cargo(arguments: &[&str], guided: Option<(&Path, &str)>) -> Result<(), String> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--release", "--locked"]).args(arguments);
    if let Some((folder, flags)) = guided {
        // What the environment wants of the compiler holds as well.
        let also = std::env::var("RUSTFLAGS").unwrap_or_default();
        command.arg("--target-dir").arg(folder).env("RUSTFLAGS", format!("{flags} {also}"));
    }
    succeed(&mut command)
}

fn succeed(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{name} ended with {status}")),
        Err(error) => Err(format!("cannot run {name}: {error}")),
    }
}

fn step(name: &str) {
    eprintln!("==> {name}");
}
