//! What of an answer, or of a broken one, reaches the caller.

use std::error::Error;
use std::time::Duration;

use http::{Method, Version};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::support::{OK, Peer, endpoint, exchange, memory, post, text};
use crate::{Sent, UpstreamErrorKind, UpstreamRequest};

// Spec: security S-16.
#[tokio::test(start_paused = true)]
async fn headers_say_how_the_body_is_framed() {
    struct Expected<'t> {
        length: Option<&'t str>,
        is_chunked: bool,
        is_close_delimited: bool,
        body: &'t str,
    }
    async fn check(method: Method, answer: &str, expected: Expected<'_>) {
        let (client, mut listener) = memory();
        let request = UpstreamRequest { method, ..post("") };
        let play = async {
            let mut peer = Peer::accept(&mut listener).await;
            peer.serve(answer).await;
        };
        let endpoint = endpoint(|_| {});
        let (response, ()) = tokio::join!(client.send(&endpoint, request), play);
        let response = response.unwrap();
        let header =
            |name| response.headers.get(name).map(|value: &http::HeaderValue| value.to_str().unwrap());
        assert_eq!(header("content-length"), expected.length, "{answer:?}");
        assert_eq!(header("transfer-encoding").is_some(), expected.is_chunked, "{answer:?}");
        assert_eq!(response.is_close_delimited, expected.is_close_delimited, "{answer:?}");
        assert_eq!(text(response.body).await.unwrap(), expected.body, "{answer:?}");
    }
    let sized =
        |length, body| Expected { length: Some(length), is_chunked: false, is_close_delimited: false, body };
    let chunked = |body| Expected { length: None, is_chunked: true, is_close_delimited: false, body };
    let bare =
        |body, is_close_delimited| Expected { length: None, is_chunked: false, is_close_delimited, body };
    let (get, head, post) = (Method::GET, Method::HEAD, Method::POST);

    check(post.clone(), OK, sized("2", "ok")).await;
    check(get.clone(), "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", sized("0", "")).await;
    check(get.clone(), "HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nok", sized("2", "ok")).await;
    let te = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n";
    check(post.clone(), &format!("{te}\r\n2\r\nok\r\n0\r\n\r\n"), chunked("ok")).await;
    // RFC 9112 §6.3: chunked wins, and the length must not travel on.
    check(post.clone(), &format!("{te}content-length: 9\r\n\r\n2\r\nok\r\n0\r\n\r\n"), chunked("ok")).await;
    check(post.clone(), &format!("{te}\r\n2\r\nok\r\n0\r\nsum: 7\r\n\r\n"), chunked("ok")).await;
    check(post.clone(), "HTTP/1.1 200 OK\r\n\r\nok", bare("ok", true)).await;
    check(post.clone(), "HTTP/1.0 200 OK\r\n\r\n", bare("", true)).await;
    check(head.clone(), "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n", sized("7", "")).await;
    check(head, "HTTP/1.1 200 OK\r\n\r\n", bare("", false)).await;
    check(get.clone(), "HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\n", bare("", false)).await;
    check(get, "HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n", sized("9", "")).await;
    // RFC 9112 §6.1 forbids the coding here; a reader that believes it would wait for a chunk.
    check(post, &format!("{}\r\n", te.replace("200 OK", "204 No Content")), bare("", false)).await;
}

