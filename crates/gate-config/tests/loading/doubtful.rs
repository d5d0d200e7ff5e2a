//! What works but is worth a warning.

use gate_config::{SourceArgs, Sources};

use crate::{QUIET, text, warnings};

#[track_caller]
fn check(toml: &str, expected: &[&str]) {
    assert_eq!(warnings(&text(toml)), expected, "{toml}");
}

#[test]
fn a_quiet_configuration_has_no_warning() {
    check(QUIET, &[]);
}

// Spec: config C-46.
#[test]
fn a_gateway_without_any_provider_names_the_demo() {
    let bare = "no provider and no key is configured, so every request will be refused; add a key, or start with --demo";
    check("", &[bare]);
    check("[llm]\nport = 1", &[bare]);
    check(
        "[llm.provider]\napi_key = 'k'",
        &[
            "llm.provider.api_key (a.toml): no provider is configured to inherit this key, so every request will be refused; \
           add [llm.provider.openai] or [llm.provider.anthropic], even with nothing in it",
        ],
    );
    check("[llm.provider]\napi_key = 'k'\n[llm.provider.openai]", &[]);
}

// Spec: config C-46.
#[test]
fn a_provider_without_a_key_is_named() {
    check(
        "[llm.provider.openai]\nmodel = 'm'",
        &["llm.provider.openai: has no key; set `api_key`, or `auth = \"none\"` if it needs none"],
    );
    check("[llm.provider.openai]\nmodel = 'm'\nauth = 'none'", &[]);
    check("[llm.provider]\nauth = 'none'\n[llm.provider.openai]\nmodel = 'm'", &[]);
}

// Spec: config C-46.
#[test]
fn who_is_not_asked_itself_needs_no_key() {
    let pool = |parent: &str, weight: &str| {
        let child = |name: &str| format!("[llm.provider.openai.{name}]\napi_key = '{name}'\n{weight}\n");
        format!("[llm.provider.openai]\nmodel = 'm'\n{parent}\n{}{}", child("east"), child("west"))
    };
    let no_key = "llm.provider.openai: has no key; set `api_key`, or `auth = \"none\"` if it needs none";
    check(&pool("", "weight = 1"), &[]);
    // With an address of its own it can be asked.
    check(&pool("api_base = 'http://127.0.0.1:1/v1'", "weight = 1"), &[no_key]);
    // Nobody stands in for it.
    check(&pool("", ""), &[no_key]);
}

// Spec: config C-22.
#[test]
fn a_key_that_goes_to_another_host_is_named() {
    let check_key = |toml: &str, id: &str, giver: &str, host: &str| {
        let expected = format!(
            "llm.provider.{id}.api_key (a.toml): inherited, so the key from `{giver}` goes to `{host}`; \
             give this provider its own `api_key` (or `auth = \"none\"`)"
        );
        check(toml, &[expected.as_str()]);
    };
    let root = "llm.provider.openai.api_key";
    check_key(
        &format!("{QUIET}[llm.provider.openai.x]\napi_base = 'https://x.example'"),
        "openai.x",
        root,
        "x.example",
    );
    check_key(
        &format!(
            "{QUIET}[llm.provider.openai.g]\ntimeout = 5\n[llm.provider.openai.g.x]\napi_base = 'https://x.example:8443/v1'"
        ),
        "openai.g.x",
        root,
        "x.example:8443",
    );
    check_key(
        "[llm.provider]\napi_key = 'k'\n[llm.provider.openai.x]\napi_base = 'https://x.example'",
        "openai.x",
        "llm.provider.api_key",
        "x.example",
    );
    // The same host, or a key of its own, or none at all, is nobody's surprise.
    check(&format!("{QUIET}[llm.provider.openai.x]\napi_base = 'https://api.openai.com/v2'"), &[]);
    check(&format!("{QUIET}[llm.provider.openai.x]\napi_base = 'https://x.example'\napi_key = 'x'"), &[]);
    check(&format!("{QUIET}[llm.provider.openai.x]\napi_base = 'https://x.example'\nauth = 'none'"), &[]);
}

