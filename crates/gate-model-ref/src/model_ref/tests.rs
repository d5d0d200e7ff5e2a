//! The grammar and the splits, as tables.

use super::*;

fn splits(text: &str) -> Vec<(&str, &str)> {
    Splits::of(text).map(|split| (split.path, split.rest)).collect()
}

// Spec: routing N-1, N-2.
#[test]
fn legal_names_keep_their_spelling() {
    let longest = "x".repeat(256);
    for name in [
        "gpt-4",
        "gpt-4.1",
        "GPT-4o",
        "openai.gpt-4",
        "openai.azure.gpt-4",
        "anthropic.glm.glm-5",
        "meta-llama/Llama-3.3-70B",
        "llama3.2:latest",
        "ft:gpt-4o:org::id",
        "openai.bedrock.anthropic.claude-3-sonnet-v1:0",
        "accounts/fireworks/models/llama-v3p1-405b",
        "models/gemini-2.5-pro",
        "@cf/meta/llama-3-8b",
        "claude-sonnet-4-5@20250929",
        "name[1m]",
        "a+b_c-d",
        "a",
        ".",
        "..",
        "!#$%&()*,;=?~",
        &longest,
    ] {
        assert_eq!(ModelRef::parse(name).map(ModelRef::as_str), Ok(name), "{name:?}");
    }
}

// Spec: routing N-2.
#[test]
fn illegal_names_say_what_and_where() {
    fn check(text: &str, position: usize, message: &str) {
        let error = ModelRef::parse(text).unwrap_err();
        assert_eq!((error.position(), error.to_string().as_str()), (position, message), "{text:?}");
    }
    check("", 0, "a model name cannot be empty");
    check(" gpt-4o", 0, "a model name cannot hold a space (byte 0)");
    check("gpt-4o ", 6, "a model name cannot hold a space (byte 6)");
    check("gpt\"4", 3, "a model name cannot hold `\"` (byte 3)");
    check("gpt'4", 3, "a model name cannot hold `'` (byte 3)");
    check("gpt`4", 3, "a model name cannot hold ``` (byte 3)");
    check("gpt\\4", 3, "a model name cannot hold `\\` (byte 3)");
    check("<gpt", 0, "a model name cannot hold `<` (byte 0)");
    check("gpt>", 3, "a model name cannot hold `>` (byte 3)");
    check("{gpt", 0, "a model name cannot hold `{` (byte 0)");
    check("gpt}", 3, "a model name cannot hold `}` (byte 3)");
    check("a|b", 1, "a model name cannot hold `|` (byte 1)");
    check("a^b", 1, "a model name cannot hold `^` (byte 1)");
    check("a\0b", 1, "a model name cannot hold the character U+0000 (byte 1)");
    check("a\r\nb", 1, "a model name cannot hold the character U+000D (byte 1)");
    check("a\u{7f}", 1, "a model name cannot hold the character U+007F (byte 1)");
    // A Cyrillic look-alike, a zero-width space, a right-to-left mark, a fullwidth letter.
    check("gpt-4\u{43e}", 5, "a model name cannot hold the character U+043E (byte 5)");
    check("gpt\u{200b}", 3, "a model name cannot hold the character U+200B (byte 3)");
    check("\u{202e}gpt", 0, "a model name cannot hold the character U+202E (byte 0)");
    check("\u{ff47}pt", 0, "a model name cannot hold the character U+FF47 (byte 0)");
    check(
        &"x".repeat(257),
        256,
        "a model name has at most 256 bytes, this one has 257 (first byte too many: 256)",
    );
}

#[test]
fn an_illegal_character_past_the_limit_is_reported_as_length() {
    let text = format!("{} ", "x".repeat(300));
    let error = ModelRef::parse(&text).unwrap_err();
    assert_eq!(error.kind(), ParseErrorKind::TooLong { length: 301 });
}

// Spec: routing N-1.
#[test]
fn splits_are_offered_longest_path_first() {
    for (text, expected) in [
        ("gpt-4", vec![]),
        ("gpt-4.1", vec![("gpt-4", "1")]),
        ("openai.gpt-4.1", vec![("openai.gpt-4", "1"), ("openai", "gpt-4.1")]),
        ("a.b.c", vec![("a.b", "c"), ("a", "b.c")]),
        ("a..b", vec![("a.", "b"), ("a", ".b")]),
        (".a", vec![]),
        ("a.", vec![]),
        (".", vec![]),
        ("", vec![]),
    ] {
        assert_eq!(splits(text), expected, "{text:?}");
    }
}

#[test]
fn dotted_model_name_keeps_its_dots() {
    let name = ModelRef::parse("anthropic.glm.glm-4.5").unwrap();
    assert_eq!(name.kind(), Some(ProviderKind::Anthropic));
    assert_eq!(name.without_kind(), "glm.glm-4.5");
    assert!(splits(name.without_kind()).contains(&("glm", "glm-4.5")));
}

#[test]
fn every_split_joins_to_the_whole() {
    for text in ["a.b.c.d", "x..y.z", "openai.azure.eu.gpt-4.1"] {
        for (path, rest) in splits(text) {
            assert_eq!(format!("{path}.{rest}"), text);
        }
    }
}

#[test]
fn a_kind_counts_only_as_a_whole_segment() {
    for (text, kind, rest) in [
        ("openai.gpt-4", Some(ProviderKind::OpenAi), "gpt-4"),
        ("OPENAI.gpt-4", Some(ProviderKind::OpenAi), "gpt-4"),
        ("openai", Some(ProviderKind::OpenAi), ""),
        ("openai/gpt-4", None, "openai/gpt-4"),
        ("azure.openai.gpt-4", None, "azure.openai.gpt-4"),
        ("openaix.gpt-4", None, "openaix.gpt-4"),
    ] {
        let name = ModelRef::parse(text).unwrap();
        assert_eq!((name.kind(), name.without_kind()), (kind, rest), "{text:?}");
    }
}
