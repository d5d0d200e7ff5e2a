//! Which source wins, and which files are read.

use std::fs;

use gate_config::{LogFormat, Source, SourceArgs, Sources};

use crate::{QUIET, loaded, problems, provider, text, warnings};

// Spec: config C-1, C-4, C-6.
#[test]
fn a_later_source_wins_setting_by_setting() {
    let sources = Sources::empty()
        .with_text(
            "user.toml",
            "[llm]\nport = 1\nlog_level = 'error'\n[llm.limits]\nmax_connections = 5\nidle_timeout = 6",
        )
        .with_text(
            "here.toml",
            &format!("[llm]\nport = 2\nhost = 'localhost'\n[llm.limits]\nidle_timeout = 7\n{QUIET}"),
        )
        .with_env([("EMX_LLM_PORT", "3"), ("EMX_LLM_LOG_FORMAT", "json")])
        .with_args(SourceArgs { port: Some(4), log_format: Some(LogFormat::Text), ..SourceArgs::default() });
    let loaded = loaded(&sources);
    let server = &loaded.config.server;
    assert_eq!((server.port, server.host.as_str(), server.log_level.as_str()), (4, "localhost", "error"));
    assert_eq!(server.log_format, LogFormat::Text);
    assert_eq!((server.limits.max_connections, server.limits.idle_timeout.as_secs()), (5, 7));
    let names: Vec<_> = loaded.sources.iter().map(ToString::to_string).collect();
    assert_eq!(
        names,
        [
            "user.toml",
            "here.toml",
            "environment variable EMX_LLM_LOG_FORMAT",
            "environment variable EMX_LLM_PORT",
            "command line --port",
            "command line --log-format",
        ]
    );
}

// Spec: config C-4; routing N-4.
#[test]
fn layers_meet_although_they_spell_differently() {
    let sources = Sources::empty()
        .with_text("user.toml", "[llm.provider.openai.Azure]\nbase_url = 'https://a.example'\napi_key = 'a'")
        .with_text("here.toml", "[llm.provider.OPENAI.azure]\napi_base = 'https://b.example'\n[llm.provider.\"openai.azure\".m]\nmodel = 'm'");
    let azure = provider(&loaded(&sources), "openai.azure");
    assert_eq!(azure.id, "openai.Azure", "the first spelling stays");
    assert_eq!(azure.api_base.host(), "b.example");
    assert_eq!(azure.origins["api_base"].source, Source::File("here.toml".into()));
    assert_eq!(azure.origins["api_base"].key, "llm.provider.openai.Azure.api_base");
    assert_eq!(azure.origins["api_key"].source, Source::File("user.toml".into()));
    assert_eq!(azure.models.len(), 1);
}

#[test]
fn the_timeout_of_the_command_line_bounds_both_waits_for_a_byte() {
    let with =
        |seconds| text(QUIET).with_args(SourceArgs { timeout: Some(seconds), ..SourceArgs::default() });
    let timeouts = loaded(&with(1.5)).config.server.timeouts;
    assert_eq!(timeouts.first_byte.map(|time| time.as_millis()), Some(1500));
    assert_eq!(timeouts.read.map(|time| time.as_millis()), Some(1500));
    assert_eq!(loaded(&with(0.0)).config.server.timeouts.read, None);
    let message = "expected a number of seconds from 0 to 31536000, found the number -1.0";
    assert_eq!(
        problems(&with(-1.0)),
        [
            format!("llm.timeout.first_byte (command line --timeout): {message}"),
            format!("llm.timeout.read (command line --timeout): {message}"),
        ]
    );
}

// Spec: config C-2.
#[test]
fn a_named_file_must_exist_and_be_toml() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing.toml");
    let found = problems(&Sources::empty().with_file(&missing));
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with(&format!("{}: cannot read this file: ", missing.display())), "{found:?}");

    let broken = directory.path().join("broken.toml");
    fs::write(&broken, "[llm]\nport = 1\n  api_key = \"sk-canary\n").unwrap();
    let found = problems(&Sources::empty().with_file(&missing).with_file(&broken));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[1].starts_with(&format!("{}: line 3, column ", broken.display())), "{found:?}");
    assert!(!found[1].contains("sk-canary"), "{found:?}");

    fs::write(&broken, b"[llm]\nhost = '\xff'").unwrap();
    assert_eq!(problems(&Sources::empty().with_file(&broken)).len(), 1);
    assert_eq!(problems(&Sources::empty().with_file(directory.path())).len(), 1);
}

// Spec: config C-43.
#[test]
fn a_syntax_error_says_where_it_is() {
    for (toml, place) in [
        ("[llm", "line 1, column 5"),
        ("[llm]\nport = = 1", "line 2, column 8"),
        ("[llm]\n\nхост = 1", "line 3, column 1"),
        ("[llm]\nport = 1\nport = 2", "line 3, column 1"),
    ] {
        let found = problems(&text(toml));
        assert_eq!(found.len(), 1, "{toml}");
        assert!(found[0].starts_with(&format!("a.toml: {place}: not TOML: ")), "{found:?}");
    }
}

#[test]
fn the_same_setting_in_a_bad_layer_is_reported_once_and_where_it_counts() {
    let sources = Sources::empty()
        .with_text("user.toml", "[llm]\nport = 'x'")
        .with_text("here.toml", &format!("[llm]\nport = 1\n{QUIET}"));
    assert_eq!(warnings(&sources), [""; 0], "a value that is overridden does not count");
}

#[test]
fn a_default_without_a_kind_takes_the_assumed_one_where_it_must() {
    let both = "[llm.provider.openai]\napi_key = 'k'\n[llm.provider.anthropic]\napi_key = 'k'\n";
    let ambiguous = problems(&text(&format!("{both}[llm.provider]\ndefault = 'some-model'")));
    assert_eq!(ambiguous.len(), 1, "{ambiguous:?}");
    let assumed = text(&format!("{both}[llm.provider]\ndefault = 'some-model'\ntype = 'anthropic'"));
    let tree = loaded(&assumed).config.providers;
    let target = tree.resolve_default(gate_config::Scope::Kind("anthropic".parse().unwrap())).unwrap();
    assert_eq!(
        (tree.provider(target.provider).id.as_str(), target.upstream_model),
        ("anthropic", "some-model")
    );
}
