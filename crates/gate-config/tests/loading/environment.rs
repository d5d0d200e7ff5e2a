//! Variables: which setting each one means.

use std::time::Duration;

use gate_config::{AuthStyle, LogLevel, Sources};

use crate::{QUIET, loaded, problems, provider, text, warnings};

/// Sections whose names a variable cannot spell.
const TREE: &str = "
    [llm.provider.openai]
    api_key = 'k'
    [llm.provider.openai.my-eu]
    api_key = 'k'
    [llm.provider.anthropic]
    api_key = 'k'
    [llm.provider.anthropic.glm]
    api_key = 'k'
    [llm.provider.anthropic.glm.glm-5]
    model = 'glm-5'
    [llm.provider.anthropic.sonnet-4.7]
    api_key = 'k'
    [llm.provider.local]
    type = 'openai'
    api_key = 'k'
";

// Spec: config C-8, C-9, C-10.
#[test]
fn a_variable_finds_its_setting_in_each_of_its_forms() {
    let check = |name: &str, path: &str, key: &str| {
        let loaded = loaded(&text(TREE).with_env([(name, "from-env")]));
        assert_eq!(loaded.warnings, [], "{name}");
        let provider = provider(&loaded, path);
        let origin = &provider.origins["api_key"];
        assert_eq!(
            provider.api_key.map(|key| key.expose().to_owned()).as_deref(),
            Some("from-env"),
            "{name}"
        );
        assert_eq!(
            (origin.key.as_str(), origin.source.to_string()),
            (key, format!("environment variable {name}"))
        );
    };
    let root = "llm.provider.openai.api_key";
    check("EMX_LLM_PROVIDER_OPENAI_API_KEY", "openai", root);
    check("EMX_LLM_OPENAI_API_KEY", "openai", root);
    check("EMX_LLM__PROVIDER__OPENAI__API_KEY", "openai", root);
    let glm = "llm.provider.anthropic.glm.api_key";
    check("EMX_LLM_PROVIDER_ANTHROPIC_GLM_API_KEY", "anthropic.glm", glm);
    check("EMX_LLM_ANTHROPIC_GLM_API_KEY", "anthropic.glm", glm);
    check("EMX_LLM__PROVIDER__ANTHROPIC__GLM__API_KEY", "anthropic.glm", glm);
    let eu = "llm.provider.openai.my-eu.api_key";
    check("EMX_LLM_PROVIDER_OPENAI_MY_EU_API_KEY", "openai.my-eu", eu);
    check("EMX_LLM__PROVIDER__OPENAI__MY_EU__API_KEY", "openai.my-eu", eu);
    let dotted = "llm.provider.anthropic.sonnet-4.7.api_key";
    check("EMX_LLM_PROVIDER_ANTHROPIC_SONNET_4_7_API_KEY", "anthropic.sonnet-4.7", dotted);
    check("EMX_LLM__PROVIDER__ANTHROPIC__SONNET_4_7__API_KEY", "anthropic.sonnet-4.7", dotted);
    check("EMX_LLM__PROVIDER__ANTHROPIC__SONNET_4__7__API_KEY", "anthropic.sonnet-4.7", dotted);
    let local = "llm.provider.local.api_key";
    check("EMX_LLM_PROVIDER_LOCAL_API_KEY", "openai.local", local);
    check("EMX_LLM_PROVIDER_OPENAI_LOCAL_API_KEY", "openai.local", local);
    check("EMX_LLM__PROVIDER__OPENAI__LOCAL__API_KEY", "openai.local", local);
}

// Spec: config C-29.
#[test]
fn other_names_of_settings_work_in_variables_too() {
    let env = [
        ("EMX_LLM_PROVIDER_ANTHROPIC_BASE_URL", "https://proxy.example"),
        ("EMX_LLM_ANTHROPIC_API_KEY", "k"),
    ];
    let loaded = loaded(&Sources::empty().with_env(env));
    assert_eq!(provider(&loaded, "anthropic").api_base.host(), "proxy.example");
}

