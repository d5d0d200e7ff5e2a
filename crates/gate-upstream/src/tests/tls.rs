//! The system dialer: TCP and TLS over loopback, with certificates made on the spot.

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, RootCertStore, ServerConfig};
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::support::{Peer, endpoint, post, text};
use crate::dial::Dial;
use crate::resolver::Resolver;
use crate::{
    Dialer, Endpoint, EndpointConfig, Roots, Scheme, Sent, Timings, UpstreamClient, UpstreamError,
    UpstreamErrorKind, UpstreamResponse,
};

static AUTHORITY: LazyLock<CertifiedIssuer<'static, KeyPair>> = LazyLock::new(|| {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
});

fn certificate(name: &str) -> (Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new([name.to_owned()]).unwrap();
    (params.signed_by(&key, &AUTHORITY).unwrap(), key)
}

fn authority() -> CertificateDer<'static> {
    AUTHORITY.as_ref().der().clone()
}

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn no_native_roots() -> Vec<CertificateDer<'static>> {
    Vec::new()
}

/// A TLS server, and what it saw of each handshake: ALPN, full or resumed, the client's certificates.
struct Server {
    port: u16,
    handshakes: mpsc::UnboundedReceiver<(Option<Vec<u8>>, HandshakeKind, usize)>,
}

impl Server {
    /// Starts a server whose certificate is for `name`; `wants_identity` asks clients for theirs.
    async fn start(name: &str, wants_identity: bool) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if wants_identity {
            let mut roots = RootCertStore::empty();
            roots.add(authority()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let (certificate, key) = certificate(name);
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        let mut config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];

        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (reports, handshakes) = mpsc::unbounded_channel();
        let port = serve(move |stream| {
            let (acceptor, reports) = (acceptor.clone(), reports.clone());
            async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let session = stream.get_ref().1;
                let certificates = session.peer_certificates().map_or(0, <[_]>::len);
                let alpn = session.alpn_protocol().map(<[u8]>::to_vec);
                let _ = reports.send((alpn, session.handshake_kind().unwrap(), certificates));
                Peer { stream }.serve_all(Duration::ZERO).await;
            }
        })
        .await;
        Self { port, handshakes }
    }
}

/// Listens on a free port of loopback and plays `each` connection.
async fn serve<F>(each: impl Fn(TcpStream) -> F + Send + 'static) -> u16
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(each(stream));
        }
    });
    port
}

fn client() -> UpstreamClient {
    UpstreamClient::with_native_roots(Dialer::System, no_native_roots)
}

fn https(port: u16, roots: Roots, change: impl FnOnce(&mut EndpointConfig)) -> Endpoint {
    endpoint(|config| {
        config.scheme = Scheme::Https;
        config.authority = format!("127.0.0.1:{port}");
        config.tls.roots = roots;
        change(config);
    })
}

fn report(error: &UpstreamError) -> String {
    let mut report = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        report += &format!(": {error}");
        source = error.source();
    }
    report
}

/// A request fails in this way, and its error knows the time of each step up to the one that failed.
async fn fails(client: &UpstreamClient, endpoint: &Endpoint, kind: UpstreamErrorKind, sent: Sent, why: &str) {
    let error = client.send(endpoint, post("{}")).await.unwrap_err();
    assert_eq!((error.kind(), error.sent()), (kind, sent), "{}", report(&error));
    assert!(report(&error).contains(why), "{}", report(&error));
    let last = match kind {
        UpstreamErrorKind::Dns => 0,
        UpstreamErrorKind::Connect => 1,
        _ if sent == Sent::Nothing => 2,
        _ => 3,
    };
    let timings = error.timings().unwrap();
    let taken = [timings.dns, timings.connect, timings.tls, timings.first_byte].map(|time| time.is_some());
    assert_eq!(taken, std::array::from_fn(|step| step <= last), "{}", report(&error));
}

async fn is_ok(client: &UpstreamClient, endpoint: &Endpoint) -> UpstreamResponse {
    let response = client.send(endpoint, post("{}")).await;
    response.unwrap_or_else(|error| panic!("{}", report(&error)))
}

// Spec: config C-28.
#[tokio::test]
async fn a_server_whose_authority_is_in_the_ca_file_is_trusted() {
    let mut server = Server::start("127.0.0.1", false).await;
    let ca = file(&AUTHORITY.pem());
    let endpoint = https(server.port, Roots::CaFile(ca.path().to_owned()), |_| {});
    let client = client();
    client.prepare(&endpoint).unwrap();
    let first = is_ok(&client, &endpoint).await;
    assert!(first.timings.dns.is_some() && first.timings.connect.is_some() && first.timings.tls.is_some());
    assert_eq!(text(first.body).await.unwrap(), "ok");
    let second = is_ok(&client, &endpoint).await;
    assert!(second.timings.reused && second.timings.tls.is_none());
    assert_eq!(text(second.body).await.unwrap(), "ok");
    // HTTP/2 is on offer and not taken.
    let alpn = Some(b"http/1.1".to_vec());
    assert_eq!(server.handshakes.recv().await, Some((alpn, HandshakeKind::Full, 0)));
}

