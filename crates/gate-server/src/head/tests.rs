//! What of a body is read, what is refused, and that everything else passes as it came.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::BufMut as _;
use http_body::Body;
use proptest::prelude::*;
use serde_json::{Map, Value};

use super::members::MAX_TOKENS_KEYS;
use super::*;

fn model(body: &str) -> Result<Option<String>, (ErrorCode, String)> {
    RequestHead::parse(body.as_bytes())
        .map(|head| head.model.map(|model| model.name.into_owned()))
        .map_err(|error| (error.code, error.message.into_owned()))
}

// Spec: api A-12.
#[test]
fn the_top_level_model_is_found_wherever_it_stands() {
    for (body, expected) in [
        (r#"{"model":"gpt-4"}"#, Some("gpt-4")),
        (r#"{"messages":[],"model":"gpt-4"}"#, Some("gpt-4")),
        ("\r\n\t {\n \"model\" :\t\"gpt-4\" , \"stream\" : true }\n", Some("gpt-4")),
        (r#"{"mod\u0065l":"gpt-4"}"#, Some("gpt-4")),
        (r#"{"model":"gpt\u002d4"}"#, Some("gpt-4")),
        (r#"{"model":"meta-llama\/Llama"}"#, Some("meta-llama/Llama")),
        (r#"{"tools":[{"model":"nested"}],"x":{"model":1}}"#, None),
        (r#"{"text":"\"model\":\"evil\"","model":"real"}"#, Some("real")),
        (r#"{"Model":"x"}"#, None),
        (r#"{"model":""}"#, Some("")),
        ("{}", None),
        (r#"{"n":1e999,"m":100000000000000000000000000000000000000}"#, None),
        (r#"{"s":"\ud800","model":"gpt-4"}"#, Some("gpt-4")),
        (r#"{"stream":null,"model":"gpt-4"}"#, Some("gpt-4")),
        (r#"{"\ud800":1,"model":"gpt-4"}"#, Some("gpt-4")),
    ] {
        assert_eq!(model(body), Ok(expected.map(str::to_owned)), "{body}");
    }
}

// Spec: api A-13.
#[test]
fn a_body_that_readers_could_read_differently_is_refused() {
    fn check(body: &str, code: ErrorCode, part: &str) {
        let (found, message) = model(body).unwrap_err();
        assert_eq!(found, code, "{body}: {message}");
        assert!(message.contains(part), "{body}: {message}");
    }
    use ErrorCode::{BadRequest, DuplicateKey, InvalidJson};
    check("", InvalidJson, "empty");
    check(" \n ", InvalidJson, "empty");
    check("[\"gpt-4o\",true]", InvalidJson, "must start with `{`");
    check("null", InvalidJson, "must start with `{`");
    check("\"gpt-4\"", InvalidJson, "must start with `{`");
    check("12", InvalidJson, "must start with `{`");
    check("\u{feff}{}", InvalidJson, "byte order mark");
    check(r#"{"model":"a"#, InvalidJson, "not valid JSON: EOF");
    check(r#"{"model":"a"}x"#, InvalidJson, "trailing characters");
    check(r#"{"model":"a"}{"model":"b"}"#, InvalidJson, "trailing characters");
    check(r#"{"model":"a",}"#, InvalidJson, "trailing comma");
    check(r#"{"model":'a'}"#, InvalidJson, "expected value");
    check("{/*c*/}", InvalidJson, "key must be a string");
    for number in ["NaN", "Infinity", "007", "+1", ".5"] {
        check(&format!(r#"{{"model":"a","n":{number}}}"#), InvalidJson, "not valid JSON");
    }
    check("{\"model\":\"a\nb\"}", InvalidJson, "control character");
    check("{\"x\":\"a\tb\"}", InvalidJson, "control character");
    check(r#"{"model":"\ud800"}"#, InvalidJson, "not valid JSON");
    check(r#"{"model":"a","model":"b"}"#, DuplicateKey, "`model`");
    check(r#"{"model":"a","model":"a"}"#, DuplicateKey, "`model`");
    check(r#"{"mod\u0065l":"a","model":"b"}"#, DuplicateKey, "`model`");
    check(r#"{"model":"a","Model":"b"}"#, DuplicateKey, "any case of letters");
    check(r#"{"MODEL":"b","model":"a"}"#, DuplicateKey, "`model`");
    check(r#"{"model":"a","stream":true,"stream":false}"#, DuplicateKey, "`stream`");
    check(r#"{"max_tokens":1,"model":"a","max_tokens":2}"#, DuplicateKey, "`max_tokens`");
    check(r#"{"model":null}"#, BadRequest, "must be a string, not null");
    check(r#"{"model":4}"#, BadRequest, "not a number");
    check(r#"{"model":["a"]}"#, BadRequest, "not an array");
    check(r#"{"model":{"id":"a"}}"#, BadRequest, "not an object");
    check(r#"{"model":true}"#, BadRequest, "not a boolean");
    check(r#"{"model":"a","stream":"true"}"#, BadRequest, "`stream` must be true or false, not a string");
    check(r#"{"model":"a","stream":1}"#, BadRequest, "not a number");
}

#[test]
fn a_body_that_is_not_utf8_is_refused() {
    for body in [&b"{\"model\":\"a\xff\"}"[..], b"{\"x\":\"\xc3\x28\"}", b"{\0\"\0m\0", b"\xff\xfe{\0"] {
        let error = RequestHead::parse(body).unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidJson);
        assert!(
            error.message.contains("UTF-8") || error.message.contains("not valid JSON"),
            "{}",
            error.message
        );
    }
}

#[test]
fn depth_has_no_limit_and_no_cost() {
    let deep = format!(r#"{{"x":{}{},"model":"a"}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(model(&deep), Ok(Some("a".to_owned())));
    let unclosed = format!(r#"{{"x":{}"#, "[".repeat(100_000));
    assert_eq!(model(&unclosed).unwrap_err().0, ErrorCode::InvalidJson);
    let as_model = format!(r#"{{"model":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(model(&as_model).unwrap_err().0, ErrorCode::BadRequest);
}

fn splice(body: &str, upstream: &str) -> String {
    let bytes = Bytes::copy_from_slice(body.as_bytes());
    let head = RequestHead::parse(&bytes).unwrap();
    String::from_utf8(bytes_of(head.splice(&bytes, upstream, None))).unwrap()
}

/// Reads a body that never has to wait.
fn bytes_of(mut body: RequestBody) -> Vec<u8> {
    let mut cx = Context::from_waker(Waker::noop());
    let mut bytes = Vec::new();
    while let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut body).poll_frame(&mut cx) {
        bytes.put(frame.into_data().unwrap());
    }
    assert!(body.is_end_stream());
    bytes
}

// Spec: api A-12.
#[test]
fn only_the_models_value_changes() {
    fn check(body: &str, upstream: &str, expected: &str) {
        assert_eq!(splice(body, upstream), expected, "{body}");
    }
    check(r#"{"model":"a","n":1.0}"#, "b", r#"{"model":"b","n":1.0}"#);
    check(r#"{ "x":1 , "mod\u0065l" : "a" }"#, "b.c", r#"{ "x":1 , "mod\u0065l" : "b.c" }"#);
    check(r#"{"m":{"model":"a"},"model":"a"}"#, "b", r#"{"m":{"model":"a"},"model":"b"}"#);
    check(r#"{"model":""}"#, "b", r#"{"model":"b"}"#);
    // The same name in other bytes is still the client's own spelling.
    check(r#"{"model":"gpt\u002d4"}"#, "gpt-4", r#"{"model":"gpt\u002d4"}"#);
}

// Spec: api A-13.
#[test]
fn no_model_is_put_beside_one_in_other_letters() {
    let head = RequestHead::parse(br#"{"Model":"evil"}"#).unwrap();
    assert_eq!(head.require_no_twin().unwrap_err().code, ErrorCode::DuplicateKey);
    assert!(RequestHead::parse(b"{}").unwrap().require_no_twin().is_ok());
}

#[test]
fn a_prompt_is_one_unless_it_is_null() {
    for (body, expected) in [(r#"{"prompt":{}}"#, true), (r#"{"prompt":null}"#, false), ("{}", false)] {
        assert_eq!(RequestHead::parse(body.as_bytes()).unwrap().has_prompt, expected, "{body}");
    }
}

#[test]
fn a_missing_model_is_inserted() {
    assert_eq!(splice(r#"{"messages":[]}"#, "a"), r#"{"model":"a","messages":[]}"#);
    assert_eq!(splice(" {\n}", "a"), " {\"model\":\"a\"\n}");
}

/// Any JSON value.
fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(key(), inner, 0..4)
                .prop_map(|members| Value::from(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// A key, with those that matter more often than by chance.
fn key() -> impl Strategy<Value = String> {
    prop_oneof![3 => any::<String>(), 1 => Just("model".to_owned()), 1 => Just("messages".to_owned())]
}

/// A key of the top level that is none of those with rules of their own.
fn free_key() -> impl Strategy<Value = String> {
    any::<String>().prop_filter("has no rule of its own", |key| {
        !key.eq_ignore_ascii_case("model")
            && key != "stream"
            && key != "stream_options"
            && !MAX_TOKENS_KEYS.contains(&key.as_str())
    })
}

/// White space as JSON allows it.
fn space() -> impl Strategy<Value = String> {
    "[ \t\r\n]{0,3}"
}

/// A name, written with some characters as escapes.
fn escaped(name: &str, escapes: &[bool]) -> String {
    let mut text = String::from("\"");
    for (at, c) in name.chars().enumerate() {
        if escapes.get(at).copied().unwrap_or(false) {
            text.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            text.push(c);
        }
    }
    text.push('"');
    text
}

proptest! {
    // Spec: api A-12.
    #[test]
    fn what_goes_up_is_what_came_in_but_for_the_span(
        before in prop::collection::hash_map(free_key(), json(), 0..4),
        after in prop::collection::hash_map(free_key(), json(), 0..4),
        spaces in prop::collection::vec(space(), 8),
        name in "[a-zA-Z0-9./:_-]{1,40}",
        upstream in "[a-zA-Z0-9./:_-]{1,40}",
        key_escapes in prop::collection::vec(any::<bool>(), 5),
        name_escapes in prop::collection::vec(any::<bool>(), 40),
    ) {
        let members = |members: &std::collections::HashMap<String, Value>| -> Vec<String> {
            members.iter().map(|(key, value)| format!(
                "{}{}:{}{value}", Value::from(key.as_str()), spaces[0], spaces[1],
            )).collect()
        };
        let separator = format!("{},{}", spaces[2], spaces[3]);
        let lead = |text: String| if text.is_empty() { text } else { text + &separator };
        let follow = |text: String| if text.is_empty() { text } else { separator.clone() + &text };
        let prefix = format!(
            "{}{{{}{}{}{}:{}",
            spaces[4], spaces[5], lead(members(&before).join(&separator)),
            escaped("model", &key_escapes), spaces[6], spaces[7],
        );
        let suffix = format!("{}{}}}{}", follow(members(&after).join(&separator)), spaces[5], spaces[4]);
        let body = format!("{prefix}{}{suffix}", escaped(&name, &name_escapes));

        prop_assert_eq!(model(&body), Ok(Some(name.clone())));
        let sent = splice(&body, &upstream);
        if name == upstream {
            prop_assert_eq!(sent, body);
        } else {
            prop_assert_eq!(sent, format!("{prefix}\"{upstream}\"{suffix}"));
        }
    }

    // Spec: api A-47.
    #[test]
    fn asking_for_usage_adds_one_member_and_changes_no_other(
        before in prop::collection::hash_map(free_key(), json(), 0..4),
        after in prop::collection::hash_map(free_key(), json(), 0..4),
        options in prop::option::of(prop::collection::hash_map(key(), json(), 0..3)),
        model in prop::option::of("[a-z]{1,9}"),
        upstream in "[a-z]{1,9}",
    ) {
        let object = |members: &std::collections::HashMap<String, Value>| -> Value {
            Value::from(members.clone().into_iter().collect::<Map<_, _>>())
        };
        let mut members = vec![("stream".to_owned(), Value::from(true))];
        members.splice(0..0, before.clone());
        members.extend(options.iter().map(|options| ("stream_options".to_owned(), object(options))));
        members.extend(model.map(|model| ("model".to_owned(), Value::from(model))));
        members.extend(after);
        let texts: Vec<_> =
            members.iter().map(|(key, value)| format!("{}: {value}", Value::from(key.as_str()))).collect();
        let body = Bytes::from(format!("{{{}}}", texts.join(", ")));
        let head = RequestHead::parse(&body).unwrap();

        let sent = bytes_of(head.splice(&body, &upstream, head.usage_edit()));
        let sent: Value = serde_json::from_slice(&sent).unwrap();
        let mut expected: Value = serde_json::from_slice(&body).unwrap();
        expected["model"] = upstream.into();
        let mut asked = options.unwrap_or_default();
        asked.entry("include_usage".to_owned()).or_insert(Value::from(true));
        expected["stream_options"] = object(&asked);
        prop_assert_eq!(sent, expected);
    }

    // Spec: api A-13.
    #[test]
    fn the_reader_agrees_with_serde_or_refuses(body in json_text()) {
        match RequestHead::parse(body.as_bytes()) {
            Err(_) => {}
            Ok(head) => {
                // A value tree keeps the last of equal keys, and refuses some of what merely passes.
                if let Ok(Value::Object(object)) = serde_json::from_str::<Value>(&body) {
                    let expected = object.get("model").and_then(Value::as_str).map(str::to_owned);
                    prop_assert_eq!(head.model.map(|model| model.name.into_owned()), expected);
                }
            }
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = RequestHead::parse(&body);
    }
}

/// Text that is JSON, or nearly so.
fn json_text() -> impl Strategy<Value = String> {
    (
        prop::collection::vec((key(), json()), 0..6),
        any::<prop::sample::Index>(),
        prop::option::of(any::<char>()),
    )
        .prop_map(|(members, at, intruder)| {
            let members: Vec<_> =
                members.into_iter().map(|(key, value)| format!("{}:{value}", Value::from(key))).collect();
            let mut text = format!("{{{}}}", members.join(","));
            if let Some(intruder) = intruder {
                let places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
                text.insert(*at.get(&places), intruder);
            }
            text
        })
}

/// Returns the body that asks for usage, in one piece.
fn asking(body: &'static str, upstream_model: &str) -> String {
    let bytes = Bytes::from_static(body.as_bytes());
    let head = RequestHead::parse(&bytes).unwrap();
    String::from_utf8(bytes_of(head.splice(&bytes, upstream_model, head.usage_edit()))).unwrap()
}

// Spec: api A-47.
#[test]
fn usage_is_asked_for_only_where_the_client_left_it_open() {
    #[track_caller]
    fn check(body: &'static str, expected: &str) {
        let asked = asking(body, "m");
        assert_eq!(asked, expected, "{body}");
        serde_json::from_str::<Value>(&asked).unwrap();
    }
    const ASK: &str = r#""stream_options":{"include_usage":true}"#;
    check(r#"{"model":"m","stream":true}"#, &format!(r#"{{"model":"m",{ASK},"stream":true}}"#));
    check(r#"{"stream":true,"model":"m"}"#, &format!(r#"{{"stream":true,"model":"m",{ASK}}}"#));
    check(r#"{"stream":true}"#, &format!(r#"{{"model":"m",{ASK},"stream":true}}"#));
    check(r#"{"model":"x" , "stream":true}"#, &format!(r#"{{"model":"m",{ASK} , "stream":true}}"#));
    check(
        r#"{"model":"m","stream":true,"stream_options":null}"#,
        &format!(r#"{{"model":"m","stream":true,{ASK}}}"#),
    );
    check(
        r#"{"model":"m","stream_options": { },"stream":true}"#,
        r#"{"model":"m","stream_options": {"include_usage":true },"stream":true}"#,
    );
    check(
        r#"{"model":"x","a":"é","stream_options":{"include_obfuscation":false},"stream":true}"#,
        r#"{"model":"m","a":"é","stream_options":{"include_usage":true,"include_obfuscation":false},"stream":true}"#,
    );
    check(
        r#"{"stream_options":{"x":{"include_usage":1}},"a":[1,2],"stream":true,"model":"x"}"#,
        r#"{"stream_options":{"include_usage":true,"x":{"include_usage":1}},"a":[1,2],"stream":true,"model":"m"}"#,
    );
    for untouched in [
        r#"{"model":"m","stream":true,"stream_options":{"include_usage":false}}"#,
        r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#,
        r#"{"model":"m","stream":true,"stream_options":{"include_usage":null}}"#,
        r#"{"model":"m","stream":true,"stream_options":{"include\u005fusage":false}}"#,
        r#"{"model":"m","stream":true,"stream_options":"x"}"#,
        r#"{"model":"m","stream":true,"stream_options":{},"stream_options":{}}"#,
        r#"{"model":"m","stream":false}"#,
        r#"{"model":"m","stream":null}"#,
        r#"{"model":"m"}"#,
    ] {
        check(untouched, untouched);
    }
}
