//! The listener with TLS, over loopback TCP, with a certificate made on the spot.

use std::sync::Arc;
use std::time::Duration;

use gate_config::{Sources, TlsConfig, load};
use gate_server::{Gateway, check_certificate};
use gate_testkit::mock::{MockUpstream, Reply};
use gate_testkit::raw::flag::END_STREAM;
use gate_testkit::raw::{BodyEnd, RawClient, RawFrame, RawHttp2, kind};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::serving::{self, Server};
use crate::support::{get, post};

/// A server with a certificate, and what a client needs to trust it.
struct TlsServer {
    server: Server,
    roots: RootCertStore,
    files: TempDir,
}

/// Writes a new certificate and its key, and returns it.
fn certify(files: &TempDir, cert_file: &str, key_file: &str) -> CertifiedKey<rcgen::KeyPair> {
    let certified = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(files.path().join(cert_file), certified.cert.pem()).unwrap();
    std::fs::write(files.path().join(key_file), certified.signing_key.serialize_pem()).unwrap();
    certified
}

fn settings(files: &TempDir) -> String {
    let path = |name| files.path().join(name).display().to_string();
    format!("[llm.tls]\ncert_file = '{}'\nkey_file = '{}'\n", path("cert.pem"), path("key.pem"))
}

impl TlsServer {
    async fn start(config: &str) -> Self {
        let files = tempfile::tempdir().unwrap();
        let certified = certify(&files, "cert.pem", "key.pem");
        let mut roots = RootCertStore::empty();
        roots.add(certified.cert.der().clone()).unwrap();
        let server = Server::start(&format!("{}{config}", settings(&files))).await;
        Self { server, roots, files }
    }

