//! Many requests on a cold pool: how many connections are made at once.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::support::{Peer, endpoint, post, text};
use crate::{Dialer, MemoryDialer, Timeouts, UpstreamClient, UpstreamErrorKind};

const AT_ONCE: usize = 256;

// Spec: security S-48.
#[tokio::test(start_paused = true)]
async fn a_cold_pool_makes_no_more_connections_at_once_than_it_should() {
    let (dialer, mut listener) = MemoryDialer::with_backlog(1);
    let client = UpstreamClient::new(Dialer::Memory(dialer));
    let endpoint = endpoint(|_| {});
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..1000 {
        let (client, endpoint) = (client.clone(), endpoint.clone());
        requests.spawn(
            async move { text(client.send(&endpoint, post("{}")).await.unwrap().body).await.unwrap() },
        );
    }
    let server = tokio::spawn(async move {
        // Each connection takes a while, in which others end.
        while let Some(stream) = listener.accept().await {
            sleep(Duration::from_millis(1)).await;
            tokio::spawn(async move { Peer { stream }.serve_all(Duration::from_millis(10)).await });
        }
    });
    assert!(requests.join_all().await.iter().all(|body| body == "ok"));
    let stats = &client.stats()[0];
    // Those who waited for their turn found connections of those who did not.
    assert!(stats.opened <= 2 * AT_ONCE as u64, "{stats:?}");
    assert_eq!(stats.opened + stats.reused, 1000);
    server.abort();
}

// Spec: security S-48.
#[tokio::test(start_paused = true)]
async fn the_wait_for_a_turn_to_connect_is_bounded() {
    // Nobody accepts, as with a host that drops packets.
    let (dialer, _listener) = MemoryDialer::with_backlog(1);
    let client = UpstreamClient::new(Dialer::Memory(dialer));
    let five = Some(Duration::from_secs(5));
    let timeouts = Timeouts { connection: five, first_byte: five, ..Timeouts::default() };
    let endpoint = endpoint(|config| config.timeouts = timeouts);
    let begin = Instant::now();
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..AT_ONCE + 10 {
        let (client, endpoint) = (client.clone(), endpoint.clone());
        requests.spawn(async move { (client.send(&endpoint, post("{}")).await.err(), begin.elapsed()) });
    }
    let outcomes = requests.join_all().await;
    let refused = outcomes.iter().filter(|(error, after)| {
        error.as_ref().is_some_and(|error| error.kind() == UpstreamErrorKind::PoolFull)
            && *after == Duration::from_secs(2)
    });
    assert_eq!(refused.count(), 10 - 1, "{outcomes:?}");
}
