//! What is read of an answer, beside what hyper reads of it: nothing that hyper refuses is taken, and what
//! both take is the same, however it is cut.

use http::{HeaderMap, Method, Request, Version};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use proptest::sample::select;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::property::{Read, read};
use crate::fuzzing::pieces::pieces;

/// Answers one request, and closes.
async fn answer(mut server: DuplexStream, bytes: &[u8]) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(server.read_u8().await.unwrap());
    }
    // A reader that has seen enough leaves.
    let _ = server.write_all(bytes).await;
}

async fn ask_with_hyper(client: DuplexStream, method: Method) -> Read {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(client)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::builder().method(method).uri("/").body(Empty::<bytes::Bytes>::new()).unwrap();
    let Ok(response) = sender.send_request(request).await else {
        return Read { head: None, body: Vec::new(), is_whole: false };
    };
    let (head, mut incoming) = response.into_parts();
    let mut body = Vec::new();
    let is_whole = loop {
        match incoming.frame().await {
            Some(Ok(frame)) => body.extend(frame.into_data().unwrap_or_default()),
            Some(Err(_)) => break false,
            None => break true,
        }
    };
    Read { head: Some((head.status.as_u16(), head.version, head.headers)), body, is_whole }
}

fn read_by_hyper(method: &Method, bytes: &[u8]) -> Read {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (client, server) = duplex(1 << 20);
        tokio::join!(ask_with_hyper(client, method.clone()), answer(server, bytes)).0
    })
}

/// Framing headers are settled by us; the others pass.
fn without_framing(read: &Read) -> Option<(u16, Version, HeaderMap)> {
    let mut head = read.head.clone()?;
    for name in ["content-length", "transfer-encoding"] {
        head.2.remove(name);
    }
    Some(head)
}

fn check(method: &Method, answer: &[u8], settings: &[u8]) {
    let shown = String::from_utf8_lossy(answer);
    let (ours, theirs) = (read(method, &[answer]), read_by_hyper(method, answer));
    if ours.head.is_some() {
        assert_eq!(without_framing(&ours), without_framing(&theirs), "head of {shown:?}");
        assert!(theirs.body.starts_with(&ours.body), "{ours:?} {theirs:?} of {shown:?}");
        if ours.is_whole {
            assert_eq!((&ours.body, true), (&theirs.body, theirs.is_whole), "{shown:?}");
        }
    }
    assert_eq!(read(method, &pieces(answer, settings)), ours, "in pieces, and whole: {shown:?}");
}

fn part(of: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    select(of)
}

const STATUS: &[&str] = &[
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.0 200 OK\r\n",
    "HTTP/1.1 204 \r\n",
    "HTTP/1.1 304 N\r\n",
    "HTTP/1.1 200\r\n",
    "HTTP/1.1 200 OK\n",
    "\r\nHTTP/1.1 200 OK\r\n",
    "\n\nHTTP/1.1 500 \u{e9}\r\n",
    "HTTP/1.1 103 H\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\n",
    "HTTP/1.1 100 C\r\n\r\nHTTP/1.0 200 OK\r\n",
    "HTTP/1.1 101 S\r\n",
    "HTTP/1.1 2000 OK\r\n",
    "HTTP/1.1 099 X\r\n",
    "HTTP/1.2 200 OK\r\n",
    "HTTP/1.1  200 OK\r\n",
    "http/1.1 200 OK\r\n",
    "HTTP/1.1 200 OK\r\r\n",
    "hello\r\n",
    "",
];

const LINES: &[&str] = &[
    "content-length: 5\r\n",
    "content-length: 5\r\n",
    "Content-Length:0\r\n",
    "content-length: 5, 5\r\n",
    "content-length: 5,6\r\n",
    "content-length: +5\r\n",
    "content-length: 05\r\n",
    "content-length:\r\n",
    "content-length: 18446744073709551616\r\n",
    "content-length: 5 5\r\n",
    "content-length: 0x5\r\n",
    "transfer-encoding: chunked\r\n",
    "transfer-encoding: chunked\r\n",
    "Transfer-Encoding: Chunked\r\n",
    "transfer-encoding: gzip, chunked\r\n",
    "transfer-encoding: identity\r\n",
    "transfer-encoding:\tchunked \r\n",
    "transfer-encoding : chunked\r\n",
    "connection: close\r\n",
    "connection: x, keep-alive\r\n",
    "x: y\r\n",
    "x: \r\n",
    "x:\u{e9}\r\n",
    "x: y\n",
    "x : y\r\n",
    " folded\r\n",
    "\tfolded\r\n",
    ": y\r\n",
    "x y\r\n",
    "x: y\0\r\n",
    "x: y\r z\r\n",
    "x: \u{7f}\r\n",
];

const ENDS: &[&str] = &["\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r\r\n", ""];

const BODIES: &[&str] = &[
    "hello",
    "5\r\nhello\r\n",
    "5\r\nhello\r\n",
    "5\r\nhello\r\n",
    "1\r\nx\r\n",
    "0\r\n\r\n",
    "0\r\n\r\n",
    "a\r\nhellohello\r\n",
    "A;q=\"1\"\r\nhellohello\r\n",
    "5 \r\nhello\r\n",
    "5\t;x\r\nhello\r\n",
    "5 x\r\nhello\r\n",
    "005\r\nhello\r\n",
    "5\nhello\r\n",
    "5\r\nhello\n",
    "5\r\nhellox\r\n",
    "5;x\n\r\nhello\r\n",
    "5;x\rhello\r\n",
    "\r\n",
    "5",
    "g\r\n",
    "-5\r\nhello\r\n",
    "0x5\r\nhello\r\n",
    "0\r\nt: v\r\n\r\n",
    "0\r\nt: v\n\r\n",
    "0\r\nt\r\n\r\n",
    "0\r\n\n",
    "0\r\n\rx",
    "0;x\r\n\r\n",
    "00000000000000000005\r\nhello\r\n",
    "ffffffffffffffff\r\nhello",
    "10000000000000000\r\nhello\r\n",
    "HTTP/1.1 200 OK\r\n\r\n",
    "",
];

prop_compose! {
    fn answers()(
        status in part(STATUS),
        lines in prop::collection::vec(part(LINES), 0..4),
        end in part(ENDS),
        bodies in prop::collection::vec(part(BODIES), 0..5),
        flip in prop::option::weighted(0.2, (any::<prop::sample::Index>(), any::<u8>())),
    ) -> Vec<u8> {
        let mut answer = [&[status], &*lines, &[end], &*bodies].concat().concat().into_bytes();
        if let Some((at, byte)) = flip && !answer.is_empty() {
            let at = at.index(answer.len());
            answer[at] = byte;
        }
        answer
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    // Spec: security S-16.
    #[test]
    fn nothing_is_taken_that_hyper_refuses_and_what_both_take_is_the_same(
        answer in answers(),
        method in select(vec![Method::GET, Method::GET, Method::HEAD]),
        settings in prop::collection::vec(any::<u8>(), 1..6),
    ) {
        check(&method, &answer, &settings);
    }
}
