//! The benchmark of the workspace; `cargo xtask bench` builds and starts it. docs/performance.md
//! says what it measures and how to read its table. It is for Linux: it reads `/proc`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command talks to its user")]
#![allow(clippy::cast_precision_loss, reason = "counts of a few minutes fit into an f64")]

mod callgrind;
mod figures;
mod http;
mod load;
mod machine;
mod mock;
mod process;
mod report;
mod rounds;
mod scenario;
mod soak;
mod system_calls;
mod systems;

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use serde_json::json;

use crate::report::Row;
use crate::systems::{Kind, Setting, System};

#[derive(Parser)]
#[command(name = "gate-bench", about = "Measures emx-gate beside plain reverse proxies")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures, and prints one table
    Run(Run),
    /// Prints the instructions of a request, counted by valgrind
    Callgrind {
        /// The release binary of the gateway
        #[arg(long)]
        gateway: PathBuf,
    },
    /// Answers as a provider would (started by the others)
    Mock {
        #[arg(long)]
        port: u16,
    },
}

#[derive(clap::Args)]
struct Run {
    /// The release binary of the gateway
    #[arg(long)]
    gateway: PathBuf,
    /// One short round of the scenarios that matter most, below a minute
    #[arg(long)]
    quick: bool,
    /// Only scenarios whose name begins with this; may be repeated
    #[arg(long, value_name = "NAME")]
    scenario: Vec<String>,
    /// What to compare with; what is not installed is left out
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "nginx,haproxy")]
    against: Vec<String>,
    /// How often each system has its turn in each scenario [default: 3, with --quick 1]
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Writes the rows to this file as well
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Minutes of mixed load on the gateway instead, and its memory after each [default: 10]
    #[arg(long, value_name = "MINUTES", num_args = 0..=1, default_missing_value = "10")]
    soak: Option<u32>,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Run(arguments) => run(&arguments),
        Command::Callgrind { gateway } => with_mock(gateway, |setting, mock| callgrind::run(setting, &mock)),
        Command::Mock { port } => mock::run(port),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gate-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Starts the mock, and gives it to `task` with a folder for files.
fn with_mock(gateway: PathBuf, task: impl FnOnce(&Setting, System) -> io::Result<()>) -> io::Result<()> {
    let folder = tempfile::tempdir()?;
    // nginx's workers run as another user where its master runs as root.
    system_calls::open_folder(folder.path())?;
    let setting = Setting { folder: folder.path().to_owned(), gateway, mock_port: systems::free_port()? };
    let mock = System::start(Kind::Direct, &setting)?;
    task(&setting, mock)
}

fn run(arguments: &Run) -> io::Result<()> {
    let open_files = system_calls::raise_open_files();
    with_mock(arguments.gateway.clone(), |setting, mock| {
        let (kinds, absent) = arguments.kinds(setting)?;
        println!("{}", machine::describe(&kinds));
        for name in absent {
            println!("{name} is not installed and left out");
        }
        let rows = if let Some(minutes) = arguments.soak {
            soak::run(&System::start(Kind::Gateway, setting)?, Duration::from_secs(60 * u64::from(minutes)))?
        } else {
            measure(arguments, setting, mock, &kinds, open_files)?
        };
        let peers: Vec<&str> = kinds
            .iter()
            .map(|kind| kind.name())
            .filter(|name| !["direct", "emx-gate"].contains(name))
            .collect();
        println!("\n{}", report::table(&rows, &peers));
        for row in &rows {
            if let Some(fault) = &row.fault {
                println!("first fault of {} in {}: {fault}", row.system, row.scenario);
            }
        }
        match &arguments.json {
            Some(path) => {
                let all = json!({ "machine": machine::describe(&kinds), "rows": rows });
                fs::write(path, serde_json::to_vec_pretty(&all)?)
            }
            None => Ok(()),
        }
    })
}

fn measure(
    arguments: &Run,
    setting: &Setting,
    mock: System,
    kinds: &[Kind],
    open_files: u64,
) -> io::Result<Vec<Row>> {
    let mut rows = Vec::new();
    let times = if arguments.quick { 5 } else { 20 };
    if arguments.wants("start") {
        rows.extend(figures::start(kinds, setting, times)?);
    }
    if arguments.wants("binary") {
        rows.extend(figures::size(kinds, setting));
    }
    if ["models", "load-10k-models", "start-10k-models", "resolve-10k-models"]
        .iter()
        .any(|name| arguments.wants(name))
    {
        rows.extend(figures::models(setting, times.min(5))?);
    }
    let scenarios: Vec<_> = scenario::all()
        .into_iter()
        .filter(|scenario| arguments.wants(scenario.name) && (scenario.is_quick || !arguments.quick))
        .collect();
    if !scenarios.is_empty() {
        let mut systems = vec![mock];
        for kind in kinds.iter().filter(|kind| **kind != Kind::Direct) {
            systems.push(System::start(*kind, setting)?);
        }
        let rounds = arguments.rounds.unwrap_or(if arguments.quick { 1 } else { 3 });
        for scenario in &scenarios {
            eprintln!("measuring {}", scenario.name);
            rows.extend(rounds::run(scenario, &systems, rounds, arguments.quick)?);
        }
        // The rest needs the mock, and no more of the others.
        systems.truncate(1);
        rows.extend(memory(arguments, setting, kinds, open_files)?);
    } else {
        rows.extend(memory(arguments, setting, kinds, open_files)?);
    }
    Ok(rows)
}

fn memory(arguments: &Run, setting: &Setting, kinds: &[Kind], open_files: u64) -> io::Result<Vec<Row>> {
    if !["memory", "idle-memory", "streams-5000"].iter().any(|name| arguments.wants(name))
        || arguments.quick && arguments.scenario.is_empty()
    {
        return Ok(Vec::new());
    }
    eprintln!("measuring memory");
    figures::memory(kinds, setting, open_files)
}

impl Run {
    fn wants(&self, name: &str) -> bool {
        self.scenario.is_empty() || self.scenario.iter().any(|wanted| name.starts_with(wanted.as_str()))
    }

    /// Returns what is measured, and which of the wanted systems are not installed.
    fn kinds(&self, setting: &Setting) -> io::Result<(Vec<Kind>, Vec<&str>)> {
        let mut kinds = vec![Kind::Direct, Kind::Gateway];
        let mut absent = Vec::new();
        for name in self.against.iter().map(String::as_str).filter(|name| !name.is_empty()) {
            let kind = match name {
                "nginx" => Kind::Nginx,
                "haproxy" => Kind::Haproxy,
                _ => return Err(io::Error::other(format!("--against knows nginx and haproxy, not {name}"))),
            };
            if setting.program_path(kind).is_some() {
                kinds.push(kind);
            } else {
                absent.push(name);
            }
        }
        Ok((kinds, absent))
    }
}
