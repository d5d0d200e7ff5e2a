//! What of a configuration becomes which setting of an endpoint.

use std::time::Duration;

use gate_config::{Sources, load};

use super::*;

fn endpoint(text: &str, id: &str) -> EndpointConfig {
    let config = load(&Sources::empty().with_text("test", text)).unwrap().config;
    let provider = config.providers.provider(config.providers.find(id).unwrap());
    endpoint_config(provider, &config.server).unwrap()
}

// Spec: config C-18, C-25.
#[test]
fn waits_are_the_global_ones_unless_the_provider_has_its_own() {
    let global = "[llm.timeout]\nconnection = 1\nfirst_byte = 2\nread = 3\nwrite = 4\ntotal = 5\n";
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let plain = endpoint(&format!("{global}[llm.provider.openai]\napi_key = 'k'"), "openai");
    let expected = Timeouts {
        connection: seconds(1),
        first_byte: seconds(2),
        read: seconds(3),
        write: seconds(4),
        total: seconds(5),
    };
    assert_eq!(plain.timeouts, expected);
    let own = endpoint(&format!("{global}[llm.provider.openai]\napi_key = 'k'\ntimeout = 9"), "openai");
    assert_eq!(own.timeouts, Timeouts { first_byte: seconds(9), read: seconds(9), ..expected });
}

// Spec: config C-23, C-24, C-27, C-36.
#[test]
fn everything_else_is_carried_over() {
    let text = "
        [llm.provider.anthropic.x]
        api_base = 'https://x.example:8443/base?a=1'
        api_key = 'k'
        auth = 'bearer'
        query = { b = '2 3' }
        headers = { x-team = 't' }
        anthropic_version = '2026-10-21'
    ";
    let config = endpoint(text, "anthropic.x");
    assert_eq!(
        (&*config.name, config.kind, config.scheme),
        ("anthropic.x", gate_model_ref::ProviderKind::Anthropic, gate_upstream::Scheme::Https)
    );
    assert_eq!((config.authority.as_str(), config.path_prefix.as_str()), ("x.example:8443", "/base/v1"));
    assert_eq!((config.query.as_deref(), config.auth), (Some("a=1&b=2%203"), AuthStyle::Bearer));
    assert_eq!(config.headers.get("x-team").unwrap(), "t");
    assert_eq!(config.default_version.unwrap(), "2026-10-21");
    assert!(config.credential.is_some());
    assert_eq!(config.tls, TlsSettings { roots: Roots::Bundled, client_identity: None });

    let exact = endpoint(
        "[llm.provider.openai]\napi_base = 'http://x.example/y'\napi_key = 'k'\nexact_base = true",
        "openai",
    );
    assert_eq!((exact.path_prefix.as_str(), exact.auth), ("/y", AuthStyle::Bearer));
}
