//! Rows 26 to 30: what a body says that it is, and how it is coded.

use crate::rig::{Rig, run};
use crate::row::{Expect, ROUTES, Row, ended, in_chunks, passes, refused, with_length};

const BODY: &str = r#"{"model":"gpt-4"}"#;

pub(crate) fn rows() -> Vec<Row> {
    let unsupported = refused(415, "unsupported_media_type");
    let typed = |lines: &[&str], expect: Expect| {
        [with_length(ROUTES[0].0, lines, BODY), in_chunks(ROUTES[0].0, lines, BODY)]
            .map(|send| (send, expect.clone()))
    };
    let bad_types: [&[&str]; 7] = [
        &[],
        &["content-type:"],
        &["content-type: text/plain"],
        &["content-type: application/x-www-form-urlencoded"],
        &["content-type: multipart/form-data; boundary=x"],
        &["content-type: application/json", "content-type: application/json"],
        &["content-type: application/json, application/json"],
    ];
    let bad_kinds: [&[&str]; 4] = [
        &["content-type: application/json; charset=utf-16"],
        &["content-type: application/json; charset=iso-8859-1"],
        &["content-type: application/vnd.x+json"],
        &["content-type: application/jsonp"],
    ];
    let good: [&[&str]; 3] = [
        &["content-type: application/json"],
        &["content-type: application/json; charset=utf-8"],
        &["content-type: Application/JSON; charset=\"UTF-8\""],
    ];
    let codings = ["gzip", "br", "gzip, gzip", "deflate", "x-unknown"];
    let coded = codings.map(|coding| {
        let lines = ["content-type: application/json".to_owned(), format!("content-encoding: {coding}")];
        (with_length(ROUTES[0].0, &[&lines[0], &lines[1]], BODY), unsupported.clone())
    });
    vec![
        Row::raw(
            26,
            "no JSON by its type",
            bad_types.into_iter().flat_map(|lines| typed(lines, unsupported.clone())),
        ),
        Row::raw(
            26,
            "a POST without a body",
            [(with_length("/v1/responses/resp_12345678/cancel", &[], ""), passes(""))],
        ),
        Row::raw(
            27,
            "nearly JSON",
            bad_kinds.into_iter().flat_map(|lines| typed(lines, unsupported.clone())),
        ),
        Row::raw(27, "JSON in UTF-8", good.into_iter().flat_map(|lines| typed(lines, passes(BODY)))),
        Row::raw(28, "forms", forms()),
        Row::raw(29, "a compressed body", coded),
        Row::story(30, "compressed answers are not asked for", accept_encoding),
    ]
}

fn forms() -> Vec<(Vec<u8>, Expect)> {
    let part = |name: &str, value: &str| {
        format!("--b\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let (model, end) = (part("model", "gpt-4"), "--b--\r\n");
    let of = |boundary: &str, body: &str, expect: Expect| {
        let line = format!("content-type: multipart/form-data; boundary={boundary}");
        (with_length("/v1/images/edits", &[&line], body), expect)
    };
    let bad = refused(400, "bad_request");
    let (broken, twice) = (ended(400, "bad_request"), ended(400, "duplicate_key"));
    let many: String = (0..10_000).map(|n| part(&n.to_string(), "x")).collect();
    let last = format!("{many}{model}{end}");
    vec![
        of(&"b".repeat(10 * 1024), &format!("{model}{end}"), bad.clone()),
        of("", &format!("{model}{end}"), bad.clone()),
        // Where a form breaks, what follows could still be part of it.
        of("b", &model, broken.clone()),
        of("b", &format!("{model}{model}{end}"), twice.clone()),
        of("b", &format!("{model}{}{end}", part("Model", "gpt-4")), twice),
        of("b", &format!("x{model}{end}"), broken.clone()),
        of("b", &format!("{model}{end}x"), broken),
        of("b", &last, passes(last.clone())),
    ]
}

fn accept_encoding() {
    run(async {
        let mut rig = Rig::new();
        let lines = ["content-type: application/json", "accept-encoding: br", "accept-encoding: gzip"];
        let mut client = rig.connect();
        client.send(with_length(ROUTES[0].0, &lines, BODY)).await.unwrap();
        assert_eq!(client.read_response().await.unwrap().head.status, 200);
        let request = &rig.upstream.requests()[0];
        assert_eq!(
            (request.header("accept-encoding"), request.header_count("accept-encoding")),
            (Some("identity"), 1)
        );
    });
}

// Spec: api A-14, A-16, A-44; security S-7.
#[test]
fn a_body_is_what_it_says() {
    rows().iter().for_each(Row::check);
}