    /// Makes a handshake that offers these protocols.
    async fn connect(&self, protocols: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let stream = TcpStream::connect(self.server.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    async fn http1(&self) -> RawClient<TlsStream<TcpStream>> {
        RawClient::new(self.connect(&["http/1.1"]).await.unwrap())
    }

    async fn http2(&self) -> RawHttp2<TlsStream<TcpStream>> {
        let mut client = RawHttp2::new(self.connect(&["h2", "http/1.1"]).await.unwrap());
        client.begin(&[]).await.unwrap();
        client
    }
}

fn request(stream: u32, path: &str) -> RawFrame {
    let fields = [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", path)];
    RawFrame::headers(stream, END_STREAM, &fields)
}

// Spec: security S-28.
#[tokio::test]
async fn both_versions_of_http_are_spoken_behind_tls() {
    let mock = MockUpstream::replying([Reply::json(200, "{}"), Reply::json(201, "[]")]);
    let server = TlsServer::start(&serving::config(mock.bind().await.unwrap())).await;
    // The server chooses: HTTP/2 where it is offered, HTTP/1.1 where nothing is.
    for (offered, agreed) in [
        (&["h2", "http/1.1"][..], Some("h2")),
        (&["http/1.1", "h2"], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&[], None),
    ] {
        let stream = server.connect(offered).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), agreed.map(str::as_bytes), "{offered:?}");
    }
    assert!(server.connect(&["ftp"]).await.is_err(), "nothing is common to both");

    let mut client = server.http1().await;
    client.send(get("/mine", &[])).await.unwrap();
    assert_eq!(client.read_response().await.unwrap().body.text(), "mine");
    client.send(post("/v1/chat/completions", &[], r#"{"model":"openai.gpt-4"}"#)).await.unwrap();
    let response = client.read_response().await.unwrap();
    assert_eq!((response.head.status, response.body.text().as_str()), (200, "{}"));

    let mut client = server.http2().await;
    client.send(&[request(1, "/mine"), request(3, "/v1/files")]).await.unwrap();
    assert_eq!(client.read_response(1).await.unwrap(), (200, b"mine".to_vec(), None));
    client.send(&[request(5, "/health")]).await.unwrap();
    assert_eq!(client.read_response(5).await.unwrap().0, 200);
    assert_eq!(mock.counts().requests, 2);
}

// Spec: security S-28; api A-42.
#[tokio::test]
async fn a_drain_tells_clients_and_waits_for_their_streams() {
    let (steps, reply) = Reply::live();
    let mock = MockUpstream::replying([reply]);
    let server = TlsServer::start(&serving::config(mock.bind().await.unwrap())).await;
    let mut client = server.http2().await;
    client.send(&[request(1, "/v1/files")]).await.unwrap();
    client.read_until(|frame| frame.kind == kind::HEADERS).await.unwrap().unwrap();
    // One that has agreed on nothing yet holds up nobody, and neither does one that answers nothing.
    let silent = TcpStream::connect(server.server.address).await.unwrap();
    let mut deaf = server.http2().await;
    deaf.read().await.unwrap().unwrap();
    let begin = std::time::Instant::now();
    let stopping = tokio::spawn(server.server.stop());
    client.read_until(|frame| frame.kind == kind::GOAWAY).await.unwrap().unwrap();
    steps.send(gate_testkit::Step::Data("{}".into())).await.unwrap();
    drop(steps);
    assert_eq!(client.read_response(1).await.unwrap().1, b"{}");
    assert_eq!(stopping.await.unwrap().ended, 0);
    assert!(begin.elapsed() < Duration::from_secs(25), "the drain would end after 30 s");
    drop((silent, deaf));
}

// Spec: security S-28; api A-23.
#[tokio::test]
async fn a_broken_body_does_not_end_with_a_farewell() {
    let reply = Reply::steps(200, [gate_testkit::Step::Data("{\"half\":".into()), gate_testkit::Step::Abort]);
    let mock = MockUpstream::replying([reply]);
    let server = TlsServer::start(&serving::config(mock.bind().await.unwrap())).await;
    let mut client = server.http1().await;
    let request =
        post("/v1/chat/completions", &[], r#"{"model":"openai.gpt-4"}"#).replace("HTTP/1.1", "HTTP/1.0");
    client.send(request).await.unwrap();
    let head = client.read_head().await.unwrap();
    // To a client of HTTP/1.0 the end of TLS would be the end of the body (RFC 8446 §6.1).
    assert!(!client.read_body(&head).await.unwrap().is_clean());
}

// Spec: security S-28.
#[tokio::test]
async fn a_client_that_speaks_http_to_the_tls_port_is_told() {
    let server = TlsServer::start("").await;
    let mut client = RawClient::new(TcpStream::connect(server.server.address).await.unwrap());
    client.send(get("/health", &[])).await.unwrap();
    let response = client.read_response().await.unwrap();
    assert_eq!(response.head.status, 400);
    assert_eq!(response.body.text(), "this is a TLS port; use https:// instead of http\n");
    assert_eq!(client.read_to_close().await.unwrap().1, BodyEnd::Closed);
}

// Spec: security S-28.
#[tokio::test]
async fn a_client_that_speaks_tls_to_the_plain_port_is_closed() {
    let server = Server::start("").await;
    let mut client = RawClient::new(TcpStream::connect(server.address).await.unwrap());
    client.send(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03").await.unwrap();
    client.read_to_close().await.unwrap();
    // Nor does the plain port speak HTTP/2.
    let mut client = RawClient::new(TcpStream::connect(server.address).await.unwrap());
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let (bytes, _) = client.read_to_close().await.unwrap();
    assert!(bytes.is_empty() || bytes.starts_with(b"HTTP/1.1 400 "), "{bytes:?}");
}

// Spec: security S-9, S-28.
#[tokio::test]
async fn a_handshake_has_the_time_of_a_head() {
    let server = TlsServer::start("[llm.limits]\nheader_timeout = 0.3\n").await;
    for beginning in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01"] {
        let mut client = RawClient::new(TcpStream::connect(server.server.address).await.unwrap());
        let begin = std::time::Instant::now();
        client.send(beginning).await.unwrap();
        client.read_to_close().await.unwrap();
        let took = begin.elapsed();
        assert!(took >= Duration::from_millis(290) && took < Duration::from_secs(10), "{took:?}");
    }
    // Behind it, the first request has that time again.
    let mut stream = server.connect(&["http/1.1"]).await.unwrap();
    assert!(matches!(stream.read(&mut [0; 10]).await, Ok(0) | Err(_)));
}

// Spec: config C-58.
#[tokio::test]
async fn a_key_that_is_not_the_certificates_is_found_before_anything_listens() {
    let files = tempfile::tempdir().unwrap();
    certify(&files, "cert.pem", "key.pem");
    certify(&files, "other.pem", "other.key");
    let path = |name: &str| files.path().join(name);
    let check = |cert: &str, key: &str, message: Option<&str>| {
        let tls = TlsConfig { cert_file: path(cert), key_file: path(key) };
        let error = check_certificate(&tls).err().map(|error| error.to_string());
        match (&error, message) {
            (Some(error), Some(message)) => assert!(error.contains(message), "{error}"),
            _ => assert_eq!(error.as_deref(), message),
        }
    };
    check("cert.pem", "key.pem", None);
    check("cert.pem", "other.key", Some("cannot be used together"));
    check("none.pem", "key.pem", Some("cannot read"));
    check("key.pem", "key.pem", Some("holds no certificate"));
    check("cert.pem", "cert.pem", Some("is not a PEM file of the expected kind"));

    std::fs::copy(path("other.key"), path("key.pem")).unwrap();
    let config = load(&Sources::empty().with_text("test", &settings(&files))).unwrap().config;
    let error = Gateway::builder(config).build().unwrap_err().to_string();
    assert!(error.starts_with("`[llm.tls]`: ") && error.contains("key.pem"), "{error}");
}

// Spec: security S-28.
#[tokio::test]
async fn a_reload_brings_another_certificate_to_the_next_connection() {
    let server = TlsServer::start("").await;
    let mut old = server.http1().await;
    certify(&server.files, "cert.pem", "key.pem");
    let config = load(&Sources::empty().with_text("test", &settings(&server.files))).unwrap().config;
    server.server.gateway.reload(config).unwrap();
    assert!(server.connect(&["http/1.1"]).await.is_err(), "this client does not know the new one");
    old.send(get("/mine", &[])).await.unwrap();
    assert_eq!(old.read_response().await.unwrap().body.text(), "mine");
}
