//! The thread that writes the log. A slow terminal or a pipe that nobody reads must not hold up a
//! request, so lines wait in a bounded queue, and those that find no room are dropped and counted.
//! What is worth a line, and what it looks like, is decided elsewhere.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use gate_config::LogFormat;
use gate_server::RequestRecord;
use log::Level;

use crate::{access_log, logging};

/// The name of the thread that writes.
pub(crate) const THREAD: &str = "log";
/// Lines that may wait.
const MAX_LINES: usize = 8192;
/// What the waiting lines may hold together, in bytes.
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of lines that are taken at once, unless the queue is empty earlier.
const BATCH_BYTES: usize = 64 * 1024;
/// How long lines gather behind a batch before the next is taken. Under load one write then carries
/// hundreds of them, and no request has to wake the thread; a line in quiet times is written at once.
const GATHER: Duration = Duration::from_millis(10);
/// How long the last lines get at the end of the program.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// One line of the log.
pub(crate) enum Line {
    /// A finished request; the thread formats it.
    Record(Box<RequestRecord>),
    /// A line as it is written, with the line feed.
    Text(Vec<u8>),
}

/// The way to the thread, for any number of owners. As a [`Write`] it takes each write for one line.
///
/// The thread lives as long as the process, as the logger does that owns one of these.
#[derive(Clone)]
pub(crate) struct LogWriter(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    /// A line came into an empty queue.
    added: Condvar,
    /// A batch was written.
    written: Condvar,
}

#[derive(Default)]
struct Queue {
    lines: VecDeque<Line>,
    /// The weights of `lines`.
    bytes: usize,
    /// Lines dropped since the last report.
    lost: u64,
    /// The thread holds lines that it has not written yet.
    is_writing: bool,
}

impl LogWriter {
    /// Starts the thread, which writes to `out`.
    ///
    /// # Errors
    /// No thread can be started.
    pub(crate) fn start(format: LogFormat, out: impl Write + Send + 'static) -> io::Result<Self> {
        let (added, written) = (Condvar::new(), Condvar::new());
        let shared = Arc::new(Shared { queue: Mutex::default(), added, written });
        let log = Self(Arc::clone(&shared));
        thread::Builder::new().name(THREAD.to_owned()).spawn(move || shared.write_all(format, out))?;
        Ok(log)
    }

    /// Queues a line, or drops and counts it. This never waits for the output.
    pub(crate) fn push(&self, line: Line) {
        let weight = line.weight();
        let mut queue = self.0.lock();
        if queue.lines.len() >= MAX_LINES || queue.bytes + weight > MAX_BYTES {
            queue.lost += 1;
            return;
        }
        queue.lines.push_back(line);
        queue.bytes += weight;
        // The thread waits only where there is nothing to take.
        if queue.lines.len() == 1 {
            self.0.added.notify_one();
        }
    }

    /// Waits until every line is written, though not for ever: an output that takes nothing must not
    /// keep the program from ending. Returns whether they are.
    pub(crate) fn wait_until_written(&self) -> bool {
        let is_busy = |queue: &mut Queue| queue.is_writing || !queue.lines.is_empty();
        let waited = self.0.written.wait_timeout_while(self.0.lock(), LAST_WAIT, is_busy);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(Line::Text(line.to_vec()));
        Ok(line.len())
    }

    /// Does nothing: the logger calls this after each line, and waiting is what it must not do.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Line {
    /// The memory that the line takes while it waits, in bytes.
    fn weight(&self) -> usize {
        let held = match self {
            Self::Text(text) => text.len(),
            Self::Record(record) => {
                let texts = [&record.path, &record.model, &record.upstream_request_id].into_iter().flatten();
                size_of::<RequestRecord>() + texts.map(|text| text.len()).sum::<usize>()
            }
        };
        size_of::<Self>() + held
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics while it is held, and a count of lines is no reason to stop.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes batch after batch.
    fn write_all(&self, format: LogFormat, mut out: impl Write) {
        let (mut lines, mut batch) = (Vec::new(), Vec::new());
        loop {
            let lost = self.take(&mut lines);
            let count = lines.len();
            for line in lines.drain(..) {
                match line {
                    Line::Text(text) => batch.extend_from_slice(&text),
                    Line::Record(record) => access_log::write(&mut batch, format, &record),
                }
            }
            if lost > 0 {
                let message = format!("{lost} lines lost: the log is written too slowly");
                logging::write(&mut batch, format, Level::Warn, &message);
            }
            let written = out.write_all(&batch).and_then(|()| out.flush());
            batch.clear();
            let mut queue = self.lock();
            queue.is_writing = false;
            if written.is_err() {
                queue.lost += lost + count as u64;
            }
            self.written.notify_all();
            let is_behind = queue.bytes >= BATCH_BYTES;
            drop(queue);
            if !is_behind {
                thread::sleep(GATHER);
            }
        }
    }

    /// Waits for lines and takes a batch of them. Returns how many were lost since the last one.
    fn take(&self, lines: &mut Vec<Line>) -> u64 {
        let queue = self.added.wait_while(self.lock(), |queue| queue.lines.is_empty());
        let mut queue = queue.unwrap_or_else(PoisonError::into_inner);
        let mut taken = 0;
        while taken < BATCH_BYTES
            && let Some(line) = queue.lines.pop_front()
        {
            taken += line.weight();
            lines.push(line);
        }
        queue.bytes -= taken;
        queue.is_writing = true;
        std::mem::take(&mut queue.lost)
    }
}

#[cfg(test)]
mod tests;
