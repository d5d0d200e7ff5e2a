//! Pools, retries, health and fallbacks, as a configuration says them.

use std::time::Duration;

use gate_config::{CircuitBreaker, HealthCheck, LoadBalancing, Report, Retry, Scope, Strategy, explain};
use gate_model_ref::{ModelRef, ProviderKind};

use super::{FILE, QUIET, loaded, problems, provider, text, warnings};

/// Checks that a configuration has one problem.
#[track_caller]
fn refused(toml: &str, key: &str, message: &str) {
    assert_eq!(problems(&text(toml)), [format!("{key} ({FILE}): {message}")], "{toml}");
}

// Spec: config C-70, C-71, C-72, C-73.
#[test]
fn every_setting_has_its_default() {
    let server = loaded(&text(QUIET)).config.server;
    assert_eq!(server.load_balancing, LoadBalancing { strategy: Strategy::Weighted, is_sticky: true });
    let retry = Retry {
        max_attempts: 3,
        backoff_base: Duration::from_millis(250),
        backoff_multiplier: 2.0,
        backoff_max: Duration::from_secs(8),
        retryable_status: vec![429, 502, 503, 529],
        budget_percent: 20,
        hold_bytes: 16 * 1024,
        hold_time: Duration::from_secs(5),
    };
    assert_eq!(server.retry, retry);
    let breaker = CircuitBreaker {
        is_enabled: true,
        failure_threshold: 5,
        recovery_timeout: Duration::from_secs(30),
        half_open_max_calls: 3,
    };
    assert_eq!(server.circuit_breaker, breaker);
    let health = HealthCheck {
        is_passive: true,
        failure_threshold: 3,
        success_threshold: 2,
        is_active: false,
        interval: Duration::from_secs(30),
        timeout: Duration::from_secs(5),
        endpoint: "/models".to_owned(),
    };
    assert_eq!(server.health_check, health);
}

// Spec: config C-70, C-71, C-72, C-73.
#[test]
fn every_setting_is_read() {
    let toml = "[llm.load_balancing]\nstrategy = 'P2C_EWMA'\nsticky = false\n\
        [llm.retry]\nmax_attempts = 1\nbackoff_base = 0\nbackoff_multiplier = 1.5\nbackoff_max = 0.5\n\
        retryable_status = [503, 429, 503]\nbudget_percent = 0\nhold_size_kb = 0\nhold_time = 0\n\
        [llm.circuit_breaker]\nenabled = false\nfailure_threshold = 1\nrecovery_timeout = 0.5\nhalf_open_max_calls = 9\n\
        [llm.health_check]\npassive = false\nfailure_threshold = 4\nsuccess_threshold = 1\nactive = true\n\
        interval = 1\ntimeout = 2.5\nendpoint = '/models?limit=1'\n";
    let server = loaded(&text(&format!("{QUIET}{toml}"))).config.server;
    assert_eq!(server.load_balancing, LoadBalancing { strategy: Strategy::P2cEwma, is_sticky: false });
    let retry = Retry {
        max_attempts: 1,
        backoff_base: Duration::ZERO,
        backoff_multiplier: 1.5,
        backoff_max: Duration::from_millis(500),
        retryable_status: vec![429, 503],
        budget_percent: 0,
        hold_bytes: 0,
        hold_time: Duration::ZERO,
    };
    assert_eq!(server.retry, retry);
    let breaker = CircuitBreaker {
        is_enabled: false,
        failure_threshold: 1,
        recovery_timeout: Duration::from_millis(500),
        half_open_max_calls: 9,
    };
    assert_eq!(server.circuit_breaker, breaker);
    let health = HealthCheck {
        is_passive: false,
        failure_threshold: 4,
        success_threshold: 1,
        is_active: true,
        interval: Duration::from_secs(1),
        timeout: Duration::from_millis(2500),
        endpoint: "/models?limit=1".to_owned(),
    };
    assert_eq!(server.health_check, health);
    let variables = text(QUIET).with_env([
        ("EMX_LLM_RETRY_RETRYABLE_STATUS", "500, 503"),
        ("EMX_LLM_RETRY_BACKOFF_MULTIPLIER", "3"),
        ("EMX_LLM_OPENAI_WEIGHT", "7"),
        ("EMX_LLM__LOAD_BALANCING__STRATEGY", "random"),
    ]);
    let read = loaded(&variables);
    assert_eq!(read.config.server.retry.retryable_status, [500, 503]);
    assert_eq!(read.config.server.retry.backoff_multiplier, 3.0);
    assert_eq!(read.config.server.load_balancing.strategy, Strategy::Random);
    assert_eq!(provider(&read, "openai").weight, Some(7));
}

