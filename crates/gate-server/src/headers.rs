//! Which headers pass, in both directions.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// Tells whether a header belongs to one connection (RFC 9110 §7.6.1), or to the framing, which each
/// side makes anew.
fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Tells whether the gateway answers a header of a request for itself: framing, credentials, and
/// whatever would tie the request to the client's own account.
fn is_own_of_request(name: &str) -> bool {
    matches!(
        name,
        "host"
            | "content-length"
            | "expect"
            | "authorization"
            | "cookie"
            | "x-api-key"
            | "api-key"
            // A key for another vendor, which clients of several send along.
            | "x-goog-api-key"
            | "x-provider-api-key"
            | "openai-organization"
            | "openai-project"
    ) || name.starts_with("proxy-")
        || name.starts_with("x-gateway-")
}

/// Turns a client's headers into those that go upstream.
pub(crate) fn to_upstream(headers: &mut HeaderMap) {
    remove_with_hop_by_hop(headers, is_own_of_request);
    // A compressed answer could not be metered, and each side's choice would bind the other.
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
}

/// Turns an upstream's headers into those that go to the client.
///
/// The content length is dropped where the body's own size gives it again; only an answer without
/// a body (to HEAD) keeps the header. A cookie of the upstream's edge belongs to the gateway's account,
/// not to the client.
pub(crate) fn to_client(headers: &mut HeaderMap, keeps_content_length: bool) {
    remove_with_hop_by_hop(headers, |name| {
        name == "set-cookie"
            || (name == "content-length" && !keeps_content_length)
            || name.starts_with("x-gateway-")
    });
    headers.reserve(OWN_OF_ANSWER);
}

/// How many headers the gateway adds to an answer.
const OWN_OF_ANSWER: usize = 6;

/// Removes the headers that `connection` names.
fn remove_named_by_connection(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        // Mostly it is `keep-alive`, which never passes.
        .filter(|name| !is_hop_by_hop(name))
        .filter_map(|name| name.parse().ok())
        .collect();
    for name in &named {
        headers.remove(name);
    }
}

/// Removes the headers of the hop, those that `connection` names, and those of which `is_unwanted` says so.
/// Looking at each name costs far less than asking the map for each that might be there: that would hash some
/// thirty names for every request.
fn remove_with_hop_by_hop(headers: &mut HeaderMap, is_unwanted: impl Fn(&str) -> bool) {
    loop {
        // A few at a time, since names cannot be removed while they are looked at.
        let mut found = [const { None }; 8];
        let unwanted =
            headers.keys().filter(|name| is_hop_by_hop(name.as_str()) || is_unwanted(name.as_str()));
        let mut count = 0;
        for (place, name) in found.iter_mut().zip(unwanted) {
            *place = Some(name.clone());
            count += 1;
        }
        if found.contains(&Some(header::CONNECTION)) {
            remove_named_by_connection(headers);
        }
        for name in found.iter().flatten() {
            headers.remove(name);
        }
        if count < found.len() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
