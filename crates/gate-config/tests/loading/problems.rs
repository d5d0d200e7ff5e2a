//! What keeps a configuration from being used, each with its key, its source and what to do.

use gate_config::{Sources, load};

use crate::{problems, text};

/// Checks the only problem of a text: key and message, as its source is the same for all.
#[track_caller]
fn check(toml: &str, key: &str, message: &str) {
    assert_eq!(problems(&text(toml)), [format!("{key} (a.toml): {message}")], "{toml}");
}

// Spec: config C-16, C-17, C-18, C-25.
#[test]
fn values_have_the_shape_of_their_setting() {
    let check = |table: &str, setting: &str, message: &str| {
        let name = setting.split(' ').next().unwrap_or_default();
        check(&format!("[{table}]\n{setting}"), &format!("{table}.{name}"), message);
    };
    check("llm", "port = 70000", "expected a whole number from 0 to 65535, found the number 70000");
    check("llm", "port = -1", "expected a whole number from 0 to 65535, found the number -1");
    check("llm", "port = 80.5", "expected a whole number from 0 to 65535, found the number 80.5");
    check("llm", "port = '80'", "expected a whole number from 0 to 65535, found the text \"80\"");
    check("llm", "port = 1979-05-27", "expected a whole number from 0 to 65535, found a date");
    check("llm", "host = 127", "expected a text that is not empty, found the number 127");
    check("llm", "host = ' '", "expected a text that is not empty, found an empty text");
    check(
        "llm",
        "log_level = 'wran'",
        "expected one of `error`, `warn`, `info`, `debug`, `trace`, found the text \"wran\"; did you mean `warn`?",
    );
    check("llm", "log_format = 'xml'", "expected one of `text`, `json`, found the text \"xml\"");
    check("llm", "allow_unauthenticated = 1", "expected `true` or `false`, found the number 1");
    check("llm", "allow_unauthenticated = 'yes'", "expected `true` or `false`, found the text \"yes\"");
    check(
        "llm",
        "allowed_hosts = 'a'",
        "expected a list of texts, such as [\"a\", \"b\"], found the text \"a\"",
    );
    check(
        "llm",
        "allowed_hosts = ['a', 1]",
        "expected a list of texts, such as [\"a\", \"b\"], found a list that holds something else",
    );
    check(
        "llm.limits",
        "max_connections = 'many'",
        "expected a whole number from 1 to 1000000, found the text \"many\"",
    );
    check(
        "llm.limits",
        "max_connections = 0",
        "expected a whole number from 1 to 1000000, found the number 0",
    );
    check(
        "llm.limits",
        "max_request_size_mb = 0",
        "expected a whole number from 1 to 4096, found the number 0",
    );
    check(
        "llm.limits",
        "max_upload_size_mb = 1048577",
        "expected a whole number from 0 to 1048576, found the number 1048577",
    );
    check(
        "llm.limits",
        "max_header_size_kb = 8",
        "expected a whole number from 16 to 1024, found the number 8",
    );
    // Spec: config C-63.
    check(
        "llm.limits",
        "max_body_memory_mb = 31",
        "a body may have 32 MiB (`max_request_size_mb`), and all together no less: set this at least as high",
    );
    check("llm", "allow_admin_paths = 'yes'", "expected `true` or `false`, found the text \"yes\"");
    check(
        "llm.limits",
        "header_timeout = 0",
        "expected a number of seconds above 0 and up to 31536000, found the number 0",
    );
    check(
        "llm.timeout",
        "read = -1.5",
        "expected a number of seconds from 0 to 31536000, found the number -1.5",
    );
    check(
        "llm.timeout",
        "read = nan",
        "expected a number of seconds from 0 to 31536000, found the number NaN",
    );
    check(
        "llm.timeout",
        "read = inf",
        "expected a number of seconds from 0 to 31536000, found the number inf",
    );
    check(
        "llm.timeout",
        "read = '5s'",
        "expected a number of seconds from 0 to 31536000, found the text \"5s\"",
    );
    check("llm.timeout", "read = true", "expected a number of seconds from 0 to 31536000, found `true`");
    let provider = "llm.provider.openai";
    check(
        provider,
        "timeout = 0",
        "expected a number of seconds above 0 and up to 31536000, found the number 0",
    );
    check(
        provider,
        "models = 'gpt-4'",
        "expected a list of texts, such as [\"a\", \"b\"], found the text \"gpt-4\"",
    );
    check(
        provider,
        "query = { v = 1 }",
        "expected a table of texts, such as { name = \"value\" }, found a table that holds something else",
    );
    check(
        provider,
        "headers = ['a']",
        "expected a table of texts, such as { name = \"value\" }, found a list",
    );
    check(
        provider,
        "auth = 'basic'",
        "expected one of `bearer`, `x-api-key`, `api-key`, `none`, found the text \"basic\"",
    );
    check(provider, "type = 'azure'", "expected one of `openai`, `anthropic`, found the text \"azure\"");
    check(provider, "max_tokens = 0", "expected a whole number from 1 to 1000000000, found the number 0");
    check(provider, "api_key = 5", "expected a text that is not empty, found a number");
}

