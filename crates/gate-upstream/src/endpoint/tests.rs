//! URLs joined from a base and a path, and settings that make no endpoint.

use super::*;
use crate::tests::support::config;

// Spec: api A-19.
#[test]
fn paths_and_queries_are_joined_without_touching_them() {
    fn check(prefix: &str, query: Option<&str>, path: &str, client: Option<&str>, expected: &str) {
        let mut config = config();
        config.path_prefix = prefix.to_owned();
        config.query = query.map(str::to_owned);
        let endpoint = Endpoint::try_new(config).unwrap();
        assert_eq!(endpoint.uri(path, client).unwrap().to_string(), format!("http://api.test{expected}"));
    }
    check("/v1", None, "/chat/completions", None, "/v1/chat/completions");
    check("", None, "/chat/completions", None, "/chat/completions");
    check("/api/anthropic/v1", None, "/messages", None, "/api/anthropic/v1/messages");
    check("/v1", Some("api-version=1"), "/x", None, "/v1/x?api-version=1");
    check("/v1", None, "/x", Some("a=b"), "/v1/x?a=b");
    check("/v1", Some("api-version=1"), "/x", Some("a=b"), "/v1/x?api-version=1&a=b");
    check("/v1", Some(""), "/x", Some(""), "/v1/x");
    check("/v1", Some(""), "/x", Some("a"), "/v1/x?a");
    check("/v1", None, "/files/a%2Fb%20c", Some("q=%26"), "/v1/files/a%2Fb%20c?q=%26");
    check("/v1", None, "/models/gpt-4:free@2", None, "/v1/models/gpt-4:free@2");
}

#[test]
fn the_scheme_decides_the_default_port() {
    fn check(scheme: Scheme, authority: &str, host: &str, port: u16, url: &str) {
        let endpoint =
            Endpoint::try_new(EndpointConfig { scheme, authority: authority.to_owned(), ..config() })
                .unwrap();
        let identity = endpoint.identity();
        assert_eq!((identity.host.as_str(), identity.port), (host, port), "{authority}");
        assert_eq!(endpoint.uri("/x", None).unwrap().to_string(), url);
        assert_eq!(endpoint.host(), authority);
    }
    check(Scheme::Http, "api.test", "api.test", 80, "http://api.test/v1/x");
    check(Scheme::Https, "api.test", "api.test", 443, "https://api.test/v1/x");
    check(Scheme::Https, "API.test:8443", "api.test", 8443, "https://API.test:8443/v1/x");
    check(Scheme::Http, "[::1]:11434", "::1", 11434, "http://[::1]:11434/v1/x");
    check(Scheme::Http, "[::1]", "::1", 80, "http://[::1]/v1/x");
    check(Scheme::Http, "127.0.0.1:0080", "127.0.0.1", 80, "http://127.0.0.1:0080/v1/x");
}

#[test]
fn settings_that_make_no_endpoint_are_named() {
    fn check(change: impl FnOnce(&mut EndpointConfig), message: &str) {
        let mut config = config();
        change(&mut config);
        assert_eq!(Endpoint::try_new(config).unwrap_err().to_string(), message);
    }
    for authority in ["", ":80", "a b", "api.test:x", "api.test:99999", "api.test:0", "api.test:"] {
        check(
            |config| config.authority = authority.to_owned(),
            &format!("provider `openai.test`: `{authority}` is not a host with an optional port"),
        );
    }
    check(
        |config| config.authority = "user:pass@api.test".to_owned(),
        "provider `openai.test`: `api.test` is not a host with an optional port",
    );
    check(
        |config| config.path_prefix = "/a b".to_owned(),
        "provider `openai.test`: `/a b` cannot stand in a request line",
    );
    check(
        |config| config.credential = Some(Credential::new("sk\n")),
        "provider `openai.test`: the key holds a character that cannot be sent in a header",
    );
    assert_eq!(
        EndpointError::header("openai.test", "x y").to_string(),
        "provider `openai.test`: `x y` is not a valid header name, or its value cannot be sent",
    );
}

#[test]
fn each_vendor_has_its_own_way_with_keys() {
    assert_eq!(AuthStyle::default_for(ProviderKind::OpenAi), AuthStyle::Bearer);
    assert_eq!(AuthStyle::default_for(ProviderKind::Anthropic), AuthStyle::XApiKey);
}
