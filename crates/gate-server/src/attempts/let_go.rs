//! What becomes of an answer that is not the last: it is read to its end and kept, since it may still be
//! the client's, but nothing of its provider's is. A connection that it held on to would be missing to the
//! attempts that follow, and where there is but one they could never be made.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{Best, Errand, Trip};
use crate::error::ApiError;
use crate::failure;
use crate::shutdown::InFlight;

/// How much of an answer is kept. An error that explains itself is shorter, and what is kept is memory that
/// no budget counts.
const KEPT_BYTES: usize = 64 * 1024;

/// How long is waited for its end. It comes with the head as a rule; as long as it does not, the client
/// waits for the next attempt. Shorter than the wait for a free connection, so that no attempt of the same
/// request fails for the lack of this one.
const KEPT_TIME: Duration = Duration::from_secs(1);

impl Trip<'_, '_> {
    /// Waits between two attempts, and lets go of the last meanwhile.
    ///
    /// # Errors
    /// The shutdown came before.
    pub(super) async fn pause(&mut self, after: Duration, in_flight: &InFlight) -> Result<(), ApiError> {
        let wait = async {
            if !after.is_zero() {
                sleep(after).await;
            }
        };
        tokio::select! {
            _ = async { tokio::join!(wait, self.let_go()) } => Ok(()),
            () = in_flight.ended() => Err(failure::shutting_down()),
        }
    }

    /// Lets go of the provider whose answer is the best so far.
    pub(super) async fn let_go(&mut self) {
        if let Some(best) = &mut self.best {
            let_go(best, self.errand).await;
        }
    }
}

/// Reads an answer to its end and lets go of its provider; one that is too large or too slow for that is
/// replaced by an error of the gateway.
async fn let_go(best: &mut Best, errand: &Errand<'_>) {
    let Ok(answered) = best else { return };
    let rest = answered.held.read_rest(&mut answered.response.body, KEPT_BYTES);
    if timeout(KEPT_TIME, rest).await == Ok(true) {
        answered.attempt = None;
        return;
    }
    let status = answered.held.status().unwrap_or(answered.response.status.as_u16());
    *best = Err(failure::not_kept(errand.snapshot.endpoint(answered.stop.provider).name(), status));
}
