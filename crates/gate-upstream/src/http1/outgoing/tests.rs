//! What is written of a request, in what pieces, and what comes back where nothing was.

use std::task::Waker;

use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, DuplexStream, duplex};

use super::*;

const HEAD: &str = "POST / HTTP/1.1\r\n\r\n";

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn begun(body: RequestBody) -> Outgoing {
    let mut outgoing = Outgoing::default();
    outgoing.begin(Message { method: Method::POST, head: bytes(HEAD), body });
    outgoing
}

fn streamed(text: &'static str, length: Option<u64>) -> RequestBody {
    let source = Full::<Bytes>::from(text).map_err(|never| match never {});
    RequestBody::streamed([bytes("x")], Box::pin(source), length)
}

fn poll(outgoing: &mut Outgoing, transport: &mut Transport) -> Result<(), Broken> {
    outgoing.poll(transport, &mut Context::from_waker(Waker::noop()))
}

async fn read_all(mut server: DuplexStream) -> String {
    let mut text = String::new();
    server.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn all_bodies_are_written_whole_however_little_the_transport_takes() {
    async fn check(body: RequestBody, expected: &str) {
        for room in [1, 3, 1000] {
            let Some(body) = body.try_clone() else { break };
            let mut outgoing = begun(body);
            let (client, mut server) = duplex(room);
            let mut transport = Transport::Memory(client);
            let mut seen = String::new();
            while !outgoing.is_over() {
                // Else the pipe would be busy in tokio's eyes, and look full.
                tokio::task::yield_now().await;
                poll(&mut outgoing, &mut transport).unwrap();
                assert_eq!(outgoing.is_blocked(), !outgoing.is_over());
                let mut piece = vec![0; room];
                let length = server.read(&mut piece).await.unwrap();
                seen.push_str(str::from_utf8(&piece[..length]).unwrap());
            }
            drop(transport);
            assert_eq!(seen + &read_all(server).await, format!("{HEAD}{expected}"));
            assert_eq!(outgoing.taken(), (HEAD.len() + expected.len()) as u64);
            if outgoing.passes_once {
                break;
            }
        }
    }
    check(RequestBody::empty(), "").await;
    check(RequestBody::whole(bytes("one")), "one").await;
    check(RequestBody::spliced([bytes("one"), Bytes::new(), bytes("two")]), "onetwo").await;
    let many = ["7"; 100].join(",");
    check(
        RequestBody::pieces(many.split_inclusive(',').map(|piece| Bytes::copy_from_slice(piece.as_bytes()))),
        &many,
    )
    .await;
    check(streamed("yz", Some(2)), "xyz").await;
    check(streamed("yz", None), "1\r\nx\r\n2\r\nyz\r\n0\r\n\r\n").await;
}

#[tokio::test]
async fn of_a_request_that_was_not_begun_all_comes_back() {
    async fn check(body: RequestBody, expected: Option<&str>) {
        let mut outgoing = begun(body);
        let (client, server) = duplex(100);
        drop(server);
        poll(&mut outgoing, &mut Transport::Memory(client)).unwrap();
        assert!(!outgoing.is_over() && !outgoing.is_blocked() && !outgoing.is_starved());
        let back = outgoing.take_back();
        assert_eq!(back.as_ref().map(|(head, _)| head.clone()), expected.map(|_| bytes(HEAD)));
        if let (Some((_, body)), Some(expected)) = (back, expected) {
            assert_eq!(body.collect().await.unwrap().to_bytes(), expected);
        }
    }
    check(RequestBody::empty(), Some("")).await;
    check(RequestBody::spliced([bytes("one"), Bytes::new(), bytes("two")]), Some("onetwo")).await;
    let many = ["7"; 100].join(",");
    check(
        RequestBody::pieces(many.split_inclusive(',').map(|piece| Bytes::copy_from_slice(piece.as_bytes()))),
        Some(&many),
    )
    .await;
    // Some of it was taken from its source, and is of no further use.
    check(streamed("yz", Some(2)), None).await;
    check(streamed("yz", None), None).await;
}

#[tokio::test]
async fn of_a_request_that_was_begun_nothing_comes_back() {
    let mut outgoing = begun(RequestBody::whole(bytes("one")));
    let (client, _server) = duplex(1);
    poll(&mut outgoing, &mut Transport::Memory(client)).unwrap();
    assert_eq!(outgoing.taken(), 1);
    assert!(outgoing.take_back().is_none());

    // Nor of one that was not even tried, if its bytes are gone.
    let body = streamed("yz", None);
    drop(body.try_clone().unwrap().collect().await);
    assert!(begun(body).take_back().is_none());
    assert!(begun(streamed("yz", None)).take_back().is_some());
}
