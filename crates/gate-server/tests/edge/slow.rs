//! Rows 56 to 61: clients that are slow, greedy, or gone.

use std::time::Duration;

use gate_testkit::mock::{Counts, Reply};
use gate_usage::EndReason;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep, timeout};

use crate::rig::{Rig, run};
use crate::row::{Row, check_error, post, with_length};

const PATH: &str = "/v1/chat/completions";
const JSON: &str = "content-type: application/json";
const BODY: &str = r#"{"model":"gpt-4"}"#;

pub(crate) fn rows() -> Vec<Row> {
    vec![
        Row::story(56, "a connection that says nothing", silent),
        Row::story(57, "a head that drips", dripping_head),
        Row::story(58, "a body that stalls", stalled_body),
        Row::story(58, "a body that drips", dripping_body),
        Row::story(59, "a client that does not read", reads_nothing),
        Row::story(60, "a client that leaves before the answer", leaves_early),
        Row::story(60, "a client that leaves within the answer", leaves_late),
        Row::story(61, "a client that has said all", half_closed),
    ]
}

fn silent() {
    run(async {
        let mut rig = Rig::new();
        let mut client = rig.connect();
        let begin = Instant::now();
        assert!(client.read_to_close().await.unwrap().0.is_empty());
        assert_eq!(begin.elapsed().as_secs(), 5);
        rig.records(0).await;
    });
}

fn dripping_head() {
    run(async {
        let mut rig = Rig::new();
        let mut client = rig.connect();
        let begin = Instant::now();
        for byte in b"GET /health HTTP/1.1\r\nhost: localhost\r\nx: y" {
            if client.send([*byte]).await.is_err() {
                break;
            }
            sleep(Duration::from_secs(1)).await;
        }
        assert!(begin.elapsed() < Duration::from_secs(7), "{:?}", begin.elapsed());
        assert!(client.read_to_close().await.unwrap().0.is_empty());
        rig.records(0).await;
    });
}

fn stalled_body() {
    run(async {
        let mut rig = Rig::new();
        let mut client = rig.connect();
        let begin = Instant::now();
        let request = post(PATH, &[JSON, "content-length: 17"], "{\"model\"");
        client.send(&request).await.unwrap();
        let response = client.read_response().await.unwrap();
        assert_eq!(begin.elapsed().as_secs(), 7);
        assert_eq!(response.head.status, 408);
        check_error(&request, &response, "request_timeout", "a body that stalls");
        client.read_to_close().await.unwrap();
        let record = &rig.records(1).await[0];
        assert_eq!((record.status, record.error_code), (Some(408), Some("request_timeout")));
        assert_eq!((rig.upstream.counts().opened, rig.gateway.in_flight()), (0, 0));
    });
}

fn dripping_body() {
    run(async {
        let mut rig = Rig::new();
        let mut client = rig.connect();
        client.send(post(PATH, &[JSON, "content-length: 1000"], "")).await.unwrap();
        let begin = Instant::now();
        // A byte a second is below `min_body_rate`, though no pause is too long.
        for _ in 0..20 {
            if client.send("x").await.is_err() {
                break;
            }
            sleep(Duration::from_secs(1)).await;
            if rig.gateway.in_flight() == 0 {
                break;
            }
        }
        assert_eq!(client.read_response().await.unwrap().head.status, 408);
        assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
        assert_eq!(rig.upstream.counts().opened, 0);
    });
}

fn reads_nothing() {
    run(async {
        let large = || Reply::events((0..64).map(|_| format!("data: {}\n\n", "x".repeat(64 * 1024))));
        let mut rig = Rig::answering(large);
        let mut client = rig.connect();
        client.send(with_length(PATH, &[JSON], BODY)).await.unwrap();
        let begin = Instant::now();
        rig.upstream.wait_until("the end of the answer", |counts: Counts| counts.closed == 1).await;
        let record = rig.records(1).await.remove(0);
        assert_eq!((begin.elapsed().as_secs(), record.end), (9, EndReason::ClientGone));
        assert!(record.bytes_out < 1024 * 1024, "{} bytes were taken for it", record.bytes_out);
        assert_eq!(rig.gateway.in_flight(), 0);
        drop(client);
    });
}

