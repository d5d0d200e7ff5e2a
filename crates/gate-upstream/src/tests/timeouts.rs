//! Every deadline, to the millisecond of a paused clock.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use http_body_util::BodyExt;
use tokio::io::AsyncReadExt;
use tokio::task::consume_budget;
use tokio::time::{Instant, advance, sleep, timeout};

use super::support::{OK, Peer, endpoint, exchange, memory, post, text};
use crate::{
    Dialer, Endpoint, MemoryDialer, PoolSettings, Sent, Timeouts, UpstreamClient, UpstreamError,
    UpstreamErrorKind,
};

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn with(timeouts: Timeouts) -> Endpoint {
    endpoint(|config| config.timeouts = timeouts)
}

#[track_caller]
fn check(error: &UpstreamError, kind: UpstreamErrorKind, sent: Sent, begin: Instant, after: Duration) {
    assert_eq!((error.kind(), error.sent(), begin.elapsed()), (kind, sent, after));
    assert!(kind.is_timeout());
}

// Spec: config C-18.
// Spec: api A-34.
#[tokio::test(start_paused = true)]
async fn connecting_ends_at_the_connection_timeout() {
    let (dialer, listener) = MemoryDialer::with_backlog(1);
    let client = UpstreamClient::new(Dialer::Memory(dialer));
    let begin = Instant::now();
    let fills_the_backlog = with(Timeouts { total: Some(seconds(10)), ..Timeouts::default() });
    let waits = with(Timeouts { connection: Some(seconds(5)), ..Timeouts::default() });
    let first = client.send(&fills_the_backlog, post("{}"));
    let second = async {
        let error = client.send(&waits, post("{}")).await.unwrap_err();
        check(&error, UpstreamErrorKind::ConnectTimeout, Sent::Nothing, begin, seconds(5));
        assert_eq!(error.to_string(), "provider `openai.test`: connecting took too long");
    };
    let is_shorter = with(Timeouts { total: Some(seconds(1)), ..*waits.timeouts() });
    let third = async {
        let error = client.send(&is_shorter, post("{}")).await.unwrap_err();
        check(&error, UpstreamErrorKind::TotalTimeout, Sent::Nothing, begin, seconds(1));
    };
    let (first, (), ()) = tokio::join!(first, second, third);
    check(&first.unwrap_err(), UpstreamErrorKind::TotalTimeout, Sent::Maybe, begin, seconds(10));
    drop(listener);
}

// Spec: config C-18.
// Spec: api A-34.
#[tokio::test(start_paused = true)]
async fn a_lookup_that_hangs_ends_at_the_connection_timeout() {
    let client = UpstreamClient::new(Dialer::System);
    let timeouts = Timeouts { connection: Some(seconds(5)), ..Timeouts::default() };
    let endpoint = endpoint(|config| {
        (config.timeouts, config.authority) = (timeouts, "slow.test:80".to_owned());
    });
    let begin = Instant::now();
    // Whoever asks for the same name waits for this answer.
    let hangs = client.resolver().resolve("slow.test", 80, std::future::pending());
    tokio::select! {
        biased;
        answer = hangs => panic!("{answer:?}"),
        outcome = client.send(&endpoint, post("{}")) => {
            let error = outcome.unwrap_err();
            check(&error, UpstreamErrorKind::DnsTimeout, Sent::Nothing, begin, seconds(5));
        }
    }
}

// Spec: config C-18.
// Spec: api A-34.
#[tokio::test(start_paused = true)]
async fn a_provider_that_never_answers_ends_at_the_first_byte_timeout() {
    let (client, mut listener) = memory();
    let endpoint = with(Timeouts { first_byte: Some(seconds(600)), ..Timeouts::default() });
    let begin = Instant::now();
    let play = async {
        let mut peer = Peer::accept(&mut listener).await;
        peer.request().await;
        peer
    };
    let (outcome, mut peer) = tokio::join!(client.send(&endpoint, post("{}")), play);
    check(&outcome.unwrap_err(), UpstreamErrorKind::FirstByteTimeout, Sent::Maybe, begin, seconds(600));
    peer.closed().await;
}

