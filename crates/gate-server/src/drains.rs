//! Answers that are read to their end although their client has left, to learn what they cost. They
//! are bounded in number and in time, and end with the gateway.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::relay::Relay;

/// Answers that may be read on at once; each holds a connection to its provider.
const MAX_DRAINS: usize = 64;
/// How long one may take: most answers have ended by then, and one that has not is cut off.
const MAX_TIME: Duration = Duration::from_secs(30);

/// The tasks that read on.
#[derive(Debug)]
pub(crate) struct Drains {
    permits: Arc<Semaphore>,
    /// Dropping the set ends its tasks, and each settles its account.
    tasks: Mutex<JoinSet<()>>,
    refused: AtomicU64,
}

impl Default for Drains {
    fn default() -> Self {
        Self {
            permits: Arc::new(Semaphore::new(MAX_DRAINS)),
            tasks: Mutex::default(),
            refused: AtomicU64::new(0),
        }
    }
}

impl Drains {
    /// Reads an answer to its end in a task of its own. If there are too many already, the answer
    /// is dropped, which cancels it at its provider.
    pub(crate) fn spawn(&self, mut relay: Box<Relay>) {
        // Outside a runtime there is nobody to read on.
        let Ok(runtime) = Handle::try_current() else { return };
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            let refused = self.refused.fetch_add(1, Ordering::Relaxed) + 1;
            log::debug!("{MAX_DRAINS} answers are read on already; {refused} were cancelled for that");
            return;
        };
        let mut tasks = self.tasks();
        // Ended tasks are reaped as new ones come, or the set would grow for ever.
        while tasks.try_join_next().is_some() {}
        let read_on = async move {
            // What it finds, and whether it ends in time, is noted by the relay itself.
            let _ = timeout(MAX_TIME, relay.read_on()).await;
            drop(permit);
        };
        tasks.spawn_on(read_on, &runtime);
    }

    /// Ends all of them, and waits until their accounts are settled.
    pub(crate) async fn end(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks());
        tasks.shutdown().await;
    }

    /// Returns how many run.
    pub(crate) fn running(&self) -> usize {
        MAX_DRAINS - self.permits.available_permits()
    }

    /// Returns how many answers were cancelled because too many were read on already.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// A panic elsewhere cannot leave a set half changed.
    fn tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
