//! What a table of the provider tree is, and what it has from above.

use std::time::Duration;

use gate_config::{AuthStyle, Model, OnDisconnect, Source};

use crate::{loaded, problems, provider, text};

/// Checks which providers a tree has, and each one's models.
#[track_caller]
fn check(toml: &str, expected: &[(&str, &[(&str, &str)])]) {
    let loaded = loaded(&text(toml));
    let providers = loaded.config.providers.providers();
    let found: Vec<(&str, Vec<(&str, &str)>)> = providers
        .filter(|(_, provider)| provider.is_configured)
        .map(|(_, provider)| (provider.id.as_str(), provider.models.iter().map(named).collect()))
        .collect();
    let expected: Vec<_> = expected.iter().map(|(id, models)| (*id, models.to_vec())).collect();
    assert_eq!(found, expected, "{toml}");
}

fn named(model: &Model) -> (&str, &str) {
    (&model.name, &model.upstream)
}

// Spec: routing R-1, R-2, R-5, R-6.
#[test]
fn a_table_is_a_provider_a_model_section_or_a_container() {
    check("[llm.provider.openai]\napi_key = 'k'", &[("openai", &[])]);
    check("[llm.provider.openai]", &[("openai", &[])]);
    check("[llm.provider.openai]\nmodel = 'a'", &[("openai", &[("a", "a")])]);
    // A root that is only above something is not configured itself.
    check("[llm.provider.openai.x]\napi_key = 'k'", &[("openai.x", &[])]);
    for mark in ["api_base = 'https://x.example'", "api_key = 'k'", "type = 'openai'", "models = ['m']"] {
        let toml = format!("[llm.provider.openai.x]\n{mark}\nmodel = 'm'");
        check(&toml, &[("openai.x", &[("m", "m")])]);
    }
    check("[llm.provider.openai.x]\nmodel = 'm'", &[("openai", &[("x", "m")])]);
    check("[llm.provider.openai.x]\ntimeout = 5", &[]);
    // Sections belong to the nearest provider above, named by the path from there.
    check(
        "[llm.provider.openai.x]\napi_key = 'k'\n[llm.provider.openai.x.group.fast]\nmodel = 'm'",
        &[("openai.x", &[("group.fast", "m")])],
    );
    check("[llm.provider.openai.group.fast]\nmodel = 'm'", &[("openai", &[("group.fast", "m")])]);
    // A provider below a model section is a provider.
    check(
        "[llm.provider.openai.m]\nmodel = 'm'\n[llm.provider.openai.m.eu]\napi_key = 'k'",
        &[("openai", &[("m", "m")]), ("openai.m.eu", &[])],
    );
    // Default first, then the list, then the sections; what says the same is there once.
    check(
        "[llm.provider.openai]\nmodel = 'b'\nmodels = ['a', 'B', 'b']\n[llm.provider.openai.a]\nmodel = 'a'\n\
         [llm.provider.openai.c]\nmodel = 'a'",
        &[("openai", &[("b", "b"), ("a", "a"), ("B", "B"), ("c", "a")])],
    );
}

// Spec: routing R-3.
#[test]
fn a_dotted_section_is_the_same_path_quoted_or_not() {
    let expected: &[(&str, &[(&str, &str)])] = &[("anthropic", &[("sonnet-4.7", "claude")])];
    check("[llm.provider.anthropic.sonnet-4.7]\nmodel = 'claude'", expected);
    check("[llm.provider.anthropic.\"sonnet-4.7\"]\nmodel = 'claude'", expected);
    check("[llm.provider.anthropic]\nsonnet-4.7 = { model = 'claude' }", expected);
    check("[llm.provider.\"anthropic.sonnet-4.7\"]\nmodel = 'claude'", expected);
    // `sonnet-4` and `sonnet-4.7` are two models although one table holds the other.
    check(
        "[llm.provider.anthropic.sonnet-4]\nmodel = 'a'\n[llm.provider.anthropic.\"sonnet-4.7\"]\nmodel = 'b'",
        &[("anthropic", &[("sonnet-4", "a"), ("sonnet-4.7", "b")])],
    );
}

