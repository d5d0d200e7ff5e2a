//! How often a request was sent, to whom, and what became of each time.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// One time that a request was sent to a provider.
///
/// `Display` shows it as the header `x-gateway-attempts` does: `openai.east=503 12ms`, with the number of
/// the key behind the provider (`openai.east#2`) where it is not the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The id of the provider.
    pub provider: Arc<str>,
    /// Which of its keys went along, from 0.
    pub key: u32,
    /// What became of it.
    pub outcome: AttemptOutcome,
    /// From its start until that was known.
    pub time: Duration,
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// An answer with this status; of a stream that failed before its first content, the status that its
    /// error stands for.
    Status(u16),
    /// No answer, for the fault of this name, such as `connect_timeout`.
    Fault(&'static str),
    /// It was given up before it had an answer: the client left, or another attempt was faster.
    GivenUp,
}

/// The attempts of one request, in the order in which they began. The first takes no heap memory, and a
/// clone never does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    first: Option<Attempt>,
    further: Option<Arc<Vec<Attempt>>>,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.provider)?;
        if self.key > 0 {
            write!(f, "#{}", u64::from(self.key) + 1)?;
        }
        write!(f, "={} {}ms", self.outcome, self.time.as_millis())
    }
}

impl fmt::Display for AttemptOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "{status}"),
            Self::Fault(name) => f.write_str(name),
            Self::GivenUp => f.write_str("given_up"),
        }
    }
}

impl Attempts {
    /// Adds an attempt that begins, as one that is given up until [`settle`](Self::settle) says otherwise,
    /// and returns its place.
    pub fn begin(&mut self, provider: Arc<str>, key: u32) -> usize {
        let attempt = Attempt { provider, key, outcome: AttemptOutcome::GivenUp, time: Duration::ZERO };
        if self.first.is_none() {
            self.first = Some(attempt);
            return 0;
        }
        let further = Arc::make_mut(self.further.get_or_insert_default());
        further.push(attempt);
        further.len()
    }

    /// Notes what became of the attempt at a place.
    pub fn settle(&mut self, place: usize, outcome: AttemptOutcome, time: Duration) {
        let attempt = match place.checked_sub(1) {
            None => self.first.as_mut(),
            Some(at) => self.further.as_mut().and_then(|further| Arc::make_mut(further).get_mut(at)),
        };
        if let Some(attempt) = attempt {
            (attempt.outcome, attempt.time) = (outcome, time);
        }
    }

    /// Returns them, first to last.
    pub fn iter(&self) -> impl Iterator<Item = &Attempt> {
        self.first.iter().chain(self.further.iter().flat_map(|further| further.iter()))
    }

    /// Returns how many there are.
    pub fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.further.as_ref().map_or(0, |further| further.len())
    }

    /// Returns whether the request was never sent.
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Spec: load-balancing B-14.
    #[test]
    fn attempts_are_shown_in_order_with_what_became_of_them() {
        let mut attempts = Attempts::default();
        assert!(attempts.is_empty());
        let ms = Duration::from_millis;
        let first = attempts.begin("openai.east".into(), 0);
        let second = attempts.begin("openai.east".into(), 1);
        let third = attempts.begin("openai.west".into(), 0);
        let fourth = attempts.begin("openai.north".into(), 0);
        attempts.settle(third, AttemptOutcome::Status(200), ms(340));
        attempts.settle(first, AttemptOutcome::Fault("connect"), ms(12));
        attempts.settle(second, AttemptOutcome::Status(401), ms(7));
        assert_eq!((fourth, attempts.len()), (3, 4));
        let shown: Vec<_> = attempts.iter().map(Attempt::to_string).collect();
        let expected = [
            "openai.east=connect 12ms",
            "openai.east#2=401 7ms",
            "openai.west=200 340ms",
            "openai.north=given_up 0ms",
        ];
        assert_eq!(shown, expected);
    }
}
