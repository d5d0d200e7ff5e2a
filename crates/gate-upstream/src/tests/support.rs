//! A client, an endpoint and a hand-driven provider at the other end of a pipe.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gate_model_ref::ProviderKind;
use http::{HeaderMap, Method};
use http_body_util::BodyExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::time::sleep;

use crate::{
    AuthStyle, Dialer, Endpoint, EndpointConfig, MemoryDialer, MemoryListener, PoolSettings, RequestBody,
    RequestCredential, Scheme, Timeouts, TlsSettings, UpstreamBody, UpstreamClient, UpstreamError,
    UpstreamRequest, UpstreamResponse,
};

pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

pub(crate) fn config() -> EndpointConfig {
    EndpointConfig {
        name: Arc::from("openai.test"),
        kind: ProviderKind::OpenAi,
        scheme: Scheme::Http,
        authority: "api.test".to_owned(),
        path_prefix: "/v1".to_owned(),
        query: None,
        auth: AuthStyle::Bearer,
        credential: None,
        headers: HeaderMap::new(),
        default_version: None,
        timeouts: Timeouts::default(),
        tls: TlsSettings::default(),
        pool: PoolSettings::default(),
    }
}

pub(crate) fn endpoint(change: impl FnOnce(&mut EndpointConfig)) -> Endpoint {
    let mut config = config();
    change(&mut config);
    Endpoint::try_new(config).unwrap()
}

pub(crate) fn post(body: impl Into<Bytes>) -> UpstreamRequest {
    UpstreamRequest {
        method: Method::POST,
        path: "/chat/completions".to_owned(),
        query: None,
        headers: Arc::default(),
        credential: RequestCredential::None,
        body: RequestBody::whole(body.into()),
    }
}

pub(crate) fn memory() -> (UpstreamClient, MemoryListener) {
    let (dialer, listener) = MemoryDialer::new();
    (UpstreamClient::new(Dialer::Memory(dialer)), listener)
}

/// The provider's end of one connection.
pub(crate) struct Peer<S = DuplexStream> {
    pub(crate) stream: S,
}

impl Peer {
    pub(crate) async fn accept(listener: &mut MemoryListener) -> Self {
        Self { stream: listener.accept().await.unwrap() }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    /// Reads one request, head and body, and returns its text.
    pub(crate) async fn request(&mut self) -> String {
        self.try_request().await.unwrap()
    }

    async fn try_request(&mut self) -> io::Result<String> {
        let mut text = Vec::new();
        while !text.ends_with(b"\r\n\r\n") {
            text.push(self.stream.read_u8().await?);
        }
        let head = String::from_utf8(text).unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        self.stream.read_exact(&mut body).await?;
        Ok(head + &String::from_utf8(body).unwrap())
    }

    /// Answers every request after `pause`, until the client leaves.
    pub(crate) async fn serve_all(&mut self, pause: Duration) {
        while self.try_request().await.is_ok() {
            sleep(pause).await;
            self.write(OK).await;
        }
    }

    pub(crate) async fn write(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads one request and answers it.
    pub(crate) async fn serve(&mut self, answer: &str) -> String {
        let request = self.request().await;
        self.write(answer).await;
        request
    }

    /// Reads what is left and returns once the client has closed.
    pub(crate) async fn closed(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).await.unwrap();
        rest
    }
}

/// Sends a request that the next accepted connection answers.
pub(crate) async fn exchange(
    client: &UpstreamClient,
    listener: &mut MemoryListener,
    endpoint: &Endpoint,
    answer: &str,
) -> (UpstreamResponse, Peer) {
    let play = async {
        let mut peer = Peer::accept(listener).await;
        peer.serve(answer).await;
        peer
    };
    let (response, peer) = tokio::join!(client.send(endpoint, post("{}")), play);
    (response.unwrap(), peer)
}

pub(crate) async fn text(body: UpstreamBody) -> Result<String, UpstreamError> {
    let bytes = body.collect().await?.to_bytes();
    Ok(String::from_utf8(bytes.into()).unwrap())
}