// Spec: routing R-4.
#[test]
fn a_provider_without_its_kind_in_the_path_says_its_type() {
    let toml = "[llm.provider.glm]\ntype = 'anthropic'\napi_base = 'https://glm.example'\napi_key = 'k'\n\
                [llm.provider.glm.glm-5]\nmodel = 'glm-5'\n[llm.provider.glm.eu]\napi_key = 'e'";
    check(toml, &[("anthropic.glm", &[("glm-5", "glm-5")]), ("anthropic.glm.eu", &[])]);
    let loaded = loaded(&text(toml));
    assert_eq!(provider(&loaded, "glm").id, "anthropic.glm");
    assert_eq!(provider(&loaded, "glm.eu").id, "anthropic.glm.eu");
    assert_eq!(provider(&loaded, "anthropic.glm").origins["api_key"].key, "llm.provider.glm.api_key");
    assert_eq!(provider(&loaded, "anthropic.glm.eu").api_base.host(), "glm.example");
}

// Spec: routing R-2.
#[test]
fn kind_roots_always_exist_with_the_vendors_own_bases() {
    let loaded = loaded(&text(""));
    for (path, base) in [("openai", "https://api.openai.com/v1"), ("anthropic", "https://api.anthropic.com")]
    {
        let root = provider(&loaded, path);
        assert_eq!(root.api_base.to_string(), base);
        assert_eq!(root.origins["api_base"].source, Source::Default);
        assert!(!root.is_configured, "{path}");
    }
}

// Spec: config C-20.
#[test]
fn what_is_never_inherited_stays_where_it_is() {
    let toml = "[llm.provider.openai]\nmodel = 'a'\nmodels = ['a']\nopen = true\ntype = 'openai'\n\
                [llm.provider.openai.x]\napi_base = 'https://x.example'\napi_key = 'k'";
    let loaded = loaded(&text(toml));
    let below = provider(&loaded, "openai.x");
    assert_eq!((below.default_model, below.models, below.is_closed), (None, Vec::new(), false));
    assert!(!below.origins.contains_key("type"));
}

// Spec: routing R-7.
#[test]
fn a_list_of_models_closes_a_provider_unless_it_says_open() {
    for (settings, is_closed) in [
        ("api_key = 'k'", false),
        ("model = 'a'", false),
        ("models = ['a']", true),
        ("models = []", true),
        ("models = ['a']\nopen = false", true),
        ("models = ['a']\nopen = true", false),
    ] {
        let loaded = loaded(&text(&format!("[llm.provider.openai]\n{settings}")));
        assert_eq!(provider(&loaded, "openai").is_closed, is_closed, "{settings}");
    }
}

// Spec: config C-19.
#[test]
fn maps_are_inherited_whole() {
    let toml = "[llm.provider.openai]\napi_key = 'k'\nquery = { a = '1', b = '2' }\nheaders = { X-Team = 'root' }\n\
                [llm.provider.openai.x]\napi_key = 'x'\nquery = { c = '3' }";
    let loaded = loaded(&text(toml));
    let below = provider(&loaded, "openai.x");
    assert_eq!(below.query.keys().collect::<Vec<_>>(), ["c"]);
    assert_eq!(below.headers["x-team"], "root", "names are in lower case");
}

// Spec: config C-51.
#[test]
fn a_clients_parameter_gives_way_to_the_configured_one() {
    let toml = "[llm.provider.openai]\napi_key = 'k'\napi_base = 'https://x.example/v1?tenant=1&flag'\n\
                query = { api-version = '2' }";
    let openai = provider(&loaded(&text(toml)), "openai");
    for (query, left) in [
        ("a=1&b=%20+&c", "a=1&b=%20+&c"),
        ("api-version=9&a=1", "a=1"),
        ("a=1&api%2dversion=9&b=2&api-version=8", "a=1&b=2"),
        ("tenant=7&flag=x", ""),
        ("flag", ""),
        ("a=api-version", "a=api-version"),
        ("", ""),
        ("a&&b", "a&&b"),
    ] {
        assert_eq!(openai.client_query(query), left, "{query}");
    }
}

