//! The threads that serve connections: one for each processor, each with a runtime of its own.

use std::io;
use std::num::NonZeroUsize;
use std::thread;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;

/// Sets the number of threads, by the name that programs on tokio know it by.
const COUNT_VARIABLE: &str = "TOKIO_WORKER_THREADS";

/// Threads that serve until this is dropped.
pub(crate) struct Workers {
    handles: Vec<Handle>,
    /// Each worker lives as long as its sender.
    _lives: Vec<oneshot::Sender<()>>,
}

impl Workers {
    /// Starts a worker for each processor that the process may use; none where that is one, since the
    /// main thread then serves by itself.
    ///
    /// # Errors
    /// The system gives no further thread or no descriptor.
    pub(crate) fn start() -> io::Result<Self> {
        let (mut handles, mut lives) = (Vec::new(), Vec::new());
        for number in Some(count()).filter(|count| *count > 1).map(|count| 0..count).into_iter().flatten() {
            let runtime = runtime()?;
            let (life, ended) = oneshot::channel();
            handles.push(runtime.handle().clone());
            lives.push(life);
            let serve = move || {
                // What comes is the end of the sender.
                let _ = runtime.block_on(ended);
                // Name lookups run on threads that cannot be interrupted; nothing waits for them.
                runtime.shutdown_background();
            };
            thread::Builder::new().name(format!("worker-{number}")).spawn(serve)?;
        }
        Ok(Self { handles, _lives: lives })
    }

    /// Returns the runtimes of the workers.
    pub(crate) fn handles(&self) -> &[Handle] {
        &self.handles
    }
}

/// Makes a runtime for one thread.
///
/// # Errors
/// The system gives no descriptor.
pub(crate) fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

fn count() -> usize {
    let set = std::env::var(COUNT_VARIABLE).ok().and_then(|count| count.parse::<NonZeroUsize>().ok());
    set.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get)
}
