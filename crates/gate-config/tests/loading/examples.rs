//! Whole configurations.

use std::path::PathBuf;
use std::time::Duration;

use gate_config::{AuthStyle, Limits, LogFormat, LogLevel, Model, Sources};

use crate::{QUIET, loaded, provider, text, warnings};

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn fixture_text(name: &str) -> Sources {
    // As a text, so that the permissions of a checkout raise no warning.
    Sources::empty().with_text(name, &std::fs::read_to_string(fixture(name)).unwrap())
}

fn model(name: &str) -> Model {
    Model { name: name.into(), upstream: name.into(), is_section: false, max_tokens: None }
}

fn section(name: &str, upstream: &str) -> Model {
    Model { name: name.into(), upstream: upstream.into(), is_section: true, max_tokens: None }
}

// Spec: config C-16, C-17, C-18.
#[test]
fn the_example_loads_and_means_what_it_says() {
    let loaded = loaded(&Sources::empty().with_file(fixture("example.toml")));
    let server = &loaded.config.server;
    assert_eq!((server.host.as_str(), server.port), ("127.0.0.1", 8848));
    assert_eq!((server.log_level, server.log_format), (LogLevel::Info, LogFormat::Text));
    assert_eq!(server.limits.max_request_bytes, 33_554_432);
    assert_eq!(server.limits.max_connections, 10_000);
    assert_eq!(server.timeouts.total, None);

    let openai = provider(&loaded, "openai");
    assert_eq!(openai.models, [model("gpt-4"), model("gpt-4o")]);
    assert!(openai.is_closed && openai.is_configured && !openai.exact_base);
    assert_eq!((openai.max_tokens, openai.timeout), (Some(4096), Some(Duration::from_secs(60))));
    assert_eq!(openai.query.get("api-version").map(String::as_str), Some("2024-10-21"));
    assert_eq!(openai.headers.get("x-team").map(String::as_str), Some("a"));

    let azure = provider(&loaded, "openai.azure");
    assert_eq!(azure.api_base.host(), "your-resource.openai.azure.com");
    assert_eq!(azure.default_model.as_deref(), Some("gpt-4"));
    assert!(!azure.is_closed, "`models` is not inherited");

    let glm = provider(&loaded, "anthropic.glm");
    assert_eq!(glm.models, [section("glm-5", "glm-5")]);
    assert_eq!(glm.auth, AuthStyle::XApiKey);
}

// Spec: config C-16, C-17.
#[test]
fn uploads_and_admin_paths_have_their_settings() {
    for (toml, bytes, admin) in [
        ("", Some(2 << 30), false),
        ("[llm]\nallow_admin_paths = true\n[llm.limits]\nmax_upload_size_mb = 1\n", Some(1 << 20), true),
        ("[llm.limits]\nmax_upload_size_mb = 0\n", None, false),
    ] {
        let server = loaded(&text(&format!("{toml}{QUIET}"))).config.server;
        assert_eq!((server.limits.max_upload_bytes, server.allow_admin_paths), (bytes, admin), "{toml}");
    }
}

// Spec: config C-63, C-64.
#[test]
fn overload_has_its_settings() {
    let check = |toml: &str, seen: fn(&Limits) -> u64, expected: u64| {
        let limits = loaded(&text(&format!("[llm.limits]\n{toml}\n{QUIET}"))).config.server.limits;
        assert_eq!(seen(&limits), expected, "{toml}");
    };
    let memory = |limits: &Limits| limits.max_body_memory_bytes >> 20;
    check("", memory, 1024);
    check("max_body_memory_mb = 64", memory, 64);
    check("max_request_size_mb = 2000", memory, 2000);
    check("max_request_size_mb = 64\nmax_body_memory_mb = 64", memory, 64);
    check("", |limits| limits.min_body_rate, 240);
    check("min_body_rate = 0", |limits| limits.min_body_rate, 0);
    check("", |limits| limits.max_in_flight as u64, 8000);
    check("max_in_flight = 7", |limits| limits.max_in_flight as u64, 7);
    check("body_memory_wait = 0", |limits| limits.body_memory_wait.as_secs(), 0);
    check("", |limits| limits.max_head_bytes as u64, 65_536);
    check("max_header_size_kb = 16", |limits| limits.max_head_bytes as u64, 16_384);
    check("max_headers = 40", |limits| limits.max_headers as u64, 40);
}

