//! What the log says of a panic: where it was, and for which request. Its text is left out, since the
//! panic of a slice or of an unwrapped error quotes what it was at work on: a body, or a key.

use std::panic::{Location, PanicHookInfo};
use std::sync::Arc;
use std::thread;

use gate_config::LogFormat;
use gate_server::request_at_work;
use log::Level;

use crate::log_writer::{LogWriter, THREAD};
use crate::logging;

/// Has panics written to the log from now on, instead of to stderr, where a slow reader would hold
/// up the thread.
pub(crate) fn install(log: LogWriter, format: LogFormat) {
    std::panic::set_hook(Box::new(move |panic| report(panic, &log, format)));
}

fn report(panic: &PanicHookInfo<'_>, log: &LogWriter, format: LogFormat) {
    let thread = thread::current();
    let thread = thread.name().unwrap_or("without a name");
    let message = describe(panic.location(), thread, request_at_work());
    if thread == THREAD {
        // Nobody is left to write the log.
        anstream::eprintln!("emx-gate: {message}");
        return;
    }
    let mut line = Vec::new();
    // Past the logger: a panic is worth a line at every level, and may have come from within it.
    logging::write(&mut line, format, Level::Error, &message);
    log.push(&line);
    if thread == "main" {
        // It ends the process.
        log.wait_until_written();
    }
}

fn describe(place: Option<&Location<'_>>, thread: &str, request: Option<Arc<str>>) -> String {
    let request = request.map(|id| format!("{id}: ")).unwrap_or_default();
    let place = place.map_or_else(|| "an unknown place".to_owned(), Location::to_string);
    format!(
        "{request}a panic at {place} (thread {thread}): a bug in emx-gate, please report the place; its text may \
         quote a request and is not logged"
    )
}

#[cfg(test)]
mod tests;
