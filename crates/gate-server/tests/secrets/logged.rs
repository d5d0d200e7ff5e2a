//! A logger that keeps every line.

use std::fmt::Write as _;
use std::sync::{Mutex, Once};

use log::{LevelFilter, Log, Metadata, Record};

static LINES: Mutex<String> = Mutex::new(String::new());
static INSTALLED: Once = Once::new();

struct Keeper;

impl Log for Keeper {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let mut lines = LINES.lock().unwrap();
        writeln!(lines, "{} {}: {}", record.level(), record.target(), record.args()).unwrap();
    }

    fn flush(&self) {}
}

/// Keeps from now on what is logged. The tests of this binary share it: none may log a secret.
pub(crate) fn keep() {
    INSTALLED.call_once(|| {
        log::set_logger(&Keeper).unwrap();
        log::set_max_level(LevelFilter::Trace);
    });
}

/// Returns everything that was logged so far.
pub(crate) fn lines() -> String {
    LINES.lock().unwrap().clone()
}
