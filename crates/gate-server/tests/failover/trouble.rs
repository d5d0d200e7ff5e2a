//! Providers that are bad in other ways than being away: they flap, slow down, come back slowly, are
//! dead from the start. No client fails while a healthy one is there, and each is answered in time.

use std::time::Duration;

use gate_testkit::mock::Reply;
use tokio::time::{Instant, sleep_until};

use crate::outage::percentile;
use crate::rig::{Provider, Rig, Seen, chat, ok_after, pool};

const LATENCY_MS: u64 = 5;
const GAP: Duration = Duration::from_millis(40);
const REQUESTS: u32 = 2500;

#[track_caller]
fn all_good(seen: &[Seen]) {
    let failed = seen.iter().find(|seen| !seen.is_good());
    assert!(failed.is_none(), "{failed:?}");
}

// Spec: load-balancing B-6, B-18.
#[tokio::test(start_paused = true)]
async fn a_flapping_provider_is_tried_ever_more_seldom_and_comes_back_when_it_stays() {
    let mut rig = Rig::new(&pool(&["east", "west"], "[llm.circuit_breaker]\nrecovery_timeout = 2"));
    let mut east = Provider::up(&rig, "east.test", |_| ok_after(LATENCY_MS));
    let _west = Provider::up(&rig, "west.test", |_| ok_after(LATENCY_MS));
    let begin = Instant::now();
    let events = async {
        // Up for a second, down for a second, for half a minute.
        for second in 1..=30_u64 {
            sleep_until(begin + Duration::from_secs(second) + Duration::from_millis(7)).await;
            if second % 2 == 1 { east.stop().await } else { east.start() }
        }
    };
    let seen = rig.load(&chat(), REQUESTS, GAP, events).await;
    all_good(&seen);
    assert_eq!(percentile(&seen, 100), Duration::from_millis(LATENCY_MS));
    // It was up for half of these 30 seconds, where 190 requests would have been its share, and as many
    // would have been refused.
    let refused = seen.iter().filter(|seen| seen.tried("openai.east")).count();
    assert!((5..=20).contains(&refused), "{refused}");
    let (asked, back) = (east.asked(2..30), east.asked(70..100));
    assert!(asked <= 40, "{asked}");
    assert_eq!(back, 375);
}

// Spec: load-balancing B-6, B-11, B-18.
#[tokio::test(start_paused = true)]
async fn a_brown_out_costs_time_and_nobody_an_answer() {
    let mut rig = Rig::new(&pool(&["east", "mid", "west"], ""));
    // From the tenth second on each second request takes half a second and then finds no room.
    let mut count = 0;
    let east = Provider::up(&rig, "east.test", move |at| {
        count += 1;
        match (10..40).contains(&at.as_secs()) && count % 2 == 0 {
            true => Reply::json(503, "{}").after(Duration::from_millis(500)),
            false => ok_after(LATENCY_MS),
        }
    });
    let _others = ["mid.test", "west.test"].map(|host| Provider::up(&rig, host, |_| ok_after(LATENCY_MS)));
    let seen = rig.load(&chat(), REQUESTS, GAP, async {}).await;
    all_good(&seen);
    assert_eq!(percentile(&seen, 100), Duration::from_millis(500 + LATENCY_MS));
    assert_eq!(percentile(&seen, 90), Duration::from_millis(LATENCY_MS));
    // A third of 750 would be its share.
    let during = east.asked(10..40);
    assert!(during <= 125, "{during}");
    assert!(east.asked(80..100) >= 160, "{}", east.asked(80..100));
}

// Spec: load-balancing B-11.
#[tokio::test(start_paused = true)]
async fn a_slow_start_is_no_stampede() {
    const SLOW_MS: u64 = 2000;
    let mut rig = Rig::new(&pool(&["east", "west"], "[llm.circuit_breaker]\nhalf_open_max_calls = 2"));
    // For five seconds behind its outage it is slow.
    let slow = Duration::from_millis(40_007)..Duration::from_millis(45_000);
    let mut east = Provider::up(&rig, "east.test", move |at| {
        ok_after(if slow.contains(&at) { SLOW_MS } else { LATENCY_MS })
    });
    let _west = Provider::up(&rig, "west.test", |_| ok_after(LATENCY_MS));
    let begin = Instant::now();
    let events = async {
        sleep_until(begin + Duration::from_millis(10_007)).await;
        east.stop().await;
        sleep_until(begin + Duration::from_millis(40_007)).await;
        east.start();
    };
    let seen = rig.load(&chat(), REQUESTS, GAP, events).await;
    all_good(&seen);
    assert_eq!(percentile(&seen, 100), Duration::from_millis(SLOW_MS));
    // Two try it, and only when both have their answers it gets its share.
    let first = (40..45).find(|second| east.asked(*second..second + 1) > 0).unwrap();
    assert_eq!(east.asked(first..first + 2), 2, "from second {first}");
    assert_eq!(east.asked(60..100), 500);
}

// Spec: load-balancing B-6, B-11.
#[tokio::test(start_paused = true)]
async fn one_dead_of_three_is_asked_in_trials_only() {
    let config = "[llm.timeout]\nfirst_byte = 60\nconnection = 1";
    let mut rig = Rig::new(&pool(&["east", "dead", "west"], config));
    let others = ["east.test", "west.test"].map(|host| Provider::up(&rig, host, |_| ok_after(LATENCY_MS)));
    let seen = rig.load(&chat(), REQUESTS, GAP, async {}).await;
    all_good(&seen);
    assert_eq!(percentile(&seen, 100), Duration::from_millis(LATENCY_MS));
    let shares = others.map(|other| other.asked(0..1000));
    assert_eq!(shares.iter().sum::<usize>(), 2500);
    assert!(shares[0].abs_diff(shares[1]) <= 20, "{shares:?}");
    let tried = seen.iter().filter(|seen| seen.tried("openai.dead")).count();
    // Five open its breaker; then one trial each time its recovery is over, which doubles.
    assert!((5..=9).contains(&tried));
}

// Spec: load-balancing B-6, B-11; security S-48.
#[tokio::test(start_paused = true)]
async fn a_thousand_clients_on_a_cold_pool_are_answered_in_their_turns() {
    // Each of the two that live has 64 connections, and takes 10 ms for an answer.
    let provider = "[llm.provider]\nmax_connections = 64";
    let mut rig = Rig::new(&pool(&["east", "dead", "west"], provider));
    let others = ["east.test", "west.test"].map(|host| Provider::up(&rig, host, |_| ok_after(10)));
    let seen = rig.load(&chat(), 1000, Duration::ZERO, async {}).await;
    all_good(&seen);
    assert_eq!(others.map(|other| other.asked(0..1000)).iter().sum::<usize>(), 1000);
    // 500 for each are 8 turns.
    assert_eq!(percentile(&seen, 100), Duration::from_millis(80));
}
