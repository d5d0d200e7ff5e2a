//! Bases as vendors document them, and what goes wrong with bases.

use super::*;

fn parsed(text: &str) -> ApiBase {
    ApiBase::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

// Spec: config C-33, C-35.
#[test]
fn vendors_bases_lead_to_their_endpoints() {
    fn check(kind: ProviderKind, path: &str, rows: &[(&str, &str)]) {
        for (base, url) in rows {
            let found = parsed(base).url(kind, false, path, None, &BTreeMap::new());
            assert_eq!(found, format!("https://{url}"), "{base}");
        }
    }
    check(
        ProviderKind::OpenAi,
        "/chat/completions",
        &[
            ("https://api.openai.com/v1", "api.openai.com/v1/chat/completions"),
            ("https://api.openai.com", "api.openai.com/v1/chat/completions"),
            ("https://eu.api.openai.com/v1/", "eu.api.openai.com/v1/chat/completions"),
            ("https://api.anthropic.com/v1", "api.anthropic.com/v1/chat/completions"),
            (
                "https://generativelanguage.googleapis.com/v1beta/openai/",
                "generativelanguage.googleapis.com/v1beta/openai/chat/completions",
            ),
            ("https://api.deepseek.com", "api.deepseek.com/v1/chat/completions"),
            ("https://api.deepseek.com/beta", "api.deepseek.com/beta/chat/completions"),
            (
                "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
                "dashscope-intl.aliyuncs.com/compatible-mode/v1/chat/completions",
            ),
            ("https://open.bigmodel.cn/api/paas/v4/", "open.bigmodel.cn/api/paas/v4/chat/completions"),
            ("https://api.z.ai/api/coding/paas/v4", "api.z.ai/api/coding/paas/v4/chat/completions"),
            ("https://api.moonshot.ai/v1", "api.moonshot.ai/v1/chat/completions"),
            ("https://api.minimax.io/v1", "api.minimax.io/v1/chat/completions"),
            ("https://api.mistral.ai/v1", "api.mistral.ai/v1/chat/completions"),
            ("https://api.groq.com/openai/v1", "api.groq.com/openai/v1/chat/completions"),
            ("https://api.x.ai/v1", "api.x.ai/v1/chat/completions"),
            ("https://api.together.xyz/v1", "api.together.xyz/v1/chat/completions"),
            ("https://api.fireworks.ai/inference/v1", "api.fireworks.ai/inference/v1/chat/completions"),
            ("https://openrouter.ai/api/v1", "openrouter.ai/api/v1/chat/completions"),
            (
                "https://bedrock-mantle.us-east-1.api.aws/openai/v1",
                "bedrock-mantle.us-east-1.api.aws/openai/v1/chat/completions",
            ),
            (
                "https://bedrock-runtime.us-west-2.amazonaws.com/openai/v1",
                "bedrock-runtime.us-west-2.amazonaws.com/openai/v1/chat/completions",
            ),
            (
                "https://europe-west4-aiplatform.googleapis.com/v1/projects/p/locations/europe-west4/endpoints/openapi",
                "europe-west4-aiplatform.googleapis.com/v1/projects/p/locations/europe-west4/endpoints/openapi\
                 /chat/completions",
            ),
            ("https://r.openai.azure.com/openai/v1/", "r.openai.azure.com/openai/v1/chat/completions"),
            (
                "https://r.openai.azure.com/openai/deployments/d?api-version=2024-10-21",
                "r.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-10-21",
            ),
            ("https://localhost:11434/v1", "localhost:11434/v1/chat/completions"),
        ],
    );
    check(
        ProviderKind::Anthropic,
        "/messages",
        &[
            ("https://api.anthropic.com", "api.anthropic.com/v1/messages"),
            ("https://api.anthropic.com/", "api.anthropic.com/v1/messages"),
            ("https://api.anthropic.com/v1", "api.anthropic.com/v1/messages"),
            ("https://api.deepseek.com/anthropic", "api.deepseek.com/anthropic/v1/messages"),
            (
                "https://dashscope.aliyuncs.com/apps/anthropic",
                "dashscope.aliyuncs.com/apps/anthropic/v1/messages",
            ),
            ("https://open.bigmodel.cn/api/anthropic", "open.bigmodel.cn/api/anthropic/v1/messages"),
            ("https://api.moonshot.ai/anthropic", "api.moonshot.ai/anthropic/v1/messages"),
            ("https://api.minimax.io/anthropic/v1", "api.minimax.io/anthropic/v1/messages"),
            ("https://openrouter.ai/api", "openrouter.ai/api/v1/messages"),
            ("https://r.services.ai.azure.com/anthropic/", "r.services.ai.azure.com/anthropic/v1/messages"),
            (
                "https://bedrock-mantle.us-east-1.api.aws/anthropic",
                "bedrock-mantle.us-east-1.api.aws/anthropic/v1/messages",
            ),
            (
                "https://aws-external-anthropic.us-east-1.api.aws",
                "aws-external-anthropic.us-east-1.api.aws/v1/messages",
            ),
        ],
    );
}

// Spec: config C-34.
#[test]
fn a_pasted_endpoint_is_cut_back_to_its_base() {
    for (pasted, base) in [
        ("https://api.openai.com/v1/chat/completions", "https://api.openai.com/v1"),
        ("https://api.openai.com/v1/chat/completions/", "https://api.openai.com/v1"),
        ("https://api.openai.com//v1//completions", "https://api.openai.com/v1"),
        ("https://api.openai.com/v1/responses", "https://api.openai.com/v1"),
        ("https://api.openai.com/v1/embeddings", "https://api.openai.com/v1"),
        ("https://api.openai.com/v1/models", "https://api.openai.com/v1"),
        ("https://api.anthropic.com/v1/messages", "https://api.anthropic.com/v1"),
        ("https://api.anthropic.com/v1/messages/count_tokens", "https://api.anthropic.com/v1"),
        ("https://api.anthropic.com/v1/messages/batches", "https://api.anthropic.com/v1"),
        ("https://host.example/chat/completions", "https://host.example"),
        (
            "https://r.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-10-21",
            "https://r.openai.azure.com/openai/deployments/d?api-version=2024-10-21",
        ),
        // These only look like endpoints.
        ("https://host.example/models", "https://host.example/models"),
        ("https://host.example/mymessages", "https://host.example/mymessages"),
        ("https://host.example/messages/v1", "https://host.example/messages/v1"),
    ] {
        assert_eq!(parsed(pasted).to_string(), base, "{pasted}");
    }
}

// Spec: config C-35, C-36.
#[test]
fn the_prefix_depends_on_the_kind_and_on_exact_base() {
    for (base, openai, anthropic, exact) in [
        ("https://h.example", "/v1", "/v1", ""),
        ("https://h.example/v1", "/v1", "/v1", "/v1"),
        ("https://h.example/v12", "/v12", "/v12", "/v12"),
        ("https://h.example/api", "/api", "/api/v1", "/api"),
        ("https://h.example/v1/x", "/v1/x", "/v1/x/v1", "/v1/x"),
        ("https://h.example/v1beta", "/v1beta", "/v1beta/v1", "/v1beta"),
        ("https://h.example/v", "/v", "/v/v1", "/v"),
        ("https://h.example/V1", "/V1", "/V1/v1", "/V1"),
        ("https://api.githubcopilot.com", "/v1", "/v1", ""),
    ] {
        let parsed = parsed(base);
        let found = (
            parsed.prefix(ProviderKind::OpenAi, false),
            parsed.prefix(ProviderKind::Anthropic, false),
            parsed.prefix(ProviderKind::OpenAi, true),
            parsed.prefix(ProviderKind::Anthropic, true),
        );
        let expected = (openai.to_owned(), anthropic.to_owned(), exact.to_owned(), exact.to_owned());
        assert_eq!(found, expected, "{base}");
    }
}

// Spec: config C-37, C-51.
#[test]
fn a_base_has_its_query_joined() {
    let extra = BTreeMap::from([("b".to_owned(), "2".to_owned())]);
    for (base, own, joined) in [
        ("https://h.example", None, "b=2"),
        ("https://h.example?", None, "b=2"),
        ("https://h.example/x?a=1", Some("a=1"), "a=1&b=2"),
        ("https://h.example/x?a=1&b=0", Some("a=1&b=0"), "a=1&b=2"),
    ] {
        let base = parsed(base);
        assert_eq!(base.query_with(&BTreeMap::new()).as_deref(), own, "{base}");
        assert_eq!(base.query_with(&extra).as_deref(), Some(joined), "{base}");
    }
}

#[test]
fn the_parts_are_normalised() {
    for (text, authority, host, port, path) in [
        ("https://API.OpenAI.com/V1", "api.openai.com", "api.openai.com", 443, "/V1"),
        ("HTTPS://h.example:443", "h.example", "h.example", 443, ""),
        ("http://h.example:80/", "h.example", "h.example", 80, ""),
        ("http://h.example:443", "h.example:443", "h.example", 443, ""),
        ("https://h.example:08443", "h.example:8443", "h.example", 8443, ""),
        (" http://127.0.0.1:8080/v1\n", "127.0.0.1:8080", "127.0.0.1", 8080, "/v1"),
        ("http://[::1]:8848/v1", "[::1]:8848", "[::1]", 8848, "/v1"),
        ("http://[FE80::1]", "[fe80::1]", "[fe80::1]", 80, ""),
        ("https://my_service:9/a//b///", "my_service:9", "my_service", 9, "/a/b"),
        ("https://xn--bcher-kva.example./v1", "xn--bcher-kva.example.", "xn--bcher-kva.example.", 443, "/v1"),
        ("https://h.example/a%20b/...", "h.example", "h.example", 443, "/a%20b/..."),
    ] {
        let base = parsed(text);
        let found = (base.authority(), base.host(), base.port(), base.path());
        assert_eq!(found, (authority, host, port, path), "{text:?}");
    }
    assert_eq!(parsed("http://h.example").scheme(), Scheme::Http);
    assert_eq!(parsed("https://h.example").scheme(), Scheme::Https);
}

// Spec: config C-33.
#[test]
fn errors_say_what_to_write() {
    fn check(text: &str, message: &str) {
        let error = ApiBase::parse(text).unwrap_err().to_string();
        assert_eq!(error, message, "{text:?}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    let no_scheme = "is not an absolute URL: begin it with `https://` or `http://`";
    let scheme = "has another scheme than `https` or `http`: begin it with one of those";
    let host = "has no valid host: write a host name, an IPv4 address, or an IPv6 address in brackets";
    let port = "has no valid port: write a number from 1 to 65535, or leave out the colon";
    let user = "holds a user name or a password: leave it out and write the key in `api_key`";
    let dots = "has a `.` or `..` segment in its path: write the path that it leads to";
    check("", "is empty: write a URL such as `https://api.openai.com/v1`");
    check("  ", "is empty: write a URL such as `https://api.openai.com/v1`");
    check("api.openai.com/v1", no_scheme);
    check("localhost:8000", no_scheme);
    check("/v1", no_scheme);
    check("//api.openai.com/v1", no_scheme);
    check("http:/api.openai.com", no_scheme);
    check("localhost?next=https://h.example", no_scheme);
    check("ftp://h.example", scheme);
    check("wss://h.example/v1", scheme);
    check("https://", host);
    check("https:///v1", host);
    check("https://:443/v1", host);
    check("https://?a=1", host);
    check("https://h..example", host);
    check("https://h example/v1", host);
    check("https://h%41.example", host);
    check("https://::1/v1", host);
    check("https://[::1", host);
    check("https://[::1]x", host);
    check("https://[fe80::1%25eth0]", host);
    check("https://[]", host);
    check(
        "https://bücher.example/v1",
        "has a host with characters beyond ASCII: write it in punycode (`xn--…`)",
    );
    check("https://h.example:/v1", port);
    check("https://h.example:0/v1", port);
    check("https://h.example:65536", port);
    check("https://h.example:+80", port);
    check("https://h.example:8o80", port);
    check("https://me:hunter2@h.example/v1", user);
    check("https://hunter2@h.example", user);
    let both =
        "holds a user name or a password, and a fragment: leave out both and write the key in `api_key`";
    check("https://me:hunter2@h.example/v1#hunter2", both);
    check("https://hunter2@h.example?a=1#", both);
    check("https://h.example/v1#hunter2", "has a fragment: leave out `#` and what follows");
    check("https://h.example#", "has a fragment: leave out `#` and what follows");
    check("https://h.example/../v1", dots);
    check("https://h.example/v1/.", dots);
    check("https://h.example/v1/%2E%2e", dots);
    check("https://h.example/v 1", "holds a space: remove it, or write it as `%20`");
    check("https://h.example/v1\\x", "holds `\\`: write it percent-encoded");
    check("https://h.example/vé", "holds the character U+00E9: write it percent-encoded");
    check("https://h.example/v1\u{7f}", "holds the character U+007F: write it percent-encoded");
}

// Spec: config C-56.
#[test]
fn a_deployment_is_named_by_the_model_of_the_request() {
    const AZURE: &str = "https://r.openai.azure.com/openai/deployments/{model}";
    fn check(base: &str, path: &str, model: Option<&str>, expected: Result<&str, NoDeployment>) {
        let base = parsed(base);
        let whole = base
            .request_path(path, model)
            .map(|path| format!("{}{path}", base.prefix(ProviderKind::OpenAi, false)));
        assert_eq!(whole.as_deref(), expected.as_ref().copied(), "{base} {path} {model:?}");
        if let Ok(whole) = whole {
            let shown = base.url(ProviderKind::OpenAi, true, path, model, &BTreeMap::new());
            assert_eq!(shown.split('?').next(), Some(&*format!("https://{}{whole}", base.authority())));
        }
    }
    for path in [
        "/completions",
        "/chat/completions",
        "/embeddings",
        "/audio/transcriptions",
        "/audio/translations",
        "/audio/speech",
        "/images/generations",
        "/images/edits",
    ] {
        check(AZURE, path, Some("gpt-4o"), Ok(&format!("/openai/deployments/gpt-4o{path}")));
        check(AZURE, path, None, Err(NoDeployment::NoModel));
        check("https://h.example/v1", path, None, Ok(&format!("/v1{path}")));
    }
    for path in ["/models", "/responses", "/files", "/files/x", "/batches", "/chat/completions/id"] {
        check(AZURE, path, Some("gpt-4o"), Ok(&format!("/openai{path}")));
        check(AZURE, path, None, Ok(&format!("/openai{path}")));
    }
    for (model, segment) in [
        ("gpt-4.1", "gpt-4.1"),
        ("a/b", "a%2Fb"),
        ("a?b#c%2f", "a%3Fb%23c%252f"),
        ("llama:8b@x", "llama%3A8b%40x"),
        ("...", "..."),
    ] {
        let expected = format!("/openai/deployments/{segment}/embeddings");
        check(AZURE, "/embeddings", Some(model), Ok(&expected));
    }
    check(AZURE, "/embeddings", Some("."), Err(NoDeployment::DotSegment));
    check(AZURE, "/embeddings", Some(".."), Err(NoDeployment::DotSegment));
    check(AZURE, "/embeddings", Some(""), Err(NoDeployment::NoModel));
    check(
        "https://apim.example/deployments/{model}",
        "/embeddings",
        Some("m"),
        Ok("/deployments/m/embeddings"),
    );
    check("https://apim.example/deployments/{model}", "/files", None, Ok("/files"));
    let pasted = format!("{AZURE}/chat/completions?api-version=2024-10-21");
    check(&pasted, "/embeddings", Some("m"), Ok("/openai/deployments/m/embeddings"));
    assert_eq!(parsed(&pasted).to_string(), format!("{AZURE}?api-version=2024-10-21"));
    let shown = parsed(AZURE).url(ProviderKind::OpenAi, false, "/embeddings", None, &BTreeMap::new());
    assert_eq!(shown, format!("{AZURE}/embeddings"));
}

// Spec: config C-57.
#[test]
fn other_braces_in_a_base_are_errors() {
    let brace = "holds a brace: only `{model}` is replaced; write another brace percent-encoded";
    let twice = "has `{model}` twice: write it once";
    let place =
        "has `{model}` in a place where it means nothing: the path must end in `/deployments/{model}`";
    for (text, message) in [
        ("https://h.example/deployments/{deployment}", brace),
        ("https://h.example/deployments/{model", brace),
        ("https://h.example/deployments/model}", brace),
        ("https://h.example/deployments/{{model}}", brace),
        ("https://h.example/deployments/{Model}", brace),
        ("https://h.example/v1?x={y}", brace),
        ("https://h.example/{x}/deployments/{model}", brace),
        ("https://h.example/{model}/deployments/{model}", twice),
        ("https://h.example/deployments/{model}?m={model}", twice),
        ("https://h.example/v1?model={model}", place),
        ("https://{model}.example/v1", place),
        ("https://h.example/{model}", place),
        ("https://h.example/deployments/{model}/v1", place),
        ("https://h.example/deployments/x-{model}", place),
        ("https://h.example/deployments/{model}-x", place),
    ] {
        assert_eq!(ApiBase::parse(text).unwrap_err().to_string(), message, "{text}");
    }
}

#[test]
fn only_the_host_makes_two_bases_one_host() {
    let base = parsed("https://api.example.com/v1");
    for (other, expected) in [
        ("https://API.example.com", true),
        ("http://api.example.com:8080/x", true),
        ("https://eu.api.example.com/v1", false),
        ("https://example.com/v1", false),
    ] {
        assert_eq!(base.is_same_host(&parsed(other)), expected, "{other}");
    }
}

// Spec: config C-41.
#[test]
fn of_a_query_only_names_are_shown() {
    let base = parsed("https://h.example/v1?code=canary-1&api-version=3&canary-2&Api_Key=canary-3");
    let shown = "https://h.example/v1?code=…&api-version=3&…&Api_Key=…";
    assert_eq!(base.to_string(), shown);
    assert_eq!(format!("{base:?}"), format!("ApiBase({shown})"));
    assert_eq!(base.without_query(), "https://h.example/v1");
    let extra = BTreeMap::from([("token".to_owned(), "canary-4".to_owned())]);
    let url = base.url(ProviderKind::OpenAi, false, "/models", None, &extra);
    assert!(!url.contains("canary"), "{url}");
    assert!(url.ends_with("&token=…"), "{url}");
}

proptest::proptest! {
    #[test]
    fn a_parsed_base_stays_as_it_is(text in "https?://[a-z.:0-9]{1,8}[/a-z.%?&=0-9é#@{}]{0,16}") {
        if let Ok(base) = ApiBase::parse(&text) {
            let query = base.query().map(|query| format!("?{query}")).unwrap_or_default();
            let printed = format!("{}{query}", base.without_query());
            proptest::prop_assert_eq!(ApiBase::parse(&printed), Ok(base));
        }
    }
}