// Spec: config C-54.
#[test]
fn websocket_is_off_until_a_table_above_or_the_provider_says_so() {
    let toml = "[llm.provider.openai]\napi_key = 'k'\nwebsocket = true\n[llm.provider.openai.x]\napi_key = 'x'\n\
                [llm.provider.openai.y]\napi_key = 'y'\nwebsocket = false\n[llm.provider.anthropic]\napi_key = 'a'";
    let loaded = loaded(&text(toml));
    for (path, expected, origin) in [
        ("openai", true, Some("llm.provider.openai.websocket")),
        ("openai.x", true, Some("llm.provider.openai.websocket")),
        ("openai.y", false, Some("llm.provider.openai.y.websocket")),
        ("anthropic", false, None),
    ] {
        let provider = provider(&loaded, path);
        assert_eq!(provider.websocket, expected, "{path}");
        assert_eq!(provider.origins.get("websocket").map(|origin| origin.key.as_str()), origin, "{path}");
    }
    let problems = problems(&text("[llm.provider.openai]\napi_key = 'k'\nwebsocket = 'yes'"));
    assert_eq!(
        problems,
        [r#"llm.provider.openai.websocket (a.toml): expected `true` or `false`, found the text "yes""#]
    );
}

// Spec: config C-23.
#[test]
fn each_kind_sends_its_key_its_own_way() {
    for (toml, path, expected) in [
        ("", "openai", AuthStyle::Bearer),
        ("", "anthropic", AuthStyle::XApiKey),
        ("[llm.provider]\nauth = 'api-key'", "anthropic", AuthStyle::ApiKey),
        ("[llm.provider.openai]\nauth = 'none'", "openai", AuthStyle::None),
        ("[llm.provider.openai]\nauth = 'X-API-Key'", "openai", AuthStyle::XApiKey),
        (
            "[llm.provider.anthropic]\nauth = 'bearer'\n[llm.provider.anthropic.x]\napi_key = 'k'",
            "anthropic.x",
            AuthStyle::Bearer,
        ),
    ] {
        assert_eq!(provider(&loaded(&text(toml)), path).auth, expected, "{toml}");
    }
}

// Spec: config C-55.
#[test]
fn the_treatment_of_answers_is_off_unless_asked_for() {
    for (settings, keepalive) in [
        ("", None),
        ("sse_keepalive_sec = 0", None),
        ("sse_keepalive_sec = 2.5", Some(Duration::from_millis(2500))),
    ] {
        let server = loaded(&text(&format!("[llm]\n{settings}"))).config.server;
        assert_eq!((server.sse_keepalive, server.estimate_usage), (keepalive, false), "{settings}");
    }
    assert!(loaded(&text("[llm]\nestimate_usage = true")).config.server.estimate_usage);
}

// Spec: config C-19, C-55.
#[test]
fn what_becomes_of_a_left_answer_is_inherited() {
    for (toml, path, expected) in [
        ("", "openai", OnDisconnect::Cancel),
        ("[llm.provider]\non_disconnect = 'drain'", "anthropic", OnDisconnect::Drain),
        ("[llm.provider.openai]\non_disconnect = 'drain'", "anthropic", OnDisconnect::Cancel),
        (
            "[llm.provider]\non_disconnect = 'drain'\n[llm.provider.openai.x]\napi_key = 'k'\non_disconnect = 'cancel'",
            "openai.x",
            OnDisconnect::Cancel,
        ),
    ] {
        assert_eq!(provider(&loaded(&text(toml)), path).on_disconnect, expected, "{toml}");
    }
}

// Spec: config C-19, C-55.
#[test]
fn asking_for_usage_is_inherited() {
    for (toml, path, expected) in [
        ("", "openai", false),
        ("[llm.provider]\ninject_stream_usage = true", "openai", true),
        (
            "[llm.provider.openai]\ninject_stream_usage = true\n[llm.provider.openai.x]\napi_key = 'k'\n\
             [llm.provider.openai.x.y]\napi_key = 'k'\ninject_stream_usage = false",
            "openai.x",
            true,
        ),
        (
            "[llm.provider.openai]\ninject_stream_usage = true\n[llm.provider.openai.x]\napi_key = 'k'\n\
             [llm.provider.openai.x.y]\napi_key = 'k'\ninject_stream_usage = false",
            "openai.x.y",
            false,
        ),
    ] {
        assert_eq!(provider(&loaded(&text(toml)), path).inject_stream_usage, expected, "{path}: {toml}");
    }
}
