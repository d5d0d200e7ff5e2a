//! What a caller asks for, and how it is written as an HTTP request. Framing, the host and the key
//! are decided here alone, whatever the caller's headers say.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Uri};

use crate::credential::{API_KEY, RequestCredential, X_API_KEY};
use crate::endpoint::Endpoint;
use crate::error::Fault;
use crate::{RequestBody, anthropic};

/// Headers of the caller that never go out: those that frame the message or belong to one connection
/// (RFC 9110 §7.6.1), and all that carry a key. A forwarded `content-length` that is wrong would hang
/// the exchange or cut the body; a second key would reach a stranger.
const NEVER_SENT: [HeaderName; 13] = [
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::HOST,
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::EXPECT,
    header::AUTHORIZATION,
    X_API_KEY,
    API_KEY,
];

/// One request to a provider.
#[derive(Debug)]
pub struct UpstreamRequest {
    /// The method.
    pub method: Method,
    /// The path below the endpoint's prefix, such as `/chat/completions`, as the client encoded it.
    pub path: String,
    /// The client's query, without `?`.
    pub query: Option<String>,
    /// End-to-end headers. Framing, `host` and keys among them are left out.
    pub headers: HeaderMap,
    /// Which key goes along.
    pub credential: RequestCredential,
    /// The body.
    pub body: RequestBody,
}

impl UpstreamRequest {
    /// Writes the request for an endpoint, in origin form (RFC 9112 §3.2.1).
    pub(crate) fn into_http(self, endpoint: &Endpoint) -> Result<Request<RequestBody>, Fault> {
        let target = endpoint.path_and_query(&self.path, self.query.as_deref());
        let target = Uri::from(target.map_err(Fault::invalid_request)?);

        let mut headers = self.headers;
        for name in &NEVER_SENT {
            headers.remove(name);
        }
        headers.insert(header::HOST, endpoint.host().clone());
        for (name, value) in endpoint.headers() {
            headers.insert(name, value.clone());
        }
        if let Some(version) = endpoint.default_version() {
            headers.entry(anthropic::VERSION).or_insert_with(|| version.clone());
        }
        if let Some((name, value)) = credential(self.credential, endpoint)? {
            headers.insert(name, value);
        }
        // RFC 9110 §8.6: a method that usually has a body says so even when it is empty.
        let expects_body = matches!(self.method, Method::POST | Method::PUT | Method::PATCH);
        // Without a length hyper sends chunks.
        if let Some(length) = self.body.len().filter(|length| expects_body || *length > 0) {
            headers.insert(header::CONTENT_LENGTH, length.into());
        }

        let mut request = Request::new(self.body);
        *request.method_mut() = self.method;
        *request.uri_mut() = target;
        *request.headers_mut() = headers;
        Ok(request)
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
