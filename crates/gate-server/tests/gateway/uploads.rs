//! Bodies that are only passed on: as they come, byte for byte, and never held.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use gate_config::{Sources, load};
use gate_server::Gateway;
use gate_testkit::mock::{Counts, Reply};
use gate_upstream::{Dialer, MemoryDialer};
use gate_usage::EndReason;
use http::Request;
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{CONFIG, Rig, get, header};

fn head(framing: &str) -> String {
    format!(
        "POST /v1/files HTTP/1.1\r\nhost: localhost\r\ncontent-type: multipart/form-data; boundary=x\r\n{framing}\r\n\r\n"
    )
}

// Spec: api A-59.
#[tokio::test(start_paused = true)]
async fn an_upload_arrives_as_it_was_sent() {
    async fn check(framing: Option<usize>, body: &[u8]) {
        let (mut rig, mock) = Rig::with_mock(CONFIG, [Reply::json(200, "{}")]);
        let mut client = rig.connect();
        match framing {
            Some(length) => {
                client.send(head(&format!("content-length: {length}"))).await.unwrap();
                client.send(body).await.unwrap();
            }
            None => {
                client.send(head("transfer-encoding: chunked")).await.unwrap();
                for chunk in body.chunks(5000) {
                    let chunk = [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat();
                    client.send(chunk).await.unwrap();
                }
                client.send("0\r\n\r\n").await.unwrap();
            }
        }
        assert_eq!(client.read_response().await.unwrap().head.status, 200);
        let seen = mock.next_request().await;
        assert!(seen.body == body && seen.is_complete);
        let length = framing.map(|length| length.to_string());
        assert_eq!(seen.header("content-length"), length.as_deref());
        assert_eq!(rig.records.first().await.bytes_in, body.len() as u64);
        // The connection is in order.
        client.send(get("/health", &[])).await.unwrap();
        assert_eq!(client.read_response().await.unwrap().head.status, 200);
    }
    let body: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    check(Some(body.len()), &body).await;
    check(None, &body).await;
    check(None, b"").await;
    check(Some(5), b"small").await;
    check(Some(0), b"").await;
}

/// A body that is made when it is asked for, and that counts what it has given.
struct Endless {
    left: u64,
    given: Arc<AtomicU64>,
}

static PIECE: [u8; 64 * 1024] = [b'x'; 64 * 1024];

impl Body for Endless {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let length = self.left.min(PIECE.len() as u64);
        if length == 0 {
            return Poll::Ready(None);
        }
        self.left -= length;
        self.given.fetch_add(length, Relaxed);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&PIECE[..length as usize])))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

