//! The scanner against a plain walk over a tree, for JSON of every shape.

use proptest::prelude::*;

use super::*;

/// A JSON value that keeps the order of its members.
#[derive(Clone, Debug)]
enum Node {
    /// A scalar as it is written.
    Scalar(String),
    Array(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl Node {
    fn write(&self, gap: &str, text: &mut String) {
        match self {
            Self::Scalar(scalar) => text.push_str(scalar),
            Self::Array(nodes) => {
                text.push('[');
                for (index, node) in nodes.iter().enumerate() {
                    text.push_str(if index == 0 { gap } else { "," });
                    node.write(gap, text);
                }
                text.push_str(gap);
                text.push(']');
            }
            Self::Object(members) => {
                text.push('{');
                for (index, (key, node)) in members.iter().enumerate() {
                    text.push_str(if index == 0 { "" } else { "," });
                    text.push_str(&format!("{gap}\"{key}\"{gap}:{gap}"));
                    node.write(gap, text);
                    text.push_str(gap);
                }
                text.push('}');
            }
        }
    }

    fn members(&self) -> &[(String, Self)] {
        if let Self::Object(members) = self { members } else { &[] }
    }

    fn elements(&self) -> &[Self] {
        if let Self::Array(nodes) = self { nodes } else { &[] }
    }

    fn member(&self, key: &str) -> Option<&Self> {
        self.members().iter().find(|(name, _)| name == key).map(|(_, node)| node)
    }
}

/// Reads the counts of a node that should be a usage object.
fn counts_in(node: &Node) -> Option<Counts> {
    let mut counts = Counts::NONE;
    let mut set = |section, members: &[(String, Node)]| {
        for (key, node) in members {
            if let Node::Scalar(scalar) = node
                && let Ok(number) = scalar.parse()
            {
                counts.set(section, key.as_bytes(), number);
            }
        }
    };
    for member in node.members() {
        match Section::opened_by(member.0.as_bytes()) {
            Some(section) => set(section, member.1.members()),
            None => set(Section::Top, std::slice::from_ref(member)),
        }
    }
    Some(counts).filter(|counts| *counts != Counts::NONE)
}

/// Finds the usage of a tree by looking at each place where it may stand, best first.
fn counts_of(dialect: Dialect, tree: &Node) -> Option<Counts> {
    let usage_in = |node: &Node| node.member("usage").and_then(counts_in);
    let usage_within = |key: &str| tree.member(key).and_then(usage_in);
    let is_chat = matches!(dialect, Dialect::ChatCompletions | Dialect::Completions | Dialect::Other);
    let choices =
        || tree.member("choices").into_iter().flat_map(Node::elements).filter_map(usage_in).next_back();
    usage_in(tree)
        .filter(|_| dialect != Dialect::CountTokens)
        .or_else(|| {
            usage_within("response").filter(|_| matches!(dialect, Dialect::Responses | Dialect::Other))
        })
        .or_else(|| usage_within("message").filter(|_| matches!(dialect, Dialect::Messages | Dialect::Other)))
        .or_else(|| choices().filter(|_| is_chat))
        .or_else(|| usage_within("x_groq").filter(|_| is_chat))
}

fn scalar() -> impl Strategy<Value = Node> {
    let fixed =
        ["null", "true", "false", "0", "-1", "1.5", "2e3", "\"\"", r#""\"usage\":{""#, r#""\\""#, "\"7\""];
    prop_oneof![
        2 => any::<u16>().prop_map(|number| number.to_string()),
        1 => any::<u64>().prop_map(|number| number.to_string()),
        2 => prop::sample::select(fixed.to_vec()).prop_map(str::to_owned),
        1 => any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
    ]
    .prop_map(Node::Scalar)
}

fn key() -> impl Strategy<Value = String> {
    let keys = [
        "usage",
        "usages",
        "message",
        "response",
        "choices",
        "x_groq",
        "type",
        "error",
        "id",
        "",
        "prompt_tokens",
        "input_tokens",
        "completion_tokens",
        "output_tokens",
        "total_tokens",
        "cached_tokens",
        "cache_read_input_tokens",
        "cache_creation_input_tokens",
        "reasoning_tokens",
        "prompt_tokens_details",
        "output_tokens_details",
        r"us\u0061ge",
        r#"\"usage"#,
        "a_key_that_is_longer_than_any_word_looked_for",
    ];
    prop_oneof![3 => Just("usage"), 8 => prop::sample::select(keys.to_vec())].prop_map(str::to_owned)
}

/// Objects have each key once: what a repeated one means is not for the oracle to say.
fn object_of(node: impl Strategy<Value = Node>) -> impl Strategy<Value = Node> {
    prop::collection::vec((key(), node), 0..7).prop_map(|mut members| {
        let mut seen = std::collections::HashSet::new();
        members.retain(|(key, _)| seen.insert(key.clone()));
        Node::Object(members)
    })
}

fn node() -> impl Strategy<Value = Node> {
    scalar().prop_recursive(5, 80, 6, |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(Node::Array),
            1 => prop::collection::vec(object_of(inner.clone()), 0..4).prop_map(Node::Array),
            3 => object_of(inner),
        ]
    })
}

fn dialect() -> impl Strategy<Value = Dialect> {
    prop::sample::select(vec![
        Dialect::ChatCompletions,
        Dialect::Completions,
        Dialect::Responses,
        Dialect::Embeddings,
        Dialect::Messages,
        Dialect::CountTokens,
        Dialect::Other,
    ])
}

fn scanned(dialect: Dialect, pieces: &[&str]) -> Scanner {
    let mut scanner = Scanner::new(dialect);
    for piece in pieces {
        scanner.push(piece.as_bytes());
    }
    scanner
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_scanner_finds_what_a_walk_over_the_tree_finds(
        dialect in dialect(),
        tree in object_of(node()),
        gap in prop::sample::select(vec!["", " ", "\n\t", "\r\n  "]),
    ) {
        let mut text = String::new();
        tree.write(gap, &mut text);
        prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "the oracle wrote no JSON");
        let scanner = scanned(dialect, &[&text]);
        prop_assert!(scanner.is_complete());
        prop_assert_eq!(scanner.counts(), counts_of(dialect, &tree));
        let kind = tree.member("type");
        if let Some(Node::Scalar(kind)) = kind && kind.starts_with('"') && !kind.contains('\\') {
            let is_short = kind.len() - 2 <= Word::CAPACITY;
            prop_assert_eq!(scanner.type_name(), if is_short { kind.trim_matches('"').as_bytes() } else { b"" });
        }
    }
}

