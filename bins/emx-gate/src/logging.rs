//! Which log lines there are and how they look: aligned text or JSON. They are written to stderr by
//! the thread of [`LogWriter`].

use std::fmt::Display;
use std::io::{self, Write, stderr};

use anstyle::Style;
use env_logger::{Builder, Target};
use gate_config::{LogFormat, LogLevel, ServerConfig};
use jiff::Timestamp;
use log::{Level, LevelFilter};
use serde::Serialize;

use crate::log_writer::LogWriter;

/// The target of lines about requests, so that they can be filtered apart.
const ACCESS: &str = "access";
/// The variable that replaces the configured level; it has the syntax of `env_logger`.
const RUST_LOG: &str = "RUST_LOG";
/// The targets that the configured level is for.
const OUR_TARGETS: [&str; 6] =
    [ACCESS, "emx_gate", "gate_config", "gate_server", "gate_testkit", "gate_upstream"];
/// The longest message of a line, in bytes: what waits to be written takes memory.
const MAX_MESSAGE: usize = 16 * 1024;

/// Starts logging, and returns the way to the thread that writes.
///
/// # Errors
/// That thread cannot be started.
pub(crate) fn start(server: &ServerConfig) -> io::Result<LogWriter> {
    let level = match server.log_level {
        LogLevel::Error => LevelFilter::Error,
        LogLevel::Warn => LevelFilter::Warn,
        LogLevel::Info => LevelFilter::Info,
        LogLevel::Debug => LevelFilter::Debug,
        LogLevel::Trace => LevelFilter::Trace,
    };
    let mut builder = Builder::new();
    match std::env::var(RUST_LOG) {
        Ok(filters) if !filters.is_empty() => {
            builder.parse_filters(&filters);
        }
        _ => {
            // Libraries are quiet unless something is wrong: their lines know nothing of requests.
            builder.filter_level(level.min(LevelFilter::Warn));
            for target in OUR_TARGETS {
                builder.filter_module(target, level);
            }
        }
    }
    let log = LogWriter::start(server.log_format, stderr())?;
    builder.target(Target::Pipe(Box::new(log.clone())));
    // The logger cannot see what is behind its pipe, so whether colours make sense is found out here.
    builder.write_style(anstream::AutoStream::choice(&stderr()).into());
    match server.log_format {
        LogFormat::Text => builder.format(|out, record| {
            let style = out.default_level_style(record.level());
            write_text(out, style, record.level(), record.args())
        }),
        LogFormat::Json => {
            builder.format(|out, record| write_json(out, record.target(), record.level(), record.args()))
        }
    };
    // A second logger in one process can only come from a program around this one; it keeps its own.
    let _ = builder.try_init();
    Ok(log)
}

/// Appends a line of the binary itself that does not pass through the logger.
pub(crate) fn write(batch: &mut Vec<u8>, format: LogFormat, level: Level, message: &str) {
    // A `Vec` takes every byte.
    let _ = match format {
        LogFormat::Text => write_text(batch, Style::new(), level, &message),
        LogFormat::Json => write_json(batch, module_path!(), level, &message),
    };
}

fn write_text(out: &mut impl Write, style: Style, level: Level, message: &impl Display) -> io::Result<()> {
    let now = timestamp(Timestamp::now());
    writeln!(out, "{now} {style}{:<5}{style:#} {}", level_name(level), cut(message))
}

#[derive(Serialize)]
struct JsonLine<'a> {
    timestamp: String,
    level: &'static str,
    message: String,
    target: &'a str,
}

fn write_json(out: &mut impl Write, target: &str, level: Level, message: &impl Display) -> io::Result<()> {
    let timestamp = timestamp(Timestamp::now());
    let line = JsonLine { timestamp, level: level_name(level), message: cut(message), target };
    serde_json::to_writer(&mut *out, &line)?;
    out.write_all(b"\n")
}

fn cut(message: &impl Display) -> String {
    let mut text = message.to_string();
    if text.len() > MAX_MESSAGE {
        text.truncate(text.floor_char_boundary(MAX_MESSAGE));
        text.push('…');
    }
    text
}

/// Returns a time as every line has it: RFC 3339 in UTC with milliseconds.
pub(crate) fn timestamp(at: Timestamp) -> String {
    format!("{at:.3}")
}

/// Returns the level's name as every line has it.
pub(crate) const fn level_name(level: Level) -> &'static str {
    match level {
        Level::Error => "ERROR",
        Level::Warn => "WARN",
        Level::Info => "INFO",
        Level::Debug => "DEBUG",
        Level::Trace => "TRACE",
    }
}

/// Returns the least severe level of lines about requests that is wanted.
pub(crate) fn access_level() -> LevelFilter {
    [LevelFilter::Info, LevelFilter::Warn]
        .into_iter()
        .find(|filter| filter.to_level().is_some_and(|level| log::log_enabled!(target: ACCESS, level)))
        .unwrap_or(LevelFilter::Off)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Spec: monitoring L-1, L-11.
    #[test]
    fn a_line_is_whole_and_its_message_bounded() {
        let long = "ü".repeat(MAX_MESSAGE);
        let mut text = Vec::new();
        write(&mut text, LogFormat::Text, Level::Warn, &long);
        let text = String::from_utf8(text).unwrap();
        assert!(text.len() < MAX_MESSAGE + 64 && text.ends_with("ü…\n"), "{} bytes", text.len());
        assert!(text.contains("Z WARN  üü"), "{}", &text[..40]);

        let mut json = Vec::new();
        write(&mut json, LogFormat::Json, Level::Warn, &long);
        let line: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!((&line["level"], &line["target"]), (&"WARN".into(), &"emx_gate::logging".into()));
        assert!(line["message"].as_str().unwrap().len() <= MAX_MESSAGE + '…'.len_utf8());
        assert!(json.ends_with(b"}\n"));
    }

    // Spec: monitoring L-1.
    #[test]
    fn levels_are_coloured_where_a_style_says_so() {
        let mut out = Vec::new();
        write_text(&mut out, anstyle::AnsiColor::Yellow.on_default(), Level::Warn, &"careful").unwrap();
        let line = String::from_utf8(out).unwrap();
        assert!(line.ends_with(" \u{1b}[33mWARN \u{1b}[0m careful\n"), "{line:?}");
    }
}
