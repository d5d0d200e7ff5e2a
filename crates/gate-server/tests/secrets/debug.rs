//! What public types show of themselves, what reports print, and what load errors quote.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use gate_config::{Report, Sources, explain, load};
use gate_server::Gateway;
use gate_testkit::raw::RawScript;
use gate_upstream::{Credential, Dialer, MemoryDialer, RequestCredential};
use http::Request;
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;

use crate::{check, logged, places};

// Spec: security S-22, S-68.
#[tokio::test(start_paused = true)]
async fn neither_debug_output_nor_reports_show_a_secret() {
    logged::keep();
    let folder = tempfile::tempdir().unwrap();
    let sources = places::sources(folder.path());
    let loaded = load(&sources).unwrap();
    check("sources", &format!("{sources:?} {sources:#?}"));
    check("loaded", &format!("{loaded:?} {loaded:#?}"));
    check("report", &Report::of(&sources, &|_, _| Ok(())).to_string());
    check("report", &format!("{:?}", Report::of(&sources, &|_, _| Ok(()))));
    let tree = &loaded.config.providers;
    for name in ["gpt-4", "gpt-5", "claude-1", "openai.gpt-4", "nothing", "no name", "anthropic.glm.x"] {
        let explanation = explain(tree, name, None);
        check(name, &format!("{explanation} {explanation:?}"));
    }
    for index in tree.providers().map(|(index, _)| index) {
        check("provider", &format!("{:?}", tree.provider(index)));
    }
    let credential = Credential::new("canary");
    check("credential", &format!("{credential:?} {:?}", RequestCredential::Key(credential.clone())));

    let builder = Gateway::builder(loaded.config.clone());
    check("builder", &format!("{builder:?}"));
    let (dialer, mut listener) = MemoryDialer::new();
    let gateway = builder.dialer(Dialer::Memory(dialer)).build().unwrap();
    check("gateway", &format!("{gateway:#?}"));
    let upstream = tokio::spawn(async move {
        while let Some(stream) = listener.accept().await {
            RawScript::new().expect_head().send("canary-banner\r\n\r\n").close().play(stream).await;
        }
    });
    for index in tree.providers().map(|(index, _)| index) {
        let probe = gateway.probe(index, Duration::from_secs(1)).await;
        check(
            "probe",
            &format!("{probe:?} {}", probe.as_ref().err().map_or_else(String::new, ToString::to_string)),
        );
    }
    upstream.abort();
    check("log", &logged::lines());
}

// Spec: security S-22, S-68; config C-44.
#[test]
fn a_configuration_that_cannot_be_used_is_told_without_its_secrets() {
    logged::keep();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad");
    std::fs::write(&file, b"canary-\xff\n").unwrap();
    let pem = folder.path().join("pem");
    std::fs::write(&pem, "-----BEGIN PRIVATE KEY-----\nY2FuYXJ5 canary\n-----END PRIVATE KEY-----\n")
        .unwrap();
    let (file, pem) = (file.display(), pem.display());
    for line in [
        "api_key = \"canary\\nof two lines\"".to_owned(),
        "api_key = \"canary-not-closed".to_owned(),
        "api_key = canary".to_owned(),
        "api_key = [\"canary\"]".to_owned(),
        "api_key = { canary = 1 }".to_owned(),
        "apikey = \"canary\"".to_owned(),
        "api_key = \"a\"\napi_key = \"canary\"".to_owned(),
        format!("api_key = \"file:{file}\""),
        "api_base = \"http://user:canary@openai.test/v1\"".to_owned(),
        "api_base = \"ftp://openai.test/v1?key=canary\"".to_owned(),
        "api_base = \"http://openai.test/v1?key=canary#x\"".to_owned(),
        "api_base = \"http://openai.test/v1?key=can ary-canary\"".to_owned(),
        "headers = { authorization = \"Bearer canary\" }".to_owned(),
        "headers = { x-key = \"canary\\n\" }".to_owned(),
        "headers = { x-key = [\"canary\"] }".to_owned(),
        "query = { key = [\"canary\"] }".to_owned(),
        format!("client_cert_file = \"{pem}\"\nclient_key_file = \"{pem}\""),
    ] {
        let text = format!("[llm.provider.openai]\n{line}\n");
        let sources = Sources::empty().with_text("test", &text);
        let told = match load(&sources) {
            Err(problems) => format!("{problems} {problems:?}"),
            // Some are known to be bad only once a connection is prepared.
            Ok(loaded) => format!("{:?}", Gateway::builder(loaded.config).build().unwrap_err()),
        };
        check("a load error", &told);
        check("a report", &format!("{sources:?} {}", Report::of(&sources, &|_, _| Ok(()))));
    }
    check("log", &logged::lines());
}

/// A body that panics, and whose panic quotes a secret.
struct Bomb;

impl Body for Bomb {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        panic!("a body quotes canary-panic")
    }
}

// Spec: security S-22, S-26, S-69.
#[tokio::test(start_paused = true)]
async fn the_text_of_a_panic_goes_nowhere() {
    logged::keep();
    let gateway = Gateway::builder(places::loaded().config).build().unwrap();
    let request = Request::post("/v1/chat/completions")
        .header("host", "localhost")
        .header("content-type", "application/json")
        .header("authorization", "Bearer canary-bearer")
        .body(Bomb)
        .unwrap();
    let answer = gateway.handle(request).await;
    assert_eq!(answer.status(), 500);
    check("answer", &format!("{answer:?}"));
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    check("body", &String::from_utf8_lossy(&body));
    check("log", &logged::lines());
    assert!(logged::lines().contains("internal_error"), "the panic was told");
}