// Spec: security S-16.
#[tokio::test(start_paused = true)]
async fn the_length_of_a_body_that_does_not_come_is_passed_on_once_or_not_at_all() {
    async fn check(lengths: &[&str], expected: Option<&str>) {
        for (method, status) in [(Method::HEAD, "200 OK"), (Method::GET, "304 Not Modified")] {
            let lines: String =
                lengths.iter().map(|length| format!("content-length: {length}\r\n")).collect();
            let answer = format!("HTTP/1.1 {status}\r\n{lines}\r\n");
            let (client, mut listener) = memory();
            let endpoint = endpoint(|_| {});
            let play = async { Peer::accept(&mut listener).await.serve(&answer).await };
            let request = UpstreamRequest { method, ..post("") };
            let (response, _) = tokio::join!(client.send(&endpoint, request), play);
            let response = response.unwrap();
            let seen: Vec<_> = response.headers.get_all("content-length").iter().collect();
            assert_eq!(seen, Vec::from_iter(expected), "{answer:?}");
            assert_eq!(text(response.body).await.unwrap(), "", "{answer:?}");
        }
    }
    check(&["7"], Some("7")).await;
    check(&["7", "7"], Some("7")).await;
    check(&["7, 7"], Some("7")).await;
    check(&["7 ,\t7", "7"], Some("7")).await;
    check(&["18446744073709551615"], Some("18446744073709551615")).await;
    check(&["7", "8"], None).await;
    check(&["7, 8"], None).await;
    check(&["7, "], None).await;
    check(&[""], None).await;
    check(&["+7"], None).await;
    check(&["-7"], None).await;
    check(&["7x"], None).await;
    check(&["\u{e9}"], None).await;
    check(&["18446744073709551616"], None).await;
    // The coding, which a later hop would obey, and not the length.
    check(&["7\r\ntransfer-encoding: chunked"], None).await;
}

// Spec: api A-21.
#[tokio::test(start_paused = true)]
async fn any_status_is_a_response() {
    for status in [101, 200, 302, 400, 401, 429, 500, 503, 529, 600, 999] {
        let (client, mut listener) = memory();
        let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
        let (response, _peer) = exchange(&client, &mut listener, &endpoint(|_| {}), &answer).await;
        assert_eq!((response.status.as_u16(), response.version), (status, Version::HTTP_11));
    }
}

#[tokio::test(start_paused = true)]
async fn interim_responses_are_swallowed() {
    let (client, mut listener) = memory();
    let hints = "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n".repeat(99);
    let answer = format!("HTTP/1.1 100 Continue\r\n\r\n{hints}{OK}");
    let (response, _peer) = exchange(&client, &mut listener, &endpoint(|_| {}), &answer).await;
    assert_eq!(response.status, 200);
    assert!(!response.headers.contains_key("link"));
    assert_eq!(text(response.body).await.unwrap(), "ok");
}

// Spec: api A-34; security S-32, S-53.
#[tokio::test(start_paused = true)]
async fn more_interim_responses_than_any_server_needs_are_an_error() {
    for count in [101, 100_000] {
        let (client, mut listener) = memory();
        let flood = async {
            let mut peer = Peer::accept(&mut listener).await;
            peer.request().await;
            let interim = "HTTP/1.1 102 Processing\r\n\r\n".repeat(count);
            // The client leaves before it has read all of this.
            let _ = peer.stream.write_all(interim.as_bytes()).await;
            let _ = peer.stream.write_all(OK.as_bytes()).await;
        };
        let endpoint = endpoint(|_| {});
        let (outcome, ()) = tokio::join!(client.send(&endpoint, post("{}")), flood);
        let error = outcome.unwrap_err();
        assert_eq!((error.kind(), error.sent()), (UpstreamErrorKind::Protocol, Sent::Maybe), "{count}");
        assert_eq!(error.source().unwrap().to_string(), "more than 100 interim responses");
        assert_eq!(client.stats()[0].idle, 0);
    }
}

