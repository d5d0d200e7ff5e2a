//! Every kind of path, as tables.

use super::*;

fn parse<'p>(method: &Method, path: &'p str) -> Result<Route<'p>, (ErrorCode, String)> {
    Route::parse(method, path, false).map_err(|error| (error.code, error.message.into_owned()))
}

const OPENAI: ProviderKind = ProviderKind::OpenAi;
const ANTHROPIC: ProviderKind = ProviderKind::Anthropic;

// Spec: api.
#[test]
fn operations_are_routed_by_their_path() {
    fn check(path: &str, kind: ProviderKind, tail: &str, operation: Operation) {
        let Ok(Route::Forward(route)) = parse(&Method::POST, path) else { panic!("{path}") };
        assert_eq!((route.pin, route.kind, route.tail, route.operation), (Pin::None, kind, tail, operation));
    }
    check("/v1/chat/completions", OPENAI, "/chat/completions", Operation::ChatCompletions);
    check("/v1/completions", OPENAI, "/completions", Operation::Completions);
    check("/v1/responses", OPENAI, "/responses", Operation::Responses);
    check("/v1/responses/compact", OPENAI, "/responses/compact", Operation::OtherJson);
    check("/v1/embeddings", OPENAI, "/embeddings", Operation::Embeddings);
    check("/v1/moderations", OPENAI, "/moderations", Operation::OtherJson);
    check("/v1/images/generations", OPENAI, "/images/generations", Operation::OtherJson);
    check("/v1/images/edits", OPENAI, "/images/edits", Operation::Form);
    check("/v1/audio/transcriptions", OPENAI, "/audio/transcriptions", Operation::Form);
    check("/v1/messages", ANTHROPIC, "/messages", Operation::Messages);
    check("/v1/messages/count_tokens", ANTHROPIC, "/messages/count_tokens", Operation::CountTokens);
    check("/v1/messages/batches", ANTHROPIC, "/messages/batches", Operation::MessageBatch);
    check("/v1/complete", ANTHROPIC, "/complete", Operation::OtherJson);
    check("/v1/audio/voices", OPENAI, "/audio/voices", Operation::Form);
    check("/v1/files", OPENAI, "/files", Operation::Opaque);
    check("/v1/files/", OPENAI, "/files/", Operation::Opaque);
    check("/v1/new/thing", OPENAI, "/new/thing", Operation::Opaque);
    // Clients that were given a base with `/v1` and add their own.
    check("/v1/v1/messages", ANTHROPIC, "/messages", Operation::Messages);
    check("/v1/v1/v1/chat/completions", OPENAI, "/chat/completions", Operation::ChatCompletions);
}

// Spec: api A-3.
#[test]
fn a_prefix_pins_the_kind_or_the_provider() {
    fn check(path: &str, pin: Pin<'_>, kind: ProviderKind, tail: &str) {
        let Ok(Route::Forward(route)) = parse(&Method::POST, path) else { panic!("{path}") };
        assert_eq!((route.pin, route.kind, route.tail), (pin, kind, tail), "{path}");
    }
    check("/openai/v1/chat/completions", Pin::Kind(OPENAI), OPENAI, "/chat/completions");
    check("/OpenAI/v1/chat/completions", Pin::Kind(OPENAI), OPENAI, "/chat/completions");
    check("/anthropic/v1/messages", Pin::Kind(ANTHROPIC), ANTHROPIC, "/messages");
    check("/anthropic/v1/v1/messages", Pin::Kind(ANTHROPIC), ANTHROPIC, "/messages");
    check("/anthropic/glm/v1/messages", Pin::Provider(ANTHROPIC, "glm"), ANTHROPIC, "/messages");
    check("/openai/azure/eu/v1/embeddings", Pin::Provider(OPENAI, "azure/eu"), OPENAI, "/embeddings");
    check("/openai/v1x/v1/embeddings", Pin::Provider(OPENAI, "v1x"), OPENAI, "/embeddings");
    check("/anthropic/glm/v1/files", Pin::Provider(ANTHROPIC, "glm"), ANTHROPIC, "/files");
}

// Spec: api A-4.
#[test]
fn paths_of_both_vendors_go_by_the_version_header() {
    for (path, without, with) in [
        ("/v1/files", OPENAI, ANTHROPIC),
        ("/v1/skills/x", OPENAI, ANTHROPIC),
        ("/v1/unknown", OPENAI, ANTHROPIC),
        ("/v1/chat/completions", OPENAI, OPENAI),
        ("/v1/messages", ANTHROPIC, ANTHROPIC),
        ("/openai/v1/files", OPENAI, OPENAI),
    ] {
        for (has_version, expected) in [(false, without), (true, with)] {
            let Ok(Route::Forward(route)) = Route::parse(&Method::GET, path, has_version)
                .or_else(|_| Route::parse(&Method::POST, path, has_version))
            else {
                panic!("{path}")
            };
            assert_eq!(route.kind, expected, "{path} {has_version}");
        }
    }
}

