//! Host names turned into addresses, once for all who ask together, and remembered for a short while.
//!
//! The system's resolver blocks a thread for each question and remembers nothing. A burst of requests
//! to one cold provider would fill the thread pool with the same question, and a resolver that fails
//! for a minute would take down providers whose addresses have not changed in years.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

/// How long an answer is taken as it is. The system does not tell how long it may be; this is the
/// shortest that providers commonly set.
const FRESH: Duration = Duration::from_secs(30);

/// How long an answer stands in when a new one cannot be had.
const USABLE: Duration = Duration::from_secs(300);

/// The memory of answers. Only configured hosts are ever asked for, so it stays small.
#[derive(Debug, Default)]
pub(crate) struct Resolver {
    hosts: Mutex<HashMap<(String, u16), Arc<Host>>>,
}

#[derive(Debug)]
struct Host {
    /// Whoever holds the one permit asks, and the others wait for the answer.
    turn: Semaphore,
    answer: Mutex<Option<Answer>>,
}

#[derive(Clone, Debug)]
struct Answer {
    addresses: Vec<SocketAddr>,
    at: Instant,
}

impl Resolver {
    /// Returns a host's addresses, in the order of preference that `lookup` gave them. `lookup` is
    /// polled only if no fresh answer is known.
    ///
    /// # Errors
    /// The lookup's, unless an older answer can stand in. A host without addresses is an error.
    ///
    /// # Cancel safety
    /// Dropping the future passes the turn on to the next who waits.
    pub(crate) async fn resolve(
        &self,
        host: &str,
        port: u16,
        lookup: impl Future<Output = io::Result<Vec<SocketAddr>>>,
    ) -> io::Result<Vec<SocketAddr>> {
        let entry = Arc::clone(
            lock(&self.hosts)
                .entry((host.to_owned(), port))
                .or_insert_with(|| Arc::new(Host { turn: Semaphore::new(1), answer: Mutex::default() })),
        );
        if let Some(addresses) = entry.younger_than(FRESH) {
            return Ok(addresses);
        }
        // The semaphore is never closed; without a permit one would only ask too often.
        let _turn = entry.turn.acquire().await;
        if let Some(addresses) = entry.younger_than(FRESH) {
            return Ok(addresses);
        }
        match lookup.await {
            Ok(addresses) if addresses.is_empty() => {
                Err(io::Error::new(io::ErrorKind::NotFound, "the host has no address"))
            }
            Ok(addresses) => {
                let answer = Answer { addresses: addresses.clone(), at: Instant::now() };
                *lock(&entry.answer) = Some(answer);
                Ok(addresses)
            }
            Err(error) => entry.younger_than(USABLE).ok_or(error),
        }
    }

    /// Makes the next request ask again: none of the addresses answers any more.
    pub(crate) fn forget(&self, host: &str, port: u16) {
        lock(&self.hosts).remove(&(host.to_owned(), port));
    }
}

impl Host {
    fn younger_than(&self, limit: Duration) -> Option<Vec<SocketAddr>> {
        let answer = lock(&self.answer);
        answer.as_ref().filter(|answer| answer.at.elapsed() < limit).map(|answer| answer.addresses.clone())
    }
}

/// No panic can leave what these locks guard half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
