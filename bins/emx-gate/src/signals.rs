//! SIGTERM and SIGINT: the first drains, the second ends the process at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::log_writer::LogWriter;

/// Exit status after a second signal: the drain was cut short, so this is no clean end.
const EXIT_FORCED: i32 = 1;

/// The two signals that ask for an end, listened to from the moment this exists.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Starts listening.
    ///
    /// # Errors
    /// The system refuses the handlers.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Completes with the first signal, after telling `notice` its name. A second one then ends the
    /// process, once the lines of `log` are written.
    pub(crate) async fn shutdown(mut self, log: LogWriter, notice: impl FnOnce(&'static str)) {
        notice(self.next().await);
        tokio::spawn(async move {
            let name = self.next().await;
            log::warn!("{name} again: ending at once");
            log.wait_until_written();
            std::process::exit(EXIT_FORCED);
        });
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
