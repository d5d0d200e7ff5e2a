//! Panics within a request. They come from outside: from a body or a stream of bytes that an embedder
//! brings, or from its sink.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use gate_config::{Sources, load};
use gate_server::{GateBody, Gateway, RecordSink, RequestRecord, serve_stream};
use gate_testkit::mock::{MockUpstream, Reply};
use gate_testkit::raw::{RawClient, RawScript};
use gate_upstream::{Dialer, MemoryDialer};
use gate_usage::EndReason;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::oneshot;

use crate::support::{CONFIG, Records, Rig, get, post};
use crate::websocket::{AGREED, TEXT, frame, open};

/// A body that gives what it has, waits for a word, and panics.
struct Bomb {
    first: Option<Bytes>,
    word: oneshot::Receiver<()>,
}

impl Bomb {
    /// Makes one that panics after this text, when it is told.
    fn after(first: &'static str) -> (oneshot::Sender<()>, Self) {
        let (sender, word) = oneshot::channel();
        (sender, Self { first: Some(Bytes::from_static(first.as_bytes())), word })
    }
}

impl Body for Bomb {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        match Pin::new(&mut self.word).poll(cx) {
            Poll::Ready(_) => panic!("the body fails, and its text is sk-canary-in-a-panic"),
            Poll::Pending => Poll::Pending,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

fn request(path: &str, body: Bomb) -> Request<Bomb> {
    Request::post(path)
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(body)
        .unwrap()
}

async fn text(response: Response<GateBody>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().into()).unwrap()
}

// Spec: security S-26.
#[tokio::test(start_paused = true)]
async fn a_panic_before_the_head_is_an_error_with_the_id_of_the_request() {
    for (path, shape) in [
        ("/v1/chat/completions", r#"{"error":{"message":"the gateway failed on this request;"#),
        ("/v1/messages", r#"{"type":"error","error":{"type":"api_error","message":"the gateway failed"#),
    ] {
        let (mut rig, mock) = Rig::with_mock(CONFIG, [Reply::json(200, "{}")]);
        let (tell, bomb) = Bomb::after(r#"{"model":"gpt-4","#);
        tell.send(()).unwrap();
        let response = rig.gateway.handle(request(path, bomb)).await;
        let head = |name: &str| response.headers().get(name).unwrap().to_str().unwrap().to_owned();
        assert_eq!((response.status().as_u16(), head("x-gateway-error")), (500, "internal_error".to_owned()));
        assert_eq!((head("x-should-retry"), head("connection")), ("false".to_owned(), "close".to_owned()));
        let id = head("x-gateway-request-id");
        let body = text(response).await;
        assert!(body.starts_with(shape) && !body.contains("canary"), "{body}");

        let record = rig.records.first().await;
        assert_eq!((record.end, record.error_code), (EndReason::GatewayError, Some("internal_error")));
        assert_eq!((&*record.request_id, record.status), (id.as_str(), Some(500)));
        // Nobody else notices.
        assert_eq!(rig.gateway.in_flight(), 0);
        assert!(mock.requests().is_empty());
        assert_eq!(rig.post("/v1/chat/completions", r#"{"model":"gpt-4"}"#).await.head.status, 200);
    }
}

// Spec: security S-26; api A-24.
#[tokio::test(start_paused = true)]
async fn a_panic_within_an_answer_is_an_event_and_an_unclean_end() {
    let begin = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n\
                 d\r\ndata: {\"a\":1}\r\n";
    let neighbour = RawScript::new().expect_head().send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    let scripts = [RawScript::new().expect_head().send(begin), neighbour];
    let (mut rig, _transcripts) = Rig::with_scripts(CONFIG, scripts);
    // The rest of an upload is read while the answer is relayed.
    let (tell, bomb) = Bomb::after("the first part");
    let response = rig.gateway.handle(request("/v1/files", bomb)).await;
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    let mut seen = Vec::new();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    seen.extend_from_slice(&first);
    tell.send(()).unwrap();
    let end = loop {
        match body.frame().await {
            Some(Ok(frame)) => seen.extend_from_slice(&frame.into_data().unwrap()),
            Some(Err(error)) => break error.to_string(),
            None => panic!("a clean end"),
        }
    };
    assert_eq!(end, "the answer broke off");
    let seen = String::from_utf8(seen).unwrap();
    assert!(
        seen.starts_with("data: {\"a\":1}\n\ndata: {\"error\":{\"message\":\"the gateway failed"),
        "{seen}"
    );
    assert!(seen.contains("\"code\":\"internal_error\"") && !seen.contains("canary"), "{seen}");
    drop(body);
    let record = rig.records.first().await;
    assert_eq!((record.end, record.error_code), (EndReason::GatewayError, Some("internal_error")));
    assert_eq!(rig.send(&get("/v1/files/file-1", &[])).await.body.text(), "ok");
}

/// A sink that panics over every record.
struct BadSink;

impl RecordSink for BadSink {
    fn record(&self, _: &RequestRecord) {
        panic!("a sink");
    }
}

// Spec: security S-26.
#[tokio::test(start_paused = true)]
async fn a_sink_that_panics_harms_neither_the_connection_nor_the_next_sink() {
    let config = load(&Sources::empty().with_text("test", CONFIG)).unwrap().config;
    let mock = Arc::new(MockUpstream::replying([Reply::json(200, "{}"), Reply::json(200, "{}")]));
    let (dialer, mut listener) = MemoryDialer::new();
    let records = Records::default();
    let gateway = Gateway::builder(config)
        .dialer(Dialer::Memory(dialer))
        .sink(BadSink)
        .sink(records.clone())
        .build()
        .unwrap();
    let (client, server) = tokio::io::duplex(64 * 1024);
    let mut client = RawClient::new(client);
    let served = tokio::spawn(async move { serve_stream(server, &gateway).await });
    let upstream = tokio::spawn(async move {
        while let Some(stream) = listener.accept().await {
            mock.serve_stream(stream);
        }
    });
    for _ in 0..2 {
        client.send(post("/v1/chat/completions", &[], r#"{"model":"gpt-4"}"#)).await.unwrap();
        assert_eq!(client.read_response().await.unwrap().head.status, 200);
    }
    drop(client);
    served.await.unwrap();
    assert_eq!(records.all().len(), 2);
    upstream.abort();
}

/// A connection whose reading panics once it is told to.
struct Wired {
    stream: DuplexStream,
    panics: Arc<AtomicBool>,
}

impl AsyncRead for Wired {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        assert!(!self.panics.load(Ordering::Relaxed), "the connection fails");
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Wired {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

// Spec: security S-26; api A-56.
#[tokio::test(start_paused = true)]
async fn a_panic_within_a_session_ends_that_session_alone() {
    let config = CONFIG.replace("api_key = \"openai-key\"", "api_key = \"openai-key\"\nwebsocket = true");
    let script = RawScript::new().expect_head().send(AGREED).stall();
    let (rig, mut transcripts) = Rig::with_scripts(&config, [script]);
    let (client, server) = tokio::io::duplex(64 * 1024);
    let panics = Arc::new(AtomicBool::new(false));
    let wired = Wired { stream: server, panics: Arc::clone(&panics) };
    let gateway = rig.gateway.clone();
    let served = tokio::spawn(async move { serve_stream(wired, &gateway).await });
    let mut client = RawClient::new(client);
    client.send(open("/v1/realtime?model=gpt-4", &[])).await.unwrap();
    assert_eq!(client.read_head().await.unwrap().status, 101);
    panics.store(true, Ordering::Relaxed);
    client.send(frame(TEXT, b"anything")).await.unwrap();
    served.await.unwrap();
    let record = rig.records.first().await;
    assert_eq!((record.end, record.error_code), (EndReason::GatewayError, Some("internal_error")));
    transcripts.recv().await.unwrap();
    assert_eq!(rig.gateway.in_flight(), 0);
}
