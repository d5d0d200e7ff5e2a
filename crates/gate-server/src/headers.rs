//! Which headers pass, in both directions.

use http::header::{self, HeaderMap, HeaderName};

/// Headers that belong to one connection (RFC 9110 §7.6.1), and the framing, which each side
/// makes anew.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Headers of a request that the gateway answers for itself: framing, credentials, and whatever
/// would tie the request to the client's own account.
const REQUEST_OWN: [HeaderName; 12] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::AUTHORIZATION,
    header::COOKIE,
    header::ACCEPT_ENCODING,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    // A key for another vendor, which clients of several send along.
    HeaderName::from_static("x-goog-api-key"),
    HeaderName::from_static("x-provider-api-key"),
    HeaderName::from_static("openai-organization"),
    HeaderName::from_static("openai-project"),
];

/// Turns a client's headers into those that go upstream.
pub(crate) fn to_upstream(headers: &mut HeaderMap) {
    remove_hop_by_hop(headers);
    for name in &REQUEST_OWN {
        headers.remove(name);
    }
    remove_with_prefix(headers, "proxy-");
    remove_with_prefix(headers, "x-gateway-");
    // A compressed answer could not be metered, and each side's choice would bind the other.
    headers.insert(header::ACCEPT_ENCODING, header::HeaderValue::from_static("identity"));
}

/// Turns an upstream's headers into those that go to the client.
///
/// The content length is dropped where the body's own size gives it again; only an answer without
/// a body (to HEAD) keeps the header.
pub(crate) fn to_client(headers: &mut HeaderMap, keeps_content_length: bool) {
    remove_hop_by_hop(headers);
    // A cookie of the upstream's edge belongs to the gateway's account, not to the client.
    headers.remove(header::SET_COOKIE);
    if !keeps_content_length {
        headers.remove(header::CONTENT_LENGTH);
    }
    remove_with_prefix(headers, "x-gateway-");
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

fn remove_with_prefix(headers: &mut HeaderMap, prefix: &str) {
    let matching: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with(prefix)).cloned().collect();
    for name in &matching {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests;
