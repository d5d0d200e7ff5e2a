//! Rows 1 to 25: bodies that are no JSON, or that two readers could read differently.

use crate::rig::{Rig, run};
use crate::row::{Expect, ROUTES, Row, ended, in_chunks, passes, post, refused, with_length};

/// As much as `max_request_size_mb = 1` allows.
const MOST_BYTES: usize = 1024 * 1024;

pub(crate) fn rows() -> Vec<Row> {
    [syntax(), keys(), values(), sizes()].concat()
}

fn syntax() -> Vec<Row> {
    let invalid = refused(400, "invalid_json");
    let utf16: Vec<u8> = r#"{"model":"gpt-4"}"#.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let utf32: Vec<u8> = r#"{"model":"gpt-4"}"#.chars().flat_map(|c| u32::from(c).to_be_bytes()).collect();
    vec![
        Row::bad_bodies(1, "an empty body", &invalid, ["", " ", "\r\n\t "]),
        Row::bad_bodies(2, "an object that is cut off", &invalid, ["{", r#"{"model""#, r#"{"model":"$M""#]),
        Row::story(2, "a million arrays that are never closed", unclosed),
        Row::bad_bodies(
            3,
            "more than one object",
            &invalid,
            [
                r#"{"model":"$M"}x"#,
                r#"{"model":"$M"}{"model":"$M"}"#,
                r#"{"model":"$M"},"#,
                "{\"model\":\"$M\"}\0",
            ],
        ),
        Row::bad_bodies(
            4,
            "JavaScript",
            &invalid,
            [
                r#"{"model":"$M",}"#,
                r#"{"model":"$M","a":[1,]}"#,
                r#"{"model":"$M"/* a */}"#,
                "{\"model\":\"$M\"// a\n}",
                "{'model':'$M'}",
                r#"{model:"$M"}"#,
            ],
        ),
        Row::bad_bodies(
            5,
            "no numbers",
            &invalid,
            ["NaN", "Infinity", "-Infinity", "007", "+1", ".5", "1.", "1e", "-", "0x1"]
                .map(|number| format!(r#"{{"model":"$M","a":{number}}}"#)),
        ),
        Row::bad_bodies(
            6,
            "control characters in a string",
            &invalid,
            [
                "{\"model\":\"$M\",\"a\":\"\n\"}",
                "{\"model\":\"$M\",\"a\":\"\t\"}",
                "{\"model\":\"$M\",\"a\":\"\0\"}",
                "{\"model\":\"$M\n\"}",
                "{\"mess\nages\":1,\"model\":\"$M\"}",
                "{\"model\":\"$M\",\"\0\":1}",
                "{\"model\":\"$M\",\"a\":{\"mess\nages\":1}}",
            ],
        ),
        Row::bodies(6, "an escaped one in a key", [same(r#"{"mess\nages":1,"model":"$M"}"#)]),
        Row::bad_bodies(7, "a byte order mark", &invalid, ["\u{feff}{\"model\":\"$M\"}"]),
        Row::story(7, "a byte order mark is named", byte_order_mark),
        Row::bad_bodies(8, "UTF-16 and UTF-32", &invalid, [utf16, utf32]),
        Row::bad_bodies(
            9,
            "no UTF-8",
            &invalid,
            [
                &b"{\"model\":\"\xff\"}"[..],
                b"{\"model\":\"gpt-4\",\"a\":\"\xc3\x28\"}",
                b"{\"model\":\"gpt-4\",\"a\":\"\xed\xa0\x80\"}",
                b"{\"model\":\"gpt-4\",\"\xff\":1}",
            ],
        ),
        Row::bad_bodies(
            10,
            "half a surrogate in the model",
            &refused(400, "invalid_json"),
            [r#"{"model":"\ud800"}"#],
        ),
        Row::bodies(10, "half a surrogate elsewhere", [same(r#"{"model":"$M","a":"\ud800"}"#)]),
    ]
}

fn keys() -> Vec<Row> {
    let duplicate = refused(400, "duplicate_key");
    vec![
        Row::bad_bodies(
            11,
            "a key twice",
            &duplicate,
            [
                r#"{"model":"$M","model":"$M"}"#,
                r#"{"model":"$M","stream":true,"stream":false}"#,
                r#"{"model":"$M","max_tokens":1,"max_tokens":2}"#,
            ],
        ),
        Row::bad_bodies(
            12,
            "a key twice, once escaped",
            &duplicate,
            [
                r#"{"mod\u0065l":"$M","model":"$M"}"#,
                r#"{"model":"$M","\u006dodel":"$M"}"#,
                r#"{"model":"$M","stream":true,"s\u0074ream":false}"#,
            ],
        ),
        Row::bodies(12, "the model under an escaped key", [same(r#"{"mod\u0065l":"$M"}"#)]),
        Row::bad_bodies(
            13,
            "a twin in another case",
            &duplicate,
            [r#"{"model":"$M","Model":"$M"}"#, r#"{"MODEL":"$M","model":"$M"}"#],
        ),
        Row::bad_bodies(
            14,
            "the model further down only",
            &refused(400, "missing_model"),
            [r#"{"a":{"model":"$M"}}"#, r#"{"a":[{"model":"$M"}]}"#, r#"{"a":"\"model\":\"$M\""}"#],
        ),
        Row::bodies(
            14,
            "other models further down",
            [same(r#"{"a":"\"model\":\"evil\"","b":{"model":"evil"},"model":"$M","c":[{"model":"evil"}]}"#)],
        ),
        Row::bad_bodies(
            15,
            "a model that is no string",
            &refused(400, "bad_request"),
            ["1", "null", "[\"$M\"]", "{}", "true"].map(|value| format!(r#"{{"model":{value}}}"#)),
        ),
        Row::bad_bodies(16, "a scalar", &refused(400, "invalid_json"), ["null", "\"$M\"", "1", "true"]),
        Row::bad_bodies(17, "an array", &refused(400, "invalid_json"), [r#"["$M",true]"#, "[]"]),
    ]
}

fn values() -> Vec<Row> {
    let bad = refused(400, "bad_request");
    let invalid = refused(400, "invalid_model_name");
    let named = |name: &str| format!(r#"{{"model":"{name}"}}"#);
    vec![
        Row::story(18, "100,000 levels on a small stack", nested),
        Row::bodies(
            19,
            "numbers that no machine holds",
            [
                same(r#"{"model":"$M","a":1e999,"b":-1e-999}"#),
                same(format!(r#"{{"model":"$M","a":{}}}"#, "9".repeat(400))),
            ],
        ),
        Row::bad_bodies(
            20,
            "a stream that is no boolean",
            &bad,
            ["\"true\"", "1", "0", "[]", "{}"].map(|value| format!(r#"{{"model":"$M","stream":{value}}}"#)),
        ),
        Row::bodies(20, "a stream that is null", [same(r#"{"model":"$M","stream":null}"#)]),
        // The provider judges them, as long as nothing here counts on them.
        Row::bodies(
            21,
            "odd bounds on tokens",
            ["-1", "9223372036854775808", "1e308", "\"100\"", "null"]
                .map(|value| same(format!(r#"{{"model":"$M","max_tokens":{value}}}"#))),
        ),
        Row::bad_bodies(22, "an empty name", &refused(400, "missing_model"), [named("")]),
        Row::bad_bodies(
            22,
            "names of others",
            &refused(404, "model_not_found"),
            [named("gpt-5"), named("gpt-44"), named("gpt-"), named("evil/gpt-4"), named("a\\u002db")],
        ),
        Row::bad_bodies(
            22,
            "names that cannot be one",
            &invalid,
            [
                // Full width, a letter of Cyrillic, an accent of its own.
                named("\u{ff47}\u{ff50}\u{ff54}-4"),
                named("g\u{440}t-4"),
                named("gpt-4e\u{301}"),
                named(" gpt-4"),
                named("gpt-4 "),
                named("gpt\\u0000-4"),
                named("gpt-4\\r\\nx: y"),
                named("gpt\u{200b}-4"),
                named("\u{202e}gpt-4"),
                named(&"x".repeat(10 * 1024)),
            ],
        ),
        Row::bodies(
            23,
            "addresses in the body",
            [same(
                r#"{"model":"$M","api_base":"http://evil.test","base_url":"http://evil.test","custom_host":"evil.test","extra_headers":{"host":"evil.test"}}"#,
            )],
        ),
        Row::story(23, "addresses in headers", addresses_in_headers),
    ]
}

fn sizes() -> Vec<Row> {
    let exact = sized(MOST_BYTES);
    let more = sized(MOST_BYTES + 1);
    let json = ["content-type: application/json"];
    let path = ROUTES[0].0;
    let length = [json[0], "content-length: 1048577", "expect: 100-continue"];
    vec![
        Row::bodies(
            24,
            "as many keys and messages as there is room for",
            [same(many_keys()), same(many_messages())],
        ),
        Row::raw(
            25,
            "a body at its limit",
            [
                (with_length(path, &json, &exact), passes(exact.clone())),
                (in_chunks(path, &json, &exact), passes(exact.clone())),
            ],
        ),
        Row::raw(
            25,
            "a byte more than the limit",
            [
                (with_length(path, &json, &more), ended(413, "request_too_large")),
                (in_chunks(path, &json, &more), ended(413, "request_too_large")),
                // Its sender learns it before it sends a byte.
                (post(path, &length, ""), ended(413, "request_too_large")),
            ],
        ),
    ]
}

/// A body that goes up as it came.
fn same(body: impl Into<String>) -> (String, Expect) {
    let body = body.into();
    (body.clone(), passes(body))
}

fn sized(bytes: usize) -> String {
    let empty = r#"{"model":"gpt-4","a":""}"#.len();
    format!(r#"{{"model":"gpt-4","a":"{}"}}"#, "x".repeat(bytes - empty))
}

fn many_keys() -> String {
    let keys: String = (0..80_000).map(|n| format!("\"{n}\":1,")).collect();
    format!(r#"{{{keys}"model":"$M"}}"#)
}

fn many_messages() -> String {
    let messages = vec![r#"{"role":"a"}"#; 60_000].join(",");
    format!(r#"{{"messages":[{messages}],"model":"$M"}}"#)
}

/// Runs a test in a thread whose stack a recursion would soon use up.
fn on_a_small_stack(test: fn()) {
    std::thread::Builder::new().stack_size(512 * 1024).spawn(test).unwrap().join().unwrap();
}

fn unclosed() {
    on_a_small_stack(|| {
        let body = "[".repeat(MOST_BYTES - 100);
        let objects = r#"{"a":"#.repeat(200_000);
        let invalid = refused(400, "invalid_json");
        Row::bad_bodies(
            2,
            "never closed",
            &invalid,
            [
                body.clone(),
                objects.clone(),
                format!(r#"{{"model":"$M","a":{body}"#),
                format!(r#"{{"model":"$M","a":{objects}"#),
            ],
        )
        .check();
    });
}

fn nested() {
    on_a_small_stack(|| {
        let arrays = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let objects = format!("{}1{}", r#"{"a":"#.repeat(100_000), "}".repeat(100_000));
        Row::bodies(
            18,
            "deep",
            [arrays, objects].map(|value| same(format!(r#"{{"a":{value},"model":"$M"}}"#))),
        )
        .check();
    });
}

fn byte_order_mark() {
    run(async {
        let mut rig = Rig::new();
        let mut client = rig.connect();
        let body = "\u{feff}{\"model\":\"gpt-4\"}";
        client.send(with_length(ROUTES[0].0, &["content-type: application/json"], body)).await.unwrap();
        let text = client.read_response().await.unwrap().body.text();
        assert!(text.contains("byte order mark"), "{text}");
    });
}

fn addresses_in_headers() {
    run(async {
        let mut rig = Rig::new();
        let lines = [
            "content-type: application/json",
            "x-base-url: http://evil.test",
            "x-portkey-custom-host: evil.test",
            "x-forwarded-host: evil.test",
        ];
        for (path, model) in ROUTES {
            let mut client = rig.connect();
            client.send(with_length(path, &lines, format!(r#"{{"model":"{model}"}}"#))).await.unwrap();
            assert_eq!(client.read_response().await.unwrap().head.status, 200);
        }
        let hosts: Vec<_> =
            rig.upstream.requests().iter().map(|r| r.header("host").unwrap().to_owned()).collect();
        assert_eq!(hosts, ["openai.test", "anthropic.test"]);
    });
}

// Spec: api A-10, A-12, A-13; security S-8, S-17, S-62.
#[test]
fn bodies_are_read_in_one_way_or_refused() {
    rows().iter().for_each(Row::check);
}