// Spec: monitoring L-18.
proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Of a text that comes in single bytes no token lies in one piece.
    #[test]
    fn a_text_says_the_same_byte_by_byte_whether_it_is_json_or_not(
        dialect in dialect(),
        tree in object_of(node()),
        gap in prop::sample::select(vec!["", " ", "\n\t"]),
        damage in prop::option::of((any::<prop::sample::Index>(), prop::sample::select(b"\"\\{}[],:0 x\n".to_vec()))),
        end in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut text = String::new();
        tree.write(gap, &mut text);
        let mut text = text.into_bytes();
        if let Some((at, byte)) = damage {
            *at.get_mut(&mut text) = byte;
        }
        if let Some(end) = end {
            text.truncate(end.index(text.len()));
        }
        let (mut whole, mut bytewise) = (Scanner::new(dialect), Scanner::new(dialect));
        whole.push(&text);
        text.chunks(1).for_each(|byte| bytewise.push(byte));
        prop_assert_eq!(whole.is_complete(), bytewise.is_complete());
        prop_assert_eq!(whole.counts(), bytewise.counts());
        prop_assert_eq!(whole.type_name(), bytewise.type_name());
        prop_assert_eq!(whole.has_error(), bytewise.has_error());
        prop_assert_eq!(whole.phase, bytewise.phase);
        prop_assert_eq!(whole.place, bytewise.place);
    }
}

// Spec: monitoring L-15.
#[test]
fn a_repeated_usage_counts_as_the_last_that_says_something() {
    fn check(text: &str, expected: Option<u64>) {
        let counts = scanned(Dialect::Other, &[text]).counts();
        assert_eq!(counts.and_then(|counts| counts.usage().input_tokens), expected, "{text}");
    }
    check(r#"{"usage":{"prompt_tokens":1},"usage":{"prompt_tokens":2}}"#, Some(2));
    check(r#"{"usage":{"prompt_tokens":1},"usage":null}"#, Some(1));
    check(r#"{"usage":{"prompt_tokens":1},"usage":{}}"#, Some(1));
    check(r#"{"usage":{"prompt_tokens":1,"prompt_tokens":2}}"#, Some(2));
    check(r#"{"usage":{"prompt_tokens":1,"prompt_tokens":null}}"#, Some(1));
    let text = r#"{"usage":{"prompt_tokens":1,"completion_tokens":9},"usage":{"prompt_tokens":2}}"#;
    let usage = scanned(Dialect::Other, &[text]).counts().map(|counts| counts.usage());
    assert_eq!(usage.and_then(|usage| usage.output_tokens), None, "the two are not mixed");
    // The better place wins, in either order.
    check(r#"{"usage":{"prompt_tokens":1},"response":{"usage":{"prompt_tokens":2}}}"#, Some(1));
    check(r#"{"response":{"usage":{"prompt_tokens":2}},"usage":{"prompt_tokens":1}}"#, Some(1));
}

#[test]
fn only_an_error_that_says_something_is_one() {
    fn check(text: &str, expected: bool) {
        assert_eq!(scanned(Dialect::ChatCompletions, &[text]).has_error(), expected, "{text}");
    }
    check(r#"{"error":{"message":"x"}}"#, true);
    check(r#"{"error":"x"}"#, true);
    check(r#"{"error":null}"#, false);
    check(r#"{"error":false}"#, false);
    check(r#"{"response":{"error":{"code":"x"}}}"#, false);
    check(r#"{"errors":{"a":1}}"#, false);
    check(r#"{"a":"error"}"#, false);
}

#[test]
fn a_text_that_is_no_json_is_never_complete() {
    for text in [
        "",
        " ",
        "x",
        "{",
        "}",
        "[",
        "{]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1",
        "{\"a\" 1}",
        "{a:1}",
        "{\"a\":1}}",
        "{\"a\":1}{",
        "{} {}",
        "{\"a\":\"",
        "{\"a\":\"\\\"}",
        "{\"a\":+1}",
        "{\"a\":1 2}",
        "{1:2}",
        "{\"a\":,}",
        "{\"usage\":{\"prompt_tokens\":1]}",
        "nul",
        "\u{feff}{}",
    ] {
        let scanner = scanned(Dialect::Other, &[text]);
        assert!(!scanner.is_complete(), "{text:?}");
        assert_eq!(scanner.counts(), None, "{text:?}");
    }
}

#[test]
fn depth_costs_nothing() {
    let depth = 200_000;
    let text = format!("{}{}", "{\"a\":[".repeat(depth), "]}".repeat(depth));
    let scanner = scanned(Dialect::Other, &["{\"x\":", &text, ",\"usage\":{\"prompt_tokens\":4}}"]);
    assert_eq!(scanner.counts().and_then(|counts| counts.usage().input_tokens), Some(4));
}
