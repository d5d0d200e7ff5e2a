//! Routes that name their provider, and requests that name no model.

use super::*;

fn pinned() -> ProviderTree {
    tree([
        provider("openai").model("gpt-4"),
        provider("anthropic").section("opus", "claude-opus-4-1"),
        provider("anthropic.glm").model("glm-5").section("air", "glm-4.5-air"),
        provider("anthropic.glm.coding").models(&["glm-code"]),
        provider("openai.bedrock").models(&["anthropic.claude-3", "openai.gpt-oss"]).open(),
        provider("openai.azure"),
        provider("openai.a.cn").section("k", "k-1"),
        provider("openai.a.eu").section("k", "k-2"),
    ])
}

// Spec: routing R-28.
#[test]
fn a_pin_strips_its_own_path_and_looks_inside() {
    check(
        &pinned(),
        &[
            ("pin anthropic.glm", "glm-5", "anthropic.glm <- glm-5"),
            ("pin anthropic.glm", "air", "anthropic.glm <- glm-4.5-air"),
            ("pin anthropic.glm", "anthropic.glm.air", "anthropic.glm <- glm-4.5-air"),
            ("pin anthropic.glm", "Anthropic.GLM.Air", "anthropic.glm <- glm-4.5-air"),
            ("pin anthropic.glm", "glm.air", "anthropic.glm <- glm-4.5-air"),
            ("pin anthropic.glm", "GLM.air", "anthropic.glm <- glm-4.5-air"),
            // The path alone is the default model.
            ("pin anthropic.glm", "anthropic.glm", "anthropic.glm <- glm-5"),
            ("pin anthropic.glm", "glm", "anthropic.glm <- glm-5"),
            // Below the pin.
            ("pin anthropic.glm", "glm-code", "anthropic.glm.coding <- glm-code"),
            ("pin anthropic.glm", "coding.glm-code", "anthropic.glm.coding <- glm-code"),
            ("pin anthropic.glm", "coding.other", "closed: anthropic.glm.coding"),
            ("pin anthropic.glm", "coding", "no default: anthropic.glm.coding"),
            ("pin anthropic.glm.coding", "other", "closed: anthropic.glm.coding"),
            // Passed through, spelled by the client.
            ("pin anthropic.glm", "GLM-9.1", "anthropic.glm <- GLM-9.1"),
            ("pin anthropic.glm", "anthropic.glm.GLM-9.1", "anthropic.glm <- GLM-9.1"),
            ("pin openai.azure", "openai.azure.gpt-4.1", "openai.azure <- gpt-4.1"),
            ("pin openai.azure", "azure", "no default: openai.azure"),
            ("pin openai", "openai.azure.gpt-4.1", "openai.azure <- gpt-4.1"),
            ("pin openai", "gpt-9", "openai <- gpt-9"),
        ],
    );
}

// Spec: routing R-28.
#[test]
fn a_pin_does_not_check_the_kind() {
    check(
        &pinned(),
        &[
            ("pin openai.bedrock", "anthropic.claude-3", "openai.bedrock <- anthropic.claude-3"),
            ("pin openai.bedrock", "openai.gpt-oss", "openai.bedrock <- openai.gpt-oss"),
            ("pin openai.bedrock", "anthropic.claude-3-v1:0", "openai.bedrock <- anthropic.claude-3-v1:0"),
            ("pin openai.bedrock", "anthropic.OPUS-9", "openai.bedrock <- anthropic.OPUS-9"),
            ("pin openai.bedrock", "bedrock.openai.gpt-4", "openai.bedrock <- openai.gpt-4"),
        ],
    );
}