// Spec: config C-70, C-71, C-72, C-73.
#[test]
fn what_no_gateway_could_do_is_refused() {
    let check = |table: &str, setting: &str, message: &str| {
        let name = setting.split(' ').next().unwrap();
        refused(&format!("{QUIET}[llm.{table}]\n{setting}"), &format!("llm.{table}.{name}"), message);
    };
    check(
        "load_balancing",
        "strategy = 'round_robbin'",
        "expected one of `weighted`, `round_robin`, `least_requests`, `random`, `p2c_ewma`, found the text \
         \"round_robbin\"; did you mean `round_robin`?",
    );
    check("load_balancing", "stiky = true", "there is no such setting; did you mean `sticky`?");
    check("retry", "max_attempts = 0", "expected a whole number from 1 to 10, found the number 0");
    check("retry", "backoff_multiplier = 0.9", "expected a number from 1 to 100, found the number 0.9");
    check("retry", "backoff_multiplier = nan", "expected a number from 1 to 100, found the number NaN");
    check(
        "retry",
        "backoff_base = -1",
        "expected a number of seconds from 0 to 31536000, found the number -1",
    );
    check(
        "retry",
        "backoff_max = 0.1",
        "the longest wait (`backoff_max`, 0.1 s) is less than the first (`backoff_base`, 0.25 s)",
    );
    check(
        "retry",
        "backoff_base = 9",
        "the longest wait (`backoff_max`, 8 s) is less than the first (`backoff_base`, 9 s)",
    );
    let statuses = "expected a list of whole numbers from 400 to 599, found";
    check("retry", "retryable_status = 429", &format!("{statuses} the number 429"));
    check("retry", "retryable_status = [200]", &format!("{statuses} a list that holds something else"));
    check("retry", "retryable_status = ['429']", &format!("{statuses} a list that holds something else"));
    check("retry", "budget_percent = 101", "expected a whole number from 0 to 100, found the number 101");
    check("retry", "hold_size_kb = 1025", "expected a whole number from 0 to 1024, found the number 1025");
    check(
        "circuit_breaker",
        "recovery_timeout = 0",
        "expected a number of seconds above 0 and up to 31536000, found the number 0",
    );
    check(
        "circuit_breaker",
        "half_open_max_calls = 0",
        "expected a whole number from 1 to 10000, found the number 0",
    );
    check(
        "health_check",
        "interval = 0",
        "expected a number of seconds above 0 and up to 31536000, found the number 0",
    );
    for endpoint in
        ["models", "https://x.example/models", "//x/models", "/a b", "/a#b", "/../x", "/a/./b", "é"]
    {
        let message = format!("expected a path below `/v1`, such as `/models`, found {endpoint:?}");
        check("health_check", &format!("endpoint = '{endpoint}'"), &message);
    }
    check("health_check", "endpoint = '/v1/models'", "`/v1` is put in front by itself: write \"/models\"");
}

