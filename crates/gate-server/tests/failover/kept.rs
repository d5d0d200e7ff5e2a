//! An answer that is not the last: it takes nothing from the attempts that follow it, and is the client's
//! byte for byte if they bring nothing better.

use std::collections::VecDeque;
use std::time::Duration;

use gate_testkit::Step;
use gate_testkit::mock::Reply;
use tokio::time::Instant;

use crate::rig::{Provider, Rig, post};

/// One provider that gives one connection, with a breaker that stays out of the way.
const ALONE: &str = "
    [llm.circuit_breaker]
    enabled = false
    [llm.timeout]
    first_byte = 5
    [llm.provider.openai.east]
    api_base = 'http://east.test/v1'
    api_key = 'k'
    models = ['gpt-4']
    max_connections = 1
";

const CHAT: &str = r#"{"model":"gpt-4","messages":[]}"#;

/// Refuses in so many bytes, which come with the head or so much later.
fn refusal(length: usize, later: Duration) -> Reply {
    Reply::steps(503, [Step::Wait(later), Step::Data("x".repeat(length).into())])
}

// Spec: load-balancing B-22, B-50.
#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_the_last_holds_no_connection() {
    let check = async |replies: Vec<Reply>, expected: (u16, usize), error: &str, most: Duration| {
        let mut rig = Rig::new(ALONE);
        let mut replies = VecDeque::from(replies);
        let east = Provider::up(&rig, "east.test", move |_| replies.pop_front().unwrap());
        let begin = Instant::now();
        let response = rig.send(&post("/v1/chat/completions", CHAT)).await;
        let got = (response.head.status, response.body.text().matches('x').count());
        let label = response.head.header("x-gateway-attempts").unwrap().to_owned();
        if expected.1 > 0 {
            assert_eq!((got, response.body.is_clean()), (expected, true), "{label}");
        }
        assert_eq!((got.0, response.head.header("x-gateway-error").unwrap_or_default()), (expected.0, error));
        assert!(begin.elapsed() <= most, "{label}: {:?}", begin.elapsed());
        assert_eq!(label.split(';').next(), Some(&*east.asked(0..60).to_string()), "{label}");
    };
    let (now, soon, late) = (Duration::ZERO, Duration::from_millis(300), Duration::from_secs(20));
    // Two waits between attempts, or one and the wait for the end of an answer.
    let (waits, long) = (Duration::from_millis(800), Duration::from_millis(1800));
    let ok = || Reply::json(200, "{}");
    let kib = |count: usize| count * 1024;
    // Whatever it looks like, the next attempt is made.
    check(vec![refusal(9, now), ok()], (200, 0), "", waits).await;
    check(vec![refusal(9, soon), ok()], (200, 0), "", waits).await;
    check(vec![refusal(kib(512), now), ok()], (200, 0), "", waits).await;
    check(vec![refusal(9, late), ok()], (200, 0), "", long).await;
    // The last answer is the client's, as large and as slow as it may be.
    let last = |last: Reply| vec![refusal(1, now), refusal(2, now), last];
    check(last(refusal(3, now)), (503, 3), "", waits).await;
    check(last(refusal(kib(512), late)), (503, kib(512)), "", late + waits).await;
    // As is an earlier one where the later ones bring none, unless it was too much to keep.
    let silent = |first: Reply| vec![first, Reply::json(200, "{}").never()];
    let timeout = Duration::from_secs(5);
    check(silent(refusal(9, now)), (503, 9), "", timeout + waits).await;
    check(silent(refusal(kib(64), soon)), (503, kib(64)), "", timeout + waits).await;
    check(silent(refusal(kib(64) + 1, now)), (504, 0), "upstream_timeout", timeout + waits).await;
    check(silent(refusal(9, late)), (504, 0), "upstream_timeout", timeout + long).await;
}