#[tokio::test]
async fn sessions_are_resumed_even_after_a_reload() {
    let mut server = Server::start("127.0.0.1", false).await;
    let ca = file(&AUTHORITY.pem());
    let client = client();
    let mut seen = Vec::new();
    for idle_timeout in [4, 5] {
        // A new endpoint with other settings of its pool, as a reload makes it.
        let endpoint = https(server.port, Roots::CaFile(ca.path().to_owned()), |config| {
            config.pool.idle_timeout = Duration::from_secs(idle_timeout);
        });
        text(is_ok(&client, &endpoint).await.body).await.unwrap();
        seen.push(server.handshakes.recv().await.unwrap().1);
    }
    assert!(matches!(seen[..], [HandshakeKind::Full, HandshakeKind::Resumed]), "{seen:?}");
}

// Spec: security S-19.
// Spec: api A-34.
#[tokio::test]
async fn certificates_that_do_not_fit_are_refused() {
    use UpstreamErrorKind::Tls;
    let ca = file(&AUTHORITY.pem());
    let roots = || Roots::CaFile(ca.path().to_owned());

    let server = Server::start("127.0.0.1", false).await;
    let stranger = https(server.port, Roots::Bundled, |_| {});
    fails(&client(), &stranger, Tls, Sent::Nothing, "UnknownIssuer").await;

    let server = Server::start("other.test", false).await;
    let wrong_name = https(server.port, roots(), |_| {});
    fails(&client(), &wrong_name, Tls, Sent::Nothing, "not valid for name").await;
}

// Spec: api A-34.
#[tokio::test]
async fn a_port_that_speaks_no_tls_is_a_tls_error() {
    use UpstreamErrorKind::Tls;
    let plain = serve(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let _ = stream.read(&mut [0; 64]).await;
    })
    .await;
    let client = UpstreamClient::with_native_roots(Dialer::System, needless_native_roots);
    fails(&client, &https(plain, Roots::Bundled, |_| {}), Tls, Sent::Nothing, "InvalidContentType").await;
    assert_eq!(NEEDLESS_LOADS.load(Ordering::Relaxed), 0, "more authorities would not help");

    let closes = serve(|stream| async move { drop(stream) }).await;
    fails(&client, &https(closes, Roots::Bundled, |_| {}), Tls, Sent::Nothing, "").await;
}

// Spec: config C-18.
#[tokio::test]
async fn a_stalled_handshake_ends_at_the_connection_timeout() {
    let silent = serve(|mut stream| async move {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let limit = Duration::from_millis(50);
    let endpoint = https(silent, Roots::Bundled, |config| config.timeouts.connection = Some(limit));
    let begin = Instant::now();
    fails(&client(), &endpoint, UpstreamErrorKind::TlsTimeout, Sent::Nothing, "handshake took too long")
        .await;
    assert!(begin.elapsed() >= limit);
}

static NEEDLESS_LOADS: AtomicUsize = AtomicUsize::new(0);

fn needless_native_roots() -> Vec<CertificateDer<'static>> {
    NEEDLESS_LOADS.fetch_add(1, Ordering::Relaxed);
    Vec::new()
}

static NATIVE_LOADS: AtomicUsize = AtomicUsize::new(0);

fn counted_native_roots() -> Vec<CertificateDer<'static>> {
    NATIVE_LOADS.fetch_add(1, Ordering::Relaxed);
    vec![authority()]
}

// Spec: security S-19.
#[tokio::test]
async fn the_systems_authorities_are_loaded_once_and_only_when_needed() {
    let client = UpstreamClient::with_native_roots(Dialer::System, counted_native_roots);
    let server = Server::start("127.0.0.1", false).await;
    let endpoint = https(server.port, Roots::Bundled, |_| {});
    client.prepare(&endpoint).unwrap();
    assert_eq!(NATIVE_LOADS.load(Ordering::Relaxed), 0);
    for _ in 0..2 {
        text(is_ok(&client, &endpoint).await.body).await.unwrap();
        client.close_idle();
    }
    assert_eq!(NATIVE_LOADS.load(Ordering::Relaxed), 1);

    // They vouch for names no more than others do, and a CA file keeps them out.
    let wrong_name = Server::start("other.test", false).await;
    let endpoint = https(wrong_name.port, Roots::Bundled, |_| {});
    fails(&client, &endpoint, UpstreamErrorKind::Tls, Sent::Nothing, "not valid for name").await;
    let mut stranger = CertificateParams::new(Vec::new()).unwrap();
    stranger.distinguished_name.push(DnType::CommonName, "a stranger");
    let ca = file(&stranger.self_signed(&KeyPair::generate().unwrap()).unwrap().pem());
    let endpoint = https(server.port, Roots::CaFile(ca.path().to_owned()), |_| {});
    fails(&client, &endpoint, UpstreamErrorKind::Tls, Sent::Nothing, "UnknownIssuer").await;
}