// Spec: config C-74; load-balancing B-3.
#[test]
fn a_weight_is_a_positive_whole_number() {
    for (weight, found) in
        [("0", "the number 0"), ("-1", "the number -1"), ("1.5", "the number 1.5"), ("'2'", "the text \"2\"")]
    {
        refused(
            &format!("[llm.provider.openai]\napi_key = 'k'\nweight = {weight}"),
            "llm.provider.openai.weight",
            &format!("expected a whole number from 1 to 10000, found {found}"),
        );
    }
    refused(
        "[llm.provider]\nweight = 1\n[llm.provider.openai]\napi_key = 'k'",
        "llm.provider.weight",
        "`weight` belongs to one provider, such as [llm.provider.openai], not to all of them",
    );
}

// Spec: config C-74.
#[test]
fn a_weight_that_nothing_can_come_of_is_a_warning() {
    let check = |toml: &str, expected: &[&str]| {
        let toml = format!("{QUIET}{toml}");
        let lines = warnings(&text(&toml));
        let keys: Vec<_> = lines.iter().map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!(keys, expected, "{toml}");
        assert!(lines.iter().all(|line| line.contains("has no effect")), "{lines:?}");
    };
    let one = "[llm.provider.openai.a]\nweight = 1\n";
    check(one, &["llm.provider.openai.a.weight"]);
    check(&format!("{one}[llm.provider.openai.b]\nweight = 1"), &[]);
    check(&format!("{one}models = ['m']"), &[]);
    // A container takes no names, so nobody can stand in for it.
    check(
        "[llm.provider.openai.group.a]\nweight = 1\n[llm.provider.openai.group.b]\nweight = 1",
        &["llm.provider.openai.group.a.weight", "llm.provider.openai.group.b.weight"],
    );
}

// Spec: config C-75; routing R-48.
#[test]
fn several_keys_are_inherited_like_one() {
    let keys = |toml: &str, path: &str| {
        let provider = provider(&loaded(&text(toml)), path);
        let keys: Vec<_> = provider.api_keys.iter().map(|key| key.expose().to_owned()).collect();
        assert_eq!(provider.api_key.as_ref().map(|key| key.expose()), keys.first().map(String::as_str));
        keys.join(" ")
    };
    for (toml, path, expected) in [
        ("[llm.provider.openai]\napi_keys = ['a', 'b']", "openai", "a b"),
        ("[llm.provider.openai]\napi_key = 'a'", "openai", "a"),
        (
            "[llm.provider.openai]\napi_keys = ['a', 'b']\n[llm.provider.openai.x]\nmodels = ['m']",
            "openai.x",
            "a b",
        ),
        (
            "[llm.provider.openai]\napi_keys = ['a', 'b']\n[llm.provider.openai.x]\napi_key = 'c'",
            "openai.x",
            "c",
        ),
        // A list of its own makes a table a provider, as a key does.
        (
            "[llm.provider.openai]\napi_key = 'a'\n[llm.provider.openai.x]\napi_keys = ['c', 'd']",
            "openai.x",
            "c d",
        ),
        ("[llm.provider.openai]\nauth = 'none'", "openai", ""),
    ] {
        assert_eq!(keys(toml, path), expected, "{toml}");
    }
    let sources = text("[llm.provider.openai]\napi_keys = ['env:A', 'literal']")
        .with_env([("A", "from-env"), ("OPENAI_API_KEY", "loses")]);
    let read = provider(&loaded(&sources), "openai");
    assert_eq!(read.api_keys.iter().map(|key| key.expose()).collect::<Vec<_>>(), ["from-env", "literal"]);
    assert_eq!(read.losers["api_key"].len(), 1, "the variable fills in nothing");
    assert_eq!(warnings(&text("[llm.provider.openai]\napi_keys = ['a']")), [""; 0]);
}

