//! That the scanner reads what clients send, reads it as serde does, and leaves everything else alone.

use proptest::prelude::*;

use super::super::property::readers_agree;
use super::*;

/// Bodies as clients write them: compact, spaced and indented, with and without escapes.
const BODIES: [&str; 9] = [
    "{}",
    r#"{"model":"gpt-4o","messages":[{"role":"user","content":"Hi, who are you?"}],"stream":true}"#,
    // As Python's `json.dumps` has it.
    r#"{"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "\u4f60\u597d \ud83d\ude00\n\"quoted\""}], "model": "openai.gpt-4o", "temperature": 0.7, "top_p": 1, "n": 1, "logit_bias": {"50256": -100}, "stop": null}"#,
    r#"{"messages":[{"role":"user","content":"Überprüfe „dies“: 你好 😀 — c:\\temp\\x\ttab"}],"model":"gpt-4o"}"#,
    r#"{"model":"gpt-4o","messages":[{"role":"user","content":[{"type":"text","text":"What is this?"},{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="}}]}],"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"a":{"type":"array","items":{"type":"number"}}},"required":["a"]},"strict":true}}],"max_tokens":1024,"stream_options":{"include_usage":true},"store":false}"#,
    r#"{"model":"claude-sonnet-4","max_tokens":32000,"system":[{"type":"text","text":"You are Claude Code.","cache_control":{"type":"ephemeral"}}],"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":"     1\tfn main() {\n     2\t    println!(\"hi\");\n     3\t}\n"}]}],"metadata":{"user_id":"u"},"thinking":{"budget_tokens":31999,"type":"enabled"},"stream":true}"#,
    r#"{"model":"gpt-5-codex","instructions":"…","input":[{"type":"message","role":"user","content":[{"type":"input_text","text":"<a>\n  b\n</a>"}]}],"tools":[],"tool_choice":"auto","reasoning":{"effort":"medium"},"previous_response_id":"resp_1","include":["reasoning.encrypted_content"],"stream":true}"#,
    r#"{"input":[[1,22,333,4444],[0]],"model":"text-embedding-3-small","dimensions":256,"x":[1.5e-9,-0,-0.0,1E+2,true,false]}"#,
    "\r\n{\n  \"model\": \"gpt-4o\",\n\t\"prompt\" : { \"id\" : \"pmpt_1\" } ,\n  \"a\" : [ ] , \"b\" : { } , \"c\" : [ 1 , 2 ]\n}\n",
];

fn members(body: &[u8]) -> Option<Members> {
    Scanner::default().finish(body)
}

#[test]
fn bodies_as_clients_write_them_are_read_quickly() {
    for body in BODIES {
        assert!(members(body.as_bytes()).is_some(), "{body}");
        readers_agree(body.as_bytes());
    }
}

#[test]
fn a_body_that_comes_in_pieces_is_read_as_one_that_is_whole() {
    for body in BODIES.map(str::as_bytes) {
        let whole = members(body);
        let mut in_bytes = Scanner::default();
        for cut in 0..body.len() {
            in_bytes.read_on(&body[..cut]);
            let mut in_two = Scanner::default();
            in_two.read_on(&body[..cut]);
            assert_eq!(in_two.finish(body), whole, "cut at {cut}: {}", String::from_utf8_lossy(body));
        }
        assert_eq!(in_bytes.finish(body), whole, "{}", String::from_utf8_lossy(body));
    }
}

#[test]
fn a_large_body_is_read_as_it_comes_and_no_piece_of_it_over_and_over() {
    let text = "Überprüfe \\u00fc \\n 你好 ".repeat(10_000);
    let digits = "7".repeat(300_000);
    // A string is read up to where it has come; a number is no number before its end.
    let text = format!("\"{text}\"");
    let most_of_text = text.len() - 2 * LEAST_NEW_BYTES;
    for (value, least_read) in [(text, most_of_text), (digits, "{'model':'m','long':".len())] {
        let body = format!("{{\"model\":\"m\",\"long\":{value},\"stream\":true}}");
        let (mut scanner, mut looks, mut reread) = (Scanner::default(), 0, 0);
        for end in (0..body.len()).step_by(100) {
            let begun = (scanner.at, scanner.patience);
            scanner.look(&body.as_bytes()[..end]);
            if scanner.patience != begun.1 {
                looks += 1;
                reread += end - begun.0;
            }
        }
        assert!(looks > 3 && reread < 3 * body.len(), "{looks} looks at {reread} bytes");
        assert!(scanner.at >= least_read, "{} of {}", scanner.at, body.len());
        assert_eq!(scanner.finish(body.as_bytes()), members(body.as_bytes()));
        assert!(members(body.as_bytes()).is_some());
    }
}

