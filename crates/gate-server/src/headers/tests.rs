//! Header rules, as lists of what passes.

use super::*;

fn map(headers: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    map
}

fn names(map: &HeaderMap) -> Vec<&str> {
    let mut names: Vec<_> = map.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    names
}

// Spec: api A-15, A-16; security S-41.
#[test]
fn a_request_keeps_what_the_vendor_reads() {
    let mut headers = map(&[
        ("host", "localhost:8848"),
        ("content-length", "2"),
        ("content-type", "application/json"),
        ("authorization", "Bearer k"),
        ("x-api-key", "k"),
        ("api-key", "k"),
        ("x-goog-api-key", "k"),
        ("cookie", "a=b"),
        ("proxy-authorization", "x"),
        ("proxy-anything", "x"),
        ("x-gateway-api-key", "k"),
        ("x-gateway-provider", "p"),
        ("x-provider-api-key", "k"),
        ("openai-organization", "o"),
        ("openai-project", "p"),
        ("accept-encoding", "gzip, br"),
        ("expect", "100-continue"),
        ("connection", "keep-alive, x-private"),
        ("x-private", "1"),
        ("keep-alive", "1"),
        ("te", "trailers"),
        ("trailer", "x"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("anthropic-version", "2023-06-01"),
        ("anthropic-beta", "a"),
        ("anthropic-beta", "b"),
        ("x-stainless-retry-count", "0"),
        ("user-agent", "sdk"),
        ("x-anything-new", "1"),
    ]);
    to_upstream(&mut headers);
    assert_eq!(
        names(&headers),
        [
            "accept-encoding",
            "anthropic-beta",
            "anthropic-version",
            "content-type",
            "user-agent",
            "x-anything-new",
            "x-stainless-retry-count",
        ]
    );
    assert_eq!(headers.get("accept-encoding").unwrap(), "identity");
    let betas: Vec<_> = headers.get_all("anthropic-beta").iter().collect();
    assert_eq!(betas, ["a", "b"]);
}

// Spec: api A-20; security S-21.
#[test]
fn an_answer_keeps_what_the_client_reads() {
    let upstream = [
        ("content-type", "application/json"),
        ("content-length", "2"),
        ("transfer-encoding", "chunked"),
        ("connection", "close, x-hop"),
        ("x-hop", "1"),
        ("keep-alive", "timeout=5"),
        ("set-cookie", "__cf_bm=1"),
        ("set-cookie", "b=2"),
        ("retry-after", "1"),
        ("x-ratelimit-remaining-requests", "3"),
        ("x-request-id", "req_1"),
        ("x-gateway-error", "forged"),
        ("openai-processing-ms", "5"),
    ];
    let mut headers = map(&upstream);
    to_client(&mut headers, false);
    let kept = [
        "content-type",
        "openai-processing-ms",
        "retry-after",
        "x-ratelimit-remaining-requests",
        "x-request-id",
    ];
    assert_eq!(names(&headers), kept);

    let mut headers = map(&upstream);
    to_client(&mut headers, true);
    assert!(headers.contains_key("content-length"));
}