// Spec: config C-28.
#[tokio::test]
async fn a_client_certificate_is_shown_to_a_server_that_asks() {
    let mut server = Server::start("127.0.0.1", true).await;
    let (certificate, key) = certificate("gateway.test");
    let (ca, chain, key) = (file(&AUTHORITY.pem()), file(&certificate.pem()), file(&key.serialize_pem()));
    let roots = || Roots::CaFile(ca.path().to_owned());
    let client = client();
    let known = https(server.port, roots(), |config| {
        config.tls.client_identity = Some((chain.path().to_owned(), key.path().to_owned()));
    });
    text(is_ok(&client, &known).await.body).await.unwrap();
    assert_eq!(server.handshakes.recv().await.unwrap().2, 1);

    // TLS 1.3 tells us only once the request is on its way.
    let unknown = https(server.port, roots(), |_| {});
    fails(&client, &unknown, UpstreamErrorKind::Tls, Sent::Maybe, "CertificateRequired").await;
}

#[tokio::test]
async fn unusable_tls_files_are_named_before_any_request() {
    fn check(change: impl FnOnce(&mut EndpointConfig), message: &str) {
        let error = client().prepare(&https(443, Roots::Bundled, change)).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
    let (empty, broken) =
        (file("nothing here"), file("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"));
    let (certificate, _) = certificate("gateway.test");
    let (chain, stranger) = (file(&certificate.pem()), file(&KeyPair::generate().unwrap().serialize_pem()));
    let roots = |file: &NamedTempFile| Roots::CaFile(file.path().to_owned());
    let name = |file: &NamedTempFile| file.path().display().to_string();

    check(
        |config| config.tls.roots = Roots::CaFile(PathBuf::from("/no/such/ca.pem")),
        "provider `openai.test`: cannot read `/no/such/ca.pem`: No such file or directory (os error 2)",
    );
    check(
        |config| config.tls.roots = roots(&empty),
        &format!("provider `openai.test`: `{}` holds no certificate", name(&empty)),
    );
    check(
        |config| config.tls.roots = roots(&broken),
        &format!(
            "provider `openai.test`: `{}` is not a PEM file of the expected kind: base64 decode error: \
             InvalidCharacter(33)",
            name(&broken)
        ),
    );
    check(
        |config| config.tls.client_identity = Some((chain.path().to_owned(), stranger.path().to_owned())),
        "provider `openai.test`: the client certificate and key cannot be used: keys may not be consistent: \
         KeyMismatch",
    );
}

// Spec: api A-34.
#[tokio::test]
async fn a_port_where_nobody_listens_is_a_connect_error() {
    // Bound but not listening: the kernel refuses, and nobody else can take the port.
    let closed = TcpSocket::new_v4().unwrap();
    closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = closed.local_addr().unwrap().port();
    let endpoint = endpoint(|config| config.authority = format!("127.0.0.1:{port}"));
    fails(&client(), &endpoint, UpstreamErrorKind::Connect, Sent::Nothing, "refused").await;

    // Its addresses are no longer remembered: the host may have moved.
    let resolver = Resolver::default();
    let mut timings = Timings::default();
    let mut dial = Dial::new(endpoint.identity(), &mut timings);
    dial.system(&resolver, None).await.unwrap_err();
    let moved = vec![([127, 0, 0, 2], port).into()];
    let answer = resolver.resolve("127.0.0.1", port, async { Ok(moved.clone()) }).await;
    assert_eq!(answer.unwrap(), moved);
}

#[tokio::test]
async fn a_host_without_an_address_is_a_dns_error() {
    // Labels are at most 63 bytes long (RFC 1035 §2.3.4), so no resolver is ever asked.
    let endpoint = endpoint(|config| config.authority = format!("{}.test", "x".repeat(64)));
    fails(&client(), &endpoint, UpstreamErrorKind::Dns, Sent::Nothing, "lookup").await;
}

#[tokio::test]
async fn an_early_answer_survives_the_reset_that_follows_it() {
    let port = serve(|mut stream| async move {
        stream.read_exact(&mut [0; 100]).await.unwrap();
        stream.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 5\r\n\r\nlarge").await.unwrap();
        // Closing with unread data makes the kernel send a reset.
    })
    .await;
    let endpoint = endpoint(|config| config.authority = format!("127.0.0.1:{port}"));
    for _ in 0..20 {
        let response = client().send(&endpoint, post("x".repeat(8_000_000))).await.unwrap();
        assert_eq!(response.status, 413);
        assert_eq!(text(response.body).await.unwrap(), "large");
    }
}