#[tokio::test(start_paused = true)]
async fn half_a_head_does_not_extend_the_first_byte_timeout() {
    let (client, mut listener) = memory();
    let endpoint = with(Timeouts { first_byte: Some(seconds(5)), ..Timeouts::default() });
    let begin = Instant::now();
    let play = async {
        let mut peer = Peer::accept(&mut listener).await;
        peer.request().await;
        for byte in ["HTTP/1.1 ", "200 ", "OK\r\n", "x: "] {
            sleep(seconds(1)).await;
            peer.write(byte).await;
        }
        peer
    };
    let (outcome, _peer) = tokio::join!(client.send(&endpoint, post("{}")), play);
    check(&outcome.unwrap_err(), UpstreamErrorKind::FirstByteTimeout, Sent::Maybe, begin, seconds(5));
}

#[tokio::test(start_paused = true)]
async fn interim_responses_do_not_extend_the_first_byte_timeout() {
    let (client, mut listener) = memory();
    let endpoint = with(Timeouts { first_byte: Some(seconds(5)), ..Timeouts::default() });
    let begin = Instant::now();
    let drip = async {
        let mut peer = Peer::accept(&mut listener).await;
        peer.request().await;
        loop {
            sleep(seconds(1)).await;
            peer.write("HTTP/1.1 103 Early Hints\r\n\r\n").await;
        }
    };
    tokio::select! {
        outcome = client.send(&endpoint, post("{}")) => {
            check(&outcome.unwrap_err(), UpstreamErrorKind::FirstByteTimeout, Sent::Maybe, begin, seconds(5));
        }
        () = drip => {}
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_byte_timeout_begins_when_the_request_is_out() {
    let (client, mut listener) = memory();
    let endpoint =
        with(Timeouts { first_byte: Some(seconds(5)), write: Some(seconds(4)), ..Timeouts::default() });
    let begin = Instant::now();
    // Three times what the pipe holds, read in pieces: 9 s of upload, 4 s of thought.
    let body = "x".repeat(3 * 64 * 1024);
    let slow = async {
        let mut peer = Peer::accept(&mut listener).await;
        let mut piece = vec![0; 64 * 1024];
        for _ in 0..3 {
            sleep(seconds(3)).await;
            peer.stream.read_exact(&mut piece).await.unwrap();
        }
        sleep(seconds(4)).await;
        peer.write(OK).await;
        peer
    };
    let (outcome, _peer) = tokio::join!(client.send(&endpoint, post(body)), slow);
    assert_eq!(outcome.unwrap().status, 200);
    assert_eq!(begin.elapsed(), seconds(13));
}

#[tokio::test(start_paused = true)]
async fn without_a_first_byte_timeout_a_model_may_think_for_an_hour() {
    let (client, mut listener) = memory();
    let endpoint = with(Timeouts { read: Some(seconds(5)), write: Some(seconds(5)), ..Timeouts::default() });
    let think = async {
        let mut peer = Peer::accept(&mut listener).await;
        peer.request().await;
        sleep(seconds(3600)).await;
        peer.write(OK).await;
        peer
    };
    let (outcome, _peer) = tokio::join!(client.send(&endpoint, post("{}")), think);
    let response = outcome.unwrap();
    assert_eq!(response.timings.first_byte, Some(seconds(3600)));
    assert_eq!(text(response.body).await.unwrap(), "ok");
}

// Spec: config C-18.
// Spec: api A-34.
#[tokio::test(start_paused = true)]
async fn a_provider_that_stops_reading_ends_at_the_write_timeout() {
    let (client, mut listener) = memory();
    let endpoint =
        with(Timeouts { write: Some(seconds(60)), first_byte: Some(seconds(5)), ..Timeouts::default() });
    let begin = Instant::now();
    // One piece is read after 10 s: the clock begins anew.
    let stop = async {
        let mut peer = Peer::accept(&mut listener).await;
        sleep(seconds(10)).await;
        peer.stream.read_exact(&mut [0; 1000]).await.unwrap();
        peer
    };
    let (outcome, _peer) = tokio::join!(client.send(&endpoint, post("x".repeat(200_000))), stop);
    check(&outcome.unwrap_err(), UpstreamErrorKind::WriteTimeout, Sent::Maybe, begin, seconds(70));
}

// Spec: config C-18.
// Spec: api A-24.
#[tokio::test(start_paused = true)]
async fn a_body_that_falls_silent_ends_at_the_read_timeout() {
    let (client, mut listener) = memory();
    let endpoint =
        with(Timeouts { read: Some(seconds(5)), first_byte: Some(seconds(60)), ..Timeouts::default() });
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let (mut response, mut peer) = exchange(&client, &mut listener, &endpoint, head).await;
    let begin = Instant::now();
    let events = async {
        for _ in 0..3 {
            sleep(seconds(4)).await;
            peer.write("1\r\nx\r\n").await;
        }
        peer
    };
    let read = async {
        for _ in 0..3 {
            let data = response.body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(data, "x");
        }
        let error = response.body.frame().await.unwrap().unwrap_err();
        check(&error, UpstreamErrorKind::ReadTimeout, Sent::Maybe, begin, seconds(17));
        assert!(response.body.frame().await.is_none(), "an error is the end");
    };
    let (mut peer, ()) = tokio::join!(events, read);
    peer.closed().await;
}

#[tokio::test(start_paused = true)]
async fn data_that_waited_for_its_reader_is_no_silence() {
    let (client, mut listener) = memory();
    let endpoint = with(Timeouts { read: Some(seconds(5)), ..Timeouts::default() });
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nabc";
    let (mut response, mut peer) = exchange(&client, &mut listener, &endpoint, head).await;
    assert_eq!(response.body.frame().await.unwrap().unwrap().into_data().unwrap(), "abc");
    peer.write("def").await;
    sleep(seconds(60)).await;
    assert_eq!(text(response.body).await.unwrap(), "def");
}

// Spec: config C-18.
// Spec: api A-34.
#[tokio::test(start_paused = true)]
async fn the_total_timeout_bounds_a_lively_body() {
    let (client, mut listener) = memory();
    let timeouts = Timeouts { total: Some(seconds(10)), read: Some(seconds(5)), ..Timeouts::default() };
    let endpoint = with(timeouts);
    let begin = Instant::now();
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let (response, mut peer) = exchange(&client, &mut listener, &endpoint, head).await;
    let lively = async {
        loop {
            peer.write("1\r\nx\r\n").await;
            sleep(seconds(1)).await;
        }
    };
    tokio::select! {
        outcome = text(response.body) => {
            check(&outcome.unwrap_err(), UpstreamErrorKind::TotalTimeout, Sent::Maybe, begin, seconds(10));
        }
        () = lively => {}
    }
}

// Spec: config C-18.
#[tokio::test(start_paused = true)]
async fn the_total_timeout_bounds_a_body_that_never_pauses() {
    let (client, mut listener) = memory();
    let endpoint = with(Timeouts { total: Some(seconds(10)), ..Timeouts::default() });
    let begin = Instant::now();
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let (mut response, mut peer) = exchange(&client, &mut listener, &endpoint, head).await;
    // Data lies ready whenever the reader comes back, so that it never waits.
    for _ in 0..10 {
        peer.write("1\r\nx\r\n").await;
        assert_eq!(response.body.frame().await.unwrap().unwrap().into_data().unwrap(), "x");
        advance(seconds(1)).await;
    }
    peer.write("1\r\nx\r\n").await;
    let error = response.body.frame().await.unwrap().unwrap_err();
    check(&error, UpstreamErrorKind::TotalTimeout, Sent::Maybe, begin, seconds(10));
    assert!(response.body.frame().await.is_none(), "an error is the end");
    peer.closed().await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_has_ended_is_not_late() {
    let (client, mut listener) = memory();
    let endpoint = with(Timeouts { total: Some(seconds(10)), ..Timeouts::default() });
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let (mut response, mut peer) = exchange(&client, &mut listener, &endpoint, head).await;
    peer.write("1\r\nx\r\n0\r\n\r\n").await;
    assert_eq!(response.body.frame().await.unwrap().unwrap().into_data().unwrap(), "x");
    advance(seconds(10)).await;
    assert!(response.body.frame().await.is_none());
}

/// Polls once, in a task that has used up what tokio lets it do in one go, as one does whose driver
/// always finds bytes.
async fn poll_without_budget<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|cx| {
        while pin!(consume_budget()).poll(cx).is_ready() {}
        Poll::Ready(future.as_mut().poll(cx))
    })
    .await
}

// Spec: config C-18.
#[tokio::test(start_paused = true)]
async fn a_busy_connection_does_not_outrun_the_deadline_for_the_head() {
    use UpstreamErrorKind::{FirstByteTimeout, TotalTimeout};
    let limit = Some(seconds(5));
    let first_byte = Timeouts { first_byte: limit, ..Timeouts::default() };
    let total = Timeouts { total: limit, ..Timeouts::default() };
    for (timeouts, kind) in [(first_byte, FirstByteTimeout), (total, TotalTimeout)] {
        let (client, _listener) = memory();
        let endpoint = with(timeouts);
        let begin = Instant::now();
        let mut send = pin!(client.send(&endpoint, post("{}")));
        timeout(seconds(4), send.as_mut()).await.unwrap_err();
        assert!(poll_without_budget(send.as_mut()).await.is_pending(), "{kind:?}");
        advance(seconds(1)).await;
        let Poll::Ready(outcome) = poll_without_budget(send).await else { panic!("{kind:?} does not come") };
        check(&outcome.unwrap_err(), kind, Sent::Maybe, begin, seconds(5));
    }
}

// Spec: config C-18.
#[tokio::test(start_paused = true)]
async fn a_busy_connection_does_not_outrun_the_deadline_for_the_body() {
    let (client, mut listener) = memory();
    let endpoint = with(Timeouts { read: Some(seconds(5)), ..Timeouts::default() });
    let begin = Instant::now();
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let (mut response, _peer) = exchange(&client, &mut listener, &endpoint, head).await;
    let mut frame = pin!(response.body.frame());
    timeout(seconds(4), frame.as_mut()).await.unwrap_err();
    advance(seconds(1)).await;
    let Poll::Ready(outcome) = poll_without_budget(frame).await else { panic!("the deadline does not come") };
    check(&outcome.unwrap().unwrap_err(), UpstreamErrorKind::ReadTimeout, Sent::Maybe, begin, seconds(5));
}

#[tokio::test(start_paused = true)]
async fn the_total_timeout_counts_the_wait_for_a_connection() {
    let (client, mut listener) = memory();
    let endpoint = endpoint(|config| {
        config.timeouts.total = Some(seconds(1));
        config.pool = PoolSettings { max_connections: 1, ..PoolSettings::default() };
    });
    let (_busy, _peer) = exchange(&client, &mut listener, &endpoint, "HTTP/1.1 200 OK\r\n\r\n").await;
    let begin = Instant::now();
    let error = client.send(&endpoint, post("{}")).await.unwrap_err();
    check(&error, UpstreamErrorKind::TotalTimeout, Sent::Nothing, begin, seconds(1));
}

#[tokio::test(start_paused = true)]
async fn limits_beyond_the_end_of_time_are_none() {
    let (client, mut listener) = memory();
    let never = Some(Duration::MAX);
    let endpoint =
        with(Timeouts { connection: never, first_byte: never, read: never, write: never, total: never });
    let (response, _peer) = exchange(&client, &mut listener, &endpoint, OK).await;
    assert_eq!(text(response.body).await.unwrap(), "ok");
}

// Spec: load-balancing B-40.
#[tokio::test(start_paused = true)]
async fn a_caller_can_set_a_shorter_limit_and_no_longer_one() {
    let check_limit = async |limit: u64, own: Option<u64>, expected: u64| {
        let (client, mut listener) = memory();
        let endpoint = with(Timeouts { total: own.map(seconds), ..Timeouts::default() });
        let begin = Instant::now();
        let (error, _peer) = tokio::join!(client.send_within(&endpoint, post("{}"), seconds(limit)), async {
            listener.accept().await.unwrap()
        });
        check(&error.unwrap_err(), UpstreamErrorKind::TotalTimeout, Sent::Maybe, begin, seconds(expected));
    };
    check_limit(5, None, 5).await;
    check_limit(5, Some(60), 5).await;
    check_limit(60, Some(5), 5).await;
}
