//! Checks on a request before anything is read from it. hyper parses; what it lets through and
//! must not reach a provider is refused here.

use std::net::Ipv6Addr;

use gate_config::{ServerConfig, is_loopback_host};
use http::request::Parts;
use http::{Method, Version};

use crate::client_headers::{ClientHeaders, Field};
use crate::error::{ApiError, ErrorCode};
use crate::route::FORWARDED_METHODS;

/// The longest path and query.
const MAX_TARGET_BYTES: usize = 8 * 1024;

/// The names in `Host` that this gateway answers to.
#[derive(Clone, Debug)]
pub(crate) enum HostGuard {
    /// Any: others can reach the address anyhow.
    Open,
    /// Loopback names and these: a web page that rebinds its own name to a loopback address must
    /// not reach the keys.
    LoopbackAnd(Vec<String>),
}

impl HostGuard {
    /// Makes the guard that goes with the address listened on.
    pub(crate) fn new(server: &ServerConfig) -> Self {
        if is_loopback_host(&server.host) {
            Self::LoopbackAnd(server.allowed_hosts.clone())
        } else {
            Self::Open
        }
    }

    /// Refuses a request for another host.
    ///
    /// # Errors
    /// 421, and the end of the connection.
    pub(crate) fn check(&self, host: Option<&str>) -> Result<(), ApiError> {
        if host.is_none_or(|host| self.allows(host)) {
            return Ok(());
        }
        let message = "this gateway answers only to loopback names; add the name in `Host` to \
                       `[llm] allowed_hosts` to allow it";
        Err(ApiError::new(ErrorCode::MisdirectedRequest, message).closing())
    }

    /// Refuses a web page of another site. A browser asks before it sends JSON to another origin, but
    /// not before it sends a form or plain text, which some paths take.
    ///
    /// # Errors
    /// 403 for an origin on the web that is not this machine; other schemes, such as those of editors
    /// and extensions, are programs that the user installed.
    fn check_origin(&self, headers: ClientHeaders<'_>) -> Result<(), ApiError> {
        let Some(origin) = headers.get(Field::Origin) else { return Ok(()) };
        let origin = origin.to_str().unwrap_or("null");
        let is_ours = match origin.split_once("://") {
            Some(("http" | "https", host)) => split_host(host).is_some_and(|host| self.allows(host)),
            Some(_) => true,
            None => false,
        };
        if is_ours || matches!(self, Self::Open) {
            return Ok(());
        }
        Err(ApiError::new(
            ErrorCode::PermissionDenied,
            "web pages of other sites may not use this gateway; add the page's host to `[llm] allowed_hosts` to allow it",
        ))
    }

    fn allows(&self, host: &str) -> bool {
        match self {
            Self::Open => true,
            Self::LoopbackAnd(names) => {
                // As clients on this machine write it.
                matches!(host, "127.0.0.1" | "localhost")
                    || is_loopback_host(host)
                    || names.iter().any(|name| name.eq_ignore_ascii_case(host))
            }
        }
    }
}

/// Checks framing, the syntax of `Host` and the target, and returns the host, without its port.
///
/// # Errors
/// The first refusal; those that leave the framing in doubt also end the connection.
pub(crate) fn check<'p>(parts: &'p Parts, headers: ClientHeaders<'p>) -> Result<Option<&'p str>, ApiError> {
    check_framing(headers)?;
    let host = host_of(parts, headers)?;
    // CONNECT names a host where a path should be, and hyper would open a tunnel.
    if parts.method == Method::CONNECT {
        return Err(ApiError::method_not_allowed(FORWARDED_METHODS).closing());
    }
    match parts.uri.path_and_query() {
        Some(target) if target.as_str().starts_with('/') => Ok(host),
        _ => Err(ApiError::new(ErrorCode::BadRequest, "the request target must be a path").closing()),
    }
}

/// Checks what ranks behind method and host: the target's length, who sent the request, and what it
/// expects.
///
/// # Errors
/// 414, 403 or 417.
pub(crate) fn check_rest(
    parts: &Parts,
    headers: ClientHeaders<'_>,
    guard: &HostGuard,
) -> Result<(), ApiError> {
    let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    if target > MAX_TARGET_BYTES {
        let message = format!("the path and query have more than {MAX_TARGET_BYTES} bytes");
        return Err(ApiError::new(ErrorCode::UriTooLong, message));
    }
    guard.check_origin(headers)?;
    check_expectation(headers)
}

