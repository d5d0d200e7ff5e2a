//! What a name that resolves to nothing is told.

use super::*;

fn near(tree: &ProviderTree, scope: Scope, name: &str) -> Vec<String> {
    match tree.resolve(ModelRef::parse(name).unwrap(), scope) {
        Err(ResolveError::NotFound { near, .. }) => near,
        other => panic!("`{name}`: {other:?}"),
    }
}

fn menu() -> ProviderTree {
    tree([
        provider("openai.azure").models(&["gpt-4", "gpt-4o", "gpt-4.1", "gpt-4.1-mini", "o3"]),
        provider("openai.groq").section("fast", "llama-3.3-70b-versatile"),
        provider("anthropic.glm").models(&["glm-5", "GLM-4.5"]),
    ])
}

// Spec: routing R-24.
#[test]
fn near_names_are_full_and_at_most_three() {
    let tree = menu();
    for (name, expected) in [
        ("gtp-4", &["openai.azure.gpt-4", "openai.azure.gpt-4o"][..]),
        ("gpt4o", &["openai.azure.gpt-4o", "openai.azure.gpt-4"]),
        ("GPT-5", &["openai.azure.gpt-4", "openai.azure.gpt-4o"]),
        ("openai.azure.gpt-4.2", &["openai.azure.gpt-4.1", "openai.azure.gpt-4", "openai.azure.gpt-4o"]),
        ("azure.gpt-4.1-minni", &["openai.azure.gpt-4.1-mini", "openai.azure.gpt-4.1"]),
        // By the upstream model, and with the provider misspelled.
        ("llama-3.3-70b-versatil", &["openai.groq.fast"]),
        ("openai.grok.fast", &["openai.groq.fast"]),
        ("something-else-entirely", &[]),
    ] {
        let found = near(&tree, Scope::Kind(ProviderKind::OpenAi), name);
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn names_that_differ_in_every_edited_letter_are_still_near() {
    let tree = tree([provider("openai.azure").models(&["abcxy", "abvwxy"])]);
    assert_eq!(near(&tree, Scope::Kind(ProviderKind::OpenAi), "abcde"), ["openai.azure.abcxy"]);
}

#[test]
fn near_names_stay_in_the_scope() {
    let tree = menu();
    let glm = Scope::Pinned(tree.find("anthropic.glm").unwrap());
    assert_eq!(near(&tree, glm, "glm-4"), ["anthropic.glm.glm-5", "anthropic.glm.GLM-4.5"]);
    assert_eq!(near(&tree, glm, "gpt-4o"), Vec::<String>::new());
    assert!(
        near(&tree, Scope::Kind(ProviderKind::Anthropic), "glm5").contains(&"anthropic.glm.glm-5".into())
    );
}

#[test]
fn the_longest_name_is_refused_like_any_other() {
    let tree = menu();
    for name in ["x".repeat(256), "x.".repeat(128), format!("openai.azure.{}", ".".repeat(243))] {
        assert_eq!(near(&tree, Scope::Kind(ProviderKind::OpenAi), &name), Vec::<String>::new(), "{name}");
    }
}

// Spec: routing R-24.
#[test]
fn the_reason_says_who_would_have_had_to_take_it() {
    let tree = tree([
        provider("openai").models(&["gpt-4"]),
        provider("openai.azure"),
        provider("openai.box").models(&["m"]),
        provider("openai.outer").models(&["inner"]),
        provider("openai.outer.inner"),
    ]);
    check(
        &tree,
        &[
            ("openai", "nothing", "closed: openai"),
            ("openai", "openai", "no default: openai"),
            ("openai", "azure", "no default: openai.azure"),
            ("openai", "openai.azure", "no default: openai.azure"),
            ("anthropic", "azure", "no default: openai.azure"),
            ("openai", "box.n", "closed: openai.box"),
            ("anthropic", "anthropic", "no root: anthropic"),
            // A model that is called like the provider below is a model all the same.
            ("openai", "outer.inner", "openai.outer <- inner"),
            ("openai", "outer.inner.x", "openai.outer.inner <- x"),
        ],
    );
}
