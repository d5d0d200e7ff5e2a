//! How long each step took that led to an error, to the millisecond of a paused clock.

use std::future::pending;
use std::time::Duration;

use super::support::{OK, Peer, endpoint, exchange, memory, post, text};
use crate::{
    Dialer, Endpoint, MemoryDialer, PoolSettings, Timeouts, Timings, UpstreamClient, UpstreamErrorKind,
    UpstreamRequest,
};

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn with(timeouts: Timeouts) -> Endpoint {
    let pool = PoolSettings { max_connections: 1, ..PoolSettings::default() };
    endpoint(|config| (config.timeouts, config.pool) = (timeouts, pool))
}

/// A request fails in this way, and these were the steps to that.
async fn check(
    client: &UpstreamClient,
    (endpoint, request): (&Endpoint, UpstreamRequest),
    kind: UpstreamErrorKind,
    expected: Option<Timings>,
) {
    let error = client.send(endpoint, request).await.unwrap_err();
    assert_eq!((error.kind(), error.timings()), (kind, expected.as_ref()));
}

// Spec: monitoring L-28.
#[tokio::test(start_paused = true)]
async fn a_lookup_and_a_connect_that_hang_count_until_they_are_given_up() {
    let timeouts = Timeouts { connection: Some(seconds(5)), ..Timeouts::default() };
    let client = UpstreamClient::new(Dialer::System);
    let slow = endpoint(|config| (config.timeouts, config.authority) = (timeouts, "slow.test:80".to_owned()));
    // Whoever asks for the same name waits for this answer.
    let hangs = client.resolver().resolve("slow.test", 80, pending());
    let expected = Timings { dns: Some(seconds(5)), ..Timings::default() };
    tokio::select! {
        biased;
        answer = hangs => panic!("{answer:?}"),
        () = check(&client, (&slow, post("{}")), UpstreamErrorKind::DnsTimeout, Some(expected)) => {}
    }

    let (dialer, listener) = MemoryDialer::with_backlog(1);
    let client = UpstreamClient::new(Dialer::Memory(dialer));
    let mut fills_the_backlog = Box::pin(client.send(&slow, post("{}")));
    let expected = Timings { connect: Some(seconds(5)), ..Timings::default() };
    tokio::select! {
        biased;
        outcome = &mut fills_the_backlog => panic!("{outcome:?}"),
        () = check(&client, (&slow, post("{}")), UpstreamErrorKind::ConnectTimeout, Some(expected)) => {}
    }
    drop(listener);
}

// Spec: monitoring L-28.
#[tokio::test(start_paused = true)]
async fn a_connection_that_is_not_free_and_a_head_that_never_comes_count_as_waits() {
    let (client, mut listener) = memory();
    let endpoint = with(Timeouts { first_byte: Some(seconds(7)), ..Timeouts::default() });
    let (busy, mut peer) = exchange(&client, &mut listener, &endpoint, OK).await;
    let expected = Timings { pool_wait: seconds(2), ..Timings::default() };
    check(&client, (&endpoint, post("{}")), UpstreamErrorKind::PoolFull, Some(expected)).await;

    text(busy.body).await.unwrap();
    let expected = Timings { first_byte: Some(seconds(7)), reused: true, ..Timings::default() };
    let sent = check(&client, (&endpoint, post("{}")), UpstreamErrorKind::FirstByteTimeout, Some(expected));
    tokio::join!(sent, peer.request());
}

// Spec: monitoring L-28.
#[tokio::test(start_paused = true)]
async fn an_error_without_a_step_has_no_times() {
    let (client, mut listener) = memory();
    let endpoint = with(Timeouts::default());
    let impossible = UpstreamRequest { path: "/with a space".to_owned(), ..post("{}") };
    check(&client, (&endpoint, impossible), UpstreamErrorKind::InvalidRequest, None).await;

    let cut = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok";
    let play = async {
        Peer::accept(&mut listener).await.serve(cut).await;
    };
    let (response, ()) = tokio::join!(client.send(&endpoint, post("{}")), play);
    let error = text(response.unwrap().body).await.unwrap_err();
    assert_eq!((error.kind(), error.timings()), (UpstreamErrorKind::ClosedMidBody, None));
}
