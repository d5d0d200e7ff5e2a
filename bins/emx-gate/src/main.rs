//! The process around the gateway: command line, logs, signals, exit codes.

mod access_log;
mod cli;
mod demo;
mod descriptors;
mod doctor;
mod explain;
mod log_writer;
mod logging;
mod panic_hook;
mod probe;
mod signals;
mod workers;

use std::fmt::Display;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;

use gate_config::{Loaded, Report, Sources, TlsConfig, load};
use gate_server::{Gateway, check_certificate, serve_on};
use log::{info, warn};

use crate::access_log::AccessLog;
use crate::cli::{Cli, Task};
use crate::demo::DemoProviders;
use crate::log_writer::LogWriter;
use crate::workers::Workers;

/// A request takes dozens of small pieces of memory and gives them back on the same thread, which this does
/// in half of what the C library takes.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The configuration, the address, or what was checked is not as it has to be.
const EXIT_CONFIG: u8 = 1;

fn main() -> ExitCode {
    let cli = Cli::try_from_args(std::env::args_os()).unwrap_or_else(|usage| usage.exit());
    let runtime = match workers::runtime() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start the runtime: {error}")),
    };
    let result = runtime.block_on(run(&cli));
    // Name lookups run on threads that cannot be interrupted; nothing waits for them.
    runtime.shutdown_background();
    result.unwrap_or_else(|message| fail(&message))
}

/// Says why the program ends, also where the logger is not there yet or is too quiet.
fn fail(message: &str) -> ExitCode {
    anstream::eprintln!("emx-gate: {message}");
    ExitCode::from(EXIT_CONFIG)
}

/// Does what the command line asks for. The error is for the user, who mends the configuration or
/// the address.
async fn run(cli: &Cli) -> Result<ExitCode, String> {
    let demo = if cli.demo { Some(DemoProviders::start().await.map_err(|e| e.to_string())?) } else { None };
    let sources = match &demo {
        Some(demo) => Sources::for_demo(&demo.config_toml(), cli.source_args()),
        None => Sources::from_process(cli.source_args()),
    };
    // Checks need no logger: what they find is their output.
    match cli.task() {
        Task::Doctor(arguments) => Ok(doctor::run(arguments).await),
        Task::Explain(name) => explain::run(&sources, name),
        Task::Validate => {
            let report = Report::with_certificate(&sources, &try_bind, &try_certificate);
            anstream::println!("{report}");
            Ok(if report.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_CONFIG) })
        }
        Task::Test { only } => probe::run(&sources, only).await,
        Task::Serve => {
            let loaded = load_usable(&sources)?;
            let log = logging::start(&loaded.config.server)
                .map_err(|error| format!("cannot start the log: {error}"))?;
            panic_hook::install(log.clone(), loaded.config.server.log_format);
            let result = serve_until_signal(loaded, demo, &log).await;
            log.wait_until_written();
            result.map(|()| ExitCode::SUCCESS)
        }
    }
}

fn load_usable(sources: &Sources) -> Result<Loaded, String> {
    load(sources).map_err(unusable)
}

fn unusable(problems: impl Display) -> String {
    format!("the configuration is not usable\n{problems}")
}

/// Binds, serves, drains.
async fn serve_until_signal(
    loaded: Loaded,
    demo: Option<DemoProviders>,
    log: &LogWriter,
) -> Result<(), String> {
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    if let Some(warning) = descriptors::make_room(loaded.config.server.limits.max_connections) {
        warn!("{warning}");
    }
    let summary = summary(&loaded);
    let scheme = if loaded.config.server.tls.is_some() { "https" } else { "http" };
    let listener = bind(&loaded.config.server.host, loaded.config.server.port)?;
    let access_log = AccessLog::new(logging::access_level(), loaded.config.server.log_format, log.clone());
    let gateway = Gateway::builder(loaded.config).sink(access_log).build().map_err(unusable)?;
    let workers = Workers::start().map_err(|error| format!("cannot start the worker threads: {error}"))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let listener = tokio::net::TcpListener::from_std(listener).map_err(|error| error.to_string())?;
    let signals =
        signals::Signals::listen().map_err(|error| format!("cannot listen for signals: {error}"))?;

    info!("emx-gate {} on {scheme}://{address} {summary}", env!("CARGO_PKG_VERSION"));
    if let Some(demo) = &demo {
        demo.print_usage(address);
    }
    let watched = gateway.clone();
    let shutdown = signals.shutdown(log.clone(), move |signal| {
        info!("{signal}: draining, {} requests in flight", watched.in_flight());
    });
    let drained = serve_on(workers.handles(), listener, gateway, shutdown);
    let drained = drained.await.map_err(|error| format!("cannot accept: {error}"))?;
    info!("stopped: {} requests were in flight, {} of them were ended", drained.in_flight, drained.ended);
    Ok(())
}

/// Says what was loaded and from where.
fn summary(loaded: &Loaded) -> String {
    let providers = loaded.config.providers.providers().filter(|(_, provider)| provider.is_configured);
    let (mut count, mut models) = (0, 0);
    for (_, provider) in providers {
        count += 1;
        models += provider.models.len();
    }
    let sources: Vec<String> = loaded.sources.iter().map(ToString::to_string).collect();
    let sources = if sources.is_empty() { "built-in defaults".to_owned() } else { sources.join(", ") };
    format!("({count} providers, {models} models; read: {sources})")
}

/// Binds the address, or says what to do about it.
fn bind(host: &str, port: u16) -> Result<TcpListener, String> {
    let listener = TcpListener::bind((host, port)).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    listener.map_err(|error| {
        let advice = match error.kind() {
            io::ErrorKind::AddrInUse => "another program has it; stop it, or choose another with --port",
            io::ErrorKind::PermissionDenied => {
                "ports below 1024 need a privilege; choose another with --port"
            }
            io::ErrorKind::AddrNotAvailable => {
                "this machine does not have the address; choose another with --host"
            }
            _ => "check `host` and `port` of `[llm]`",
        };
        format!("cannot listen on {host}:{port}: {error}: {advice}")
    })
}

/// Tries an address for `--validate`, and lets it go again.
fn try_bind(host: &str, port: u16) -> io::Result<()> {
    TcpListener::bind((host, port)).map(drop)
}

/// Tries the listener's certificate for `--validate`.
fn try_certificate(tls: &TlsConfig) -> Result<(), String> {
    check_certificate(tls).map_err(|error| error.to_string())
}

/// Writes an address as part of a URL that works from here: a wildcard is reached by loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => ([127, 0, 0, 1], v4.port()).into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => (std::net::Ipv6Addr::LOCALHOST, v6.port()).into(),
        other => other,
    }
}
