//! The mock as its users see it: over memory, a channel and TCP.

use super::*;
use crate::body::Step;
use crate::raw::{BodyEnd, RawClient};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::Instant;

const GET: &[u8] = b"GET /v1/models?limit=2 HTTP/1.1\r\nhost: mock\r\n\r\n";

#[tokio::test]
async fn a_request_is_recorded_as_it_came() {
    let mock = MockUpstream::replying([Reply::status(204)]);
    let mut client = RawClient::new(mock.connect());
    client
        .send(
            "POST /v1/x?a=b%20c HTTP/1.1\r\nHost: mock\r\nX-B: 1\r\nx-a: 2\r\nx-b: 3\r\n\
             transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\n\r\n\r\n0\r\n\r\n",
        )
        .await
        .unwrap();
    assert_eq!(client.read_response().await.unwrap().head.status, 204);
    let request = mock.next_request().await;
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/v1/x?a=b%20c"));
    let names: Vec<&str> = request.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["host", "x-b", "x-b", "x-a", "transfer-encoding"]);
    assert_eq!(
        (request.header("x-b"), request.header_count("x-b"), request.header("none")),
        (Some("1"), 2, None)
    );
    assert_eq!((request.text().as_str(), request.is_complete, request.connection), ("abc\r\n", true, 0));
    assert_eq!(mock.requests(), [request]);
}

#[tokio::test]
async fn a_request_that_breaks_off_is_recorded_as_incomplete() {
    let mock = MockUpstream::replying([]);
    let mut client = RawClient::new(mock.connect());
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nhalf").await.unwrap();
    drop(client);
    let request = mock.next_request().await;
    assert_eq!((request.text().as_str(), request.is_complete), ("half", false));
}

#[tokio::test]
async fn replies_come_in_order_and_one_too_many_is_told() {
    let mock = MockUpstream::replying([
        Reply::json(200, "{}").header("x-a", "1").header("x-a", "2"),
        Reply::text(429, "slow").header("content-type", "text/html"),
    ]);
    let mut client = RawClient::new(mock.connect());
    let mut answers = Vec::new();
    for _ in 0..3 {
        client.send(GET).await.unwrap();
        answers.push(client.read_response().await.unwrap());
    }
    let [first, second, third] = answers.as_slice() else { panic!("three answers") };
    assert_eq!((first.head.status, first.body.text().as_str()), (200, "{}"));
    assert_eq!((first.head.header_count("x-a"), first.head.header("content-length")), (2, Some("2")));
    assert_eq!((second.head.status, second.head.header("content-type")), (429, Some("text/html")));
    assert_eq!(third.head.status, 500);
    assert_eq!(third.body.text(), "the mock has no reply left for GET /v1/models?limit=2");
    let counts = Counts { opened: 1, closed: 0, requests: 3, cancelled: 0 };
    assert_eq!(mock.counts(), counts);
}

#[tokio::test]
async fn a_closure_sees_the_request_that_it_answers() {
    let mock = MockUpstream::answering(|request| Reply::text(200, request.text().to_uppercase()));
    let mut client = RawClient::new(mock.connect());
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi").await.unwrap();
    assert_eq!(client.read_response().await.unwrap().body.text(), "HI");
}

#[tokio::test]
async fn frames_keep_their_bounds_and_a_break_is_unclean() {
    async fn check(reply: Reply, chunks: &[&str], body: &str, end: BodyEnd) {
        let mock = MockUpstream::replying([reply]);
        let mut client = RawClient::new(mock.connect());
        client.send(GET).await.unwrap();
        let response = client.read_response().await.unwrap();
        assert_eq!(response.body.chunks, chunks.iter().map(|c| c.as_bytes().to_vec()).collect::<Vec<_>>());
        assert_eq!((response.body.text().as_str(), response.body.end), (body, end));
    }
    let data = |text: &'static str| Step::Data(Bytes::from(text));
    check(
        Reply::events(["data: 1\n\n", "data: 2\n\n"]),
        &["data: 1\n\n", "data: 2\n\n"],
        "data: 1\n\ndata: 2\n\n",
        BodyEnd::Complete,
    )
    .await;
    check(Reply::steps(200, [data("a"), data("b"), Step::Abort]), &["a", "b"], "ab", BodyEnd::Cut).await;
    check(Reply::steps(200, [Step::Abort]), &[], "", BodyEnd::Cut).await;
    let sized = Reply::steps(200, [data("half"), Step::Abort]).header("content-length", "8");
    check(sized, &[], "half", BodyEnd::Cut).await;
}