// Spec: config C-75, C-41.
#[test]
fn a_list_of_keys_is_checked_without_being_shown() {
    let check = |setting: &str, message: &str| {
        refused(&format!("[llm.provider.openai]\n{setting}"), "llm.provider.openai.api_keys", message);
    };
    check(
        "api_key = 'canary'\napi_keys = ['b']",
        "`api_key` and `api_keys` are in one table; keep one of them",
    );
    let expected = "expected a list of 1 to 64 texts that are not empty, found";
    check("api_keys = []", &format!("{expected} an empty list"));
    check("api_keys = 'canary'", &format!("{expected} a text"));
    check("api_keys = ['canary', '']", &format!("{expected} a list that holds something else"));
    check(&format!("api_keys = {:?}", vec!["canary"; 65]), &format!("{expected} a list of 65"));
    check("api_keys = ['a', 'canary', 'canary']", "entries 2 and 3 are the same key; keep one of them");
    check(
        "api_keys = ['a', 'env:NOBODY']",
        "entry 2: the environment variable `NOBODY` is not set, or is empty",
    );
    check(
        "api_keys = ['a', 'canary ']",
        "entry 2: the key begins or ends with a space, which no header can carry",
    );
}

// Spec: config C-76; routing R-47.
#[test]
fn a_fallback_is_one_name_or_a_list_and_what_it_names_exists() {
    let toml = |fallback: &str| {
        format!(
            "[llm.provider]\ndefault = 'openai.gpt-4'\n[llm.provider.openai]\napi_key = 'k'\nmodel = 'gpt-4'\n\
             fallback = {fallback}\n[llm.provider.openai.azure]\napi_base = 'https://a.example'\napi_key = 'k'\n"
        )
    };
    for (fallback, expected) in
        [("'azure'", &["azure"][..]), ("['openai.azure', 'azure.m']", &["openai.azure", "azure.m"])]
    {
        let read = loaded(&text(&toml(fallback)));
        assert_eq!(provider(&read, "openai").fallback, expected);
        let route = read
            .config
            .providers
            .route(ModelRef::parse("gpt-4").unwrap(), Scope::Kind(ProviderKind::OpenAi))
            .unwrap();
        assert!(route.fallbacks().next().is_some(), "{fallback}");
    }
    let key = "llm.provider.openai.fallback";
    let nobody = "`nobody` is neither a provider nor a configured model; for a model that `openai` itself passes \
                  through, write `openai.nobody`";
    refused(&toml("'nobody'"), key, nobody);
    refused(&toml("'openai'"), key, "`openai` is this provider itself");
    let foreign =
        format!("{}[llm.provider.anthropic.glm]\napi_key = 'k'\nmodel = 'glm-5'\n", toml("'glm-5'"));
    let other_kind = "is of kind `anthropic`, and a request of kind `openai` cannot go there";
    refused(&foreign, key, &format!("`glm-5` {other_kind}"));
    refused(
        &foreign
            .replace("'glm-5'\n[llm.provider.openai.azure]", "'anthropic.glm'\n[llm.provider.openai.azure]"),
        key,
        &format!("`anthropic.glm` {other_kind}"),
    );
    refused(&toml("3"), key, "expected a text, or a list of 1 to 16 texts, found the number 3");
    refused(&toml("[]"), key, "expected a text, or a list of 1 to 16 texts, found an empty list");
    // What is wrong is told beside a default that is wrong.
    let both = toml("'nobody'").replace("'openai.gpt-4'", "'a.b.c d'");
    assert_eq!(problems(&text(&both)).len(), 2, "{both}");
    refused(
        "[llm.provider.openai.a]\napi_key = 'k'\nfallback = 'b'\n[llm.provider.openai.b]\napi_key = 'k'\n\
         fallback = 'a'",
        "llm.provider.openai.a.fallback",
        "leads back to where it began: `openai.a` → `openai.b` → `openai.a`",
    );
    let ring = ["a", "b", "c"].map(|name| {
        let next = match name {
            "a" => "['other', 'b']",
            "b" => "'c.m'",
            _ => "['other', 'openai.a']",
        };
        format!("[llm.provider.openai.{name}]\napi_key = 'k'\nfallback = {next}\n")
    });
    refused(
        &format!("{}[llm.provider.openai.other]\napi_key = 'k'\nmodel = 'm'\n", ring.concat()),
        "llm.provider.openai.a.fallback",
        "leads back to where it began: `openai.a` → `openai.b` → `openai.c` → `openai.a`",
    );
}

