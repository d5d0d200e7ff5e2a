//! What a lookup and a load cost in allocations. A program of its own, since it counts those of its
//! thread.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

use std::fmt::Write;

use gate_config::{Scope, Sources, load};
use gate_model_ref::{ModelRef, ProviderKind};

// Spec: routing.
#[test]
fn a_name_and_its_pool_are_found_without_allocating() {
    let mut text = String::from("[llm.provider.openai]\napi_key = 'k'\n");
    for provider in 0..20 {
        write!(text, "[llm.provider.openai.p{provider}]\napi_base = 'https://p{provider}.example/v1'\n")
            .unwrap();
        for model in 0..100 {
            write!(text, "[llm.provider.openai.p{provider}.'m-{model}.x']\nmodel = 'upstream-{model}'\n")
                .unwrap();
        }
    }
    for member in 0..20 {
        write!(text, "[llm.provider.openai.pool.s{member}]\napi_key = 'k'\nweight = 2\n").unwrap();
    }
    text.push_str("[llm.provider.openai.pool]\nmodel = 'pooled'\nfallback = ['p3', 'openai.p7.m-42.x']\n");
    let sources = Sources::empty().with_text("test", &text);
    let config = load(&sources).unwrap().config;
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
    for name in ["pooled", "openai.pool", "openai.pool.passed-through"] {
        let name = ModelRef::parse(name).unwrap();
        let mut targets = 0;
        let info = allocation_counter::measure(|| {
            let route = config.providers.route(name, scope);
            targets = route.map_or(0, |route| route.pool().count() + route.fallbacks().count());
        });
        assert_eq!((targets, info.count_total), (22, 0), "{name}");
    }
}

#[test]
fn a_load_costs_each_section_the_same() {
    // The bounds leave a quarter for another version of the TOML parser, which makes most of them.
    for (setting, most) in [("model = 'upstream'", 80), ("api_key = 'k'", 115)] {
        let count = |sections: u32| {
            let mut text = String::from("[llm.provider.openai]\napi_key = 'k'\n");
            text.extend((0..sections).map(|at| format!("[llm.provider.openai.p{at}]\n{setting}\n")));
            let variables = [("EMX_LLM_OPENAI_TIMEOUT", "5"), ("OPENAI_BASE_URL", "https://a.example/v1")];
            let sources = Sources::empty().with_text("test", &text).with_env(variables);
            allocation_counter::measure(|| assert!(load(&sources).is_ok())).count_total
        };
        let (few, some, many) = (count(500), count(1000), count(2000));
        assert!(many - some <= 1000 * most, "{} with `{setting}`", (many - some) / 1000);
        // Twice as many more cost twice as much: nothing is made of all sections for each of them.
        let (first, second) = (some - few, many - some);
        assert!(second <= first * 9 / 4, "`{setting}`: {first} for 500 more, {second} for 1000 more");
    }
}