/// Refuses message framing that this gateway and another reader could take differently.
fn check_framing(headers: ClientHeaders<'_>) -> Result<(), ApiError> {
    let mut codings = headers.get_all(Field::TransferEncoding);
    if let Some(coding) = codings.next() {
        if codings.next().is_some() {
            return Err(bad("two `transfer-encoding` headers"));
        }
        if !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") {
            return Err(ApiError::new(
                ErrorCode::NotImplemented,
                "the only transfer coding known here is `chunked`",
            )
            .closing());
        }
    }
    // Some readers take `_` for `-`, so such a name could smuggle a second framing, or a second key,
    // past the first.
    if !headers.present.has_underscore() {
        return Ok(());
    }
    for name in headers.map.keys().map(http::HeaderName::as_str) {
        if name.contains('_') && GUARDED.contains(&name.replace('_', "-").as_str()) {
            return Err(bad("a header name with `_` that other readers take for one with `-`"));
        }
    }
    Ok(())
}

/// Names of headers that decide the framing or carry an identity.
const GUARDED: [&str; 10] = [
    "content-length",
    "transfer-encoding",
    "content-type",
    "content-encoding",
    "x-api-key",
    "api-key",
    "x-provider-api-key",
    "x-gateway-api-key",
    "openai-organization",
    "openai-project",
];

fn bad(what: &str) -> ApiError {
    ApiError::new(ErrorCode::BadRequest, format!("the request has {what}")).closing()
}

/// Returns the host that the request is for, without its port (RFC 9112 §3.2, RFC 9113 §8.3.1).
///
/// On HTTP/1 the authority of an absolute target is ignored: this is no forward proxy. On HTTP/2 it is
/// what `host` was.
fn host_of<'p>(parts: &'p Parts, headers: ClientHeaders<'p>) -> Result<Option<&'p str>, ApiError> {
    let is_http2 = parts.version == Version::HTTP_2;
    let authority = parts.uri.authority().filter(|_| is_http2).map(http::uri::Authority::as_str);
    let mut hosts = headers.get_all(Field::Host);
    match (hosts.next(), hosts.next(), authority) {
        (Some(_), Some(_), _) => Err(bad("two `host` headers")),
        (Some(host), None, Some(authority))
            if !host.as_bytes().eq_ignore_ascii_case(authority.as_bytes()) =>
        {
            Err(bad("an `:authority` and a `host` header that differ"))
        }
        (Some(host), None, _) => {
            let host = host.to_str().ok().and_then(split_host);
            host.map(Some).ok_or_else(|| bad("a `host` header that is no host name with an optional port"))
        }
        (None, _, Some(authority)) => split_host(authority)
            .map(Some)
            .ok_or_else(|| bad("an `:authority` that is no host name with an optional port")),
        (None, _, None) if is_http2 => Err(bad("no `:authority` and no `host` header")),
        (None, _, None) if parts.version == Version::HTTP_11 => Err(bad("no `host` header")),
        (None, _, None) => Ok(parts.uri.host()),
    }
}

/// Splits `host[:port]` and returns the host, a literal IPv6 address without its brackets.
fn split_host(text: &str) -> Option<&str> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, after) = rest.split_once(']')?;
            address.parse::<Ipv6Addr>().ok()?;
            (address, after.strip_prefix(':').or_else(|| after.is_empty().then_some(""))?)
        }
        None => {
            let is_of_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
            let end = text.bytes().position(|b| !is_of_name(b)).unwrap_or(text.len());
            let (host, after) = text.split_at_checked(end).filter(|(host, _)| !host.is_empty())?;
            (host, after.strip_prefix(':').or_else(|| after.is_empty().then_some(""))?)
        }
    };
    (port.is_empty() || (port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok()))
        .then_some(host)
}

fn check_expectation(headers: ClientHeaders<'_>) -> Result<(), ApiError> {
    match headers.get(Field::Expect) {
        Some(value) if !value.as_bytes().eq_ignore_ascii_case(b"100-continue") => Err(ApiError::new(
            ErrorCode::ExpectationFailed,
            "the only expectation known here is `100-continue`",
        )
        .closing()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
