//! A configuration with a secret in every place that takes one, and the headers in which clients send theirs.

use std::path::Path;

use gate_config::{Loaded, Sources, load};

/// The key that is sent to `openai`.
pub(crate) const OPENAI_KEY: &str = "sk-canary-variable";
/// The key that is sent to `anthropic`.
pub(crate) const ANTHROPIC_KEY: &str = "sk-ant-canary/text";

/// Headers that hold a credential of the client, of which a request has one.
pub(crate) const CREDENTIALS: [&str; 6] = [
    "authorization: Bearer canary-bearer",
    "authorization: Basic Y2FuYXJ5OmNhbmFyeQ-canary-basic",
    "x-api-key: canary-x-api-key",
    "api-key: canary-api-key",
    "x-gateway-api-key: canary-x-gateway-api-key",
    "x-provider-api-key: canary-x-provider-api-key",
];

/// Headers that hold another secret of the client.
pub(crate) const OTHERS: [&str; 5] = [
    "cookie: session=canary-cookie",
    "proxy-authorization: Basic canary-proxy",
    "referer: http://localhost/?key=canary-referer",
    "x-goog-api-key: canary-foreign-header",
    "cf-access-client-secret: canary-foreign-secret",
];

/// Returns the sources of a configuration whose secrets come from every place that may hold one.
pub(crate) fn sources(folder: &Path) -> Sources {
    std::fs::write(folder.join("azure.key"), "canary-file\n").unwrap();
    let azure = folder.join("azure.key");
    let text = format!(
        r#"
        [llm.timeout]
        connection = 1
        first_byte = 1
        read = 1
        [llm.limits]
        body_idle_timeout = 1
        [llm.provider.openai]
        api_base = "http://openai.test/v1?code=canary-base-query"
        api_key = "env:THE_KEY"
        model = "gpt-4"
        websocket = true
        query = {{ sig = "canary-query" }}
        headers = {{ x-team-token = "canary-header" }}
        [llm.provider.openai.azure]
        api_key = "file:{}"
        auth = "api-key"
        models = ["gpt-5"]
        [llm.provider.anthropic]
        api_base = "http://anthropic.test"
        api_key = "{ANTHROPIC_KEY}"
        models = ["claude-1"]
        "#,
        azure.display(),
    );
    Sources::empty().with_text("test", &text).with_env([
        ("THE_KEY", OPENAI_KEY),
        ("OPENAI_ADMIN_KEY", "canary-unused-variable"),
        ("EMX_LLM_PROVIDER_ANTHROPIC_GLM_API_KEY", "canary-emx-variable"),
        ("ANTHROPIC_AUTH_TOKEN", "canary-traditional"),
    ])
}

/// Loads that configuration.
pub(crate) fn loaded() -> Loaded {
    let folder = tempfile::tempdir().unwrap();
    load(&sources(folder.path())).unwrap()
}
