//! The thread that writes the log. A slow terminal or a pipe that nobody reads must not hold up a
//! request, so lines wait in a bounded queue, and those that find no room are dropped and counted.
//! What is worth a line, and what it looks like, is decided elsewhere.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use gate_config::LogFormat;
use log::Level;

use crate::logging;

/// The name of the thread that writes.
pub(crate) const THREAD: &str = "log";
/// Lines that may wait.
const MAX_LINES: usize = 8192;
/// What the waiting lines may hold together, in bytes.
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of lines that are written at once, unless there are fewer.
const BATCH_BYTES: usize = 64 * 1024;
/// How long lines gather behind a batch before the next is taken. Under load one write then carries
/// hundreds of them, and no request has to wake the thread; a line in quiet times is written at once.
const GATHER: Duration = Duration::from_millis(10);
/// How long the last lines get at the end of the program.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// The way to the thread, for any number of owners. As a [`Write`] it takes each write for one line.
///
/// The thread lives as long as the process, as the logger does that owns one of these.
#[derive(Clone)]
pub(crate) struct LogWriter(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    /// A line came while the thread was idle.
    added: Condvar,
    /// A batch was written.
    written: Condvar,
}

#[derive(Default)]
struct Queue {
    /// What waits, none of it empty.
    batches: VecDeque<Batch>,
    /// The lines of `batches`.
    lines: usize,
    /// The bytes of `batches`.
    bytes: usize,
    /// Room that is used again for the next batch.
    spare: Vec<u8>,
    /// Lines dropped since the last report.
    lost: u64,
    /// The thread holds lines that it has not written yet.
    is_writing: bool,
    /// The thread waits for a line, and for nothing else.
    is_idle: bool,
}

/// Lines that are written together.
#[derive(Default)]
struct Batch {
    text: Vec<u8>,
    lines: usize,
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

    /// Queues a line, given with its line feed, or drops and counts it. This never waits for the output.
    pub(crate) fn push(&self, line: &[u8]) {
        let mut queue = self.0.lock();
        if queue.lines >= MAX_LINES || queue.bytes + line.len() > MAX_BYTES {
            queue.lost += 1;
            return;
        }
        queue.add(line);
        let was_idle = std::mem::take(&mut queue.is_idle);
        drop(queue);
        if was_idle {
            self.0.added.notify_one();
        }
    }

    /// Waits until every line is written, though not for ever: an output that takes nothing must not
    /// keep the program from ending. Returns whether they are.
    pub(crate) fn wait_until_written(&self) -> bool {
        let is_busy = |queue: &mut Queue| queue.is_writing || queue.lines > 0;
        let waited = self.0.written.wait_timeout_while(self.0.lock(), LAST_WAIT, is_busy);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    /// Does nothing: the logger calls this after each line, and waiting is what it must not do.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Queue {
    /// Puts a line into the last batch, or into a new one where that is full.
    fn add(&mut self, line: &[u8]) {
        self.lines += 1;
        self.bytes += line.len();
        if let Some(last) = self.batches.back_mut()
            && last.text.len() + line.len() <= BATCH_BYTES
        {
            last.add(line);
            return;
        }
        let mut batch = Batch { text: std::mem::take(&mut self.spare), lines: 0 };
        batch.add(line);
        self.batches.push_back(batch);
    }
}

impl Batch {
    fn add(&mut self, line: &[u8]) {
        self.text.extend_from_slice(line);
        self.lines += 1;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics while it is held, and a count of lines is no reason to stop.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes batch after batch.
    fn write_all(&self, format: LogFormat, mut out: impl Write) {
        loop {
            let (mut batch, lost) = self.take();
            if lost > 0 {
                let message = format!("{lost} lines lost: the log is written too slowly");
                logging::write(&mut batch.text, format, Level::Warn, &message);
            }
            let written = out.write_all(&batch.text).and_then(|()| out.flush());
            batch.text.clear();
            let mut queue = self.lock();
            queue.spare = batch.text;
            queue.is_writing = false;
            if written.is_err() {
                queue.lost += lost + batch.lines as u64;
            }
            let is_behind = queue.bytes >= BATCH_BYTES;
            drop(queue);
            self.written.notify_all();
            if !is_behind {
                thread::sleep(GATHER);
            }
        }
    }

    /// Waits for lines and takes a batch of them, and the count of those that were lost since the last.
    fn take(&self) -> (Batch, u64) {
        let mut queue = self.lock();
        loop {
            if let Some(batch) = queue.batches.pop_front() {
                queue.lines -= batch.lines;
                queue.bytes -= batch.text.len();
                (queue.is_writing, queue.is_idle) = (true, false);
                return (batch, std::mem::take(&mut queue.lost));
            }
            queue.is_idle = true;
            queue = self.added.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests;
