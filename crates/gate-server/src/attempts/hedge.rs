//! Two attempts beside each other, where the first is late.

use std::pin::pin;
use std::time::Duration;

use gate_balance::Decision;
use gate_usage::AttemptOutcome;
use tokio::time::{Instant, timeout};

use super::{Order, Trip};
use crate::journey::now;

impl Trip<'_, '_> {
    /// Makes an attempt and, once it is late, a second one beside it. The first good answer counts.
    pub(super) async fn hedge(&mut self, order: Order, late: Duration) -> Option<Decision> {
        let errand = self.errand;
        let (first_place, begin) = (order.place, Instant::now());
        let mut first = pin!(errand.send(order));
        if let Ok(tried) = timeout(late, &mut first).await {
            return self.settle(first_place, tried);
        }
        let second = self.journey.plan.hedge(now()).and_then(|attempt| self.further(attempt)?.ok());
        let Some(second) = second else {
            let tried = first.await;
            return self.settle(first_place, tried);
        };
        log::info!("{}: no answer after {} ms; asked another", self.exchange.id.as_str(), late.as_millis());
        let (second_place, second_begin) = (second.place, Instant::now());
        let mut second = pin!(errand.send(second));
        let (tried, is_first) = tokio::select! {
            tried = &mut first => (tried, true),
            tried = &mut second => (tried, false),
        };
        let (place, (other_place, other_begin)) = match is_first {
            true => (first_place, (second_place, second_begin)),
            false => (second_place, (first_place, begin)),
        };
        let is_answer = tried.result.is_ok();
        match self.settle(place, tried) {
            Some(Decision::Wait) => {}
            None if !is_answer => {}
            decision => {
                let time = other_begin.elapsed();
                self.exchange.record.tried.settle(other_place, AttemptOutcome::GivenUp, time);
                return decision;
            }
        }
        let other = async { if is_first { second.await } else { first.await } };
        let (tried, ()) = tokio::join!(other, self.let_go());
        self.settle(other_place, tried)
    }
}