// Spec: config C-57.
#[test]
fn a_template_stands_where_it_means_something() {
    let base = "api_base = 'https://r.openai.azure.com/openai/deployments";
    check(
        &format!("[llm.provider.openai.azure]\n{base}/{{deployment}}'"),
        "llm.provider.openai.azure.api_base",
        "holds a brace: only `{model}` is replaced; write another brace percent-encoded",
    );
    let foreign = "has `{model}`, which only providers of kind openai can have; write the model's own base";
    check(
        &format!(
            "[llm.provider.anthropic.azure]\napi_key = 'k'\n{base}/{{model}}'\n\
             [llm.provider.anthropic.azure.eu]\napi_key = 'k'"
        ),
        "llm.provider.anthropic.azure.api_base",
        foreign,
    );
    check(&format!("[llm.provider]\n{base}/{{model}}'"), "llm.provider.api_base", foreign);
}

// Spec: config C-43.
#[test]
fn tables_are_tables() {
    check("llm = 1979-05-27", "llm", "expected a table, `[llm]`");
    check("llm = 5", "llm", "expected a table, `[llm]`");
    check("[llm]\nlimits = 5", "llm.limits", "expected a table, `[llm.limits]`");
    check("[llm]\ntimeout = 60", "llm.timeout", "expected a table, `[llm.timeout]`");
    check("[llm]\nprovider = 'openai'", "llm.provider", "expected a table, `[llm.provider]`");
    check(
        "[llm.provider]\nopenai = 'sk'",
        "llm.provider.openai",
        "expected a table, `[llm.provider.openai]`",
    );
}

// Spec: config C-44.
#[test]
fn unknown_keys_suggest_the_one_that_was_meant() {
    check("[llm]\nhots = 'a'", "llm.hots", "there is no such setting; did you mean `host`?");
    check("[llm.limit]\nx = 1", "llm.limit", "there is no such setting; did you mean `limits`?");
    check("[llm]\nbanana = 1", "llm.banana", "there is no such setting");
    check(
        "[llm.limits]\nmax_conections = 1",
        "llm.limits.max_conections",
        "there is no such setting; did you mean `max_connections`?",
    );
    check("[llm.timeout]\nconect = 1", "llm.timeout.conect", "there is no such setting");
    check(
        "[llm.provider.openai]\napi_kye = 'sk-1'",
        "llm.provider.openai.api_kye",
        "there is no such setting; did you mean `api_key`?",
    );
    check(
        "[llm.provider.openai.x]\nmodell = 'm'",
        "llm.provider.openai.x.modell",
        "there is no such setting; did you mean `model`?",
    );
    check(
        "[llm.provider]\nmodels = ['m']",
        "llm.provider.models",
        "`models` belongs to one provider, such as [llm.provider.openai], not to all of them",
    );
    check(
        "[llm.provider.openai]\ndefault = 'm'",
        "llm.provider.openai.default",
        "`default` belongs to [llm.provider]",
    );
}

// Spec: config C-45.
#[test]
fn what_a_later_version_brings_is_never_accepted_and_ignored() {
    for name in ["auth", "rate_limit", "quota", "cors", "monitoring"] {
        let message = format!("`llm.{name}` is not available in this version of emx-gate yet; remove it");
        check(&format!("[llm.{name}]\nx = 1"), &format!("llm.{name}"), &message);
    }
    for setting in ["rate_limit = { rpm = 1 }", "price = { input = 1 }"] {
        let name = setting.split(' ').next().unwrap_or_default();
        let key = format!("llm.provider.openai.{name}");
        let message = format!("`{key}` is not available in this version of emx-gate yet; remove it");
        check(&format!("[llm.provider.openai]\n{setting}"), &key, &message);
    }
    check(
        "[llm.provider.rate_limit]\nrpm = 1",
        "llm.provider.rate_limit",
        "`llm.provider.rate_limit` is not available in this version of emx-gate yet; remove it",
    );
}