// Spec: routing R-29.
#[test]
fn a_full_name_of_another_provider_is_outside_the_pin() {
    check(
        &pinned(),
        &[
            ("pin openai.azure", "openai.gpt-4", "outside: openai"),
            ("pin openai.azure", "openai", "outside: openai"),
            ("pin openai.azure", "openai.bedrock.x", "outside: openai.bedrock"),
            ("pin openai.azure", "openai.bedrock", "outside: openai.bedrock"),
            ("pin openai.azure", "anthropic.glm.air", "outside: anthropic.glm"),
            ("pin openai.azure", "anthropic.opus", "outside: anthropic"),
            ("pin openai.azure", "anthropic.claude-opus-4-1", "outside: anthropic"),
            ("pin anthropic.glm.coding", "anthropic.glm.air", "outside: anthropic.glm"),
            ("pin anthropic.glm", "openai.azure.gpt-4", "outside: openai.azure"),
            // Without a kind it is no full name.
            ("pin openai.azure", "glm.air", "openai.azure <- glm.air"),
            // The root does not own what it merely would pass through.
            ("pin openai.azure", "openai.gpt-9", "openai.azure <- openai.gpt-9"),
        ],
    );
}

#[test]
fn a_pin_sees_ambiguity_only_inside() {
    let tree = tree([
        provider("openai.hub").open(),
        provider("openai.hub.a").section("k", "k-1"),
        provider("openai.hub.b").section("k", "k-2"),
        provider("openai.other").section("k", "k-3"),
    ]);
    check(
        &tree,
        &[
            ("pin openai.hub", "k", "ambiguous: openai.hub.a.k, openai.hub.b.k"),
            ("pin openai.other", "k", "openai.other <- k-3"),
            ("pin openai.hub.b", "K", "openai.hub.b <- k-2"),
        ],
    );
}

#[test]
fn a_pin_does_not_see_what_is_listed_above_it() {
    let tree = tree([provider("openai.a").models(&["b.c"]), provider("openai.a.b")]);
    check(
        &tree,
        &[
            ("pin openai.a.b", "c", "openai.a.b <- c"),
            ("pin openai.a", "b.c", "openai.a <- b.c"),
            ("openai", "a.b.c", "openai.a <- b.c"),
        ],
    );
}

#[test]
fn a_pin_deeper_than_a_name_is_long_still_resolves() {
    let deep = format!("openai.{}", vec!["segment"; 40].join("."));
    let tree =
        tree([provider(&deep).section("Fast", "f-1"), provider(&format!("{deep}.below")).model("b-1")]);
    let pin = format!("pin {deep}");
    check(
        &tree,
        &[
            (pin.as_str(), "fast", &format!("{deep} <- f-1")),
            (pin.as_str(), "x.Y", &format!("{deep} <- x.Y")),
        ],
    );
    assert_eq!(outcome(&tree, &pin, "below.b-1"), format!("{deep}.below <- b-1"));
}

// Spec: routing.
#[test]
fn the_default_stands_in_where_it_is_in_scope() {
    let providers = || {
        [
            provider("openai").model("gpt-4"),
            provider("anthropic"),
            provider("openai.azure"),
            provider("openai.azure.eu").section("fast", "gpt-4o-mini"),
        ]
    };
    fn check(tree: &ProviderTree, scope: Scope, expected: Option<(&str, &str)>) {
        let found = tree.resolve_default(scope);
        let found = found.map(|it| (tree.provider(it.provider).id.as_str(), it.upstream_model));
        assert_eq!(found, expected, "{scope:?}");
    }
    let tree = tree_with_default(providers(), Some("openai.azure.eu.FAST"));
    let pin = |path| Scope::Pinned(tree.find(path).unwrap());
    let fast = Some(("openai.azure.eu", "gpt-4o-mini"));
    check(&tree, Scope::Kind(ProviderKind::OpenAi), fast);
    check(&tree, Scope::Kind(ProviderKind::Anthropic), None);
    check(&tree, pin("openai.azure.eu"), fast);
    check(&tree, pin("openai.azure"), fast);
    check(&tree, pin("openai"), fast);
    check(&tree, pin("anthropic"), None);

    let none = tree_with_default(providers(), None);
    check(&none, Scope::Kind(ProviderKind::OpenAi), None);
}