// Spec: config C-22.
#[test]
fn a_key_of_all_providers_that_goes_to_both_vendors_is_named() {
    let shared = "llm.provider.api_key (a.toml): inherited, so this one key goes to `api.anthropic.com` and to \
                  `api.openai.com`; give each provider its own `api_key` (or `auth = \"none\"`)";
    let top = "[llm.provider]\napi_key = 'k'\n";
    check(&format!("{top}[llm.provider.openai]\n[llm.provider.anthropic]"), &[shared]);
    check(
        &format!("{top}[llm.provider.openai.a]\nmodels = []\n[llm.provider.anthropic.b]\nmodel = 'm'"),
        &[shared],
    );
    // Only one of them has it.
    check(&format!("{top}[llm.provider.openai]\n[llm.provider.openai.a]\nmodels = []"), &[]);
    check(&format!("{top}[llm.provider.openai]\n[llm.provider.anthropic]\napi_key = 'a'"), &[]);
    check(&format!("{top}[llm.provider.openai]\nauth = 'none'\n[llm.provider.anthropic]"), &[]);
    // Another host is named by itself, not once more.
    check(
        &format!("{top}[llm.provider.openai]\n[llm.provider.anthropic.x]\napi_base = 'https://x.example'"),
        &[
            "llm.provider.anthropic.x.api_key (a.toml): inherited, so the key from `llm.provider.api_key` goes to `x.example`; \
           give this provider its own `api_key` (or `auth = \"none\"`)",
        ],
    );
    // One base for all of them is what the key was given for.
    check(
        &format!("{top}api_base = 'https://x.example'\n[llm.provider.openai]\n[llm.provider.anthropic]"),
        &[],
    );
}

// Spec: config C-22.
#[test]
fn a_key_from_a_file_that_a_variable_redirects_is_named() {
    let sources = text("[llm.provider.anthropic]\napi_key = 'k'")
        .with_env([("ANTHROPIC_BASE_URL", "https://glm.example")]);
    assert_eq!(
        warnings(&sources),
        [
            "llm.provider.anthropic.api_base (environment variable ANTHROPIC_BASE_URL): the key from a.toml goes to \
          `glm.example`, which environment variable ANTHROPIC_BASE_URL names"
        ]
    );
}

// Spec: config C-5.
#[test]
fn the_address_at_the_root_is_read_with_a_warning() {
    check(
        &format!("host = 'localhost'\nport = 1\n{QUIET}"),
        &[
            "host (a.toml): read as `llm.host`; move it below `[llm]`",
            "port (a.toml): read as `llm.port`; move it below `[llm]`",
        ],
    );
    check(
        &format!("port = 1\n[llm]\nport = 2\n{QUIET}"),
        &["port (a.toml): ignored, because `[llm]` has a `port` too"],
    );
    // Other root tables belong to other programs.
    check(&format!("name = 'x'\nhost = ['a']\n{QUIET}[port]\nx = 1\n[server]\nhost = '0.0.0.0'"), &[]);
}

// Spec: security S-1.
#[test]
fn an_address_that_others_can_reach_stays_a_warning_where_it_is_allowed() {
    let warning = |source: &str, host: &str| {
        format!(
            "llm.host ({source}): anyone who can reach `{host}` can use the providers' keys, because no key is asked for"
        )
    };
    let allowed = text(&format!("[llm]\nhost = '0.0.0.0'\nallow_unauthenticated = true\n{QUIET}"));
    assert_eq!(warnings(&allowed), [warning("a.toml", "0.0.0.0")]);
    let explicit = SourceArgs { host: Some("10.0.0.1".into()), ..SourceArgs::default() };
    assert_eq!(warnings(&text(QUIET).with_args(explicit)), [warning("command line --host", "10.0.0.1")]);
    let insecure = SourceArgs { allow_unauthenticated: true, ..SourceArgs::default() };
    let listening = text(&format!("[llm]\nhost = '::'\n{QUIET}"));
    assert_eq!(
        warnings(&listening.with_args(insecure.clone())),
        [warning("command line --insecure-allow-unauthenticated", "::")]
    );
    assert_eq!(warnings(&text(QUIET).with_args(insecure)), [""; 0], "loopback needs no consent");
}

// Spec: config C-42.
#[cfg(unix)]
#[test]
fn a_file_with_a_key_that_others_can_read_is_named() {
    use std::os::unix::fs::PermissionsExt;

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.toml");
    let check = |content: &str, mode: u32, is_warned: bool| {
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let shown = path.display();
        let expected = format!(
            "{shown}: holds a key, and others on this machine can read it (mode {mode:03o}); run `chmod 600 {shown}`"
        );
        let found = warnings(&Sources::empty().with_file(&path).with_env([("KEY", "k")]));
        assert_eq!(found.contains(&expected), is_warned, "{mode:o} {content} {found:?}");
    };
    check(QUIET, 0o644, true);
    check(QUIET, 0o640, true);
    check(QUIET, 0o604, true);
    check(QUIET, 0o600, false);
    check("[llm.provider.openai.a.b]\napi_key = 'k'", 0o644, true);
    check("[llm.provider.openai]\napi_key = 'env:KEY'", 0o644, false);
    check("[llm]\nport = 1", 0o644, false);

    let key = directory.path().join("key");
    std::fs::write(&key, "k\n").unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::write(&path, "[llm.provider.openai]\napi_key = 'file:key'").unwrap();
    let found = warnings(&Sources::empty().with_file(&path));
    let shown = key.display();
    assert_eq!(
        found,
        [format!(
            "{shown}: holds a key, and others on this machine can read it (mode 644); run `chmod 600 {shown}`"
        )]
    );
}