// Spec: config C-55.
#[test]
fn the_treatment_of_answers_is_checked() {
    check(
        "[llm]\nsse_keepalive_sec = -1",
        "llm.sse_keepalive_sec",
        "expected a number of seconds from 0 to 31536000, found the number -1",
    );
    check(
        "[llm]\nestimate_usage = 4",
        "llm.estimate_usage",
        "expected `true` or `false`, found the number 4",
    );
    check(
        "[llm.provider.openai]\non_disconnect = 'drian'",
        "llm.provider.openai.on_disconnect",
        "expected one of `cancel`, `drain`, found the text \"drian\"; did you mean `drain`?",
    );
    check(
        "[llm.provider.anthropic]\ninject_stream_usage = true",
        "llm.provider.anthropic.inject_stream_usage",
        "means nothing to a provider of kind `anthropic`; remove it",
    );
    check(
        "[llm.provider.openai]\ninject_stream_usage = 1",
        "llm.provider.openai.inject_stream_usage",
        "expected `true` or `false`, found the number 1",
    );
    check(
        "[llm.provider.openai.x]\nmodel = 'm'\non_disconnect = 'drain'",
        "llm.provider.openai.x.on_disconnect",
        "a model has no `on_disconnect` of its own: move it to its provider, [llm.provider.openai], or give this table \
         an `api_base`, which makes it a provider",
    );
}

// Spec: config C-24, C-33, C-40.
#[test]
fn bases_keys_and_headers_are_checked() {
    let check = |settings: &str, name: &str, message: &str| {
        check(&format!("[llm.provider.openai]\n{settings}"), &format!("llm.provider.openai.{name}"), message);
    };
    check(
        "api_key = \"sk\\n1\"",
        "api_key",
        "the key holds a character that no header can carry (byte 2): only printable ASCII",
    );
    check(
        "api_key = 'ключ'",
        "api_key",
        "the key holds a character that no header can carry (byte 0): only printable ASCII",
    );
    check("api_key = 'sk '", "api_key", "the key begins or ends with a space, which no header can carry");
    check("api_key = ''", "api_key", "expected a text that is not empty, found an empty text");
    let own = "`authorization` cannot be set here; a key goes to `api_key` and its header to `auth`";
    check("headers = { Authorization = 'x' }", "headers", own);
    check("headers = { 'a b' = 'x' }", "headers", "\"a b\" is no header name");
    check(
        "headers = { a = \"x\\n\" }",
        "headers",
        "the value of `a` holds a character that no header can carry",
    );
    check("headers = { a = 'x', A = 'y' }", "headers", "`a` is there twice; case makes no difference");
    let found = problems(&text("[llm.provider.openai]\napi_base = 'api.example/v1'"));
    assert!(found[0].starts_with("llm.provider.openai.api_base (a.toml): "), "{found:?}");
    assert_eq!(found.len(), 1);
}

#[test]
fn a_default_must_resolve() {
    let found = problems(&text("[llm.provider]\ndefault = 'openai.nothing'"));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("llm.provider.default (a.toml): "), "{found:?}");
}

// Spec: security S-1.
#[test]
fn an_address_that_others_can_reach_needs_a_word_of_consent() {
    let message = |host: &str| {
        format!(
            "`{host}` can be reached by others, and the gateway asks nobody for a key: use a loopback address such as \
             127.0.0.1, set `allow_unauthenticated = true` in [llm], or start with --host {host} or with \
             --insecure-allow-unauthenticated"
        )
    };
    for host in ["0.0.0.0", "::", "192.168.1.5", "gateway.example", "localhost.example", "::ffff:10.0.0.1"] {
        check(&format!("[llm]\nhost = '{host}'"), "llm.host", &message(host));
    }
    let from_env = Sources::empty().with_env([("EMX_LLM_HOST", "0.0.0.0")]);
    assert_eq!(
        problems(&from_env),
        [format!("llm.host (environment variable EMX_LLM_HOST): {}", message("0.0.0.0"))]
    );
    let shape = "expected a host name or an IP address, without port, brackets or scheme";
    for host in ["127.0.0.1:80", "[::1]", "http://localhost", "a b"] {
        check(&format!("[llm]\nhost = '{host}'"), "llm.host", shape);
    }
    for host in ["127.0.0.1", "127.8.8.8", "::1", "localhost", "LOCALHOST", "::ffff:127.0.0.1"] {
        assert_eq!(problems(&text(&format!("[llm]\nhost = '{host}'"))), [""; 0], "{host}");
    }
}

// Spec: config C-53.
#[test]
fn an_allowed_host_is_a_bare_name() {
    let allowed = |host: &str| format!("[llm]\nallowed_hosts = ['gate.internal', '{host}']");
    for host in [
        "gate.internal:8848",
        "http://gate.internal",
        "[fd00::1]",
        "[fd00::1]:80",
        "*.internal",
        "a b",
        "gâte",
    ] {
        let message = format!(
            "{host:?} would match no `Host`: write a host name or an IP address, without port, brackets or scheme"
        );
        check(&allowed(host), "llm.allowed_hosts", &message);
    }
    for host in ["gate", " Gate.Internal ", "my_gate", "10.0.0.1", "fd00::1"] {
        assert_eq!(problems(&text(&allowed(host))), [""; 0], "{host}");
    }
    let two = text("[llm]\nallowed_hosts = ['a:1', 'b:2']");
    assert_eq!(problems(&two).len(), 2, "each of them is named");
}

