//! Connections of one identity: at most so many at once, unused ones kept for a while, newest first.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash, Hasher};
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::connection::Connection;
use crate::deadline::{after, earlier, here};
use crate::error::{Fault, UpstreamErrorKind};
use crate::settings::{PoolSettings, TlsSettings};

/// What two requests must have in common to share a connection. A key is no part of it: keys travel
/// in requests. TLS material is, for it says who we and the server are.
///
/// The settings count as well. A configuration with another limit gets a pool of its own, and the old
/// one empties as its requests end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Made once, since every request looks its pool up.
    hash: u64,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// `None` is plain HTTP.
    pub(crate) tls: Option<TlsSettings>,
    pub(crate) settings: PoolSettings,
}

impl Identity {
    pub(crate) fn new(host: String, port: u16, tls: Option<TlsSettings>, settings: PoolSettings) -> Self {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one((&host, port, &tls, &settings));
        Self { hash, host, port, tls, settings }
    }
}

impl Hash for Identity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// The hasher of a map of identities, which bring their hash along.
#[derive(Default)]
pub(crate) struct HashedBefore(u64);

impl Hasher for HashedBefore {
    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Numbers about the connections to one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolStats {
    /// Where to.
    pub host: String,
    /// Where to.
    pub port: u16,
    /// Exchanges under way, those that still connect included.
    pub in_use: usize,
    /// Connections kept for the next request. One that its server has closed since is found when it is taken.
    pub idle: usize,
    /// Connections made since the start.
    pub opened: u64,
    /// Requests sent over a kept connection.
    pub reused: u64,
    /// Requests repeated because their kept connection turned out to be closed.
    pub retried: u64,
}

/// Connections that wait for a request. Boxed, so that one goes from request to pool to request
/// without being moved in memory.
type Idle = Vec<Box<Connection>>;

/// Connections of one pool that are made at once. A thousand clients that come to a cold pool, as
/// after a restart, would else meet the provider as a thousand handshakes in one instant. Most of them
/// then find a connection that has come free before it is their turn.
const MAX_DIALS: usize = 256;

/// The connections of one identity.
#[derive(Debug)]
pub(crate) struct Pool {
    identity: Identity,
    /// One permit for each exchange. It caps *connections* as well: one is opened only by the holder
    /// of a permit who found none idle, and goes back to `idle` before its permit is free.
    permits: Arc<Semaphore>,
    max_connections: usize,
    /// One permit for each connection that is being made.
    dials: Arc<Semaphore>,
    /// The last one is the newest. Using that first lets the others grow old in a quiet time.
    idle: Mutex<Idle>,
    opened: AtomicU64,
    reused: AtomicU64,
    retried: AtomicU64,
}

impl Pool {
    pub(crate) fn new(identity: Identity) -> Self {
        let max_connections = identity.settings.max_connections.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            identity,
            permits: Arc::new(Semaphore::new(max_connections)),
            max_connections,
            dials: Arc::new(Semaphore::new(MAX_DIALS)),
            idle: Mutex::default(),
            opened: AtomicU64::new(0),
            reused: AtomicU64::new(0),
            retried: AtomicU64::new(0),
        }
    }

    /// Returns the right to one connection, if one is free.
    pub(crate) fn try_lease(self: &Arc<Self>) -> Option<Lease> {
        let permit = Arc::clone(&self.permits).try_acquire_owned().ok()?;
        Some(Lease { pool: Arc::clone(self), _permit: permit })
    }

    /// Waits for the right to one connection: until the pool's limit or `total`.
    pub(crate) async fn lease(self: &Arc<Self>, total: Option<Instant>) -> Result<Lease, Fault> {
        let permit = self.wait(&self.permits, total).await?;
        Ok(Lease { pool: Arc::clone(self), _permit: permit })
    }

    async fn wait(
        &self,
        semaphore: &Arc<Semaphore>,
        total: Option<Instant>,
    ) -> Result<OwnedSemaphorePermit, Fault> {
        let until = after(Instant::now(), Some(self.identity.settings.connect_wait));
        let acquire = Arc::clone(semaphore).acquire_owned();
        let Some(deadline) = earlier(until, total) else {
            return acquire.await.map_err(|_| UpstreamErrorKind::PoolFull.into());
        };
        match timeout_at(deadline, acquire).await {
            Ok(Ok(permit)) => Ok(permit),
            Err(_) if total.is_some_and(|total| total <= deadline) => {
                Err(UpstreamErrorKind::TotalTimeout.into())
            }
            // No semaphore is ever closed, so the inner error does not occur.
            Err(_) | Ok(Err(_)) => Err(UpstreamErrorKind::PoolFull.into()),
        }
    }

