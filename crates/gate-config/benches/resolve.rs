//! Names among 10,000 models, and the load of that many: `cargo bench -p gate-config`. That an exact
//! name is found without allocating is a test (`tests/allocations.rs`).

use std::error::Error;
use std::fmt::Write;
use std::hint::black_box;

use criterion::Criterion;
use gate_config::{Scope, Sources, load};
use gate_model_ref::{ModelRef, ProviderKind};

/// Twenty providers with five hundred models each, every model a section of its own.
fn sections() -> String {
    let mut text = String::from("[llm.provider.openai]\napi_key = 'k'\n");
    for provider in 0..20 {
        // A `String` takes every byte.
        let _ = write!(text, "[llm.provider.openai.p{provider}]\napi_base = 'https://p{provider}.test/v1'\n");
        for model in 0..500 {
            let _ = write!(text, "[llm.provider.openai.p{provider}.m-{model}]\nmodel = 'upstream-{model}'\n");
        }
    }
    text
}

/// The same models as lists.
fn lists() -> String {
    let mut text = String::from("[llm.provider.openai]\napi_key = 'k'\n");
    let models = (0..500).map(|model| format!("'m-{model}'")).collect::<Vec<_>>().join(",");
    for provider in 0..20 {
        let _ = write!(
            text,
            "[llm.provider.openai.p{provider}]\napi_base = 'https://p{provider}.test/v1'\nmodels = [{models}]\n"
        );
    }
    text
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut criterion = Criterion::default().configure_from_args().sample_size(10);
    for (name, text) in [("10,000 sections", sections()), ("10,000 models in lists", lists())] {
        let sources = Sources::empty().with_text("bench", &text);
        criterion.bench_function(&format!("load {name}"), |bencher| {
            bencher.iter(|| load(black_box(&sources)).is_ok());
        });
    }

    let config = load(&Sources::empty().with_text("bench", &sections()))?.config;
    let mut criterion = Criterion::default().configure_from_args();
    for (name, model) in [
        ("an exact name", "openai.p7.m-42"),
        ("a short path", "p7.m-42"),
        ("a bare name", "gpt-4"),
        ("a name passed through", "openai.p7.passed.through-1.5"),
    ] {
        criterion.bench_function(&format!("resolve {name}"), |bencher| {
            bencher.iter(|| {
                let name = ModelRef::parse(black_box(model)).ok()?;
                config.providers.resolve(name, Scope::Kind(ProviderKind::OpenAi)).ok()
            });
        });
    }
    criterion.final_summary();
    Ok(())
}
