//! The sentences that clients get for names that resolve to nothing.

use gate_config::{Sources, load};

use super::*;

fn tree() -> ProviderTree {
    let text = r#"
        [llm.provider.openai]
        api_key = "k"
        models = ["gpt-4"]
        [llm.provider.openai.azure]
        api_key = "k"
        api_base = "https://azure.example/v1"
        models = ["gpt-5"]
    "#;
    load(&Sources::empty().with_text("test", text)).unwrap().config.providers
}

// Spec: routing R-10.
#[test]
fn every_failure_says_what_to_do() {
    let tree = tree();
    let root = tree.find("openai").unwrap();
    let azure = tree.find("openai.azure").unwrap();
    let check = |error: ResolveError, scope: Scope, code: ErrorCode, message: &str| {
        let found = resolve(&tree, "x", scope, &error);
        assert_eq!((found.code, found.message.as_ref()), (code, message));
    };
    let openai = Scope::Kind(ProviderKind::OpenAi);
    check(
        ResolveError::KindMismatch { kind: ProviderKind::Anthropic },
        openai,
        ErrorCode::ModelKindMismatch,
        "model `x` belongs to an anthropic provider: send it as POST /v1/messages",
    );
    check(
        ResolveError::Ambiguous { candidates: vec!["openai.a.x".into(), "openai.b.x".into()] },
        openai,
        ErrorCode::AmbiguousModel,
        "several providers have model `x`: use one of the full names `openai.a.x`, `openai.b.x`, or let \
         `[llm.provider] default` name one",
    );
    check(
        ResolveError::NotFound {
            near: vec!["y".into(), "z".into()],
            reason: NotFoundReason::RootNotConfigured(ProviderKind::OpenAi),
        },
        openai,
        ErrorCode::ModelNotFound,
        "no provider has model `x`; did you mean `y`, `z`?",
    );
    check(
        ResolveError::NotFound { near: vec![], reason: NotFoundReason::Closed(root) },
        openai,
        ErrorCode::ModelNotFound,
        "provider `openai` has no model `x` and passes no other name on (`open = true` would let it); GET /v1/models \
         lists every configured model",
    );
    check(
        ResolveError::NotFound { near: vec![], reason: NotFoundReason::NoDefaultModel(azure) },
        openai,
        ErrorCode::ModelNotFound,
        "`x` is the provider `openai.azure`, which has no `model` of its own: add the model's name; GET /v1/models \
         lists every configured model",
    );
    check(
        ResolveError::OutsidePin { provider: azure },
        Scope::Pinned(root),
        ErrorCode::BadRequest,
        "model `x` belongs to provider `openai.azure`, but this path is pinned to `openai`: send it to /v1, or name a \
         model of `openai`",
    );
}

#[test]
fn text_of_a_client_is_cut_and_escaped() {
    assert_eq!(shown("gpt-4"), "gpt-4");
    assert_eq!(shown("a\r\n\u{1b}[31m"), "a\\r\\n\\u{1b}[31m");
    assert_eq!(shown(&"x".repeat(100)), format!("{}…", "x".repeat(64)));
}