fn leaves_early() {
    let check = |behind: &'static str| {
        run(async move {
            let mut rig = Rig::answering(|| Reply::status(200).never());
            let mut client = rig.connect();
            client.send(with_length(PATH, &[JSON], BODY)).await.unwrap();
            client.send(behind).await.unwrap();
            rig.upstream.next_request().await;
            let begin = Instant::now();
            drop(client);
            let record = rig.records(1).await.remove(0);
            rig.upstream.wait_until("the cancelled request", |counts: Counts| counts.closed == 1).await;
            assert!(begin.elapsed() < Duration::from_secs(1), "{behind:?}: {:?}", begin.elapsed());
            assert_eq!((record.end, rig.gateway.in_flight()), (EndReason::ClientGone, 0), "{behind:?}");
        });
    };
    check("");
    // The parser does not look for the end behind bytes that it has not read.
    check("\r\n");
}

fn leaves_late() {
    run(async {
        let endless = || Reply::events(["data: {}\n\n"; 2]).never();
        let mut rig = Rig::answering(endless);
        let mut client = rig.connect();
        client.send(with_length(PATH, &[JSON], BODY)).await.unwrap();
        rig.upstream.next_request().await;
        drop(client);
        let record = rig.records(1).await.remove(0);
        rig.upstream.wait_until("the cancelled answer", |counts: Counts| counts.closed == 1).await;
        assert_eq!((record.end, rig.gateway.in_flight()), (EndReason::ClientGone, 0));
    });
}

fn half_closed() {
    // The end of what a client sends is what one sends that leaves, and a request for nobody has its
    // price: so what was asked is cancelled, if anything was.
    run(async {
        let mut rig = Rig::answering(|| Reply::status(200).never());
        let mut client = rig.connect();
        client.send(with_length(PATH, &[JSON], BODY)).await.unwrap();
        client.close_sending().await.unwrap();
        assert!(client.read_to_close().await.unwrap().0.is_empty());
        assert_eq!(rig.records(1).await[0].end, EndReason::ClientGone);
        let all_closed = |counts: Counts| counts.opened == counts.closed;
        rig.upstream.wait_until("the cancelled request", all_closed).await;
        assert_eq!(rig.gateway.in_flight(), 0);
    });
    run(async {
        let mut rig = Rig::answering(|| Reply::status(200).never());
        let mut client = rig.connect();
        client.send(with_length(PATH, &[JSON], BODY)).await.unwrap();
        rig.upstream.next_request().await;
        let begin = Instant::now();
        client.close_sending().await.unwrap();
        assert!(client.read_to_close().await.unwrap().0.is_empty());
        rig.upstream.wait_until("the cancelled request", |counts: Counts| counts.closed == 1).await;
        assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
        assert_eq!(rig.records(1).await[0].end, EndReason::ClientGone);
    });
}

// Spec: api A-31; security S-8, S-9, S-10, S-46, S-59.
#[test]
fn slow_clients_hold_nothing_for_long() {
    rows().iter().for_each(Row::check);
}

// Spec: api A-31; security S-59.
#[tokio::test]
async fn a_client_that_leaves_behind_many_bytes_is_seen() {
    let mut rig = Rig::answering(|| Reply::status(200).never());
    let mut client = rig.connect_tcp().await;
    let behind = "GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(1000);
    client.write_all(with_length(PATH, &[JSON], BODY).as_ref()).await.unwrap();
    // More than the parser's buffer and what is read ahead of it.
    client.write_all(behind.as_bytes()).await.unwrap();
    rig.upstream.next_request().await;
    client.shutdown().await.unwrap();
    assert_eq!(rig.records(1).await[0].end, EndReason::ClientGone);
    rig.upstream.wait_until("the cancelled request", |counts: Counts| counts.closed == 1).await;
}

// Spec: api A-31; security S-59.
#[tokio::test]
async fn a_client_that_leaves_its_upload_is_seen_while_the_provider_takes_nothing() {
    let mut rig = Rig::stalling();
    let mut client = rig.connect_tcp().await;
    let head = post("/v1/files", &["content-length: 100000000"], "");
    client.write_all(head.as_ref()).await.unwrap();
    // Until nobody takes any more.
    let piece = vec![b'x'; 64 * 1024];
    while timeout(Duration::from_millis(500), client.write(&piece)).await.is_ok() {}
    assert!(rig.seen().is_empty());
    client.set_zero_linger().unwrap();
    drop(client);
    // The provider has 9 s to take something.
    let record = rig.records(1).await.remove(0);
    assert_eq!((record.end, rig.gateway.in_flight()), (EndReason::ClientGone, 0));
}