#[tokio::test(start_paused = true)]
async fn delays_are_those_of_the_script() {
    let second = Duration::from_secs(1);
    let steps = [Step::Data("a".into()), Step::Wait(3 * second), Step::Data("b".into())];
    let mock = MockUpstream::replying([Reply::steps(200, steps).after(5 * second)]);
    let mut client = RawClient::new(mock.connect());
    let started = Instant::now();
    client.send(GET).await.unwrap();
    client.read_head().await.unwrap();
    assert_eq!(started.elapsed(), 5 * second);
    assert_eq!(client.read_chunk().await.unwrap().unwrap(), b"a");
    assert_eq!(started.elapsed(), 5 * second);
    assert_eq!(client.read_chunk().await.unwrap().unwrap(), b"b");
    assert_eq!(started.elapsed(), 8 * second);
}

#[tokio::test]
async fn a_live_reply_is_led_by_the_test() {
    let (steps, reply) = Reply::live();
    let mock = MockUpstream::replying([reply]);
    let mut client = RawClient::new(mock.connect());
    client.send(GET).await.unwrap();
    client.read_head().await.unwrap();
    for text in ["one", "two"] {
        steps.send(Step::Data(text.into())).await.unwrap();
        assert_eq!(client.read_chunk().await.unwrap().unwrap(), text.as_bytes());
    }
    drop(steps);
    assert_eq!(client.read_chunk().await.unwrap(), None);
}

#[tokio::test]
async fn a_peer_that_leaves_cancels_its_reply() {
    async fn check(reply: Reply, read_head: bool) {
        let mock = MockUpstream::replying([reply]);
        let mut client = RawClient::new(mock.connect());
        client.send(GET).await.unwrap();
        mock.next_request().await;
        if read_head {
            client.read_head().await.unwrap();
        }
        drop(client);
        let counts = mock.wait_until("the end of the connection", |counts| counts.closed == 1).await;
        assert_eq!(counts, Counts { opened: 1, closed: 1, requests: 1, cancelled: 1 });
    }
    check(Reply::steps(200, [Step::Data("a".into()), Step::Stall]), true).await;
    check(Reply::json(200, "{}").never(), false).await;
    check(Reply::live().1.never(), false).await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "the mock upstream waited in vain for the next request; so far Counts { opened: 0")]
async fn a_request_that_never_comes_fails_the_test() {
    MockUpstream::replying([]).next_request().await;
}

#[tokio::test]
async fn every_way_to_connect_reaches_the_same_script() {
    let mock = MockUpstream::answering(|request| Reply::text(200, request.connection.to_string()));
    let (dial, incoming) = mpsc::channel(1);
    mock.serve_incoming(incoming);
    let (over_channel, server) = tokio::io::duplex(1024);
    dial.send(server).await.unwrap();
    let mut client = RawClient::new(over_channel);
    client.send(GET).await.unwrap();
    assert_eq!(client.read_response().await.unwrap().body.text(), "0");

    let addr = mock.bind().await.unwrap();
    let mut client = RawClient::new(TcpStream::connect(addr).await.unwrap());
    client.send(GET).await.unwrap();
    assert_eq!(client.read_response().await.unwrap().body.text(), "1");

    drop(mock);
    assert!(TcpStream::connect(addr).await.is_err(), "the port is free again");
    let (_, end) = client.read_to_close().await.unwrap();
    assert_eq!(end, BodyEnd::Closed);
}
