//! Which connections serve again, how many there are, and what a dropped exchange leaves behind.

use std::path::PathBuf;
use std::time::Duration;

use http_body_util::BodyExt;
use tokio::time::{Instant, advance, sleep};

use super::support::{OK, Peer, endpoint, exchange, memory, post, text};
use crate::{
    Credential, EndpointConfig, PoolSettings, RequestBody, Roots, Scheme, Sent, UpstreamBody,
    UpstreamErrorKind,
};

#[tokio::test(start_paused = true)]
async fn a_connection_serves_one_request_after_another() {
    let (client, mut listener) = memory();
    let endpoint = endpoint(|_| {});
    let (first, mut peer) = exchange(&client, &mut listener, &endpoint, OK).await;
    assert_eq!((first.timings.reused, first.timings.retries), (false, 0));
    assert_eq!(text(first.body).await.unwrap(), "ok");
    for _ in 0..3 {
        let (next, _) = tokio::join!(client.send(&endpoint, post("{}")), peer.serve(OK));
        let next = next.unwrap();
        assert!(next.timings.reused);
        assert_eq!(text(next.body).await.unwrap(), "ok");
    }
    let stats = &client.stats()[0];
    assert_eq!((stats.opened, stats.reused, stats.idle, stats.in_use), (1, 3, 1, 0));
    assert_eq!((stats.host.as_str(), stats.port), ("api.test", 80));
}