// Spec: api A-59.
#[tokio::test]
async fn a_huge_upload_is_never_held() {
    const SIZE: u64 = 256 << 20;
    /// The pipe's buffer and what hyper writes ahead.
    const AHEAD: u64 = 1 << 20;
    let config = load(&Sources::empty().with_text("test", CONFIG)).unwrap().config;
    let (dialer, mut listener) = MemoryDialer::new();
    let gateway = Gateway::builder(config).dialer(Dialer::Memory(dialer)).build().unwrap();
    let given = Arc::new(AtomicU64::new(0));
    let body = Endless { left: SIZE, given: Arc::clone(&given) };
    let request = Request::post("/v1/files").header("host", "localhost").body(body).unwrap();
    let provider = async {
        let mut stream = listener.accept().await.unwrap();
        let mut buffer = vec![0; 256 * 1024];
        let mut taken = 0;
        let mut most = 0;
        // The head has a few hundred bytes, which do not matter here.
        while taken < SIZE {
            let read = stream.read(&mut buffer).await.unwrap() as u64;
            assert!(read > 0);
            taken += read;
            most = most.max(given.load(Relaxed).saturating_sub(taken));
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        (stream, most)
    };
    let (response, (_stream, most)) = tokio::join!(gateway.handle(request), provider);
    assert_eq!(response.status(), 200);
    assert!(!response.headers().contains_key("connection"), "the upload was whole");
    assert!(most < AHEAD, "{most} bytes were held");
}

// Spec: api.
#[tokio::test(start_paused = true)]
async fn an_upload_over_the_limit_is_refused() {
    let config = format!("[llm.limits]\nmax_upload_size_mb = 1\n{CONFIG}");
    let (mut rig, mock) = Rig::with_mock(&config, []);
    let response = rig.send(&head("expect: 100-continue\r\ncontent-length: 1048577")).await;
    assert_eq!((response.head.status, header(&response, "x-gateway-error")), (413, "request_too_large"));
    assert!(response.body.text().contains("max_upload_size_mb"), "{}", response.body.text());
    assert!(mock.requests().is_empty() && mock.counts().opened == 0);

    // Without a length it shows on the way, and the provider sees no whole request.
    let (mut rig, mock) = Rig::with_mock(&config, [Reply::json(200, "{}")]);
    let mut client = rig.connect();
    client.send(head("transfer-encoding: chunked")).await.unwrap();
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(65536));
    for _ in 0..17 {
        client.send(&chunk).await.unwrap();
    }
    let response = client.read_response().await.unwrap();
    assert_eq!((response.head.status, header(&response, "x-gateway-error")), (413, "request_too_large"));
    assert!(!mock.next_request().await.is_complete);

    let config = format!("[llm.limits]\nmax_upload_size_mb = 0\nmax_request_size_mb = 1\n{CONFIG}");
    let (mut rig, mock) = Rig::with_mock(&config, [Reply::json(200, "{}")]);
    let body = "x".repeat(3 << 20);
    let response = rig.send(&(head(&format!("content-length: {}", body.len())) + &body)).await;
    assert_eq!(response.head.status, 200);
    assert_eq!(mock.next_request().await.body.len(), body.len());
}

// Spec: api.
#[tokio::test(start_paused = true)]
async fn an_upload_may_take_long_but_not_pause_for_long() {
    let config = format!("[llm.limits]\nmax_request_duration_sec = 50\nbody_idle_timeout = 30\n{CONFIG}");
    let (mut rig, mock) = Rig::with_mock(&config, [Reply::json(200, "{}")]);
    let mut client = rig.connect().with_patience(Duration::from_secs(600));
    client.send(head("content-length: 100000")).await.unwrap();
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_secs(25)).await;
        client.send("x".repeat(10_000)).await.unwrap();
    }
    assert_eq!(client.read_response().await.unwrap().head.status, 200);
    assert!(mock.next_request().await.is_complete);

    let mut client = rig.connect().with_patience(Duration::from_secs(600));
    client.send(head("content-length: 100000")).await.unwrap();
    client.send("x").await.unwrap();
    let started = tokio::time::Instant::now();
    let response = client.read_response().await.unwrap();
    assert_eq!((response.head.status, header(&response, "x-gateway-error")), (408, "request_timeout"));
    assert_eq!(started.elapsed().as_secs(), 30);
    assert!(!mock.next_request().await.is_complete);
}

// Spec: api A-59.
#[tokio::test(start_paused = true)]
async fn an_answer_may_come_before_the_end_of_the_upload() {
    use gate_testkit::raw::RawScript;
    let script = RawScript::new().expect_head().send("HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno");
    let (mut rig, _transcripts) = Rig::with_scripts(CONFIG, [script]);
    let mut client = rig.connect();
    client.send(head("content-length: 100000") + "x").await.unwrap();
    let response = client.read_response().await.unwrap();
    assert_eq!((response.head.status, response.body.text()), (413, "no".to_owned()));
    let record = rig.records.first().await;
    assert_eq!((record.end, record.status), (EndReason::Complete, Some(413)));
}

// Spec: api.
#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_its_upload_cancels_it() {
    let (mut rig, mock) = Rig::with_mock(CONFIG, [Reply::json(200, "{}")]);
    let mut client = rig.connect();
    client.send(head("content-length: 100000") + "x").await.unwrap();
    mock.wait_until("a connection", |counts: Counts| counts.opened == 1).await;
    drop(client);
    assert!(!mock.next_request().await.is_complete);
    mock.wait_until("its end", |counts: Counts| counts.closed == 1).await;
    rig.records.first().await;
}
