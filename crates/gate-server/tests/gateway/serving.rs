//! Listening, embedding and draining, over loopback TCP.

use std::net::SocketAddr;
use std::time::Duration;

use gate_config::{Sources, load};
use gate_server::{Drained, GateBody, Gateway, serve_with};
use gate_testkit::mock::{MockUpstream, Reply};
use gate_testkit::raw::{RawClient, RawScript};
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::support::{Rig, get, post};
use crate::websocket;

/// A server with a route of its own beside the gateway's.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) gateway: Gateway,
    stop: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<Drained>>,
}

impl Server {
    pub(crate) async fn start(config: &str) -> Self {
        let config = load(&Sources::empty().with_text("test", config)).unwrap().config;
        let gateway = Gateway::builder(config).build().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let inner = gateway.clone();
        let handler = move |request: http::Request<Incoming>| {
            let gateway = inner.clone();
            async move {
                match request.uri().path() {
                    "/mine" => http::Response::new(GateBody::full("mine")),
                    _ => gateway.handle(request).await,
                }
            }
        };
        let shutdown = async move {
            let _ = stopped.await;
        };
        let task = tokio::spawn(serve_with(listener, gateway.clone(), handler, shutdown));
        Self { address, gateway, stop, task }
    }

    async fn connect(&self) -> RawClient<TcpStream> {
        RawClient::new(TcpStream::connect(self.address).await.unwrap())
    }

    pub(crate) async fn stop(self) -> Drained {
        drop(self.stop);
        self.task.await.unwrap().unwrap()
    }
}

pub(crate) fn config(upstream: SocketAddr) -> String {
    format!("[llm.provider.openai]\napi_base = \"http://{upstream}/v1\"\napi_key = \"k\"\n")
}