// Spec: security S-16.
// Spec: api A-34; security S-32.
#[tokio::test(start_paused = true)]
async fn a_transfer_coding_other_than_one_chunked_is_an_error() {
    async fn check(codings: &[&str], is_read: bool) {
        let lines: String = codings.iter().map(|coding| format!("transfer-encoding: {coding}\r\n")).collect();
        let answer = format!("HTTP/1.1 200 OK\r\n{lines}\r\n2\r\nok\r\n0\r\n\r\n");
        let (client, mut listener) = memory();
        let endpoint = endpoint(|_| {});
        let play = async {
            let mut peer = Peer::accept(&mut listener).await;
            peer.serve(&answer).await;
            peer
        };
        let (outcome, mut peer) = tokio::join!(client.send(&endpoint, post("{}")), play);
        if is_read {
            assert_eq!(text(outcome.unwrap().body).await.unwrap(), "ok", "{codings:?}");
            return;
        }
        let error = outcome.expect_err(&answer);
        assert_eq!((error.kind(), error.sent()), (UpstreamErrorKind::Protocol, Sent::Maybe), "{codings:?}");
        let cause = error.source().unwrap().to_string();
        assert_eq!(cause, "a `transfer-encoding` that is not exactly one `chunked`");
        peer.closed().await;
        assert_eq!((client.stats()[0].idle, client.stats()[0].in_use), (0, 0), "{codings:?}");
    }
    check(&["chunked"], true).await;
    check(&["Chunked"], true).await;
    check(&["gzip, chunked"], false).await;
    check(&["gzip", "chunked"], false).await;
    check(&["chunked", "identity"], false).await;
    check(&["chunked, chunked"], false).await;
    check(&["chunked", "chunked"], false).await;
    check(&["chunked,"], false).await;
    check(&[", chunked"], false).await;
    check(&["chunked;q=1"], false).await;
    check(&["xchunked"], false).await;
    check(&["gzip"], false).await;
    check(&["identity"], false).await;
    check(&[""], false).await;
    check(&["\u{e9}"], false).await;
}

// Spec: api A-34.
#[tokio::test(start_paused = true)]
async fn a_connection_without_a_whole_head_is_an_error() {
    async fn check(answer: &str, kind: UpstreamErrorKind) {
        let (client, mut listener) = memory();
        let play = async {
            let mut peer = Peer::accept(&mut listener).await;
            peer.request().await;
            // The client may leave before it has read all of this.
            let _ = peer.stream.write_all(answer.as_bytes()).await;
        };
        let endpoint = endpoint(|_| {});
        let (outcome, ()) = tokio::join!(client.send(&endpoint, post("{}")), play);
        let error = outcome.unwrap_err();
        let shown = &answer[..answer.len().min(40)];
        assert_eq!((error.kind(), error.sent()), (kind, Sent::Maybe), "{shown:?}");
        assert!(error.source().is_some(), "{shown:?}");
    }
    use UpstreamErrorKind::{Closed, Protocol};
    check("", Closed).await;
    check("HTTP/1.1 200 OK\r\ncontent-le", Closed).await;
    check("hello\r\n\r\n", Protocol).await;
    check("HTTP/1.1 099 X\r\n\r\n", Protocol).await;
    check("HTTP/2.0 200 OK\r\n\r\n", Protocol).await;
    check("HTTP/1.1 200 OK\r\nx: a\0b\r\n\r\n", Protocol).await;
    check("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", Protocol).await;
    check("HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", Protocol).await;
    check(&format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(70_000)), Protocol).await;
    check(&format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(150)), Protocol).await;
}

// Spec: api A-23.
#[tokio::test(start_paused = true)]
async fn a_broken_body_yields_its_data_and_then_the_error() {
    async fn check(answer: &str, data: &str, kind: UpstreamErrorKind) {
        let (client, mut listener) = memory();
        let (mut response, peer) = exchange(&client, &mut listener, &endpoint(|_| {}), answer).await;
        drop(peer);
        let mut seen = Vec::new();
        let error = loop {
            match response.body.frame().await.expect("an error comes before the end") {
                Ok(frame) => seen.extend(frame.into_data().unwrap()),
                Err(error) => break error,
            }
        };
        assert_eq!((str::from_utf8(&seen).unwrap(), error.kind()), (data, kind), "{answer:?}");
        assert_eq!(error.sent(), Sent::Maybe);
        assert!(response.body.frame().await.is_none());
        assert_eq!(client.stats()[0].idle, 0);
    }
    use UpstreamErrorKind::{ClosedMidBody, Protocol};
    let te = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    check("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok", "ok", ClosedMidBody).await;
    check("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", "", ClosedMidBody).await;
    check(&format!("{te}2\r\nok\r\n"), "ok", ClosedMidBody).await;
    check(&format!("{te}9\r\nok"), "ok", ClosedMidBody).await;
    check(&format!("{te}2\r\nok\r\n0\r\n"), "ok", ClosedMidBody).await;
    check(&format!("{te}2\r\nok\r\nzz\r\n"), "ok", Protocol).await;
    check(&format!("{te}2\r\nokx"), "ok", Protocol).await;
    check(&format!("{te}fffffffffffffffff\r\n"), "", Protocol).await;
}