// Spec: config C-7, C-12.
#[test]
fn the_gateways_own_settings_have_variables() {
    let env = [
        ("EMX_LLM_HOST", "localhost"),
        ("EMX_LLM_PORT", "0123"),
        ("EMX_LLM_LOG_LEVEL", "DEBUG"),
        ("EMX_LLM_ALLOWED_HOSTS", "Gate.example, other.example,"),
        ("EMX_LLM_LIMITS_MAX_CONNECTIONS", "12"),
        ("EMX_LLM_TIMEOUT_READ", "2.5"),
        ("EMX_LLM__TIMEOUT__DRAIN", "0"),
        ("EMX_LLM__LIMITS__IDLE_TIMEOUT", "7"),
        ("EMX_LLM__LOG_FORMAT", "json"),
        ("EMX_LLM_PROVIDER_TIMEOUT", "9"),
        ("EMX_LLM_PROVIDER_DEFAULT", "openai.gpt-4"),
        ("EMX_LLM_PROVIDER_TYPE", "openai"),
    ];
    let loaded = loaded(&text(QUIET).with_env(env));
    assert_eq!(loaded.warnings, []);
    let server = &loaded.config.server;
    assert_eq!((server.host.as_str(), server.port, server.log_level), ("localhost", 123, LogLevel::Debug));
    assert_eq!(server.allowed_hosts, ["gate.example", "other.example"]);
    assert_eq!(server.limits.max_connections, 12);
    assert_eq!(server.limits.idle_timeout, Duration::from_secs(7));
    assert_eq!(server.timeouts.read, Some(Duration::from_millis(2500)));
    assert_eq!(server.timeouts.drain, Duration::ZERO);
    assert_eq!(server.log_format.as_str(), "json");
    assert_eq!(provider(&loaded, "openai").timeout, Some(Duration::from_secs(9)));
}