#[test]
fn what_is_rare_or_wrong_is_left_to_the_other_reader() {
    #[track_caller]
    fn check(body: impl AsRef<[u8]>) {
        let body = body.as_ref();
        assert_eq!(members(body), None, "{}", String::from_utf8_lossy(body));
        readers_agree(body);
    }
    let nested = |depth| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    // Right, but rare.
    check(r#"{"mod\u0065l":"a"}"#);
    check(r#"{"a\nkey":1,"model":"a"}"#);
    check(nested(65));
    // A control character as it is, in a key at the top.
    for key in ["a\nkey", "\0", "model\t", "\u{1f}", "\\n\n"] {
        check(format!("{{\"{key}\":1,\"model\":\"a\"}}"));
        let wrong = format!("{{\"model\":\"a\",\"{key}\":1}}");
        check(&wrong);
        assert!(Members::read_with_serde(wrong.as_bytes()).is_err(), "{wrong}");
    }
    // Nothing, more than one thing, and things cut off.
    for body in
        ["", " ", "{", "{\"a", "{\"a\"", "{\"a\":", "{\"a\":1", "{\"a\":1,", "{\"a\":[1", "{\"a\":{\"b\":1}"]
    {
        check(body);
    }
    for body in ["{}x", "{}{}", "[]", "null", "\u{feff}{}", "{}\0", "{},", "}"] {
        check(body);
    }
    // Commas, colons and brackets.
    for body in
        ["{,}", "{\"a\":1,}", "{\"a\":1 \"b\":2}", "{\"a\" 1}", "{\"a\"::1}", "{a:1}", "{\"a\":}", "{1:1}"]
    {
        check(body);
    }
    for value in
        ["[1,]", "[,1]", "[1 2]", "[1}", "{\"a\":1]", "{\"a\"}", "{\"a\":1,}", "{1:2}", "[", "]", "[[]", "{]"]
    {
        check(format!("{{\"a\":{value}}}"));
    }
    // Scalars.
    for value in
        ["01", "-", "-a", "+1", ".5", "1.", "1.e2", "1e", "1e+", "1ex", "0x1", "NaN", "1_0", "-01", "--1"]
    {
        check(format!("{{\"a\":{value}}}"));
        check(format!("{{\"a\":[{value}]}}"));
    }
    for value in ["tru", "True", "truex", "nul", "nulll", "fals", "undefined", "'a'", "/**/1"] {
        check(format!("{{\"a\":{value}}}"));
    }
    // Strings.
    for text in ["\\x", "\\u12", "\\u12g4", "\\u", "\\", "\n", "\0", "\u{1f}", "\\U0041"] {
        check(format!("{{\"a\":\"{text}\"}}"));
        check(format!("{{\"a\":{{\"{text}\":1}}}}"));
        check(format!("{{\"a\":\"long enough to be more than one vector of bytes, and then {text}\"}}"));
        check(format!("{{\"a\":\"{text} at the start of what is long enough to be more than one vector\"}}"));
    }
    for text in [&b"\xff"[..], b"\xc3", b"\xc3\\n\xa9", b"\xed\xa0\x80", b"\xf8", b"\xc0\xaf"] {
        check([b"{\"a\":\"", text, b"\"}"].concat());
        check([b"{\"a\":{\"", text, b"\":1}}"].concat());
        check([b"{\"", text, b"\":1}"].concat());
        check([b"{\"a\":", text, b"}"].concat());
    }
}

#[test]
fn nesting_is_read_as_deep_as_anyone_means_it() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let nested = format!("{{\"a\":{}1{},\"model\":\"m\"}}", open.repeat(63), close.repeat(63));
        assert!(members(nested.as_bytes()).is_some(), "{nested}");
        readers_agree(nested.as_bytes());
    }
}

#[test]
fn nesting_beyond_what_is_noted_is_not_taken_for_closed() {
    for (opened, closed) in (62..68).flat_map(|opened| (60..68).map(move |closed| (opened, closed))) {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            readers_agree(format!("{{\"a\":{}1{}}}", open.repeat(opened), close.repeat(closed)).as_bytes());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    // Spec: api A-86.
    #[test]
    fn a_body_that_was_damaged_is_read_as_serde_reads_it(
        body in prop::sample::select(&BODIES[..]),
        damages in prop::collection::vec((any::<prop::sample::Index>(), damage()), 1..4),
    ) {
        let mut body = body.as_bytes().to_vec();
        for (at, damage) in damages {
            let at = at.index(body.len());
            match damage {
                Damage::Insert(byte) => body.insert(at, byte),
                Damage::Replace(byte) => body[at] = byte,
                Damage::Remove if body.len() > 1 => drop(body.remove(at)),
                Damage::Cut if at > 0 => body.truncate(at),
                Damage::Remove | Damage::Cut => {}
            }
        }
        readers_agree(&body);
    }
}

#[derive(Clone, Copy, Debug)]
enum Damage {
    Insert(u8),
    Replace(u8),
    Remove,
    Cut,
}

/// Damage that mostly leaves something like JSON.
fn damage() -> impl Strategy<Value = Damage> {
    let byte = || prop_oneof![3 => prop::sample::select(&b"{}[]\",:\\u0123e.-+tfn \n\x0c\x7f\xc3\xa9"[..]), 1 => any::<u8>()];
    prop_oneof![
        4 => byte().prop_map(Damage::Insert),
        4 => byte().prop_map(Damage::Replace),
        3 => Just(Damage::Remove),
        1 => Just(Damage::Cut),
    ]
}
