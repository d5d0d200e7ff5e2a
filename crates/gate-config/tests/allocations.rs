//! What a lookup costs in allocations. A program of its own, since it counts those of its thread.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

use std::fmt::Write;

use gate_config::{Scope, Sources, load};
use gate_model_ref::{ModelRef, ProviderKind};

// Spec: routing R-33.
#[test]
fn an_exact_name_is_found_without_allocating() {
    let mut text = String::from("[llm.provider.openai]\napi_key = 'k'\n");
    for provider in 0..20 {
        write!(text, "[llm.provider.openai.p{provider}]\napi_base = 'https://p{provider}.example/v1'\n")
            .unwrap();
        for model in 0..100 {
            write!(text, "[llm.provider.openai.p{provider}.'m-{model}.x']\nmodel = 'upstream-{model}'\n")
                .unwrap();
        }
    }
    let config = load(&Sources::empty().with_text("test", &text)).unwrap().config;
    let scope = Scope::Kind(ProviderKind::OpenAi);
    for name in
        ["openai.p7.m-42.x", "p7.m-42.x", "OpenAI.P7.M-42.X", "openai.p7.passed-through", "openai.anything"]
    {
        let name = ModelRef::parse(name).unwrap();
        let mut is_found = false;
        let info = allocation_counter::measure(|| is_found = config.providers.resolve(name, scope).is_ok());
        assert!(is_found, "{name}");
        assert_eq!(info.count_total, 0, "{name}");
    }
}
