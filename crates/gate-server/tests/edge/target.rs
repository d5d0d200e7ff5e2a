//! Rows 48 to 55: where a request wants to go.

use crate::rig::{Rig, run};
use crate::row::{Expect, Row, check_end, ended, refused};

pub(crate) fn rows() -> Vec<Row> {
    [hosts(), targets(), heads()].concat()
}

/// Writes a GET of `/health` with these lines, `host` among them or not.
fn health(lines: &str) -> String {
    format!("GET /health HTTP/1.1\r\n{lines}\r\n")
}

/// Writes a request without a body.
fn bare(method: &str, target: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\n\r\n")
}

fn hosts() -> Vec<Row> {
    let bad = ended(400, "bad_request");
    let strange = ended(421, "misdirected_request");
    let no_host = ["", "host: localhost\r\nhost: localhost\r\n", "host: a\r\nhost: b\r\n", "host:\r\n"];
    let no_name =
        ["a/b?c#d", "u:p@a", "localhost:x", "localhost:65536", "[::1", "a b", "loc\u{e4}lhost", "a,b"];
    let others = [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "0",
        "0.0.0.0",
        "[::]",
        "[::2]",
        "localhost..",
        ".localhost",
    ];
    vec![
        Row::raw(48, "no host, or two", no_host.map(|lines| (health(lines), bad.clone()))),
        Row::raw(
            48,
            "a host that is no name",
            no_name.map(|name| (health(&format!("host: {name}\r\n")), bad.clone())),
        ),
        Row::raw(
            48,
            "another host",
            others.map(|name| (health(&format!("host: {name}\r\n")), strange.clone())),
        ),
        Row::story(48, "names of this machine", own_names),
        Row::story(49, "the authority of a target is ignored", absolute),
        Row::raw(
            49,
            "an absolute target for another host",
            [("GET http://localhost/health HTTP/1.1\r\nhost: evil.example\r\n\r\n", strange)],
        ),
        Row::raw(
            50,
            "targets that are no path",
            ["*", "localhost:80"].map(|target| (bare("GET", target), bad.clone())),
        ),
        Row::raw(
            51,
            "CONNECT",
            ["localhost:80", "evil.example:443"]
                .map(|target| (bare("CONNECT", target), ended(405, "method_not_allowed"))),
        ),
    ]
}

fn targets() -> Vec<Row> {
    let wrong = refused(405, "method_not_allowed");
    let bad = refused(400, "bad_request");
    let methods = ["TRACE", "get", "FOO", "OPTIONS", "PATCH", "PROPFIND"];
    let paths = [
        "/v1/../admin",
        "/v1/./models",
        "/v1/..",
        "/v1/%2e%2e%2fadmin",
        "/v1/%2E%2E/admin",
        "/v1/files%2fa",
        "/v1//models",
        "//v1/models",
        "/v1/files\\a",
        "/v1/files%5ca",
        "/v1/files/%00",
        "/v1/files/\u{e4}",
        "/v1/%66iles",
    ];
    vec![
        Row::raw(
            52,
            "methods that a path does not know",
            methods.map(|method| (bare(method, "/v1/messages"), wrong.clone())),
        ),
        Row::story(52, "the methods that a path knows are named", allowed),
        Row::raw(
            53,
            "paths that can be read in two ways",
            paths.map(|path| (bare("GET", path), bad.clone())),
        ),
        Row::raw(
            53,
            "bytes that are no text",
            [(b"GET /v1/files/\xff HTTP/1.1\r\nhost: localhost\r\n\r\n", Expect::Parser(400))],
        ),
        Row::raw(
            53,
            "paths that are close to one",
            [
                (bare("GET", "/health;x"), refused(404, "not_found")),
                (bare("GET", "/HEALTH"), refused(404, "not_found")),
                (bare("GET", "/health/"), refused(404, "not_found")),
            ],
        ),
    ]
}

fn heads() -> Vec<Row> {
    let long = |bytes: usize| bare("GET", &format!("/health?{}", "x".repeat(bytes)));
    let line = |bytes: usize| health(&format!("host: localhost\r\nx: {}\r\n", "x".repeat(bytes)));
    let lines: String = (0..100).map(|n| format!("x-{n}: 1\r\n")).collect();
    let garbage: [&[u8]; 7] = [
        b"GET /health\r\n\r\n",
        b"GET /health HTTP/1.2\r\nhost: localhost\r\n\r\n",
        b"GET /health HTTP/3.0\r\nhost: localhost\r\n\r\n",
        b"GET  /health HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"this is no HTTP\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
        // The hello of TLS.
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x9a\x8b",
    ];
    vec![
        Row::raw(
            54,
            "a target that is too long",
            [
                (long(9 * 1024), refused(414, "uri_too_long")), // It counts as part of the head.
                (long(70 * 1024), Expect::Parser(431)),
            ],
        ),
        Row::raw(
            54,
            "a head that is too long",
            [
                (line(70 * 1024), Expect::Parser(431)),
                (line(420 * 1024), Expect::Parser(431)),
                (health(&format!("host: localhost\r\n{lines}")), Expect::Parser(431)),
            ],
        ),
        Row::raw(55, "no HTTP", garbage.map(|bytes| (bytes, Expect::Parser(400)))),
    ]
}

fn own_names() {
    run(async {
        for name in [
            "localhost",
            "LOCALHOST",
            "LocalHost:8848",
            "localhost.",
            "localhost.:8848",
            "127.0.0.1",
            "127.1.2.3:1",
            "[::1]",
            "[::1]:8848",
            "[0:0:0:0:0:0:0:1]",
            "[::ffff:127.0.0.1]",
        ] {
            let mut rig = Rig::new();
            let mut client = rig.connect();
            client.send(health(&format!("host: {name}\r\n"))).await.unwrap();
            let response = client.read_response().await.unwrap();
            assert_eq!(response.head.status, 200, "{name}");
            check_end(client, &response, false, name).await;
        }
    });
}

fn absolute() {
    run(async {
        let mut rig = Rig::new();
        let mut client = rig.connect();
        client.send("GET http://evil.example/v1/files HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        assert_eq!(client.read_response().await.unwrap().head.status, 200);
        let request = &rig.upstream.requests()[0];
        assert_eq!((request.header("host"), request.target.as_str()), (Some("openai.test"), "/v1/files"));
    });
}

fn allowed() {
    run(async {
        for (path, methods) in [("/v1/messages", "POST"), ("/health", "GET, HEAD")] {
            let mut rig = Rig::new();
            let mut client = rig.connect();
            client.send(bare("TRACE", path)).await.unwrap();
            let response = client.read_response().await.unwrap();
            assert_eq!((response.head.status, response.head.header("allow")), (405, Some(methods)), "{path}");
        }
    });
}

// Spec: api; security S-2, S-3, S-4, S-5, S-13, S-58.
#[test]
fn a_request_goes_where_it_says_or_nowhere() {
    rows().iter().for_each(Row::check);
}
