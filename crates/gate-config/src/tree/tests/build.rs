//! The tree itself: what it finds by path, what it lists, and which defaults it refuses.

use super::super::testing::with_roots;
use super::*;

fn listed(tree: &ProviderTree, scope: Option<Scope>) -> Vec<(&str, &str)> {
    tree.models(scope).map(|model| (model.id, model.upstream)).collect()
}

// Spec: routing R-4, N-4.
#[test]
fn providers_are_found_by_path_and_alias() {
    let providers = with_roots([provider("openai.azure.EU"), provider("anthropic.glm").model("glm-5")]);
    let aliases = [("GLM", "anthropic.glm"), ("lost", "openai.lost")];
    let aliases = aliases.map(|(alias, id)| (alias.to_owned(), id.to_owned())).to_vec();
    let tree = ProviderTree::build(providers, aliases, None).unwrap();
    for (path, expected) in [
        ("openai", Some("openai")),
        ("Anthropic", Some("anthropic")),
        ("openai.azure.eu", Some("openai.azure.EU")),
        ("OPENAI.AZURE.EU", Some("openai.azure.EU")),
        ("anthropic.glm", Some("anthropic.glm")),
        ("glm", Some("anthropic.glm")),
        ("Glm", Some("anthropic.glm")),
        ("openai.azure", None),
        ("azure.eu", None),
        ("lost", None),
        ("openai.", None),
        (".openai", None),
        ("", None),
        ("anthropic.glm.glm-5", None),
    ] {
        let found = tree.find(path).map(|at| tree.provider(at).id.as_str());
        assert_eq!(found, expected, "{path:?}");
    }
    let roots = ProviderKind::ALL.map(|kind| tree.kind_root(kind).map(ProviderIndex::position));
    assert_eq!(roots, [Some(0), Some(1)]);
    assert_eq!(outcome(&tree, "anthropic", "glm.glm-5"), "anthropic.glm <- glm-5");
}

#[test]
fn models_are_listed_in_order_and_by_scope() {
    let tree = tree([
        provider("openai").model("gpt-4").section("Mini", "gpt-4o-mini"),
        provider("openai.azure").models(&["gpt-4", "o3"]),
        provider("openai.azure.eu").model("mistral"),
        provider("openai.azurex").model("x"),
        provider("anthropic.glm").section("glm-5", "glm-5"),
    ]);
    let azure =
        [("openai.azure.gpt-4", "gpt-4"), ("openai.azure.o3", "o3"), ("openai.azure.eu.mistral", "mistral")];
    let mut openai = vec![("openai.gpt-4", "gpt-4"), ("openai.Mini", "gpt-4o-mini")];
    openai.extend(azure);
    openai.push(("openai.azurex.x", "x"));
    let anthropic = [("anthropic.glm.glm-5", "glm-5")];
    assert_eq!(listed(&tree, None), [openai.as_slice(), &anthropic].concat());
    assert_eq!(listed(&tree, Some(Scope::Kind(ProviderKind::OpenAi))), openai);
    assert_eq!(listed(&tree, Some(Scope::Kind(ProviderKind::Anthropic))), anthropic);
    assert_eq!(listed(&tree, tree.find("openai.azure").map(Scope::Pinned)), azure);
}

#[test]
fn no_two_listed_ids_are_equal() {
    let tree = tree([
        // The root lists what is the full name of a model below, and its own default again.
        provider("openai").model("gpt-4").models(&["azure.gpt-4", "GPT-4", "other"]),
        provider("openai.azure").section("gpt-4", "gpt-4-turbo").section("x", "x-1"),
        // A section renames what the list has.
        provider("openai.eu").models(&["a"]).section("A", "a-2"),
    ]);
    let expected = [
        ("openai.gpt-4", "gpt-4"),
        ("openai.azure.gpt-4", "gpt-4-turbo"),
        ("openai.other", "other"),
        ("openai.azure.x", "x-1"),
        ("openai.eu.A", "a-2"),
    ];
    assert_eq!(listed(&tree, None), expected);
    for (id, upstream) in expected {
        let model = tree.find_model(id, None).unwrap();
        let expected = format!("{} <- {upstream}", tree.provider(model.provider).id);
        assert_eq!(outcome(&tree, "openai", id), expected, "{id}");
    }
}