// Spec: api A-23.
#[tokio::test(start_paused = true)]
async fn a_broken_chunk_is_told_at_once_though_the_server_keeps_the_connection_open() {
    async fn check(first: &str, second: &str) {
        let (client, mut listener) = memory();
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        let (response, mut peer) =
            exchange(&client, &mut listener, &endpoint(|_| {}), &format!("{head}{first}")).await;
        let mut body = response.body;
        if !second.is_empty() {
            peer.write(second).await;
        }
        let begin = Instant::now();
        let data = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(data, "hello");
        let error = body.frame().await.unwrap().unwrap_err();
        assert_eq!((error.kind(), begin.elapsed()), (UpstreamErrorKind::Protocol, Duration::ZERO));
    }
    check("5\r\nhello\r\nx", "").await;
    check("", "5\r\nhello\r\nx").await;
    check("", "5\r\nhellox").await;
}

#[tokio::test(start_paused = true)]
async fn an_early_answer_arrives_although_the_upload_goes_on() {
    let (client, mut listener) = memory();
    let refuse = async {
        let mut peer = Peer::accept(&mut listener).await;
        peer.stream.read_exact(&mut [0; 100]).await.unwrap();
        peer.write("HTTP/1.1 413 Too Large\r\ncontent-length: 5\r\n\r\n").await;
        peer
    };
    let endpoint = endpoint(|_| {});
    let (response, mut peer) = tokio::join!(client.send(&endpoint, post("x".repeat(8_000_000))), refuse);
    let response = response.unwrap();
    assert_eq!(response.status, 413);
    // The rest of the answer comes while nobody reads the upload any more.
    let (body, ()) = tokio::join!(text(response.body), peer.write("large"));
    assert_eq!(body.unwrap(), "large");
    assert_eq!(client.stats()[0].idle, 0, "half a request is no ground for another");
    assert!(peer.closed().await.len() < 200_000, "the upload stopped");
}

#[tokio::test(start_paused = true)]
async fn an_early_answer_arrives_although_the_server_closed_after_it() {
    let (client, mut listener) = memory();
    let refuse_and_close = async {
        let mut peer = Peer::accept(&mut listener).await;
        peer.stream.read_exact(&mut [0; 100]).await.unwrap();
        peer.write(&format!("HTTP/1.1 413 Too Large\r\ncontent-length: 50000\r\n\r\n{}", "x".repeat(50_000)))
            .await;
    };
    let endpoint = endpoint(|_| {});
    let (response, ()) = tokio::join!(client.send(&endpoint, post("x".repeat(8_000_000))), refuse_and_close);
    let response = response.unwrap();
    assert_eq!(response.status, 413);
    assert_eq!(text(response.body).await.unwrap().len(), 50_000);
}

// Spec: api A-21.
#[tokio::test(start_paused = true)]
async fn a_burst_of_events_arrives_whole_and_in_order() {
    let (client, mut listener) = memory();
    let events: Vec<String> = (0..1000).map(|n| format!("data: {n}\n\n")).collect();
    let chunks: String = events.iter().map(|event| format!("{:x}\r\n{event}\r\n", event.len())).collect();
    let answer = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n");
    let (response, _peer) = exchange(&client, &mut listener, &endpoint(|_| {}), &answer).await;
    assert_eq!(text(response.body).await.unwrap(), events.concat());
}

// Spec: api A-21.
#[tokio::test(start_paused = true)]
async fn data_is_handed_on_as_it_comes() {
    let (client, mut listener) = memory();
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let (mut response, mut peer) = exchange(&client, &mut listener, &endpoint(|_| {}), head).await;
    for event in ["data: 1\n\n", "data: 2\n\n"] {
        peer.write(&format!("9\r\n{event}\r\n")).await;
        assert_eq!(response.body.frame().await.unwrap().unwrap().into_data().unwrap(), event);
    }
}
