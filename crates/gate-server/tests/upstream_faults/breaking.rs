//! Rows 42 and 43: a provider that comes and goes, and nobody left to ask. How several providers stand in
//! for one another is tested with `failover`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use gate_testkit::raw::{RawResponse, RawScript};
use gate_upstream::{Dialer, MemoryDialer, MemoryListener};
use tokio::task::JoinSet;
use tokio::time::{Instant, advance};

use crate::rig::{Ask, Rig, config, paused};
use crate::row::{Row, check_error, json, sends};

pub(crate) fn rows() -> Vec<Row> {
    vec![
        Row::story(42, "a provider that flaps and starts slowly", flapping),
        Row::story(43, "all targets are down", all_down),
    ]
}

// Spec: load-balancing B-11, B-12, B-18; api A-70.
#[test]
fn who_is_broken_is_left_alone() {
    for row in rows() {
        row.check();
    }
}

fn breaker(settings: &str) -> String {
    format!("[llm.circuit_breaker]\n{settings}\n{}", config("http://upstream.test", "", ""))
}

/// Plays a script on every connection.
fn serve(mut listener: MemoryListener, script: RawScript, count: &Arc<AtomicUsize>) -> JoinSet<()> {
    let (count, mut tasks) = (Arc::clone(count), JoinSet::new());
    tasks.spawn(async move {
        let mut playing = JoinSet::new();
        while let Some(stream) = listener.accept().await {
            count.fetch_add(1, Relaxed);
            playing.spawn(script.clone().play(stream));
        }
    });
    tasks
}

fn is_unavailable(response: &RawResponse, retry_after: &str) -> bool {
    let head = &response.head;
    head.status == 503
        && head.header("x-gateway-error") == Some("provider_unavailable")
        && head.header("retry-after") == Some(retry_after)
}

/// One that was away for longer than its breaker takes to half-open gets one request, not all that wait
/// for it, until that one has its answer.
fn flapping() {
    const HOST: &str = "upstream.test";
    const START: Duration = Duration::from_millis(500);
    paused().block_on(async {
        let (dialer, _) = MemoryDialer::new();
        let text = breaker("failure_threshold = 2\nrecovery_timeout = 1\nhalf_open_max_calls = 1");
        let mut rig = Rig::with_dialer(&text, Dialer::Memory(dialer.clone()));
        let request = Ask::Chat.request(0);
        let count = Arc::new(AtomicUsize::new(0));
        for flap in 1..=3_u32 {
            let mut up = serve(dialer.listen(HOST, 64), sends(json(200, "{}")), &count);
            assert_eq!(rig.send(&request).await.head.status, 200, "{flap}");
            up.shutdown().await;
            for _ in 0..2 {
                let head = rig.send(&request).await.head;
                assert_eq!(
                    (head.status, head.header("x-gateway-error")),
                    (502, Some("upstream_connect_failed"))
                );
            }
            // A relapse that comes soon costs twice the time of the one before.
            let rest = 1 << (flap - 1);
            assert!(is_unavailable(&rig.send(&request).await, &rest.to_string()), "{flap}");
            advance(Duration::from_secs(rest)).await;

            let slow = RawScript::new().expect_request().wait(START).send(json(200, "{}"));
            let mut up = serve(dialer.listen(HOST, 64), slow, &count);
            let before = count.load(Relaxed);
            let begin = Instant::now();
            let mut clients = Vec::new();
            for _ in 0..20 {
                let mut client = rig.connect();
                client.send(&request).await.unwrap();
                clients.push(client);
            }
            let mut good = 0;
            for mut client in clients {
                let response = client.read_response().await.unwrap();
                if response.head.status == 200 {
                    good += 1;
                    assert_eq!(begin.elapsed(), START, "{flap}");
                } else {
                    assert!(is_unavailable(&response, "1"), "{flap}: {:?}", response.head);
                }
            }
            assert_eq!((good, count.load(Relaxed) - before), (1, 1), "{flap}");
            up.shutdown().await;
        }
    });
}

fn all_down() {
    for ask in Ask::ALL {
        paused().block_on(async {
            let text = breaker("failure_threshold = 1\nrecovery_timeout = 7.5");
            let (mut rig, upstream) = Rig::in_memory(&text, [sends(json(500, "{}"))]);
            assert_eq!(rig.send(&ask.request(0)).await.head.status, 500, "{ask:?}");
            rig.record().await;
            let begin = Instant::now();
            let response = rig.send(&ask.request(0)).await;
            assert!(is_unavailable(&response, "8"), "{ask:?}: {:?}", response.head);
            assert_eq!((begin.elapsed(), upstream.connections()), (Duration::ZERO, 1), "{ask:?}");
            check_error(*ask, 503, "provider_unavailable", &response.body.text(), "all are down");
            let record = rig.record().await;
            assert_eq!(
                (record.end.as_str(), record.error_code),
                ("gateway_error", Some("provider_unavailable"))
            );
            assert_eq!((record.status, record.attempts), (Some(503), 0), "{ask:?}");
        });
    }
}
