//! What counts of an answer that begins well, and when.

use super::*;
use crate::registry::Registry;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    /// Its answer is whole.
    End,
    /// Its answer begins well and breaks off.
    Break,
    /// Its client leaves while the answer comes.
    Leave,
    /// It is answered with this status, to the end.
    Answer(u16),
    /// It is answered with this status, and that answer breaks off.
    Cut(u16),
}

use Does::{Answer, Break, Cut, End, Leave};

/// One target, and a clock.
struct Bench {
    target: Arc<Target>,
    policy: Arc<Policy>,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let now = Instant::now();
        let target = Registry::default().target(TargetId { provider: "openai.a".to_owned(), key: 0 }, now);
        Self { target, policy: Arc::new(Policy::default()), now }
    }

    fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    /// Lets a request get the head of its answer, if it may pass.
    fn begin(&self, does: Does) -> Result<Permit, Duration> {
        let mut permit = self.target.acquire(&self.policy, self.now)?;
        let status = match does {
            End | Break | Leave => 200,
            Answer(status) | Cut(status) => status,
        };
        permit.settle(&Outcome::Answered { status, retry_after: None, latency: Duration::ZERO }, self.now);
        Ok(permit)
    }

    fn end(&self, mut permit: Permit, does: Does) {
        match does {
            End | Answer(_) => permit.ended(self.now),
            Break | Cut(_) => permit.broke(self.now),
            Leave => {}
        }
    }

    fn send(&self, does: Does) -> Result<(), Duration> {
        self.end(self.begin(does)?, does);
        Ok(())
    }

    fn break_until_open(&self) {
        while self.send(Break).is_ok() {}
    }

    fn report(&self) -> HealthReport {
        self.target.report(&self.policy, self.now)
    }
}

// Spec: load-balancing B-11, B-18, B-28.
#[test]
fn answers_that_break_off_open_the_breaker_as_other_failures_do() {
    // Repeats what requests do, and tells after how many the breaker opens.
    let check = |pattern: &[Does], expected: Option<usize>| {
        let bench = Bench::new();
        let opened = (0..60).find(|n| bench.send(pattern[n % pattern.len()]).is_err());
        assert_eq!(opened, expected, "{pattern:?}");
    };
    check(&[Break], Some(5));
    check(&[End, Break, Break, Break, Break, Break, Break, Break, Break, Break], Some(6));
    check(&[Break, Break, Break, Break, Break, Break, Break, Break, Break, End], Some(5));
    check(&[Break, End, End, End, End, End, End, End, End, End], None);
    // Never five in a row, but half of ten and more.
    check(&[Break, Break, Break, End], Some(10));
    check(&[End, Break], Some(10));
    check(&[End, End, Break], None);
    // A client that leaves neither is a success between two failures nor a failure.
    check(&[Leave], None);
    check(&[Leave, Break], Some(10));
    // What an error says is known at its head.
    check(&[Answer(500)], Some(5));
    check(&[Cut(500)], Some(5));
    // A redirect is no answer.
    check(&[Answer(302)], Some(5));
    check(&[Answer(304)], None);
    check(&[Answer(400), Break], Some(10));
}

// Spec: load-balancing B-18, B-28.
#[test]
fn answers_beside_each_other_count_as_they_end() {
    let bench = Bench::new();
    let streams: Vec<_> = (0..10).map(|_| bench.begin(Break).unwrap()).collect();
    assert_eq!(bench.report().breaker, BreakerState::Closed);
    for (n, stream) in streams.into_iter().enumerate() {
        assert_eq!(bench.report().breaker == BreakerState::Closed, n < 5, "{n}");
        bench.end(stream, Break);
    }
}

// Spec: load-balancing B-11, B-18, B-28.
#[test]
fn a_trial_succeeds_when_its_answers_have_ended() {
    let check = |trial: [Does; 3], expected: Result<(), u64>| {
        let mut bench = Bench::new();
        bench.break_until_open();
        bench.wait(30);
        let streams = trial.map(|does| (bench.begin(does).unwrap(), does));
        // Three heads are no recovery; but streams may last for minutes, so others are let in meanwhile.
        assert_eq!(bench.report().breaker, BreakerState::HalfOpen);
        let beside = bench.begin(Leave).unwrap();
        bench.end(beside, Leave);
        for (stream, does) in streams {
            bench.end(stream, does);
        }
        let next = bench.begin(End).map(drop).map_err(|wait| wait.as_secs());
        assert_eq!(next, expected, "{trial:?}");
        let is_closed = bench.report().breaker == BreakerState::Closed;
        assert_eq!(is_closed, trial == [End; 3], "{trial:?}");
    };
    check([End, End, End], Ok(()));
    check([Break, Break, Break], Err(60));
    check([End, End, Break], Err(60));
    check([Break, End, End], Err(60));
    // The place of one that left is free.
    check([End, End, Leave], Ok(()));
    check([Leave, Leave, Leave], Ok(()));
}

// Spec: load-balancing B-19, B-28.
#[test]
fn each_answer_counts_once_for_health() {
    let check = |requests: &[Does], expected: (Health, u32, u64)| {
        let bench = Bench::new();
        requests.iter().for_each(|does| bench.send(*does).unwrap());
        let report = bench.report();
        assert_eq!((report.health, report.consecutive_failures, report.failures), expected, "{requests:?}");
    };
    check(&[], (Health::Unknown, 0, 0));
    // It was asked, and nothing is wrong.
    check(&[Leave], (Health::Healthy, 0, 0));
    check(&[End], (Health::Healthy, 0, 0));
    check(&[Break], (Health::Degraded, 1, 1));
    check(&[Break, Break, Leave], (Health::Degraded, 2, 2));
    check(&[Break, Break, Break], (Health::Unhealthy, 3, 3));
    check(&[Break, Break, Break, End], (Health::Degraded, 0, 3));
    check(&[Break, Break, Break, End, End], (Health::Healthy, 0, 3));
    check(&[Answer(500)], (Health::Degraded, 1, 1));
    check(&[Cut(500)], (Health::Degraded, 1, 1));
    check(&[Answer(301)], (Health::Degraded, 1, 1));
    check(&[Answer(404)], (Health::Healthy, 0, 0));
    check(&[Cut(404)], (Health::Degraded, 1, 1));
}

// Spec: load-balancing B-28.
#[test]
fn the_first_word_about_an_end_counts() {
    let bench = Bench::new();
    let mut permit = bench.begin(Break).unwrap();
    permit.broke(bench.now);
    permit.broke(bench.now);
    permit.ended(bench.now);
    drop(permit);
    let report = bench.report();
    assert_eq!((report.failures, report.consecutive_failures), (1, 1));
}
