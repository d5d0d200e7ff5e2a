//! Maintenance commands of this workspace: `cargo xtask --help` lists them. One file each.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command talks to its user")]

mod bench;
mod check_spec;
mod fuzz;
mod release;
mod validate_config;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Maintenance commands of the emx-gate workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Checks a configuration and prints every problem, or the providers, models and URLs.
    ValidateConfig {
        /// The file to check instead of the user's and the current directory's.
        file: Option<PathBuf>,
    },
    /// Checks that every numbered behaviour in spec/ is cited by a test, and every citation exists.
    CheckSpec,
    /// Measures the release binary beside nginx and haproxy: `cargo xtask bench --help`.
    #[command(disable_help_flag = true)]
    Bench {
        /// `--quick`, `--scenario NAME`, `--against nginx,haproxy`, `--json FILE`, `--soak`, and more.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Prints the instructions of a request and of a streamed event, counted by valgrind.
    Callgrind {
        /// `--gateway FILE`: another binary than the one that is built for it.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Builds the release binary guided by a profile of its work: two builds, and half a minute of load.
    Release,
    /// Runs the fuzz targets in turn; it needs a nightly toolchain and cargo-fuzz.
    Fuzz {
        /// How long each target runs.
        #[arg(long, value_name = "N", default_value_t = 60)]
        seconds: u32,
        /// The only target to run.
        #[arg(long, value_name = "T")]
        target: Option<String>,
        /// What the inputs are drawn from: the same ones each time; without it, others each time.
        #[arg(long, value_name = "N")]
        seed: Option<u32>,
    },
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::ValidateConfig { file } => validate_config::run(file),
        Command::CheckSpec => check_spec::run(),
        Command::Bench { arguments } => bench::run("run", &arguments),
        Command::Callgrind { arguments } => bench::run("callgrind", &arguments),
        Command::Release => release::run(),
        Command::Fuzz { seconds, target, seed } => fuzz::run(seconds, target.as_deref(), seed),
    }
}
