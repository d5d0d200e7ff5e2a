//! What a provider tree cannot say: names, kinds and sections that contradict each other.

use crate::{problems, text};

/// Checks the only problem of a text: key and message, as its source is the same for all.
#[track_caller]
fn check(toml: &str, key: &str, message: &str) {
    assert_eq!(problems(&text(toml)), [format!("{key} (a.toml): {message}")], "{toml}");
}

// Spec: config C-30.
#[test]
fn names_of_settings_cannot_be_sections() {
    check(
        "[llm.provider.openai.models]\nmodel = 'm'",
        "llm.provider.openai.models",
        "expected a list of texts, such as [\"a\", \"b\"], found a table",
    );
    check(
        "[llm.provider.models]\nmodel = 'm'",
        "llm.provider.models",
        "`models` belongs to one provider, such as [llm.provider.openai], not to all of them",
    );
    check(
        "[llm.provider.openai.query.x]\nmodel = 'm'",
        "llm.provider.openai.query",
        "expected a table of texts, such as { name = \"value\" }, found a table that holds something else",
    );
    for name in ["query", "headers", "models"] {
        let toml = format!("[llm.provider.openai.\"x.{name}\"]\nmodel = 'm'");
        let found = problems(&text(&toml));
        let expected = format!(
            "llm.provider.openai.x.{name} (a.toml): `{name}` is the name of a setting and cannot be a section name"
        );
        assert_eq!(found.first(), Some(&expected), "{toml}");
    }
}

// Spec: config C-29; routing R-3.
#[test]
fn two_names_for_one_thing_are_never_decided_by_chance() {
    let same_section = "two sections of this name: case and quotes make no difference; keep one of them";
    check(
        "[llm.provider.anthropic.sonnet-4.7]\nmodel = 'a'\n[llm.provider.anthropic.\"sonnet-4.7\"]\nmodel = 'b'",
        "llm.provider.anthropic.sonnet-4.7",
        same_section,
    );
    check(
        "[llm.provider.openai.Azure]\napi_key = 'a'\n[llm.provider.openai.azure]\napi_key = 'b'",
        "llm.provider.openai.Azure",
        same_section,
    );
    check(
        "[llm.provider.OpenAI]\napi_key = 'a'\n[llm.provider.openai]\napi_key = 'b'",
        "llm.provider.openai",
        same_section,
    );
    check(
        "[llm.provider.openai]\napi_base = 'https://a.example'\nbase_url = 'https://b.example'",
        "llm.provider.openai.api_base",
        "`api_base` and `base_url` mean the same; keep one of them",
    );
    check(
        "[llm.provider.openai]\nmodel = 'a'\ndefault_model = 'a'",
        "llm.provider.openai.model",
        "`default_model` and `model` mean the same; keep one of them",
    );
    check(
        "[llm.provider.openai]\ntimeout = 1\ntimeout_secs = 1",
        "llm.provider.openai.timeout",
        "`timeout` and `timeout_secs` mean the same; keep one of them",
    );
    check(
        "[llm.provider.glm]\ntype = 'anthropic'\n[llm.provider.anthropic.GLM]\napi_key = 'k'",
        "llm.provider.glm",
        "is the same provider as [llm.provider.anthropic.GLM]; keep one of them",
    );
}

// Spec: config C-31.
#[test]
fn the_kind_of_a_provider_is_known_and_the_same_everywhere() {
    check(
        "[llm.provider.glm]\napi_key = 'k'",
        "llm.provider.glm",
        "nothing says which API this provider speaks; add `type = \"openai\"` or `type = \"anthropic\"`, \
         or write [llm.provider.openai.glm] or [llm.provider.anthropic.glm]",
    );
    check(
        "[llm.provider.opnai]\napi_key = 'k'",
        "llm.provider.opnai",
        "nothing says which API this provider speaks; did you mean [llm.provider.openai]?",
    );
    check(
        "[llm.provider.openai]\ntype = 'anthropic'",
        "llm.provider.openai.type",
        "says `anthropic`, but everything below [llm.provider.openai] is `openai`; move it to [llm.provider.anthropic]",
    );
    check(
        "[llm.provider.openai.x.y]\ntype = 'anthropic'",
        "llm.provider.openai.x.y.type",
        "says `anthropic`, but everything below [llm.provider.openai] is `openai`; \
         move it to [llm.provider.anthropic.x.y]",
    );
    check(
        "[llm.provider.openai]\nanthropic_version = '2023-06-01'",
        "llm.provider.openai.anthropic_version",
        "means nothing to a provider of kind `openai`; remove it",
    );
}

// Spec: config C-50.
#[test]
fn tables_that_are_no_providers_have_no_settings_of_providers() {
    let check_model = |tables: &str, id: &str, provider: &str| {
        let message = format!(
            "a model has no `timeout` of its own: move it to its provider, [llm.provider.{provider}], \
             or give this table an `api_base`, which makes it a provider"
        );
        let toml = format!("{tables}[llm.provider.{id}]\nmodel = 'm'\ntimeout = 5");
        check(&toml, &format!("llm.provider.{id}.timeout"), &message);
    };
    check_model("", "openai.m", "openai");
    check_model("", "openai.group.m", "openai");
    check_model("[llm.provider.openai.x]\napi_key = 'k'\n", "openai.x.group.m", "openai.x");
    check_model("[llm.provider.glm]\ntype = 'anthropic'\n", "glm.m", "glm");
    check(
        "[llm.provider.openai.g]\nopen = true",
        "llm.provider.openai.g.open",
        "has no effect without `models`",
    );
}

// Spec: config C-32.
#[test]
fn names_that_no_request_can_spell_are_refused() {
    check(
        "[llm.provider.openai]\nmodel = 'gpt 4'",
        "llm.provider.openai.model",
        "a model name cannot hold a space (byte 3)",
    );
    check(
        "[llm.provider.openai]\nmodels = ['a', 'b\"']",
        "llm.provider.openai.models",
        "a model name cannot hold `\"` (byte 1)",
    );
    check(
        "[llm.provider.openai.'a b']\nmodel = 'm'",
        "llm.provider.openai.a b",
        "no request can name this section: a model name cannot hold a space (byte 8) of `openai.a b`",
    );
    check(
        "[llm.provider.openai.\"a\\nb\"]\nmodel = 'm'",
        "llm.provider.openai.a\\nb",
        "no request can name this section: a model name cannot hold the character U+000A (byte 8) of `openai.a\\nb`",
    );
    let empty = "a section name cannot have an empty part; remove the extra dot";
    assert_eq!(
        problems(&text("[llm.provider.openai.'a..b']\nmodel = 'm'")).first().map(String::as_str),
        Some(format!("llm.provider.openai.a..b (a.toml): {empty}").as_str())
    );
    let long = "x".repeat(300);
    let found = problems(&text(&format!("[llm.provider.openai.{long}]\nmodel = 'm'")));
    assert!(
        found.iter().all(|line| line.contains("a model name has at most 256 bytes, this one has 307")),
        "{found:?}"
    );
    assert_eq!(found.len(), 1);
}
