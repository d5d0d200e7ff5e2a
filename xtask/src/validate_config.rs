//! `cargo xtask validate-config [FILE]`: what `emx-gate --validate` does, without building it.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::ExitCode;

use gate_config::{Report, SourceArgs, Sources};

pub(crate) fn run(file: Option<PathBuf>) -> ExitCode {
    let sources = Sources::from_process(SourceArgs { config: file, ..SourceArgs::default() });
    let report = Report::of(&sources, &|host, port| TcpListener::bind((host, port)).map(drop));
    println!("{report}");
    if report.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