/// Answers one request with `answer`, reads its body, and checks whether the connection is kept.
async fn check_kept(answer: &str, closes: bool, is_kept: bool) {
    let (client, mut listener) = memory();
    let endpoint = endpoint(|_| {});
    let (response, peer) = exchange(&client, &mut listener, &endpoint, answer).await;
    let _open = (!closes).then_some(peer);
    text(response.body).await.unwrap();
    assert_eq!(client.stats()[0].idle, usize::from(is_kept), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn only_a_whole_and_willing_connection_is_kept() {
    check_kept(OK, false, true).await;
    check_kept("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", false, true).await;
    check_kept("HTTP/1.1 204 No Content\r\n\r\n", false, true).await;
    check_kept("HTTP/1.1 500 Oops\r\ncontent-length: 1\r\n\r\nx", false, true).await;
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    check_kept(&format!("{chunked}1\r\nx\r\n0\r\n\r\n"), false, true).await;
    check_kept(&format!("{chunked}1\r\nx\r\n0\r\nsum: 1\r\n\r\n"), false, true).await;
    // The server does not want to go on.
    check_kept("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok", false, false).await;
    check_kept("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", false, false).await;
    check_kept("HTTP/1.1 200 OK\r\n\r\nok", true, false).await;
    // More than was announced would be read as the next response.
    check_kept(&format!("{OK}HTTP/1.1 200 OK\r\n\r\n"), false, false).await;
    check_kept("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", false, false)
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_reader_who_knows_the_length_need_not_ask_for_the_end() {
    let (client, mut listener) = memory();
    let endpoint = endpoint(|_| {});
    let (mut response, _peer) = exchange(&client, &mut listener, &endpoint, OK).await;
    response.body.frame().await.unwrap().unwrap();
    assert_eq!(client.stats()[0].idle, 1);
    assert!(http_body::Body::is_end_stream(&response.body));
}

#[test]
fn a_connection_of_the_callers_own_runtime_comes_first() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (ours, theirs) = (runtime(), runtime());
    let (client, mut listener) = memory();
    let endpoint = endpoint(|_| {});
    let (own, mut own_peer) = ours.block_on(exchange(&client, &mut listener, &endpoint, OK));
    let (other, mut other_peer) = theirs.block_on(exchange(&client, &mut listener, &endpoint, OK));
    // In this order, so that theirs is the newest.
    ours.block_on(text(own.body)).unwrap();
    theirs.block_on(text(other.body)).unwrap();
    let ask = |peer: &mut Peer| {
        ours.block_on(async {
            let (response, _) = tokio::join!(client.send(&endpoint, post("{}")), peer.serve(OK));
            response.unwrap()
        })
    };
    let held = ask(&mut own_peer);
    // Any other is better than a new one.
    let further = ask(&mut other_peer);
    assert!(held.timings.reused && further.timings.reused);
    assert_eq!(client.stats()[0].opened, 2);
}

#[test]
fn a_deadline_holds_on_a_connection_whose_last_runtime_has_ended() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    let (client, mut listener) = memory();
    let endpoint = endpoint(|config| config.timeouts.first_byte = Some(Duration::from_secs(60)));
    let ended = runtime().unwrap();
    let (response, _peer) = ended.block_on(exchange(&client, &mut listener, &endpoint, OK));
    ended.block_on(text(response.body)).unwrap();
    drop(ended);
    let error = runtime().unwrap().block_on(async {
        let sent = tokio::time::timeout(Duration::from_secs(90), client.send(&endpoint, post("{}")));
        sent.await.unwrap().unwrap_err()
    });
    assert_eq!((error.kind(), client.stats()[0].reused), (UpstreamErrorKind::FirstByteTimeout, 1));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_died_in_the_pool_is_not_used() {
    let timeout = "HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\r\n";
    for (last_words, is_dead_on_return) in [("", false), ("", true), (timeout, false)] {
        let (client, mut listener) = memory();
        let endpoint = endpoint(|_| {});
        let (response, mut peer) = exchange(&client, &mut listener, &endpoint, OK).await;
        if is_dead_on_return {
            drop(peer);
            text(response.body).await.unwrap();
        } else {
            text(response.body).await.unwrap();
            peer.write(last_words).await;
            drop(peer);
        }
        let (response, _peer) = exchange(&client, &mut listener, &endpoint, OK).await;
        assert!(!response.timings.reused);
        let stats = &client.stats()[0];
        assert_eq!((stats.opened, stats.reused, stats.retried), (2, 0, 0), "{last_words:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_kept_up_to_the_limit() {
    for (pause, is_reused) in [(3999, true), (4000, false)] {
        let (client, mut listener) = memory();
        let endpoint = endpoint(|_| {});
        let (response, mut peer) = exchange(&client, &mut listener, &endpoint, OK).await;
        text(response.body).await.unwrap();
        advance(Duration::from_millis(pause)).await;
        let response = if is_reused {
            tokio::join!(client.send(&endpoint, post("{}")), peer.serve(OK)).0.unwrap()
        } else {
            exchange(&client, &mut listener, &endpoint, OK).await.0
        };
        assert_eq!(response.timings.reused, is_reused, "{pause} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_retires_at_its_age_give_or_take_a_fifth() {
    for (age, is_reused) in [(239, true), (361, false)] {
        let (client, mut listener) = memory();
        let endpoint = endpoint(|config| config.pool.idle_timeout = Duration::from_secs(3600));
        let (response, mut peer) = exchange(&client, &mut listener, &endpoint, OK).await;
        text(response.body).await.unwrap();
        advance(Duration::from_secs(age)).await;
        let response = if is_reused {
            tokio::join!(client.send(&endpoint, post("{}")), peer.serve(OK)).0.unwrap()
        } else {
            exchange(&client, &mut listener, &endpoint, OK).await.0
        };
        assert_eq!(response.timings.reused, is_reused, "{age} s");
    }
}

fn one_connection(config: &mut EndpointConfig) {
    config.pool = PoolSettings { max_connections: 1, ..PoolSettings::default() };
}

#[tokio::test(start_paused = true)]
async fn a_request_over_the_limit_waits_for_the_connection_of_another() {
    let (client, mut listener) = memory();
    let endpoint = endpoint(one_connection);
    let (busy, mut peer) = exchange(&client, &mut listener, &endpoint, OK).await;
    let finish = async {
        sleep(Duration::from_millis(1500)).await;
        text(busy.body).await.unwrap();
        peer.serve(OK).await;
    };
    let (response, _) = tokio::join!(client.send(&endpoint, post("{}")), finish);
    let timings = response.unwrap().timings;
    assert_eq!((timings.pool_wait, timings.reused), (Duration::from_millis(1500), true));
    assert_eq!(client.stats()[0].opened, 1);
}

// Spec: api A-34.
#[tokio::test(start_paused = true)]
async fn the_wait_for_a_connection_is_bounded() {
    let (client, mut listener) = memory();
    let endpoint = endpoint(one_connection);
    let (_busy, _peer) = exchange(&client, &mut listener, &endpoint, OK).await;
    let begin = Instant::now();
    let error = client.send(&endpoint, post("{}")).await.unwrap_err();
    assert_eq!((error.kind(), error.sent()), (UpstreamErrorKind::PoolFull, Sent::Nothing));
    assert_eq!(begin.elapsed(), Duration::from_secs(2));
    assert_eq!(error.to_string(), "provider `openai.test`: all connections are busy");
}

#[tokio::test(start_paused = true)]
async fn many_requests_at_once_never_open_more_than_the_limit() {
    let (client, mut listener) = memory();
    let endpoint = endpoint(|config| {
        config.pool = PoolSettings {
            max_connections: 3,
            connect_wait: Duration::from_secs(3600),
            ..PoolSettings::default()
        };
    });
    let server = tokio::spawn(async move {
        while let Some(stream) = listener.accept().await {
            tokio::spawn(async move { Peer { stream }.serve_all(Duration::from_millis(10)).await });
        }
    });
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (client, endpoint) = (client.clone(), endpoint.clone());
        requests.spawn(
            async move { text(client.send(&endpoint, post("{}")).await.unwrap().body).await.unwrap() },
        );
    }
    assert!(requests.join_all().await.iter().all(|body| body == "ok"));
    let stats = &client.stats()[0];
    assert_eq!((stats.opened, stats.reused, stats.idle, stats.in_use), (3, 97, 3, 0));
    server.abort();
}

// Spec: api A-31.
#[tokio::test(start_paused = true)]
async fn dropping_a_body_closes_its_connection_at_once() {
    let (client, mut listener) = memory();
    let endpoint = endpoint(one_connection);
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n";
    let (mut response, mut peer) = exchange(&client, &mut listener, &endpoint, head).await;
    response.body.frame().await.unwrap().unwrap();
    let begin = Instant::now();
    drop(response);
    peer.closed().await;
    assert_eq!(begin.elapsed(), Duration::ZERO);
    assert_eq!(client.stats()[0].in_use, 0, "and makes room for another");
}

// Spec: api A-31.
#[tokio::test(start_paused = true)]
async fn dropping_a_request_closes_its_connection_at_once() {
    let (client, mut listener) = memory();
    let endpoint = endpoint(one_connection);
    let mut peer = {
        let send = client.send(&endpoint, post("{}"));
        let received = async {
            let mut peer = Peer::accept(&mut listener).await;
            peer.request().await;
            peer
        };
        tokio::select! {
            outcome = send => panic!("nobody has answered: {outcome:?}"),
            peer = received => peer,
        }
    };
    assert_eq!(peer.closed().await, b"");
    assert_eq!(client.stats()[0].in_use, 0);
}

#[tokio::test(start_paused = true)]
async fn sweeping_closes_what_is_idle_too_long_and_forgets_the_server() {
    let (client, mut listener) = memory();
    let endpoint = endpoint(|_| {});
    let (response, mut peer) = exchange(&client, &mut listener, &endpoint, OK).await;
    client.sweep();
    assert_eq!(client.stats()[0].in_use, 1, "an exchange under way is left alone");
    text(response.body).await.unwrap();
    advance(Duration::from_millis(3999)).await;
    client.sweep();
    assert_eq!(client.stats()[0].idle, 1);
    advance(Duration::from_millis(1)).await;
    client.sweep();
    peer.closed().await;
    assert_eq!(client.stats(), []);
}

#[tokio::test(start_paused = true)]
async fn a_return_closes_older_idle_connections() {
    let (client, mut listener) = memory();
    let endpoint = endpoint(|_| {});
    let (older, mut old_peer) = exchange(&client, &mut listener, &endpoint, OK).await;
    let (newer, _peer) = exchange(&client, &mut listener, &endpoint, OK).await;
    text(older.body).await.unwrap();
    advance(Duration::from_secs(4)).await;
    text(newer.body).await.unwrap();
    old_peer.closed().await;
    assert_eq!(client.stats()[0].idle, 1);
}

#[tokio::test(start_paused = true)]
async fn the_connection_used_last_is_used_next() {
    let (client, mut listener) = memory();
    let endpoint = endpoint(|_| {});
    let (older, _old_peer) = exchange(&client, &mut listener, &endpoint, OK).await;
    let (newer, mut peer) = exchange(&client, &mut listener, &endpoint, OK).await;
    text(older.body).await.unwrap();
    text(newer.body).await.unwrap();
    // The other peer stays silent: over it the request would not be answered.
    let send = tokio::time::timeout(Duration::from_secs(1), client.send(&endpoint, post("{}")));
    let served = tokio::time::timeout(Duration::from_secs(1), peer.serve(OK));
    let (response, served) = tokio::join!(send, served);
    assert!(served.is_ok() && response.unwrap().unwrap().timings.reused);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_grew_too_old_in_use_is_not_kept() {
    let (client, mut listener) = memory();
    let endpoint = endpoint(|_| {});
    let (response, mut peer) = exchange(&client, &mut listener, &endpoint, OK).await;
    advance(Duration::from_secs(361)).await;
    text(response.body).await.unwrap();
    assert_eq!(client.stats()[0].idle, 0);
    peer.closed().await;
}

#[tokio::test(start_paused = true)]
async fn an_empty_body_gives_its_connection_back_unread() {
    let (client, mut listener) = memory();
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    let (response, _peer) = exchange(&client, &mut listener, &endpoint(|_| {}), answer).await;
    drop(response);
    assert_eq!(client.stats()[0].idle, 1);
}

#[tokio::test(start_paused = true)]
async fn idle_connections_can_be_closed_by_hand() {
    let (client, mut listener) = memory();
    let endpoint = endpoint(|_| {});
    let (response, mut peer) = exchange(&client, &mut listener, &endpoint, OK).await;
    text(response.body).await.unwrap();
    client.close_idle();
    peer.closed().await;
}

// Spec: security S-18.
#[tokio::test(start_paused = true)]
async fn connections_are_shared_by_identity_alone() {
    async fn check(what: &str, is_shared: bool, change: impl FnOnce(&mut EndpointConfig)) {
        let (client, mut listener) = memory();
        let (one, other) = (endpoint(|_| {}), endpoint(change));
        let (response, mut peer) = exchange(&client, &mut listener, &one, OK).await;
        text(response.body).await.unwrap();
        if is_shared {
            let (response, _) = tokio::join!(client.send(&other, post("{}")), peer.serve(OK));
            assert!(response.unwrap().timings.reused, "{what}");
        } else {
            let (response, _peer) = exchange(&client, &mut listener, &other, OK).await;
            assert!(!response.timings.reused, "{what}");
        }
    }
    check("nothing differs", true, |_| {}).await;
    check("key", true, |c| c.credential = Some(Credential::new("sk-other"))).await;
    check("path", true, |c| c.path_prefix = "/v2".to_owned()).await;
    check("spelling", true, |c| c.authority = "API.test:80".to_owned()).await;
    check("timeouts", true, |c| c.timeouts.total = Some(Duration::from_secs(9))).await;
    check("host", false, |c| c.authority = "api.other".to_owned()).await;
    check("port", false, |c| c.authority = "api.test:81".to_owned()).await;
    check("scheme", false, |c| (c.scheme, c.authority) = (Scheme::Https, "api.test:80".to_owned())).await;
    check("limit", false, one_connection).await;

    async fn check_tls(what: &str, is_shared: bool, change: impl FnOnce(&mut EndpointConfig)) {
        let (client, mut listener) = memory();
        let https = |c: &mut EndpointConfig| c.scheme = Scheme::Https;
        let (one, other) = (endpoint(https), endpoint(|c| (https(c), change(c)).1));
        for endpoint in [&one, &other] {
            let mut peers = Vec::new();
            let (response, peer) = exchange(&client, &mut listener, endpoint, OK).await;
            peers.push((response, peer));
        }
        assert_eq!(client.stats().len() == 1, is_shared, "{what}");
    }
    check_tls("nothing differs", true, |_| {}).await;
    check_tls("authority", false, |c| c.tls.roots = Roots::CaFile(PathBuf::from("ca.pem"))).await;
    let identity = Some((PathBuf::from("cert.pem"), PathBuf::from("key.pem")));
    check_tls("who we are", false, |c| c.tls.client_identity = identity).await;
}

#[test]
fn what_a_server_moves_around_is_small() {
    assert!(size_of::<UpstreamBody>() <= 256, "{} bytes", size_of::<UpstreamBody>());
    assert!(size_of::<RequestBody>() <= 2 * size_of::<usize>());
    let (client, _listener) = memory();
    let endpoint = endpoint(|_| {});
    let send = client.send(&endpoint, post(""));
    assert!(size_of_val(&send) <= 4096, "{} bytes", size_of_val(&send));
}
