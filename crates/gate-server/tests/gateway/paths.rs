//! Every path of both vendors, and what pins a request.

use gate_testkit::mock::{MockUpstream, Reply};
use std::sync::Arc;

use crate::refusing::check;
use crate::support::{CONFIG, Rig, get, header, post};

const VENDOR_PATHS: &str = include_str!("vendor_paths.txt");
const FORM: &str = "--b\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nopenai.m-1\r\n--b--\r\n";

/// Writes the request that a row stands for.
fn request_of(kind: &str, method: &str, path: &str, what: &str) -> String {
    let (content_type, body) = match what {
        "form" => ("multipart/form-data; boundary=b", FORM.to_owned()),
        "model" => ("application/json", format!("{{\"model\":\"{kind}.m-1\"}}")),
        "batch" => {
            ("application/json", format!("{{\"requests\":[{{\"params\":{{\"model\":\"{kind}.m-1\"}}}}]}}"))
        }
        _ if method == "POST" => ("application/json", "{}".to_owned()),
        _ => ("application/json", String::new()),
    };
    let version = if kind == "anthropic" { "anthropic-version: 2023-06-01\r\n" } else { "" };
    format!(
        "{method} /v1{path} HTTP/1.1\r\nhost: localhost\r\n{version}content-type: {content_type}\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

// Spec: api A-1, A-4, A-5, A-8, A-44, A-45, A-49.
#[tokio::test(start_paused = true)]
async fn every_path_of_the_vendors_reaches_the_right_place() {
    let mut count = 0;
    for row in VENDOR_PATHS.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = row.split(' ').collect();
        let [kind, method, path, what] = words[..] else { panic!("{row}") };
        let path = path.replace("{}", "id_1");
        let mock = Arc::new(MockUpstream::answering(|_| Reply::json(200, "{}")));
        let mut rig = Rig::before(CONFIG, &mock);
        let response = rig.send(&request_of(kind, method, &path, what)).await;
        let answer = (
            response.head.status,
            header(&response, "x-gateway-provider"),
            header(&response, "x-gateway-model"),
        );
        let seen = mock.requests();
        match what {
            "own" => assert!(answer.1.is_empty() && seen.is_empty(), "{row}: {answer:?}"),
            "admin" => {
                assert_eq!(answer, (403, "", ""), "{row}");
                assert_eq!(header(&response, "x-gateway-error"), "permission_denied", "{row}");
                assert!(seen.is_empty(), "{row}");
            }
            _ => {
                let model = if what == "passed" { "" } else { "m-1" };
                assert_eq!(answer, (200, kind, model), "{row}: {}", response.body.text());
                assert_eq!(
                    (seen[0].method.as_str(), seen[0].target.as_str()),
                    (method, &*format!("/v1{path}")),
                    "{row}"
                );
                assert!(!seen[0].text().contains("openai.m-1"), "{row}");
            }
        }
        count += 1;
    }
    assert!(count > 600, "{count} rows");
}

// Spec: api A-49.
#[tokio::test(start_paused = true)]
async fn paths_that_administer_an_account_need_leave() {
    for path in [
        "/v1/organization/users",
        "/v1/organizations",
        "/v1/Projects/p",
        "/openai/azure/v1/projects",
        // Servers that drop parameters or blanks of a segment read the word.
        "/v1/organization;x/users",
        "/v1/organization%3Bx/users",
        "/v1/organization%20/users",
        "/v1/%09projects/p",
        "/openai/azure/v1/organization;/users",
    ] {
        check(CONFIG, &get(path, &[]), 403, "permission_denied", "`[llm] allow_admin_paths = true`").await;
    }
    // Spelled otherwise, it is no path at all.
    check(CONFIG, &get("/v1/%6frganization/x", &[]), 400, "bad_request", "an encoded letter").await;
    let config = format!("[llm]\nallow_admin_paths = true\n{CONFIG}");
    for path in ["/v1/organization/users", "/openai/azure/v1/projects"] {
        let (mut rig, _mock) = Rig::with_mock(&config, [Reply::json(200, "{}")]);
        assert_eq!(rig.send(&get(path, &[])).await.head.status, 200, "{path}");
    }
    let (mut rig, _mock) = Rig::with_mock(CONFIG, [Reply::json(200, "{}")]);
    assert_eq!(rig.send(&get("/v1/organizational/x", &[])).await.head.status, 200);
}

// Spec: api A-46.
#[tokio::test(start_paused = true)]
async fn what_a_provider_made_stays_with_it() {
    async fn ask(rig: &mut Rig, request: &str) -> String {
        let response = rig.send(request).await;
        assert_eq!(response.head.status, 200, "{request}: {}", response.body.text());
        header(&response, "x-gateway-provider").to_owned()
    }
    let created = "event: response.created\ndata: {\"response\":{\"id\":\"resp_azure1\"}}\n\n";
    let mock = Arc::new(MockUpstream::answering(move |request| {
        let path = request.target.split('?').next().unwrap_or_default();
        match (request.method.as_str(), path) {
            ("POST", "/openai/v1/files") => Reply::json(200, r#"{"id":"file-azure1","object":"file"}"#),
            ("POST", "/openai/v1/uploads") => Reply::json(404, r#"{"id":"file-refused"}"#),
            ("POST", "/openai/v1/responses") => Reply::events([created]),
            ("POST", "/openai/v1/chat/completions") => Reply::json(200, r#"{"id":"chatcmpl-azure1"}"#),
            ("POST", "/api/anthropic/v1/messages/batches") => Reply::json(200, r#"{"id":"msgbatch_glm1"}"#),
            _ => Reply::json(200, "{}"),
        }
    }));
    let mut rig = Rig::before(CONFIG, &mock);
    let named = r#"{"model":"small","stream":true}"#;
    let batch = post("/anthropic/glm/v1/messages/batches", &[], r#"{"requests":[]}"#);
    assert_eq!(ask(&mut rig, &post("/openai/azure/v1/files", &[], "{}")).await, "openai.azure");
    assert_eq!(ask(&mut rig, &post("/v1/responses", &[], named)).await, "openai.azure");
    assert_eq!(ask(&mut rig, &post("/v1/chat/completions", &[], named)).await, "openai.azure");
    assert_eq!(ask(&mut rig, &batch).await, "anthropic.glm");
    assert_eq!(rig.send(&post("/openai/azure/v1/uploads", &[], "{}")).await.head.status, 404);
    for (request, provider) in [
        (get("/v1/files/file-azure1/content", &[]), "openai.azure"),
        (get("/v1/responses/resp_azure1?stream=true", &[]), "openai.azure"),
        (post("/v1/responses/resp_azure1/cancel", &[], ""), "openai.azure"),
        (get("/v1/messages/batches/msgbatch_glm1/results", &[]), "anthropic.glm"),
        (post("/v1/threads/file-azure1/runs", &[], "{}"), "openai.azure"),
        (post("/v1/threads/file-azure1/runs", &[], r#"{"model":"openai.gpt-4"}"#), "openai"),
        (post("/v1/threads/file-azure1/runs", &[], r#"{"model":"gpt-4"}"#), "openai.azure"),
        // A pin outranks it; what nobody made here goes where it went.
        (get("/v1/files/file-azure1", &["x-gateway-provider: openai"]), "openai"),
        (get("/anthropic/v1/files/file-azure1", &[]), "anthropic"),
        (get("/v1/files/file-refused", &[]), "openai"),
        (get("/v1/chat/completions/chatcmpl-azure1", &[]), "openai"),
        (get("/v1/files/file-unknown", &[]), "openai"),
    ] {
        assert_eq!(ask(&mut rig, &request).await, provider, "{request}");
    }
}

// Spec: routing R-31.
#[tokio::test(start_paused = true)]
async fn a_header_pins_like_a_path() {
    async fn pinned(request: &str, provider: &str, target: &str, model: &str) {
        let (mut rig, mock) = Rig::with_mock(CONFIG, [Reply::json(200, "{}")]);
        let response = rig.send(request).await;
        assert_eq!(response.head.status, 200, "{request}: {}", response.body.text());
        assert_eq!(header(&response, "x-gateway-provider"), provider, "{request}");
        assert_eq!(header(&response, "x-gateway-model"), model, "{request}");
        let seen = mock.next_request().await;
        assert_eq!((seen.target.as_str(), seen.header("x-gateway-provider")), (target, None), "{request}");
    }
    let azure = "/openai/v1/files?api-version=2024-10-21&region=eu%20north";
    pinned(&get("/v1/files", &["x-gateway-provider: openai.azure"]), "openai.azure", azure, "").await;
    pinned(&get("/v1/files", &["x-gateway-provider: OpenAI.Azure "]), "openai.azure", azure, "").await;
    pinned(&get("/openai/azure/v1/files", &["x-gateway-provider: openai.azure"]), "openai.azure", azure, "")
        .await;
    pinned(&get("/v1/files", &["x-gateway-provider: openai"]), "openai", "/v1/files", "").await;
    // The pin says whose API it is, where the path does not.
    let glm = "/api/anthropic/v1/files";
    pinned(&get("/v1/files", &["x-gateway-provider: anthropic.glm"]), "anthropic.glm", glm, "").await;
    let chat = post("/v1/chat/completions", &["x-gateway-provider: openai.azure"], r#"{"model":"small"}"#);
    let target = "/openai/v1/chat/completions?api-version=2024-10-21&region=eu%20north";
    pinned(&chat, "openai.azure", target, "gpt-4-mini.2").await;

    let refused = |path: &str, headers: &[&str]| get(path, headers);
    let unknown = refused("/v1/files", &["x-gateway-provider: openai.nobody"]);
    check(CONFIG, &unknown, 404, "not_found", "no provider `openai.nobody` is configured; GET /v1/providers")
        .await;
    let both = refused("/openai/azure/v1/files", &["x-gateway-provider: openai"]);
    check(CONFIG, &both, 400, "bad_request", "names `openai`, but the path is pinned to `openai.azure`")
        .await;
    let other_kind = refused("/openai/v1/files", &["x-gateway-provider: anthropic.glm"]);
    check(CONFIG, &other_kind, 400, "bad_request", "this path is of the kind openai").await;
    let other_api = post("/v1/chat/completions", &["x-gateway-provider: anthropic"], r#"{"model":"x"}"#);
    check(CONFIG, &other_api, 400, "bad_request", "this path is of the kind openai").await;
    let two = refused("/v1/files", &["x-gateway-provider: openai", "x-gateway-provider: openai"]);
    check(CONFIG, &two, 400, "bad_request", "two `x-gateway-provider`").await;
}

// Spec: api A-82.
#[tokio::test(start_paused = true)]
async fn what_stands_behind_a_hash_in_a_target_goes_nowhere() {
    for (target, expected) in [
        ("/v1/files/f#a?b", "/v1/files/f"),
        ("/v1/files?a=1#b", "/v1/files?a=1"),
        ("/v1/files#", "/v1/files"),
    ] {
        let (mut rig, mock) = Rig::with_mock(CONFIG, [Reply::json(200, "{}")]);
        assert_eq!(rig.send(&get(target, &[])).await.head.status, 200, "{target}");
        assert_eq!(mock.requests()[0].target, expected, "{target}");
        let path = expected.split('?').next();
        assert_eq!(rig.records.first().await.path.as_deref(), path, "{target}");
    }
}
