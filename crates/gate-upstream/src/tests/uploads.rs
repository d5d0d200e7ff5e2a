//! Request bodies of many pieces, and those that the client is still sending.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Sleep;

use super::support::{OK, Peer, endpoint, exchange, memory, post, text};
use crate::{BodySource, RequestBody, RequestBodyError, Sent, UpstreamErrorKind, UpstreamRequest};

/// What a client does while it sends.
enum Step {
    Data(&'static str),
    Wait(u64),
    Break,
    Stall,
}

struct Source {
    steps: VecDeque<Step>,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Body for Source {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        loop {
            if let Some(sleep) = &mut self.waiting {
                std::task::ready!(sleep.as_mut().poll(cx));
                self.waiting = None;
            }
            return Poll::Ready(match self.steps.pop_front() {
                Some(Step::Data(data)) => Some(Ok(Frame::data(Bytes::from_static(data.as_bytes())))),
                Some(Step::Break) => Some(Err(RequestBodyError)),
                Some(Step::Wait(seconds)) => {
                    self.waiting = Some(Box::pin(tokio::time::sleep(Duration::from_secs(seconds))));
                    continue;
                }
                Some(Step::Stall) => {
                    self.steps.push_front(Step::Stall);
                    return Poll::Pending;
                }
                None => None,
            });
        }
    }
}

fn streamed_source(steps: impl IntoIterator<Item = Step>) -> BodySource {
    Box::pin(Source { steps: steps.into_iter().collect(), waiting: None })
}

fn streamed(steps: impl IntoIterator<Item = Step>, rest: Option<u64>) -> UpstreamRequest {
    let prefix = [Bytes::from_static(b"one "), Bytes::new()];
    let body = RequestBody::streamed(prefix, streamed_source(steps), rest);
    UpstreamRequest { body, ..post("") }
}

#[tokio::test(start_paused = true)]
async fn many_slices_arrive_as_one_body() {
    let slices: Vec<Bytes> = (0..100).map(|n| Bytes::from(n.to_string())).collect();
    let body = RequestBody::pieces(slices.clone());
    let whole = slices.concat();
    assert_eq!(body.len(), Some(whole.len() as u64));
    assert_eq!(body.try_clone().unwrap().collect().await.unwrap().to_bytes(), whole);
    let (client, mut listener) = memory();
    let play = async { Peer::accept(&mut listener).await.serve(OK).await };
    let endpoint = endpoint(|_| {});
    let (outcome, seen) = tokio::join!(client.send(&endpoint, UpstreamRequest { body, ..post("") }), play);
    outcome.unwrap();
    assert!(seen.as_bytes().ends_with(&whole), "{seen}");
}

#[tokio::test(start_paused = true)]
async fn a_streamed_body_arrives_with_its_length_or_in_chunks() {
    async fn check(rest: Option<u64>, expected: &str) {
        let (client, mut listener) = memory();
        let request = streamed([Step::Data("two "), Step::Wait(900), Step::Data("three")], rest);
        let play = async {
            let mut peer = Peer::accept(&mut listener).await;
            let mut seen = Vec::new();
            while !seen.ends_with(expected.as_bytes()) {
                seen.push(peer.stream.read_u8().await.unwrap());
            }
            peer.write(OK).await;
            String::from_utf8(seen).unwrap()
        };
        // A client that is slower than the provider may be does not make the provider late.
        let endpoint = endpoint(|c| c.timeouts.first_byte = Some(Duration::from_secs(10)));
        let (outcome, seen) = tokio::join!(client.send(&endpoint, request), play);
        assert_eq!(text(outcome.unwrap().body).await.unwrap(), "ok");
        assert!(seen.ends_with(expected), "{seen}");
    }
    check(Some(9), "content-length: 13\r\n\r\none two three").await;
    check(None, "\r\n\r\n4\r\none \r\n4\r\ntwo \r\n5\r\nthree\r\n0\r\n\r\n").await;
}

#[tokio::test(start_paused = true)]
async fn the_providers_time_begins_when_it_has_the_whole_request() {
    let (client, mut listener) = memory();
    let endpoint = endpoint(|c| c.timeouts.first_byte = Some(Duration::from_secs(10)));
    let started = tokio::time::Instant::now();
    let play = async {
        let mut peer = Peer::accept(&mut listener).await;
        peer.closed().await
    };
    let request = streamed([Step::Wait(100), Step::Data("two")], Some(3));
    let (outcome, _) = tokio::join!(client.send(&endpoint, request), play);
    assert_eq!(outcome.unwrap_err().kind(), UpstreamErrorKind::FirstByteTimeout);
    assert_eq!(started.elapsed(), Duration::from_secs(110));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_fails_is_not_the_providers_fault_and_looks_cut_off_to_it() {
    async fn check(what: &str, steps: Vec<Step>, rest: Option<u64>) {
        let (client, mut listener) = memory();
        let play = async { Peer::accept(&mut listener).await.closed().await };
        let endpoint = endpoint(|_| {});
        let (outcome, seen) = tokio::join!(client.send(&endpoint, streamed(steps, rest)), play);
        let error = outcome.unwrap_err();
        assert_eq!((error.kind(), error.sent()), (UpstreamErrorKind::RequestBody, Sent::Maybe), "{what}");
        assert_eq!(
            error.to_string(),
            "provider `openai.test`: the request body broke off at its source",
            "{what}"
        );
        assert!(!seen.ends_with(b"0\r\n\r\n"), "{what}: {}", String::from_utf8_lossy(&seen));
    }
    check("breaks", vec![Step::Data("two"), Step::Wait(1), Step::Break], Some(9)).await;
    check("breaks in chunks", vec![Step::Data("two"), Step::Wait(1), Step::Break], None).await;
    check("too short", vec![Step::Data("two"), Step::Wait(1)], Some(9)).await;
    check("too long", vec![Step::Data("two"), Step::Wait(1), Step::Data("three")], Some(4)).await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_before_the_end_of_the_upload_is_read_and_the_connection_is_not_kept() {
    let (client, mut listener) = memory();
    let endpoint = endpoint(|_| {});
    let play = async {
        let mut peer = Peer::accept(&mut listener).await;
        let mut head = [0; 20];
        peer.stream.read_exact(&mut head).await.unwrap();
        peer.write("HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno").await;
        peer
    };
    let request = streamed([Step::Data("two"), Step::Stall], Some(900));
    let (outcome, mut peer) = tokio::join!(client.send(&endpoint, request), play);
    let response = outcome.unwrap();
    assert_eq!(response.status, 413);
    assert_eq!(text(response.body).await.unwrap(), "no");
    peer.closed().await;
    assert_eq!(client.stats()[0].idle, 0);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_fails_during_the_answer_ends_the_answer() {
    let (client, mut listener) = memory();
    let endpoint = endpoint(|_| {});
    let play = async {
        let mut peer = Peer::accept(&mut listener).await;
        peer.write("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nno").await;
        peer
    };
    let request = streamed([Step::Wait(3), Step::Break], Some(900));
    let (outcome, _peer) = tokio::join!(client.send(&endpoint, request), play);
    let error = text(outcome.unwrap().body).await.unwrap_err();
    assert_eq!(error.kind(), UpstreamErrorKind::RequestBody);
}

#[tokio::test(start_paused = true)]
async fn a_streamed_body_is_never_sent_twice() {
    let (client, mut listener) = memory();
    let endpoint = endpoint(|_| {});
    let (response, mut peer) = exchange(&client, &mut listener, &endpoint, OK).await;
    text(response.body).await.unwrap();
    // The kept connection closes under the second request, which a body at hand would survive.
    let play = async {
        let mut first = [0; 4];
        peer.stream.read_exact(&mut first).await.unwrap();
        peer.stream.shutdown().await.unwrap();
        drop(peer);
    };
    let (outcome, ()) = tokio::join!(client.send(&endpoint, streamed([Step::Stall], Some(9))), play);
    assert_eq!(outcome.unwrap_err().kind(), UpstreamErrorKind::Closed);
    assert_eq!((client.stats()[0].opened, client.stats()[0].retried), (1, 0));
}

/// Asserts that a body has no byte to give, and no clone that would.
async fn has_nothing_left(mut body: RequestBody) {
    assert!(body.passes_once() && body.is_spent() && !body.is_end_stream());
    assert!(body.try_clone().is_none());
    for _ in 0..2 {
        assert_eq!(body.frame().await.unwrap().unwrap_err(), RequestBodyError);
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_streamed_body_and_its_clones_the_first_that_is_polled_has_the_bytes() {
    for rest in [Some(3), None] {
        let body = streamed([Step::Data("two")], rest).body;
        // One that is dropped untouched takes nothing along.
        drop(body.try_clone());
        let same = body.try_clone().unwrap();
        let other = body.try_clone().unwrap().replacing(0..3, Bytes::from_static(b"1"));
        for (body, length) in [(&body, 7), (&same, 7), (&other, 5)] {
            assert_eq!(body.len(), rest.and(Some(length)));
            assert_eq!(body.size_hint().exact(), body.len());
            assert!(body.passes_once() && !body.is_spent() && !body.is_end_stream());
        }
        assert_eq!(other.collect().await.unwrap().to_bytes(), "1 two");
        has_nothing_left(body).await;
        has_nothing_left(same).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_streamed_body_is_spent_with_its_first_poll_whatever_that_brings() {
    let nothing = RequestBody::streamed([], streamed_source([Step::Stall]), None);
    let prefix = streamed([Step::Stall], None).body;
    let error = RequestBody::streamed([], streamed_source([Step::Break]), Some(1));
    for mut body in [nothing, prefix, error] {
        let other = body.try_clone().unwrap();
        // In a task that is never waited for: what counts is the poll.
        let _ = Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop()));
        assert!(body.is_spent() && body.try_clone().is_none());
        has_nothing_left(other).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_untouched_streamed_body_ends_where_its_source_does() {
    let source = |text: &'static str| -> BodySource {
        Box::pin(Full::<Bytes>::from(text).map_err(|never| match never {}))
    };
    let empty = RequestBody::streamed([], source(""), None);
    assert!(empty.is_end_stream() && !empty.is_spent());
    assert!(!RequestBody::streamed([], source("a"), None).is_end_stream());
}

#[tokio::test(start_paused = true)]
async fn a_clone_holds_nothing_of_a_streamed_body_that_another_has_taken() {
    let held = Bytes::from(vec![b'x'; 1000]);
    let mut body = RequestBody::streamed([held.clone()], streamed_source([Step::Stall]), None);
    let kept = [body.try_clone().unwrap(), body.try_clone().unwrap().replacing(7..9, Bytes::new())];
    assert!(!held.is_unique());
    drop(body.frame().await);
    assert!(held.is_unique());
    drop(kept);
}

#[tokio::test(start_paused = true)]
async fn a_part_of_the_first_slice_is_replaced_whatever_follows() {
    let slices =
        |second: &'static str| ["a bc d", "", second].map(|text| Bytes::from_static(text.as_bytes()));
    for (body, expected) in [
        (RequestBody::spliced(slices("")), "a long d"),
        (RequestBody::spliced(slices(" e")), "a long d e"),
        (RequestBody::pieces(slices(" e")), "a long d e"),
        (RequestBody::streamed(slices(" e"), streamed_source([Step::Data(" f")]), Some(2)), "a long d e f"),
    ] {
        let body = body.replacing(2..4, Bytes::from_static(b"long"));
        assert_eq!(body.len(), Some(expected.len() as u64));
        let same = body.try_clone().unwrap();
        assert_eq!(same.collect().await.unwrap().to_bytes(), expected);
    }
}

#[tokio::test]
async fn a_body_that_is_there_is_never_spent() {
    let slices = || ["a", "", "b"].map(|text| Bytes::from_static(text.as_bytes()));
    for (mut body, rest) in [(RequestBody::spliced(slices()), ""), (RequestBody::pieces(slices()), "b")] {
        let _ = Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop()));
        assert!(!body.passes_once() && !body.is_spent());
        assert_eq!(body.try_clone().unwrap().collect().await.unwrap().to_bytes(), rest);
    }
}