// Spec: config C-65.
#[test]
fn connections_to_a_provider_can_be_bounded() {
    let toml = "[llm.provider]\nmax_connections = 9\n[llm.provider.openai]\n[llm.provider.openai.small]\n\
                api_base = 'http://localhost:8000/v1'\nmax_connections = 4";
    let loaded = loaded(&text(toml));
    for (path, expected) in [("openai", Some(9)), ("openai.small", Some(4)), ("anthropic", Some(9))] {
        assert_eq!(provider(&loaded, path).max_connections, expected, "{path}");
    }
}

// Spec: config C-46.
#[test]
fn what_the_example_leaves_to_its_reader_is_warned_about() {
    assert_eq!(
        warnings(&fixture_text("example.toml")),
        [
            "llm.provider.anthropic: has no key; set `api_key`, or `auth = \"none\"` if it needs none",
            "llm.provider.anthropic.glm: has no key; set `api_key`, or `auth = \"none\"` if it needs none",
        ]
    );
}

// Spec: config C-5, C-29, C-47, C-50.
#[test]
fn a_file_written_for_emx_llm_loads_unchanged() {
    let sources = fixture_text("emx-llm.toml");
    assert_eq!(
        warnings(&sources),
        [
            "host (emx-llm.toml): read as `llm.host`; move it below `[llm]`",
            "port (emx-llm.toml): read as `llm.port`; move it below `[llm]`",
        ]
    );
    let loaded = loaded(&sources);
    assert_eq!(loaded.config.server.port, 8080);
    let openai = provider(&loaded, "openai");
    assert_eq!(openai.default_model.as_deref(), Some("gpt-4"));
    assert_eq!(openai.timeout, Some(Duration::from_secs(60)));
    assert_eq!(openai.origins["api_base"].key, "llm.provider.openai.base_url", "as the file spells it");
    let glm = provider(&loaded, "anthropic.glm");
    let estimated = Model { max_tokens: Some(16384), ..section("glm-5", "glm-5") };
    assert_eq!(glm.models, [model("glm-4.5"), estimated]);
    let anthropic = provider(&loaded, "anthropic");
    assert_eq!(anthropic.models, [section("sonnet-4.7", "claude-4-sonnet-20250514")]);
}

// Spec: config C-19, C-21.
#[test]
fn settings_come_down_three_levels_and_know_where_from() {
    let loaded = loaded(&fixture_text("three-levels.toml"));
    let check = |path: &str, setting: &str, key: &str| {
        let provider = provider(&loaded, path);
        let origin = provider.origins.get(setting).unwrap_or_else(|| panic!("{path} has no {setting}"));
        assert_eq!((origin.key.as_str(), origin.source.to_string().as_str()), (key, "three-levels.toml"));
    };
    let batch = "openai.eu.azure.batch";
    check(batch, "api_base", "llm.provider.openai.eu.azure.batch.api_base");
    check(batch, "api_key", "llm.provider.openai.eu.azure.api_key");
    check(batch, "auth", "llm.provider.openai.eu.azure.auth");
    check(batch, "headers", "llm.provider.openai.eu.headers");
    check(batch, "timeout", "llm.provider.openai.eu.azure.batch.timeout");
    check("openai.eu.azure", "timeout", "llm.provider.openai.eu.timeout");
    check("openai", "timeout", "llm.provider.timeout");

    let batch = provider(&loaded, batch);
    assert_eq!(batch.api_key.as_ref().map(|key| key.expose()), Some("sk-azure"));
    assert_eq!(batch.auth, AuthStyle::ApiKey);
    assert_eq!(batch.headers["x-team"], "eu");
    assert_eq!(batch.timeout, Some(Duration::from_millis(30_500)));
    assert_eq!(batch.models, [model("gpt-4.1"), section("nightly", "gpt-4.1-mini")]);
    assert!(loaded.config.providers.find("openai.eu").is_none(), "a container is no provider");
}