#[test]
fn a_listed_model_is_found_by_its_id_alone() {
    let tree = tree([
        provider("openai.azure").models(&["GPT-4", "meta-llama/Llama-3.3-70B"]),
        provider("anthropic.glm").section("fast", "glm-air"),
    ]);
    let azure = tree.find("openai.azure").map(Scope::Pinned);
    for (id, scope, expected) in [
        ("openai.azure.GPT-4", None, Some("openai.azure.GPT-4")),
        ("OpenAI.Azure.gpt-4", None, Some("openai.azure.GPT-4")),
        ("openai.azure.meta-llama/llama-3.3-70b", None, Some("openai.azure.meta-llama/Llama-3.3-70B")),
        ("anthropic.glm.fast", Some(Scope::Kind(ProviderKind::Anthropic)), Some("anthropic.glm.fast")),
        ("anthropic.glm.fast", Some(Scope::Kind(ProviderKind::OpenAi)), None),
        ("openai.azure.gpt-4", azure, Some("openai.azure.GPT-4")),
        ("anthropic.glm.fast", azure, None),
        ("gpt-4", None, None),
        ("azure.gpt-4", None, None),
        ("anthropic.glm.glm-air", None, None),
        ("openai.azure", None, None),
        ("openai", None, None),
        ("", None, None),
    ] {
        assert_eq!(tree.find_model(id, scope).map(|model| model.id), expected, "{id:?} in {scope:?}");
    }
}

// Spec: routing R-27.
#[test]
fn a_default_that_does_not_resolve_is_refused() {
    fn check(default: &str, message: &str) {
        let providers = with_roots([
            provider("openai").model("gpt-4"),
            provider("openai.azure").model("gpt-4"),
            provider("openai.bare"),
            provider("openai.shut").models(&["llama-3"]),
            provider("openai.twin").section("both", "o-1"),
            provider("anthropic.twin").section("both", "a-1"),
        ]);
        let error = ProviderTree::build(providers, Vec::new(), Some(default.to_owned())).unwrap_err();
        assert_eq!(error.to_string(), message, "{default:?}");
    }
    check("gpt-4", "several providers have `gpt-4`: write one of `openai.gpt-4`, `openai.azure.gpt-4`");
    check("both", "`both` means something in both kinds: write `openai.both` or `anthropic.both`");
    check("gpt 4", "`gpt 4` is no model name: a model name cannot hold a space (byte 3)");
    check("", "`` is no model name: a model name cannot be empty");
    check(
        "openai.bare",
        "provider `openai.bare` has no `model` that its name could stand for: add one, or write `openai.bare.` \
         and a model",
    );
    check(
        "shut.llama-4",
        "no configured provider has or takes `shut.llama-4`; did you mean `openai.shut.llama-3`?",
    );
    check("anthropic.claude", "no configured provider has or takes `anthropic.claude`");
}

#[test]
fn a_default_may_have_any_form() {
    for (default, expected) in [
        ("openai.gpt-4", ("openai", "gpt-4")),
        ("azure", ("openai.azure", "o3")),
        ("o3", ("openai.azure", "o3")),
        // Passed through, by a root that is configured.
        ("openai.gpt-9", ("openai", "gpt-9")),
        ("gpt-9", ("openai", "gpt-9")),
        ("glm", ("anthropic.glm", "glm-5")),
    ] {
        let tree = tree_with_default(
            [
                provider("openai").model("gpt-4"),
                provider("openai.azure").model("o3"),
                provider("anthropic.glm").model("glm-5"),
            ],
            Some(default),
        );
        let kind =
            if expected.0.starts_with("openai") { ProviderKind::OpenAi } else { ProviderKind::Anthropic };
        let found = tree.resolve_default(Scope::Kind(kind)).unwrap();
        assert_eq!((tree.provider(found.provider).id.as_str(), found.upstream_model), expected, "{default}");
    }
}
