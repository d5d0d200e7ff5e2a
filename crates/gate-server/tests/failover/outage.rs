//! Outages of one of two providers under a constant rate of requests: nobody fails, and hardly anybody
//! waits.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use crate::rig::{Provider, Rig, Seen, chat, ok_after, pool};

/// How long a provider takes for an answer.
const LATENCY_MS: u64 = 5;

/// The time between two requests.
const GAP: Duration = Duration::from_millis(10);

fn failures(seen: &[Seen]) -> Vec<&Seen> {
    seen.iter().filter(|seen| !seen.is_good()).collect()
}

/// Returns how long so many percent of the requests took at most.
pub(crate) fn percentile(seen: &[Seen], percent: usize) -> Duration {
    let mut times: Vec<_> = seen.iter().map(|seen| seen.took).collect();
    times.sort_unstable();
    times[(times.len() - 1) * percent / 100]
}

// Spec: load-balancing B-6, B-11, B-16.
#[tokio::test(start_paused = true)]
async fn nobody_notices_that_one_of_two_refuses_for_half_a_minute() {
    let mut rig = Rig::new(&pool(&["east", "west"], ""));
    let mut east = Provider::up(&rig, "east.test", |_| ok_after(LATENCY_MS));
    let west = Provider::up(&rig, "west.test", |_| ok_after(LATENCY_MS));
    let begin = Instant::now();
    let events = async {
        // Between two requests: none is under way, but connections are kept.
        sleep_until(begin + Duration::from_millis(10_007)).await;
        east.stop().await;
        sleep(Duration::from_secs(30)).await;
        east.start();
    };
    let seen = rig.load(&chat(), 10_000, GAP, events).await;
    assert_eq!(failures(&seen).len(), 0, "{:?}", failures(&seen).first());
    // A refusal costs no time here, and nobody waits for anything else.
    assert_eq!(percentile(&seen, 100), Duration::from_millis(LATENCY_MS));
    assert_eq!((east.asked(0..10), east.asked(11..40)), (500, 0));
    assert_eq!(west.asked(11..40), 2900);
    // The load is back after one recovery time at most.
    assert!(east.asked(75..100) >= 1200, "{}", east.asked(75..100));
}

// Spec: load-balancing B-6, B-11.
#[tokio::test(start_paused = true)]
async fn who_cannot_be_reached_costs_few_clients_one_connection_timeout() {
    const CONNECTION: Duration = Duration::from_secs(1);
    let mut rig = Rig::new(&pool(&["east", "west"], "[llm.timeout]\nconnection = 1"));
    // Nothing is accepted, and the one place in the backlog is taken by a request that nobody answers.
    let _hole = rig.dialer.listen("east.test", 1);
    let west = Provider::up(&rig, "west.test", |_| ok_after(LATENCY_MS));
    let mut first = rig.connect();
    first.send(chat()).await.unwrap();
    sleep(Duration::from_millis(1)).await;
    let seen = rig.load(&chat(), 2000, Duration::from_millis(100), async {}).await;
    drop(first);
    assert_eq!((failures(&seen).len(), west.asked(0..1000)), (0, 2000));
    let answer = Duration::from_millis(LATENCY_MS);
    assert_eq!((percentile(&seen, 99), percentile(&seen, 100)), (answer, CONNECTION + answer));
    // Those that came before the first five had timed out, and those of trials.
    let late = seen.iter().filter(|seen| seen.took > answer).count();
    assert!((5..=20).contains(&late), "{late}");
}

// Spec: load-balancing B-16.
#[tokio::test(start_paused = true)]
async fn a_crash_costs_the_requests_that_the_provider_had_and_no_other() {
    let mut rig = Rig::new(&pool(&["east", "west"], ""));
    let mut east = Provider::up(&rig, "east.test", |_| ok_after(95));
    let _west = Provider::up(&rig, "west.test", |_| ok_after(95));
    let begin = Instant::now();
    let events = async {
        sleep_until(begin + Duration::from_millis(2007)).await;
        east.stop().await;
    };
    let seen = rig.load(&chat(), 1000, GAP, events).await;
    let failed = failures(&seen);
    // Every second of the ten that were under way: they may have been done.
    assert_eq!(failed.len(), 5, "{failed:?}");
    let lost = Duration::from_millis(1910)..=Duration::from_millis(2000);
    for one in failed {
        assert!(lost.contains(&one.at), "{one:?}");
        let head = &one.response.as_ref().unwrap().head;
        assert_eq!((head.status, head.header("x-gateway-error")), (502, Some("upstream_closed")));
    }
}
