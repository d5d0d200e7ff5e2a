//! Which credential is believed, and which goes upstream.

use std::sync::Arc;

use gate_model_ref::ProviderKind;
use gate_upstream::{EndpointConfig, PoolSettings, Roots, Scheme, Timeouts, TlsSettings};

use super::*;

fn parse(headers: &[(&'static str, &'static str)]) -> Result<ClientCredentials, ApiError> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    ClientCredentials::parse(ClientHeaders::of(&map))
}

fn endpoint(auth: AuthStyle, key: Option<&str>) -> Endpoint {
    Endpoint::try_new(EndpointConfig {
        name: Arc::from("openai.x"),
        kind: ProviderKind::OpenAi,
        scheme: Scheme::Http,
        authority: "127.0.0.1:1".to_owned(),
        path_prefix: "/v1".to_owned(),
        query: None,
        auth,
        credential: key.map(Credential::new),
        headers: HeaderMap::new(),
        default_version: None,
        timeouts: Timeouts::default(),
        tls: TlsSettings { roots: Roots::Bundled, client_identity: None },
        pool: PoolSettings::default(),
    })
    .unwrap()
}

// Spec: security S-6.
#[test]
fn two_credentials_must_agree() {
    for headers in [
        &[][..],
        &[("authorization", "Bearer k")],
        &[("authorization", "bearer k"), ("x-api-key", "k")],
        &[("authorization", "Bearer k"), ("x-api-key", "k"), ("api-key", "k"), ("x-gateway-api-key", "k")],
        &[("x-api-key", "k"), ("x-api-key", "k")],
    ] {
        assert!(parse(headers).is_ok(), "{headers:?}");
    }
    for headers in [
        &[("authorization", "Bearer a"), ("x-api-key", "b")][..],
        &[("authorization", "Bearer a"), ("authorization", "Bearer b")],
        &[("x-api-key", "a"), ("api-key", "b")],
        &[("x-api-key", "a"), ("x-gateway-api-key", "b")],
        &[("x-provider-api-key", "a"), ("x-provider-api-key", "b")],
    ] {
        assert_eq!(parse(headers).unwrap_err().code, ErrorCode::AmbiguousCredentials, "{headers:?}");
    }
}

fn choose(
    headers: &[(&'static str, &'static str)],
    auth: AuthStyle,
    key: Option<&str>,
) -> Result<&'static str, String> {
    match parse(headers).unwrap().choose(&endpoint(auth, key)) {
        Ok(RequestCredential::Configured) => Ok("configured"),
        Ok(RequestCredential::Key(_)) => Ok("for the provider"),
        Ok(RequestCredential::AsSent(name, _)) if name == Field::Authorization.name() => {
            Ok("own authorization")
        }
        Ok(RequestCredential::AsSent(name, _)) if name == Field::XApiKey.name() => Ok("own x-api-key"),
        Ok(RequestCredential::AsSent(..)) => Ok("own other"),
        Ok(RequestCredential::None) => Ok("none"),
        Err(error) => Err(format!("{}: {}", error.code.as_str(), error.message)),
    }
}

// Spec: api A-17.
#[test]
fn the_credential_is_the_first_that_exists() {
    let own = &[("authorization", "Bearer own")][..];
    let both = &[("authorization", "Bearer own"), ("x-provider-api-key", "theirs")][..];
    let bearer = AuthStyle::Bearer;
    assert_eq!(choose(both, bearer, Some("ours")), Ok("for the provider"));
    assert_eq!(choose(own, bearer, Some("ours")), Ok("configured"));
    assert_eq!(choose(own, bearer, None), Ok("own authorization"));
    assert_eq!(choose(&[("x-api-key", "own")], bearer, None), Ok("own x-api-key"));
    assert_eq!(choose(both, AuthStyle::None, Some("ours")), Ok("none"));
    let error = choose(&[("x-gateway-api-key", "k")], bearer, None).unwrap_err();
    assert_eq!(
        error,
        "provider_not_configured: provider `openai.x` has no key: set `api_key` in `[llm.provider.openai.x]`, or send \
         one as `x-provider-api-key`"
    );
}

// Spec: api A-67; security S-6.
#[test]
fn a_key_that_a_browser_offers_is_a_credential_like_any_other() {
    fn check(headers: &[(&'static str, &'static str)], keys: &[&str], key: Option<&str>, expected: &str) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let credentials = ClientCredentials::parse(ClientHeaders::of(&map)).unwrap().with_offered(&map, keys);
        let found = match credentials.and_then(|all| all.choose(&endpoint(AuthStyle::Bearer, key))) {
            Ok(RequestCredential::Configured) => "configured",
            Ok(RequestCredential::Key(key)) => {
                assert!(!format!("{key:?}").contains("canary"));
                "key"
            }
            Ok(RequestCredential::AsSent(..)) => "as sent",
            Ok(RequestCredential::None) => "none",
            Err(error) => error.code.as_str(),
        };
        assert_eq!(found, expected, "{headers:?} {keys:?}");
    }
    check(&[], &["canary"], None, "key");
    check(&[], &["canary", "canary"], None, "key");
    check(&[], &["canary"], Some("ours"), "configured");
    check(&[("x-provider-api-key", "theirs")], &["canary"], Some("ours"), "key");
    check(&[("authorization", "Bearer canary")], &["canary"], None, "as sent");
    check(&[], &[], None, "provider_not_configured");
    for headers in [&[("authorization", "Bearer other")][..], &[("x-gateway-api-key", "other")]] {
        check(headers, &["canary"], None, "ambiguous_credentials");
    }
    check(&[], &["canary", "canary-2"], Some("ours"), "ambiguous_credentials");
}

#[test]
fn credentials_do_not_show() {
    let credentials =
        parse(&[("authorization", "Bearer canary-1"), ("x-provider-api-key", "canary-2")]).unwrap();
    let shown = format!("{credentials:?}");
    assert!(!shown.contains("canary"), "{shown}");
}
