//! One HTTP/1.1 request to the gateway, each on a connection of its own. It keeps no state and
//! follows nothing.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::tls;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an answer of the gateway itself may take.
const OWN: Duration = Duration::from_secs(10);
/// How long an answer of a provider may take.
const LIVE: Duration = Duration::from_secs(120);
/// The longest answer that is read.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Call {
    method: Method,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Option<String>,
    limit: Duration,
    has_key: bool,
}

impl Call {
    pub(super) fn get(path: &str) -> Self {
        Self::new(Method::GET, path, None)
    }

    pub(super) fn head(path: &str) -> Self {
        Self { has_key: false, ..Self::new(Method::HEAD, path, None) }
    }

    pub(super) fn post(path: &str, body: &serde_json::Value) -> Self {
        Self::new(Method::POST, path, Some(body.to_string()))
    }

    fn new(method: Method, path: &str, body: Option<String>) -> Self {
        Self { method, path: path.to_owned(), headers: Vec::new(), body, limit: OWN, has_key: true }
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Leaves the usual credential out: the call brings its own.
    pub(super) fn without_key(self) -> Self {
        Self { has_key: false, ..self }
    }

    /// Gives the answer the time that a provider needs.
    pub(super) fn live(self) -> Self {
        Self { limit: LIVE, ..self }
    }
}

/// A whole answer.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// In how many pieces the body came.
    pub(super) pieces: usize,
    /// From the first piece to the end.
    pub(super) spread: Duration,
    /// From the request to the head of the answer.
    pub(super) to_head: Duration,
}

impl Reply {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub(super) fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(&self.body).ok()
    }
}

/// Where the gateway is, and the key that it is asked with.
#[derive(Clone)]
pub(super) struct Caller {
    host: String,
    port: u16,
    is_tls: bool,
    authority: String,
    prefix: String,
    key: String,
}

impl Caller {
    /// Reads the address of a gateway; a path that ends in `/v1`, as SDKs want it, is accepted.
    ///
    /// # Errors
    /// What is wrong with the address, continuing a sentence.
    pub(super) fn try_new(url: &str, key: String) -> Result<Self, &'static str> {
        let uri: Uri = url.parse().map_err(|_| "is no URL: write one such as http://127.0.0.1:8848")?;
        let mut is_tls = false;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => is_tls = true,
            _ => return Err("is no URL: begin it with http:// or https://"),
        }
        let authority = uri.authority().ok_or("names no host")?;
        if HeaderValue::from_str(&key).is_err() {
            return Err("cannot be asked: the key in EMX_GATE_KEY has a character that no header can have");
        }
        let path = uri.path().trim_end_matches('/');
        Ok(Self {
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            is_tls,
            authority: authority.to_string(),
            prefix: path.strip_suffix("/v1").unwrap_or(path).to_owned(),
            key,
        })
    }

    pub(super) fn base(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority, self.prefix)
    }

    /// Returns the key as a bearer token.
    pub(super) fn bearer(&self) -> String {
        format!("Bearer {}", self.key)
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// There is none, or it breaks off; the text says how.
    pub(super) async fn call(&self, call: Call) -> Result<Reply, String> {
        let limit = call.limit;
        timeout(limit, self.exchange(call))
            .await
            .unwrap_or_else(|_| Err(format!("no whole answer within {} s", limit.as_secs())))
    }

    async fn exchange(&self, call: Call) -> Result<Reply, String> {
        let request = self.request(call)?;
        let stream = timeout(CONNECT, TcpStream::connect((self.host.as_str(), self.port)))
            .await
            .map_err(|_| "no connection in time".to_owned())?
            .map_err(|error| format!("no connection: {error}"))?;
        if !self.is_tls {
            return exchange_over(stream, request).await;
        }
        let stream = timeout(CONNECT, tls::connect(&self.host, stream)).await;
        exchange_over(stream.map_err(|_| "no TLS in time".to_owned())??, request).await
    }

    fn request(&self, call: Call) -> Result<Request<Full<Bytes>>, String> {
        let mut request = Request::builder()
            .method(call.method)
            .uri(format!("{}{}", self.prefix, call.path))
            .header(HOST, &self.authority);
        if call.body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if call.has_key {
            request = request.header("authorization", self.bearer());
        }
        for (name, value) in call.headers {
            request = request.header(HeaderName::from_static(name), value);
        }
        let body = Full::new(Bytes::from(call.body.unwrap_or_default()));
        request.body(body).map_err(|error| format!("the request cannot be made: {error}"))
    }
}

/// Sends a request over a connection and reads the whole answer.
async fn exchange_over<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Reply, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let exchange = async {
        let started = Instant::now();
        let response = sender.send_request(request).await.map_err(|error| chain(&error))?;
        let to_head = started.elapsed();
        let (head, mut body) = response.into_parts();
        let (mut bytes, mut pieces, mut first) = (Vec::new(), 0, None);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| format!("{}, and then it breaks off: {error}", head.status))?;
            let Ok(data) = frame.into_data() else { continue };
            first.get_or_insert_with(Instant::now);
            pieces += 1;
            bytes.extend_from_slice(&data);
            if bytes.len() > MAX_BYTES {
                return Err(format!("{}, and more than 8 MiB", head.status));
            }
        }
        let spread = first.map_or(Duration::ZERO, |first| first.elapsed());
        Ok(Reply { status: head.status, headers: head.headers, body: bytes, pieces, spread, to_head })
    };
    let (mut exchange, connection) = (std::pin::pin!(exchange), std::pin::pin!(connection));
    tokio::select! {
        reply = &mut exchange => reply,
        // The connection hands everything over before it ends.
        _ = connection => exchange.await,
    }
}

/// Tells an error with what is behind it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