    /// Returns when a connection made now is too old, spread by a fifth to both sides.
    pub(crate) fn retirement(&self) -> Option<Instant> {
        let spread = 0.8 + 0.4 * fastrand::f64();
        after(Instant::now(), Some(self.identity.settings.max_age.mul_f64(spread)))
    }

    pub(crate) fn count_opened(&self) {
        self.opened.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_retried(&self) {
        self.retried.fetch_add(1, Relaxed);
    }

    /// Closes what has been idle too long or is too old.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        let mut idle = self.lock();
        let (kept, expired) = mem::take(&mut *idle).into_iter().partition(|c| !self.has_expired(c, now));
        *idle = kept;
        // Closing sockets takes system calls, and they need no lock.
        drop(idle);
        drop::<Idle>(expired);
    }

    /// Closes all that is idle.
    pub(crate) fn close_idle(&self) {
        let closed = mem::take(&mut *self.lock());
        drop(closed);
    }

    pub(crate) fn is_idle_empty(&self) -> bool {
        self.lock().is_empty()
    }

    pub(crate) fn stats(&self) -> PoolStats {
        PoolStats {
            host: self.identity.host.clone(),
            port: self.identity.port,
            in_use: self.max_connections - self.permits.available_permits(),
            idle: self.lock().len(),
            opened: self.opened.load(Relaxed),
            reused: self.reused.load(Relaxed),
            retried: self.retried.load(Relaxed),
        }
    }

    /// Takes the newest idle connection that is alive at `now`, and closes those that are not. One of the
    /// caller's own runtime comes before all others.
    fn checkout(&self, now: Instant) -> Option<Box<Connection>> {
        let here = here();
        loop {
            let mut connection = {
                let mut idle = self.lock();
                match idle.iter().rposition(|connection| connection.is_at_home(here)) {
                    Some(at) => idle.remove(at),
                    None => idle.pop()?,
                }
            };
            if !self.has_expired(&connection, now) && connection.is_reusable() {
                connection.begin(here);
                self.reused.fetch_add(1, Relaxed);
                return Some(connection);
            }
        }
    }

    fn put_back(&self, mut connection: Box<Connection>, now: Instant) {
        connection.idle_since = now;
        if self.has_expired(&connection, now) {
            return;
        }
        let mut idle = self.lock();
        // The oldest lie first. Looking at those alone keeps the cost flat, and without a ticker
        // every return still cleans up behind itself.
        let outdated = idle.iter().take_while(|c| self.has_expired(c, now)).count();
        let expired = (outdated > 0).then(|| idle.drain(..outdated).collect::<Idle>());
        idle.push(connection);
        drop(idle);
        drop(expired);
    }

    fn has_expired(&self, connection: &Connection, now: Instant) -> bool {
        connection.retire_at.is_some_and(|at| at <= now)
            || now.duration_since(connection.idle_since) >= self.identity.settings.idle_timeout
    }

    /// A panic elsewhere cannot leave a `Vec` half changed, so a poisoned lock is as good as any.
    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The turn to make a connection, held until it is made.
#[derive(Debug)]
pub(crate) struct Turn(#[expect(dead_code, reason = "it is held")] OwnedSemaphorePermit);

/// The right to one connection of a pool, held as long as the exchange lasts.
#[derive(Debug)]
pub(crate) struct Lease {
    pool: Arc<Pool>,
    _permit: OwnedSemaphorePermit,
}

impl Lease {
    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Waits for the turn to make a connection, as long as for a lease, and tells whether there was a
    /// wait: then a connection may have come free meanwhile.
    pub(crate) async fn turn(&self, total: Option<Instant>) -> Result<(Turn, bool), Fault> {
        if let Ok(permit) = Arc::clone(&self.pool.dials).try_acquire_owned() {
            return Ok((Turn(permit), false));
        }
        let permit = self.pool.wait(&self.pool.dials, total).await?;
        Ok((Turn(permit), true))
    }

    /// Takes an idle connection, if one is alive at `now`.
    pub(crate) fn checkout(&self, now: Instant) -> Option<Box<Connection>> {
        self.pool.checkout(now)
    }

    /// Keeps the connection for the next request if it can serve one, else closes it; it has been idle
    /// since `now`. The permit is given back after that, so a request that waits for it finds the connection.
    pub(crate) fn release(self, mut connection: Box<Connection>, now: Instant) {
        if connection.end() {
            self.pool.put_back(connection, now);
        }
    }
}
