//! Nothing that a file or a variable holds makes loading panic.

use gate_config::{Report, Sources};
use proptest::prelude::*;

use crate::{problems, text};

/// Loads and reports, for whatever comes of it.
fn run(sources: &Sources) {
    let report = Report::of(sources, &|_, _| Ok(()));
    assert!(!report.to_string().is_empty());
}

/// Lines that are near to what a configuration holds.
fn line() -> impl Strategy<Value = String> {
    let segment = prop_oneof![
        Just("openai"),
        Just("anthropic"),
        Just("OpenAI"),
        Just("glm"),
        Just("'a.b'"),
        Just("a"),
        Just("b"),
        Just("query"),
        Just("models"),
        Just("limits"),
        Just("''"),
        Just("'.'"),
        Just("'$__toml_private_datetime'"),
    ];
    let key = prop_oneof![
        Just("type"),
        Just("default"),
        Just("api_base"),
        Just("base_url"),
        Just("api_key"),
        Just("model"),
        Just("models"),
        Just("open"),
        Just("weight"),
        Just("fallback"),
        Just("api_keys"),
        Just("timeout"),
        Just("headers"),
        Just("port"),
        Just("x"),
        Just("a.b"),
        Just("'q.r'"),
    ];
    let value = prop_oneof![
        Just("1"),
        Just("-1.5"),
        Just("'openai'"),
        Just("'anthropic'"),
        Just("'https://a.example/v1'"),
        Just("'env:X'"),
        Just("['a', 'b']"),
        Just("{ a = 'b' }"),
        Just("{ model = 'm' }"),
        Just("true"),
        Just("1979-05-27"),
        Just("nan"),
    ];
    let header = prop::collection::vec(segment, 0..4)
        .prop_map(|path| ["llm", "provider"].into_iter().chain(path).collect::<Vec<_>>().join("."))
        .prop_map(|path| format!("[{path}]"));
    prop_oneof![header, (key, value).prop_map(|(key, value)| format!("{key} = {value}"))]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    // Spec: config C-48.
#[test]
    fn no_text_makes_loading_panic(toml in any::<String>()) {
        run(&text(&toml));
        run(&text(&format!("[llm.provider.openai]\n{toml}")));
    }

    #[test]
    fn no_arrangement_of_tables_makes_loading_panic(lines in prop::collection::vec(line(), 0..12)) {
        run(&text(&lines.join("\n")));
    }

    #[test]
    fn no_variable_makes_loading_panic(name in "[A-Z_]{0,20}", value in any::<String>()) {
        let tree = text("[llm.provider.openai.a-b]\nmodel = 'm'\n[llm.provider.a]\ntype = 'openai'");
        run(&tree.with_env([(format!("EMX_LLM_{name}"), value)]));
    }
}

// Spec: config C-48.
#[test]
fn depth_has_a_limit_before_the_stack_has() {
    let deep = |depth: usize| vec!["a"; depth].join(".");
    let message = "llm.provider.openai (a.toml): sections are nested at most 64 levels deep";
    assert_eq!(problems(&text(&format!("[llm.provider.openai.'{}']\nmodel = 'm'", deep(64)))), [message]);
    assert_eq!(
        problems(&text(&format!("[llm.provider.openai.'{}']\nmodel = 'm'", deep(100_000)))),
        [message]
    );
    assert_eq!(problems(&text(&format!("[llm.provider.openai.'{}']\nmodel = 'm'", deep(63)))), [""; 0]);
    assert_eq!(problems(&text(&format!("[llm.provider.{}]\nmodel = 'm'", deep(1_000)))).len(), 1);
    assert_eq!(problems(&text(&format!("[llm]\nx = {}{}", "[".repeat(1_000), "]".repeat(1_000)))).len(), 1);
    let levels = vec!["A"; 10_000].join("__");
    let variable = Sources::empty().with_env([(format!("EMX_LLM__PROVIDER__{levels}__API_KEY"), "k")]);
    assert_eq!(problems(&variable), [""; 0], "it is ignored with a warning");
}