// Spec: api A-5.
#[test]
fn own_endpoints_are_found() {
    for (path, own) in [
        ("/", Own::Probe),
        ("/api/hello", Own::Probe),
        ("/health", Own::Health),
        ("/ready", Own::Ready),
        ("/health/providers", Own::ProviderHealth),
        ("/v1/providers", Own::Providers),
        ("/v1/models", Own::Models(Pin::None)),
        ("/v1/v1/models", Own::Models(Pin::None)),
        ("/openai/models", Own::Models(Pin::Kind(OPENAI))),
        ("/anthropic/v1/models", Own::Models(Pin::Kind(ANTHROPIC))),
        ("/openai/azure/v1/models", Own::Models(Pin::Provider(OPENAI, "azure"))),
        ("/v1/models/openai.gpt-4", Own::Model(Pin::None, "openai.gpt-4")),
        ("/v1/models/openai.meta%2Fllama", Own::Model(Pin::None, "openai.meta%2Fllama")),
        ("/v1/models/openai.meta/llama", Own::Model(Pin::None, "openai.meta/llama")),
    ] {
        for method in [Method::GET, Method::HEAD] {
            assert_eq!(parse(&method, path), Ok(Route::Own(own)), "{method} {path}");
        }
    }
}

// Spec: api A-6.
#[test]
fn a_wrong_method_names_the_right_ones() {
    fn check(method: &str, path: &str, allow: Option<&str>) {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        match (Route::parse(&method, path, false), allow) {
            (Ok(_), None) => {}
            (Err(error), Some(allow)) => {
                assert_eq!(
                    (error.code, error.allow),
                    (ErrorCode::MethodNotAllowed, Some(allow)),
                    "{method} {path}"
                );
            }
            (result, _) => panic!("{method} {path}: {result:?}"),
        }
    }
    check("POST", "/health", Some("GET, HEAD"));
    check("DELETE", "/v1/models", Some("GET, HEAD"));
    check("POST", "/v1/providers", Some("GET, HEAD"));
    check("GET", "/v1/messages", Some("POST"));
    check("GET", "/v1/embeddings", Some("POST"));
    check("FOO", "/v1/chat/completions", Some(FORWARDED_METHODS));
    check("OPTIONS", "/v1/models/x", Some(FORWARDED_METHODS));
    check("TRACE", "/v1/files", Some(FORWARDED_METHODS));
    check("post", "/v1/chat/completions", Some(FORWARDED_METHODS));
    // Verbs of the vendors' own APIs pass.
    check("DELETE", "/v1/models/ft:gpt", None);
    check("GET", "/v1/chat/completions", None);
    check("GET", "/v1/responses/resp_1", None);
    check("DELETE", "/v1/files/file-1", None);
    check("PATCH", "/v1/x", None);
}

// Spec: api A-7.
#[test]
fn an_unknown_path_is_explained() {
    fn check(path: &str, part: &str) {
        let (code, message) = parse(&Method::POST, path).unwrap_err();
        assert_eq!(code, ErrorCode::NotFound, "{path}");
        assert!(message.contains(part), "{path}: {message}");
    }
    check("/chat/completions", "base URL must end in `/v1`. Send POST /v1/chat/completions");
    check("/messages", "POST /v1/messages");
    check(
        "/openai/gpt-4/chat/completions",
        "POST /openai/v1/chat/completions and name it in the body as `model`",
    );
    check("/anthropic/glm/glm-5/messages", "POST /anthropic/v1/messages");
    check("/admin", "below `/v1`");
    check("/metrics", "below `/v1`");
    check("/v1", "below `/v1`");
    check("/v1/", "below `/v1`");
    check("/v10/chat/completions", "must end in `/v1`");
    check("/openai/chat/completions", "must end in `/v1`");
    check("/v1/chat/completions/", "did you mean `/v1/chat/completions`?");
    check("/v1/Chat/Completions", "did you mean `/v1/chat/completions`?");
    check("/openai/v1/MESSAGES", "did you mean `/v1/messages`?");
}

// Spec: security S-4.
#[test]
fn a_path_that_readers_could_read_differently_is_refused() {
    for path in [
        "/v1/../admin",
        "/v1/./models",
        "/v1/%2e%2e/admin",
        "/v1/%2E%2E%2Fadmin",
        "/v1/files/a%2Fb",
        "//v1/models",
        "/v1//models",
        "/v1/a\\b",
        "/v1/a%5cb",
        "/v1/a%00b",
        "/v1/chat/completion%73",
        "/v1/files/%41",
        "/v1/é",
        "/v1/models/../../admin",
    ] {
        let (code, message) = parse(&Method::GET, path).unwrap_err();
        assert_eq!(code, ErrorCode::BadRequest, "{path}");
        assert!(message.contains("which is not passed on"), "{path}: {message}");
    }
}
