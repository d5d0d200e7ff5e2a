//! What a caller asks for, and how it is written as an HTTP request. Framing, the host and the key
//! are decided here alone, whatever the caller's headers say.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::credential::RequestCredential;
use crate::endpoint::Endpoint;
use crate::error::Fault;
use crate::http1::Message;
use crate::{RequestBody, anthropic};

/// Tells whether a header frames a message or belongs to one connection (RFC 9110 §7.6.1). Those of a request
/// are written here: a forwarded `content-length` that is wrong would hang the exchange or cut the body.
fn is_of_the_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "content-length"
            | "transfer-encoding"
            | "connection"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "upgrade"
            | "expect"
    )
}

/// Tells whether a header carries a key, or says who is meant. A second key would reach a stranger.
fn is_of_the_endpoint(name: &HeaderName) -> bool {
    matches!(name.as_str(), "host" | "authorization" | "x-api-key" | "api-key")
}

/// One request to a provider.
#[derive(Debug)]
pub struct UpstreamRequest {
    /// The method.
    pub method: Method,
    /// The path below the endpoint's prefix, such as `/chat/completions`, as the client encoded it.
    pub path: String,
    /// The client's query, without `?`.
    pub query: Option<String>,
    /// End-to-end headers, which requests may share. Framing, `host` and keys among them are left out.
    pub headers: Arc<HeaderMap>,
    /// Which key goes along.
    pub credential: RequestCredential,
    /// The body.
    pub body: RequestBody,
}

impl UpstreamRequest {
    /// Writes the request for an endpoint, in origin form (RFC 9112 §3.2.1). What the endpoint says replaces
    /// what the caller says, and the key replaces both.
    ///
    /// # Errors
    /// Something cannot be written as HTTP.
    pub(crate) fn write(self, endpoint: &Endpoint) -> Result<Message, Fault> {
        self.write_with(endpoint, &[])
    }

    /// Does the same, with further headers.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub(crate) fn write_with(self, endpoint: &Endpoint, more: &[(&str, &str)]) -> Result<Message, Fault> {
        let target = endpoint.path_and_query(&self.path, self.query.as_deref());
        let target = target.map_err(Fault::invalid_request)?;
        let credential = credential(self.credential, endpoint)?;
        let is_key = |name: &HeaderName| credential.as_ref().is_some_and(|(key, _)| key == name);
        let fixed = endpoint.headers();

        let mut head = Head::begin(&self.method, target.as_str(), &self.headers);
        if !fixed.contains_key(header::HOST) {
            head.line("host", endpoint.host().as_bytes());
        }
        for (name, value) in &*self.headers {
            let is_ours = is_of_the_hop(name) || is_of_the_endpoint(name) || fixed.contains_key(name);
            if !is_ours && !is_key(name) {
                head.line(name.as_str(), value.as_bytes());
            }
        }
        for (name, value) in fixed {
            if !is_of_the_hop(name) && !is_key(name) {
                head.line(name.as_str(), value.as_bytes());
            }
        }
        if let Some(version) = endpoint.default_version() {
            let is_named = |headers: &HeaderMap| headers.contains_key(anthropic::VERSION);
            if !is_named(&self.headers) && !is_named(fixed) {
                head.line(anthropic::VERSION.as_str(), version.as_bytes());
            }
        }
        if let Some((name, value)) = &credential {
            head.line(name.as_str(), value.as_bytes());
        }
        for (name, value) in more {
            head.line(name, value.as_bytes());
        }
        head.framing(&self.method, &self.body);
        Ok(Message { head: head.end(), method: self.method, body: self.body })
    }
}

/// The head of a request as it is written.
struct Head(Vec<u8>);

impl Head {
    fn begin(method: &Method, target: &str, headers: &HeaderMap) -> Self {
        // Room for the caller's headers and for some of our own.
        let room: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        let mut head = Self(Vec::with_capacity(room + target.len() + 384));
        head.push([method.as_str().as_bytes(), b" ", target.as_bytes(), b" HTTP/1.1\r\n"]);
        head
    }

    fn push<const N: usize>(&mut self, parts: [&[u8]; N]) {
        for part in parts {
            self.0.extend_from_slice(part);
        }
    }

    fn line(&mut self, name: &str, value: &[u8]) {
        self.push([name.as_bytes(), b": ", value, b"\r\n"]);
    }

    /// Says how long the body is, or that it comes in chunks.
    fn framing(&mut self, method: &Method, body: &RequestBody) {
        match body.len() {
            None => self.line("transfer-encoding", b"chunked"),
            // RFC 9110 §8.6: only a method that usually has a body says so when it is empty.
            Some(0) if !matches!(*method, Method::POST | Method::PUT | Method::PATCH) => {}
            Some(length) => self.line("content-length", itoa::Buffer::new().format(length).as_bytes()),
        }
    }

    fn end(mut self) -> Bytes {
        self.push([b"\r\n"]);
        self.0.into()
    }
}

fn credential(
    credential: RequestCredential,
    endpoint: &Endpoint,
) -> Result<Option<(HeaderName, HeaderValue)>, Fault> {
    match credential {
        RequestCredential::Configured => Ok(endpoint.credential().cloned()),
        RequestCredential::Key(key) => endpoint.auth().header(&key).map_err(Fault::invalid_request),
        RequestCredential::AsSent(name, mut value) => {
            value.set_sensitive(true);
            Ok(Some((name, value)))
        }
        RequestCredential::None => Ok(None),
    }
}