// Spec: config C-12.
#[test]
fn text_becomes_what_its_setting_needs() {
    let env = [
        ("EMX_LLM_OPENAI_API_KEY", "0123"),
        ("EMX_LLM_OPENAI_MODELS", "a, b"),
        ("EMX_LLM_OPENAI_OPEN", "TRUE"),
        ("EMX_LLM_OPENAI_QUERY", "api-version=2024-10-21, x=y=z"),
        ("EMX_LLM_OPENAI_MAX_TOKENS", "10"),
        ("EMX_LLM_OPENAI_AUTH", "api-key"),
    ];
    let openai = provider(&loaded(&Sources::empty().with_env(env)), "openai");
    assert_eq!(openai.api_key.map(|key| key.expose().to_owned()).as_deref(), Some("0123"));
    assert_eq!(openai.models.iter().map(|model| model.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert!(!openai.is_closed);
    assert_eq!(openai.query["x"], "y=z");
    assert_eq!(openai.max_tokens, Some(10));
    assert_eq!(openai.auth, AuthStyle::ApiKey);

    let check = |name: &str, value: &str, key: &str, message: &str| {
        let found = problems(&Sources::empty().with_env([(name, value)]));
        assert_eq!(found, [format!("{key} (environment variable {name}): {message}")]);
    };
    check(
        "EMX_LLM_PORT",
        "http",
        "llm.port",
        "expected a whole number from 0 to 65535, found the text \"http\"",
    );
    check(
        "EMX_LLM_PORT",
        "99999",
        "llm.port",
        "expected a whole number from 0 to 65535, found the number 99999",
    );
    check(
        "EMX_LLM_ALLOW_UNAUTHENTICATED",
        "yes",
        "llm.allow_unauthenticated",
        "expected `true` or `false`, found the text \"yes\"",
    );
    check(
        "EMX_LLM_OPENAI_QUERY",
        "secret",
        "llm.provider.openai.query",
        "expected a table of texts, such as { name = \"value\" }, found a text",
    );
}

// Spec: config C-10.
#[test]
fn double_underscores_can_make_a_provider() {
    let env = [
        ("EMX_LLM__PROVIDER__ANTHROPIC__MY_GLM__API_KEY", "k"),
        ("EMX_LLM__PROVIDER__ANTHROPIC__MY_GLM__API_BASE", "https://glm.example"),
        ("EMX_LLM__PROVIDER__NEW__TYPE", "openai"),
        ("EMX_LLM__PROVIDER__NEW__API_KEY", "n"),
    ];
    let loaded = loaded(&Sources::empty().with_env(env));
    assert_eq!(provider(&loaded, "anthropic.my_glm").api_base.host(), "glm.example");
    assert_eq!(
        provider(&loaded, "openai.new").api_key.map(|key| key.expose().to_owned()).as_deref(),
        Some("n")
    );
}

// Spec: config C-11, C-15.
#[test]
fn a_variable_that_matches_nothing_is_named() {
    let check = |name: &str, hint: &str| {
        let expected =
            format!("environment variable {name}: ignored: it matches no setting and no section{hint}");
        assert_eq!(warnings(&text(QUIET).with_env([(name, "x")])), [expected]);
    };
    check("EMX_LLM_HOTS", "; did you mean EMX_LLM_HOST?");
    check("EMX_LLM_OPENAI_API_KYE", "; did you mean EMX_LLM_OPENAI_API_KEY?");
    let new = "; a section that no file has is written EMX_LLM__PROVIDER__KIND__NAME__SETTING";
    check("EMX_LLM_PROVIDER_ANTHROPIC_GLM_API_KEY", new);
    check("EMX_LLM_QUOTA_DAILY", "");
    check("EMX_LLM__PROVIDER__OPENAI__BANANA", "");
    check("EMX_LLM__BANANA__OPENAI", "");
    check("EMX_LLM__", "");
    check("EMX_LLM_", "");
    // What is empty counts as unset, and other variables are not ours.
    assert_eq!(
        warnings(&text(QUIET).with_env([("EMX_LLM_HOTS", ""), ("EMX_LLMX", "x"), ("HOST", "x")])),
        [""; 0]
    );
}

// Spec: config C-9, C-10.
#[test]
fn a_variable_that_could_mean_two_settings_is_refused() {
    let tree = "[llm.provider.openai.a-b]\napi_key = 'k'\n[llm.provider.openai.a_b]\napi_key = 'k'";
    assert_eq!(
        problems(&text(tree).with_env([("EMX_LLM_OPENAI_A_B_API_KEY", "x")])),
        ["environment variable EMX_LLM_OPENAI_A_B_API_KEY: could mean `llm.provider.openai.a-b.api_key` or \
          `llm.provider.openai.a_b.api_key`; use the form with double underscores"]
    );
    let found = problems(&text(tree).with_env([("EMX_LLM__PROVIDER__OPENAI__A_B__API_KEY", "x")]));
    assert!(found.len() == 1 && found[0].ends_with("; set it in a file"), "{found:?}");
    let levels = "[llm.provider.openai.a.b]\napi_key = 'k'\n[llm.provider.openai.a-b]\napi_key = 'k'";
    assert_eq!(problems(&text(levels).with_env([("EMX_LLM_OPENAI_A_B_API_KEY", "x")])).len(), 1);
    let exact = text(levels).with_env([("EMX_LLM__PROVIDER__OPENAI__A__B__API_KEY", "x")]);
    assert_eq!(
        provider(&loaded(&exact), "openai.a.b").origins["api_key"].key,
        "llm.provider.openai.a.b.api_key"
    );
}

// Spec: config C-9.
#[test]
fn two_variables_for_one_setting_must_agree() {
    let both = |one: &str, other: &str| {
        text(QUIET).with_env([("EMX_LLM_OPENAI_API_KEY", one), ("EMX_LLM_PROVIDER_OPENAI_API_KEY", other)])
    };
    assert_eq!(problems(&both("a", "a")), [""; 0]);
    assert_eq!(
        problems(&both("a", "b")),
        [
            "llm.provider.openai.api_key (environment variable EMX_LLM_PROVIDER_OPENAI_API_KEY): says something else \
          than EMX_LLM_OPENAI_API_KEY about the same setting; keep one of them"
        ]
    );
}

// Spec: config C-13, C-14, C-15, C-23.
#[test]
fn traditional_variables_fill_in_what_nothing_else_says() {
    let check = |toml: &str, env: &[(&str, &str)], path: &str, key: &str, base: &str, auth: AuthStyle| {
        let provider = provider(&loaded(&text(toml).with_env(env.iter().copied())), path);
        let found = provider.api_key.as_ref().map_or("", |key| key.expose());
        assert_eq!(
            (found, provider.api_base.to_string().as_str(), provider.auth),
            (key, base, auth),
            "{toml} {env:?}"
        );
    };
    let (openai, anthropic) = ("https://api.openai.com/v1", "https://api.anthropic.com");
    use AuthStyle::{Bearer, XApiKey};
    check("", &[("OPENAI_API_KEY", "t")], "openai", "t", openai, Bearer);
    check(QUIET, &[("OPENAI_API_KEY", "t")], "openai", "k", openai, Bearer);
    check("[llm.provider]\napi_key = 'top'", &[("OPENAI_API_KEY", "t")], "openai", "top", openai, Bearer);
    check("", &[("OPENAI_API_KEY", "t"), ("EMX_LLM_OPENAI_API_KEY", "e")], "openai", "e", openai, Bearer);
    check("", &[("OPENAI_API_BASE", "https://a.example/v1")], "openai", "", "https://a.example/v1", Bearer);
    check("", &[("OPENAI_BASE_URL", "https://b.example/v1")], "openai", "", "https://b.example/v1", Bearer);
    let two = [("OPENAI_BASE_URL", "https://b.example/v1"), ("OPENAI_API_BASE", "https://a.example/v1")];
    check("", &two, "openai", "", "https://a.example/v1", Bearer);
    check("", &[("ANTHROPIC_API_KEY", "t")], "anthropic", "t", anthropic, XApiKey);
    check("", &[("ANTHROPIC_AUTH_TOKEN", "t")], "anthropic", "t", anthropic, Bearer);
    let two = [("ANTHROPIC_API_KEY", "t"), ("ANTHROPIC_AUTH_TOKEN", "token")];
    check("", &two, "anthropic", "token", anthropic, Bearer);
    check("[llm.provider.anthropic]\nauth = 'x-api-key'", &two, "anthropic", "token", anthropic, XApiKey);
    check("[llm.provider.anthropic]\napi_key = 'k'", &two, "anthropic", "k", anthropic, XApiKey);
    check("", &[("ANTHROPIC_BASE_URL", "https://c.example")], "anthropic", "", "https://c.example", XApiKey);
    check("", &[("OPENAI_API_KEY", "")], "openai", "", openai, Bearer);
    // A provider below inherits the token together with the way to send it.
    check("[llm.provider.anthropic.x]\nmodels = []", &two, "anthropic.x", "token", anthropic, Bearer);
}

// Spec: config C-14.
#[test]
fn a_traditional_variable_that_lost_is_remembered() {
    let losers = |toml: &str, env: &[(&str, &str)], path: &str| {
        let provider = provider(&loaded(&text(toml).with_env(env.iter().copied())), path);
        let losers = provider.losers.into_iter();
        losers
            .flat_map(|(setting, all)| all.into_iter().map(move |o| format!("{setting} {}", o.source)))
            .collect::<Vec<_>>()
    };
    let two = [("ANTHROPIC_API_KEY", "t"), ("ANTHROPIC_AUTH_TOKEN", "token")];
    assert_eq!(losers("", &two, "anthropic"), ["api_key environment variable ANTHROPIC_API_KEY"]);
    assert_eq!(
        losers("[llm.provider.anthropic]\napi_key = 'k'", &two, "anthropic"),
        [
            "api_key environment variable ANTHROPIC_AUTH_TOKEN",
            "api_key environment variable ANTHROPIC_API_KEY"
        ]
    );
    assert_eq!(losers("", &two, "openai"), [""; 0]);
}
