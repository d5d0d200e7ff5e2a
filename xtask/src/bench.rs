//! `cargo xtask bench` and `cargo xtask callgrind`: build the release binaries and hand over to
//! `gate-bench`, so that this package stays quick to compile. `--gateway FILE` measures another binary.

use std::env::consts::EXE_SUFFIX;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// Runs a subcommand of `gate-bench` with the user's arguments.
pub(crate) fn run(subcommand: &str, arguments: &[String]) -> ExitCode {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let is_given = arguments.iter().any(|argument| argument.split('=').next() == Some("--gateway"));
    let mut build = Command::new(cargo);
    build.args(["build", "--release", "--locked", "--package", "gate-bench"]);
    if !is_given {
        build.args(["--package", "emx-gate"]);
    }
    match build.status() {
        Ok(status) if status.success() => {}
        Ok(_) => return ExitCode::FAILURE,
        Err(error) => return fail(&format!("cannot run cargo: {error}")),
    }
    let folder = target_folder().join("release");
    let mut bench = Command::new(folder.join(format!("gate-bench{EXE_SUFFIX}")));
    bench.arg(subcommand).args(arguments);
    if !is_given {
        bench.arg("--gateway").arg(folder.join(format!("emx-gate{EXE_SUFFIX}")));
    }
    match bench.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => fail(&format!("cannot run gate-bench: {error}")),
    }
}

/// Returns the folder that cargo builds in: two above the one that this program runs from.
pub(crate) fn target_folder() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    own.ancestors().nth(2).map_or_else(PathBuf::new, PathBuf::from)
}

fn fail(message: &str) -> ExitCode {
    eprintln!("xtask: {message}");
    ExitCode::FAILURE
}
