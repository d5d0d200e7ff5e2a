//! What a caller asks for, and how it is written as an HTTP request. Framing, the host and the key
//! are decided here alone, whatever the caller's headers say.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Uri};

use crate::credential::RequestCredential;
use crate::endpoint::Endpoint;
use crate::error::Fault;
use crate::{RequestBody, anthropic};

/// Tells whether a header of the caller never goes out: those that frame the message or belong to one
/// connection (RFC 9110 §7.6.1), and all that carry a key. A forwarded `content-length` that is wrong
/// would hang the exchange or cut the body; a second key would reach a stranger.
fn is_never_sent(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "content-length"
            | "transfer-encoding"
            | "host"
            | "connection"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "upgrade"
            | "expect"
            | "authorization"
            | "x-api-key"
            | "api-key"
    )
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
        // Most callers leave them out themselves. Looking is cheaper than asking the map for each.
        while let Some(name) = headers.keys().find(|name| is_never_sent(name)).cloned() {
            headers.remove(name);
        }
        headers.insert(header::HOST, endpoint.host().clone());
        for (name, value) in endpoint.headers() {
            // hyper would obey it, whatever the body is.
            if *name != header::CONTENT_LENGTH {
                headers.insert(name, value.clone());
            }
        }
        if let Some(version) = endpoint.default_version() {
            headers.entry(anthropic::VERSION).or_insert_with(|| version.clone());
        }
        if let Some((name, value)) = credential(self.credential, endpoint)? {
            headers.insert(name, value);
        }
        // RFC 9110 §8.6: a method that usually has a body says so even when it is empty. Of any other length
        // hyper says it itself, and sends chunks where there is none.
        let expects_body = matches!(self.method, Method::POST | Method::PUT | Method::PATCH);
        if expects_body && self.body.is_empty() {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
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
