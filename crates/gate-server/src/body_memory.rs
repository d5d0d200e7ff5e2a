//! The memory that the bodies of all requests hold together. It is a budget in bytes, shared by the
//! gateway's requests and bounded by `[llm.limits] max_body_memory_mb`.
//!
//! Budget is taken for bytes that have come, never for a length that was declared: a claim costs its
//! sender nothing. So a body cannot be promised its room before it is read, and many half-read ones
//! could hold everything and wait for each other. That is designed away in three rules:
//!
//! 1. Who waits holds nothing. A body waits, in turn and not for long, *before* its first byte is
//!    read, for its first share.
//! 2. Who holds something does not wait. A body that grows into a full budget is refused at once,
//!    which frees what it held; so somebody always comes through.
//! 3. The last quarter is for those that grow. New bodies cannot starve the half-read ones.
//!
//! Budget comes back when the last piece of the bytes is dropped, wherever that is: in the request to
//! the provider, its copy for a second try, or what an estimate is made of.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};

use bytes::{Bytes, BytesMut};
use gate_config::Limits;
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;

use crate::error::{ApiError, ErrorCode};

mod spare;

pub(crate) use spare::MOST_BYTES as MOST_SPARE_BYTES;
use spare::Spare;

/// What a body takes before its first byte is read: about a frame of hyper's. A body of this size
/// never has to grow.
const FIRST_SHARE: u64 = 64 * 1024;

/// The budget, and who waits for it.
#[derive(Debug)]
pub(crate) struct BodyMemory {
    held: AtomicU64,
    /// Those who would like to be told when something is freed.
    waiting: AtomicUsize,
    /// Waiting is in turn: only the first in the line looks at the budget.
    turn: Semaphore,
    freed: Notify,
    spare: Spare,
}

/// What a body may use while it is received.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds<'b> {
    pub(crate) limits: &'b Limits,
    pub(crate) memory: &'b Arc<BodyMemory>,
}

/// A part of the budget; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Hold {
    memory: Arc<BodyMemory>,
    bytes: u64,
    most: u64,
}

impl Default for BodyMemory {
    fn default() -> Self {
        Self {
            held: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            turn: Semaphore::new(1),
            freed: Notify::new(),
            spare: Spare::default(),
        }
    }
}

impl BodyMemory {
    /// Returns an empty buffer to collect a body in, for [`Hold::keep_collected`].
    pub(crate) fn buffer(&self, bytes: usize) -> BytesMut {
        self.spare.take(bytes)
    }
}

impl Bounds<'_> {
    /// Takes the first share for a body, of which nothing has been read yet.
    ///
    /// # Errors
    /// 503 if there is no room within `body_memory_wait`.
    ///
    /// # Cancel safety
    /// Dropping the future passes the turn on.
    pub(crate) async fn enter(self, declared: Option<u64>) -> Result<Hold, ApiError> {
        let most = self.limits.max_body_memory_bytes;
        let share = declared.unwrap_or(FIRST_SHARE).min(FIRST_SHARE);
        let mut hold = Hold { memory: Arc::clone(self.memory), bytes: 0, most };
        let for_new = most - most / 4;
        if self.memory.waiting.load(SeqCst) == 0 && hold.take(share, for_new) {
            return Ok(hold);
        }
        // Boxed: who waits is the exception, and each request would have the room for it.
        let entered = Box::pin(timeout(self.limits.body_memory_wait, hold.wait(share, for_new))).await;
        entered.map(|()| hold).map_err(|_| no_room())
    }
}

impl Hold {
    /// A share of nothing, for what is read in a place where nobody can be made to wait.
    pub(crate) fn nothing(memory: &Arc<BodyMemory>, most: u64) -> Self {
        Self { memory: Arc::clone(memory), bytes: 0, most }
    }

    /// Makes the share cover this many bytes.
    ///
    /// # Errors
    /// 503 if the budget has no room for them; this never waits.
    pub(crate) fn cover(&mut self, bytes: usize) -> Result<(), ApiError> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        if bytes <= self.bytes || self.take(bytes - self.bytes, self.most) { Ok(()) } else { Err(no_room()) }
    }

    /// Binds the share to bytes that are complete: it shrinks to their number, and is given back when
    /// the last piece of them is dropped.
    pub(crate) fn keep(self, bytes: Bytes) -> Bytes {
        self.bind(bytes, false)
    }

    /// Does the same for bytes that were collected in a buffer of [`BodyMemory::buffer`].
    pub(crate) fn keep_collected(self, bytes: BytesMut) -> Bytes {
        self.bind(bytes.freeze(), true)
    }

    fn bind(mut self, bytes: Bytes, is_ours: bool) -> Bytes {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if length < self.bytes {
            self.give_back(self.bytes - length);
        }
        if bytes.is_empty() { bytes } else { Bytes::from_owner(Held { bytes, hold: self, is_ours }) }
    }

    /// Hands the share on, and begins another of nothing.
    pub(crate) fn split(&mut self) -> Self {
        let nothing = Self::nothing(&self.memory, self.most);
        std::mem::replace(self, nothing)
    }

    fn take(&mut self, bytes: u64, most: u64) -> bool {
        let add = |held: u64| held.checked_add(bytes).filter(|sum| *sum <= most);
        let is_taken = self.memory.held.fetch_update(SeqCst, SeqCst, add).is_ok();
        if is_taken {
            self.bytes += bytes;
        }
        is_taken
    }

    async fn wait(&mut self, bytes: u64, most: u64) {
        let memory = Arc::clone(&self.memory);
        // Before the budget is looked at: who frees something later then sees that someone waits.
        let _waiting = Waiting::among(&memory.waiting);
        // The semaphore is never closed; without a permit one would only be out of turn.
        let _turn = memory.turn.acquire().await;
        while !self.take(bytes, most) {
            memory.freed.notified().await;
        }
    }

    fn give_back(&mut self, bytes: u64) {
        self.bytes -= bytes;
        self.memory.held.fetch_sub(bytes, SeqCst);
        if self.memory.waiting.load(SeqCst) > 0 {
            // Remembered if nobody listens just now, so that it cannot fall between a look and a wait.
            self.memory.freed.notify_one();
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.give_back(self.bytes);
        }
    }
}

/// One of those who wait, until it is dropped.
struct Waiting<'m>(&'m AtomicUsize);

impl<'m> Waiting<'m> {
    fn among(count: &'m AtomicUsize) -> Self {
        count.fetch_add(1, SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// Bytes with their share of the budget.
struct Held {
    bytes: Bytes,
    hold: Hold,
    /// Whether they stand in a buffer that is to be used again.
    is_ours: bool,
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.is_ours {
            self.hold.memory.spare.put(std::mem::take(&mut self.bytes));
        }
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The connection ends, as the body was not read.
fn no_room() -> ApiError {
    let message = "the gateway holds as many request bodies as it may (`[llm.limits] max_body_memory_mb`); try again \
                   shortly";
    ApiError { retry_after: Some(1), ..ApiError::new(ErrorCode::Overloaded, message).closing() }
}

#[cfg(test)]
mod tests;