// Spec: config C-38.
#[test]
fn a_gateway_is_not_its_own_upstream() {
    let message = |id: &str| {
        format!(
            "is the address that this gateway listens on, so `{id}` would ask itself; clients need that address, the \
             gateway needs the vendor's"
        )
    };
    for base in [
        "http://127.0.0.1:8848",
        "http://localhost:8848/v1",
        "http://LOCALHOST:8848",
        "http://[::1]:8848",
        "http://0.0.0.0:8848",
        "https://127.0.0.1:8848/anthropic",
    ] {
        let toml = format!("[llm.provider.openai]\napi_base = '{base}'");
        check(&toml, "llm.provider.openai.api_base", &message("openai"));
    }
    for other in ["http://127.0.0.1:8849", "http://localhost", "http://10.0.0.1:8848"] {
        assert_eq!(
            problems(&text(&format!("[llm.provider.openai]\napi_base = '{other}'"))),
            [""; 0],
            "{other}"
        );
    }
    // The variable that points clients here points the gateway at itself.
    let exported = Sources::empty().with_env([("ANTHROPIC_BASE_URL", "http://localhost:8848")]);
    let expected = message("anthropic");
    assert_eq!(
        problems(&exported),
        [format!("llm.provider.anthropic.api_base (environment variable ANTHROPIC_BASE_URL): {expected}")]
    );
    check(
        "[llm]\nport = 80\n[llm.provider.openai]\napi_base = 'http://localhost/v1'",
        "llm.provider.openai.api_base",
        &message("openai"),
    );
    check(
        "[llm]\nhost = 'gw.example'\nallow_unauthenticated = true\n[llm.provider.openai]\napi_base = 'http://gw.example:8848'",
        "llm.provider.openai.api_base",
        &message("openai"),
    );
}

// Spec: config C-43.
#[test]
fn every_problem_comes_in_one_run() {
    let sources = text(
        "[llm]\nport = 'x'\n[llm.retry]\nmax_attempts = 0\n[llm.limits]\nmax = 1\n[llm.provider]\ndefault = 'openai.x'\n\
         [llm.provider.openai]\napi_key = 'env:NOT_SET'\nbase_url = 'nonsense'\n[llm.provider.openai.x]\ntype = 'anthropic'\n\
         [llm.provider.glm]\nmodel = 'a b'\n",
    );
    let found = problems(&sources.with_env([("EMX_LLM_LOG_LEVEL", "loud")]));
    let keys: Vec<_> = found.iter().map(|line| line.split(" (").next().unwrap_or_default()).collect();
    assert_eq!(
        keys,
        [
            "llm.log_level",
            "llm.port",
            "llm.limits.max",
            "llm.retry.max_attempts",
            "llm.provider.openai.base_url",
            "llm.provider.openai.api_key",
            "llm.provider.openai.x.type",
            "llm.provider.glm",
            "llm.provider.glm.model",
            "llm.provider.default",
        ],
        "{found:#?}"
    );
}

// Spec: config C-43.
#[test]
fn warnings_stand_below_the_problems_that_they_may_explain() {
    let sources = text("port = 1\n[llm.provider.openai]\napi_key = 'env:MY_KEY'")
        .with_env([("EMX_LLM_PROVIDER_OPENIA_API_KEY", "k"), ("EMX_LLM_PORT", "x")]);
    let found = load(&sources).unwrap_err();
    assert_eq!(
        found.to_string(),
        "\
llm.port (environment variable EMX_LLM_PORT): expected a whole number from 0 to 65535, found the text \"x\"
llm.provider.openai.api_key (a.toml):         the environment variable `MY_KEY` is not set, or is empty
warnings:
port (a.toml): read as `llm.port`; move it below `[llm]`
environment variable EMX_LLM_PROVIDER_OPENIA_API_KEY: ignored: it matches no setting and no section; did you mean EMX_LLM_PROVIDER_OPENAI_API_KEY?"
    );
    assert_eq!((found.as_slice().len(), found.warnings().len()), (2, 2));
    let quiet = load(&text("[llm]\nport = 'x'")).unwrap_err();
    assert!(quiet.warnings().is_empty(), "what is missing may be missing because of the problem: {quiet}");
    let unreadable = load(&text("port = 1").with_text("b.toml", "[")).unwrap_err();
    assert_eq!(unreadable.warnings().len(), 1, "{unreadable}");
}
