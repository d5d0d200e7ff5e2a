//! `cargo xtask bench` and `cargo xtask callgrind`: build the release binaries and hand over to
//! `gate-bench`, so that this package stays quick to compile.

use std::env::consts::EXE_SUFFIX;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// Runs a subcommand of `gate-bench` with the user's arguments.
pub(crate) fn run(subcommand: &str, arguments: &[String]) -> ExitCode {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let build = Command::new(cargo)
        .args(["build", "--release", "--locked", "--package", "emx-gate", "--package", "gate-bench"])
        .status();
    match build {
        Ok(status) if status.success() => {}
        Ok(_) => return ExitCode::FAILURE,
        Err(error) => return fail(&format!("cannot run cargo: {error}")),
    }
    let folder = release_folder();
    let status = Command::new(folder.join(format!("gate-bench{EXE_SUFFIX}")))
        .arg(subcommand)
        .arg("--gateway")
        .arg(folder.join(format!("emx-gate{EXE_SUFFIX}")))
        .args(arguments)
        .status();
    match status {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => fail(&format!("cannot run gate-bench: {error}")),
    }
}

/// Returns where cargo puts release binaries: beside the folder that this program runs from.
fn release_folder() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    own.parent()
        .and_then(|profile| profile.parent())
        .map_or_else(PathBuf::new, |target| target.join("release"))
}

fn fail(message: &str) -> ExitCode {
    eprintln!("xtask: {message}");
    ExitCode::FAILURE
}