// Spec: mvp M-13.
#[tokio::test]
async fn a_program_keeps_routes_of_its_own_beside_the_gateway() {
    let mock = MockUpstream::replying([Reply::json(200, "{}")]);
    let server = Server::start(&config(mock.bind().await.unwrap())).await;
    let mut client = server.connect().await;
    for (request, body) in [
        (get("/mine", &[]), "mine"),
        (post("/v1/chat/completions", &[], r#"{"model":"openai.gpt-4"}"#), "{}"),
        (get("/mine", &[]), "mine"),
    ] {
        client.send(request).await.unwrap();
        assert_eq!(client.read_response().await.unwrap().body.text(), body);
    }
    drop(client);
    assert_eq!(server.stop().await, Drained { in_flight: 0, ended: 0 });
}

// Spec: api A-42.
#[tokio::test]
async fn idle_connections_do_not_hold_up_the_end() {
    let server = Server::start("").await;
    let mut client = server.connect().await;
    client.send(get("/mine", &[])).await.unwrap();
    client.read_response().await.unwrap();
    let address = server.address;
    assert_eq!(server.stop().await, Drained { in_flight: 0, ended: 0 });
    client.read_to_close().await.unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "the listener is closed");
}

// Spec: api A-42.
#[tokio::test]
async fn a_running_answer_ends_in_its_own_time() {
    let (steps, reply) = Reply::live();
    let mock = MockUpstream::replying([reply.header("content-type", "text/event-stream")]);
    let server = Server::start(&config(mock.bind().await.unwrap())).await;
    let mut client = server.connect().await;
    client.send(post("/v1/chat/completions", &[], r#"{"model":"openai.gpt-4"}"#)).await.unwrap();
    let head = client.read_head().await.unwrap();
    let stopping = tokio::spawn(server.stop());
    steps.send(gate_testkit::Step::Data("data: [DONE]\n\n".into())).await.unwrap();
    drop(steps);
    assert!(client.read_body(&head).await.unwrap().is_clean());
    assert_eq!(stopping.await.unwrap().ended, 0);
}

// Spec: api A-43, A-56.
#[tokio::test]
async fn a_session_lasts_until_the_end_of_the_drain() {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let provider = config(upstream.local_addr().unwrap());
    let config = format!("{provider}websocket = true\n[llm.timeout]\ndrain = 0.3\n");
    let server = Server::start(&config).await;
    let script = RawScript::new().expect_head().send(websocket::AGREED).expect_bytes(8).send("\x01\x02up");
    let provider = tokio::spawn(async move { script.stall().play(upstream.accept().await.unwrap().0).await });
    let mut client = server.connect().await;
    client.send(websocket::open("/v1/realtime?model=openai.gpt-4", &[])).await.unwrap();
    assert_eq!(client.read_head().await.unwrap().status, 101);
    client.send(websocket::frame(websocket::TEXT, b"hi")).await.unwrap();
    // A message in parts is still between two frames.
    assert_eq!(client.read_bytes(4).await.unwrap(), b"\x01\x02up");
    let stopping = tokio::spawn(server.stop());
    let (last, _) = client.read_to_close().await.unwrap();
    assert_eq!(last, b"\x88\x18\x03\xe9the gateway shuts down");
    drop(client);
    assert_eq!(stopping.await.unwrap(), Drained { in_flight: 1, ended: 1 });
    assert_eq!(websocket::frames(&provider.await.unwrap().received), [(websocket::TEXT, b"hi".to_vec())]);
}

// Spec: security S-11.
#[tokio::test]
async fn a_connection_too_many_waits_for_its_turn() {
    let server = Server::start("[llm.limits]\nmax_connections = 1\n").await;
    let mut first = server.connect().await;
    first.send(get("/mine", &[])).await.unwrap();
    first.read_response().await.unwrap();
    let mut second = server.connect().await.with_patience(Duration::from_millis(200));
    second.send(get("/mine", &[])).await.unwrap();
    assert!(second.read_head().await.is_err(), "nothing answers while the first is there");
    drop(first);
    let mut second = second.with_patience(Duration::from_secs(30));
    assert_eq!(second.read_response().await.unwrap().body.text(), "mine");
}

// Spec: security S-9.
#[tokio::test(start_paused = true)]
async fn a_client_that_falls_silent_after_an_answer_is_closed() {
    let (mut rig, _mock) = Rig::with_mock("[llm.limits]\nidle_timeout = 2\n", []);
    let mut client = rig.connect();
    // At once, so that nothing is armed from before that could wake the connection.
    client.send(get("/health", &[])).await.unwrap();
    client.read_response().await.unwrap();
    let answered = tokio::time::Instant::now();
    client.read_to_close().await.unwrap();
    assert_eq!(answered.elapsed().as_secs(), 2);
}

// Spec: api A-23.
#[tokio::test]
async fn a_client_of_http_1_0_sees_a_reset_where_a_body_breaks() {
    let reply = Reply::steps(200, [gate_testkit::Step::Data("{\"half\":".into()), gate_testkit::Step::Abort]);
    let mock = MockUpstream::replying([reply]);
    let server = Server::start(&config(mock.bind().await.unwrap())).await;
    let mut client = server.connect().await;
    let request =
        post("/v1/chat/completions", &[], r#"{"model":"openai.gpt-4"}"#).replace("HTTP/1.1", "HTTP/1.0");
    client.send(request).await.unwrap();
    let head = client.read_head().await.unwrap();
    assert_eq!(head.header("transfer-encoding"), None);
    assert!(!client.read_body(&head).await.unwrap().is_clean());
}

// Spec: api A-59.
#[tokio::test]
async fn an_early_answer_reaches_a_client_that_sends_before_it_reads() {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server::start(&config(upstream.local_addr().unwrap())).await;
    let provider = async {
        let (mut stream, _) = upstream.accept().await.unwrap();
        stream.read_exact(&mut [0; 1000]).await.unwrap();
        stream.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno").await.unwrap();
        // Read on until the gateway leaves, so that it is the gateway that ends the upload.
        while stream.read(&mut [0; 8192]).await.is_ok_and(|read| read > 0) {}
    };
    let client = async {
        let mut client = server.connect().await;
        let body = vec![b'x'; 20_000_000];
        let head =
            format!("POST /v1/files HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", body.len());
        client.send(head).await.unwrap();
        client.send(body).await.unwrap();
        client.read_response().await.unwrap()
    };
    let (response, ()) = tokio::join!(client, provider);
    assert_eq!((response.head.status, response.body.text()), (413, "no".to_owned()));
    assert_eq!(response.head.header("connection"), Some("close"));
}