// Spec: config C-77.
#[test]
fn a_hedge_is_inherited() {
    let toml = "[llm.provider]\nhedge_after_ms = 1500\n[llm.provider.openai]\napi_key = 'k'\n\
                [llm.provider.openai.x]\nmodels = ['m']\nhedge_after_ms = 1";
    let read = loaded(&text(toml));
    assert_eq!(provider(&read, "openai").hedge_after, Some(Duration::from_millis(1500)));
    assert_eq!(provider(&read, "openai.x").hedge_after, Some(Duration::from_millis(1)));
    refused(
        "[llm.provider.openai]\napi_key = 'k'\nhedge_after_ms = 0",
        "llm.provider.openai.hedge_after_ms",
        "expected a whole number from 1 to 600000, found the number 0",
    );
}

const POOL: &str = "\
[llm.provider.openai]
model = 'gpt-4'
fallback = ['spare', 'openai.spare.x']
auth = 'none'
[llm.provider.openai.a]
api_base = 'https://a.example'
weight = 3
[llm.provider.openai.b]
api_base = 'https://b.example'
weight = 1
[llm.provider.openai.one]
models = ['m']
api_base = 'https://one.example'
weight = 1
[llm.provider.openai.two]
models = ['m']
api_base = 'https://two.example'
weight = 2
[llm.provider.openai.spare]
api_base = 'https://spare.example'
model = 's-1'
";

// Spec: routing R-49.
#[test]
fn a_validation_lists_pools_and_fallbacks() {
    let report = Report::of(&text(POOL), &|_, _| Ok(())).to_string();
    let expected = "
pool  for every name of openai
  openai.a  weight 3, to https://a.example/v1/chat/completions
  openai.b  weight 1, to https://b.example/v1/chat/completions

pool  for m
  openai.one  weight 1, sends `m` to https://one.example/v1/chat/completions
  openai.two  weight 2, sends `m` to https://two.example/v1/chat/completions

after openai
  openai.spare  gets the same name, or else `s-1` at https://spare.example/v1/chat/completions
  openai.spare  gets `x` at https://spare.example/v1/chat/completions";
    assert!(report.ends_with(expected), "{report}");
}

// Spec: routing R-49.
#[test]
fn an_explanation_shows_the_pool_and_what_comes_after_it() {
    let config = loaded(&text(POOL)).config;
    let shown = |name: &str| {
        let explanation =
            explain(&config.providers, name, Some(Scope::Kind(ProviderKind::OpenAi))).to_string();
        // Where each setting came from is shown as it is for one target.
        let is_setting = |line: &&str| line.starts_with("    ") && line.contains(FILE);
        explanation
            .lines()
            .filter(|line| !is_setting(line))
            .map(|line| format!("{line}\n"))
            .collect::<String>()
    };
    assert_eq!(
        shown("gpt-4"),
        "\
`gpt-4` at POST /v1/chat/completions (kind openai)
  1 kind          the name says none; the endpoint's is openai
  2 exact         `gpt-4` is no section, and no provider with a default model
  3 below         in all of openai, `openai` alone has `gpt-4`
    pool          the providers with a weight below `openai` stand in for it
  = provider      openai.a (weight 3 of 4)
    model sent    gpt-4
    URL           https://a.example/v1/chat/completions
  = provider      openai.b (weight 1 of 4)
    model sent    gpt-4
    URL           https://b.example/v1/chat/completions
  then            openai.spare gets `s-1` at https://spare.example/v1/chat/completions
  then            openai.spare gets `x` at https://spare.example/v1/chat/completions
"
    );
    let pool = shown("m");
    let step =
        "  3 below         in all of openai, several have `m`, each with a `weight`: they are a pool\n";
    assert!(pool.contains(step), "{pool}");
    assert!(pool.contains("  = provider      openai.two (weight 2 of 3)\n"), "{pool}");
}
