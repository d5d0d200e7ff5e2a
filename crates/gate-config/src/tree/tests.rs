//! Resolution as tables: a tree, and the names that are looked up in it.

use super::testing::{Says, outcome, provider, tree, tree_with_default};
use super::*;

mod build;
mod failures;
mod makers;
mod pins;
mod reference;
mod routes;

/// Checks rows of (endpoint's kind or `pin <path>`, name, outcome).
fn check(tree: &ProviderTree, rows: &[(&str, &str, &str)]) {
    for (scope, name, expected) in rows {
        assert_eq!(outcome(tree, scope, name), *expected, "`{name}` at {scope}");
    }
}

/// Two vendors for each kind; two providers have a `gpt-4`.
fn usual() -> Vec<Provider> {
    vec![
        provider("openai").model("gpt-4").section("mini", "gpt-4o-mini"),
        provider("anthropic").section("sonnet-4.7", "claude-sonnet-4-7-20260101"),
        provider("openai.azure").model("gpt-4").section("small", "gpt-35-turbo"),
        provider("anthropic.glm").section("glm-5", "glm-5").section("glm-4.5", "GLM-4.5"),
        provider("openai.bedrock"),
        provider("openai.shut").models(&["llama-3.1", "meta-llama/Llama-3.3-70B"]),
    ]
}

// Spec: routing, N-3.
#[test]
fn a_kind_in_front_must_be_that_of_the_endpoint() {
    check(
        &tree(usual()),
        &[
            ("openai", "openai.gpt-4", "openai <- gpt-4"),
            ("openai", "OpenAI.gpt-4", "openai <- gpt-4"),
            ("anthropic", "openai.gpt-4", "use openai"),
            ("anthropic", "OPENAI.anything", "use openai"),
            ("anthropic", "openai", "use openai"),
            ("openai", "anthropic.glm.glm-5", "use anthropic"),
            ("openai", "anthropic.nothing-here", "use anthropic"),
            // A kind is a whole segment.
            ("openai", "anthropic-claude", "openai <- anthropic-claude"),
            ("openai", "anthropic/claude", "openai <- anthropic/claude"),
        ],
    );
}

// Spec: routing R-12, N-4, N-5.
#[test]
fn the_exact_path_of_a_section_is_its_model() {
    check(
        &tree(usual()),
        &[
            ("openai", "mini", "openai <- gpt-4o-mini"),
            ("openai", "openai.mini", "openai <- gpt-4o-mini"),
            ("openai", "Mini", "openai <- gpt-4o-mini"),
            ("openai", "azure.small", "openai.azure <- gpt-35-turbo"),
            ("openai", "openai.azure.small", "openai.azure <- gpt-35-turbo"),
            ("openai", "OPENAI.AZURE.SMALL", "openai.azure <- gpt-35-turbo"),
            ("anthropic", "anthropic.glm.glm-5", "anthropic.glm <- glm-5"),
            ("anthropic", "glm.glm-5", "anthropic.glm <- glm-5"),
            // As configured, whatever the client's spelling.
            ("anthropic", "glm.glm-4.5", "anthropic.glm <- GLM-4.5"),
        ],
    );
}

// Spec: routing N-1, R-12.
#[test]
fn dotted_sections_keep_their_dots() {
    check(
        &tree(usual()),
        &[
            ("anthropic", "sonnet-4.7", "anthropic <- claude-sonnet-4-7-20260101"),
            ("anthropic", "anthropic.sonnet-4.7", "anthropic <- claude-sonnet-4-7-20260101"),
            ("anthropic", "ANTHROPIC.Sonnet-4.7", "anthropic <- claude-sonnet-4-7-20260101"),
            // Neither half names anything.
            ("anthropic", "sonnet-4", "anthropic <- sonnet-4"),
            ("anthropic", "sonnet-4.8", "anthropic <- sonnet-4.8"),
            ("anthropic", "anthropic.sonnet-4.8", "anthropic <- sonnet-4.8"),
            ("anthropic", "glm-4.5", "anthropic.glm <- GLM-4.5"),
            ("anthropic", "anthropic.glm.glm-4.6", "anthropic.glm <- glm-4.6"),
        ],
    );
}

// Spec: routing R-13.
#[test]
fn the_exact_path_of_a_provider_is_its_default_model() {
    check(
        &tree(usual()),
        &[
            ("openai", "openai", "openai <- gpt-4"),
            ("openai", "OpenAI", "openai <- gpt-4"),
            ("openai", "azure", "openai.azure <- gpt-4"),
            ("openai", "openai.azure", "openai.azure <- gpt-4"),
            ("openai", "openai.Azure", "openai.azure <- gpt-4"),
        ],
    );
}

#[test]
fn a_root_section_wins_over_the_same_name_elsewhere() {
    let tree = tree([
        provider("openai").section("gpt-4", "gpt-4").section("fast", "gpt-4o-mini"),
        provider("openai.azure").model("gpt-4"),
        provider("openai.eu").section("fast", "mistral-small"),
    ]);
    check(
        &tree,
        &[
            ("openai", "gpt-4", "openai <- gpt-4"),
            ("openai", "fast", "openai <- gpt-4o-mini"),
            ("openai", "eu.fast", "openai.eu <- mistral-small"),
        ],
    );
}

// Spec: routing R-12.
#[test]
fn only_a_section_is_exact_at_the_root() {
    let elsewhere = || provider("openai.azure").models(&["x"]);
    for (root, expected) in [
        (provider("openai").section("x", "x"), "openai <- x"),
        (provider("openai").models(&["a"]).section("x", "x"), "openai <- x"),
        (provider("openai").models(&["x"]).open(), "ambiguous: openai.x, openai.azure.x"),
        (provider("openai").models(&["x"]), "ambiguous: openai.x, openai.azure.x"),
        (provider("openai").model("x"), "ambiguous: openai.x, openai.azure.x"),
    ] {
        check(&tree([root, elsewhere()]), &[("openai", "x", expected)]);
    }
}

// Spec: routing R-14.
#[test]
fn a_providers_own_model_comes_before_those_below() {
    let tree = tree([
        provider("openai").model("gpt-4"),
        provider("openai.azure").model("gpt-4").section("fast", "gpt-4o-mini"),
        provider("openai.azure.eu").models(&["gpt-4", "fast", "only-eu"]),
    ]);
    check(
        &tree,
        &[
            ("openai", "openai.gpt-4", "openai <- gpt-4"),
            ("openai", "OPENAI.GPT-4", "openai <- gpt-4"),
            ("openai", "openai.azure.gpt-4", "openai.azure <- gpt-4"),
            ("openai", "azure.gpt-4", "openai.azure <- gpt-4"),
            ("openai", "azure.fast", "openai.azure <- gpt-4o-mini"),
            ("openai", "azure.eu.gpt-4", "openai.azure.eu <- gpt-4"),
            // Also by the upstream model of a section.
            ("openai", "azure.gpt-4o-mini", "openai.azure <- gpt-4o-mini"),
            ("openai", "gpt-4o-mini", "openai.azure <- gpt-4o-mini"),
            ("openai", "azure.only-eu", "openai.azure.eu <- only-eu"),
        ],
    );
}

#[test]
fn a_longer_path_does_not_hide_a_listed_name() {
    let tree = tree([
        provider("openai").model("azure.gpt-4"),
        provider("openai.azure").model("gpt-4o"),
        provider("openai.azure.eu"),
    ]);
    check(
        &tree,
        &[
            ("openai", "openai.azure.gpt-4", "openai <- azure.gpt-4"),
            ("openai", "azure.gpt-4", "openai <- azure.gpt-4"),
            ("openai", "azure.gpt-4o", "openai.azure <- gpt-4o"),
            ("openai", "azure.gpt-5", "openai.azure <- gpt-5"),
        ],
    );
}

// Spec: routing R-15.
#[test]
fn levels_may_be_skipped() {
    let tree = tree([
        provider("anthropic.glm").section("glm-5", "glm-5"),
        provider("anthropic.asia.kimi.cn").section("k2", "kimi-k2").model("kimi-latest"),
    ]);
    check(
        &tree,
        &[
            ("anthropic", "anthropic.glm-5", "anthropic.glm <- glm-5"),
            ("anthropic", "glm-5", "anthropic.glm <- glm-5"),
            ("anthropic", "anthropic.k2", "anthropic.asia.kimi.cn <- kimi-k2"),
            ("anthropic", "k2", "anthropic.asia.kimi.cn <- kimi-k2"),
            ("anthropic", "kimi-latest", "anthropic.asia.kimi.cn <- kimi-latest"),
            // The last segment of a provider's path names its default.
            ("anthropic", "cn", "anthropic.asia.kimi.cn <- kimi-latest"),
            ("anthropic", "anthropic.cn", "anthropic.asia.kimi.cn <- kimi-latest"),
            // A container between is no provider, so it is part of nothing known.
            ("anthropic", "anthropic.kimi.k2", "no root: anthropic"),
        ],
    );
}

// Spec: routing R-17.
#[test]
fn a_name_of_several_providers_is_ambiguous() {
    let tree = tree([
        provider("openai").model("gpt-4"),
        provider("openai.azure").model("gpt-4"),
        provider("openai.EU").section("four", "gpt-4").section("x", "o3"),
        provider("openai.azure.fr").models(&["o3"]),
        provider("openai.azure.de").models(&["o3"]),
        provider("openai.a.mix").model("x-1"),
        provider("openai.b.mix").model("x-2"),
    ]);
    check(
        &tree,
        &[
            ("openai", "gpt-4", "ambiguous: openai.gpt-4, openai.azure.gpt-4, openai.EU.four"),
            ("openai", "GPT-4", "ambiguous: openai.gpt-4, openai.azure.gpt-4, openai.EU.four"),
            ("openai", "o3", "ambiguous: openai.EU.x, openai.azure.fr.o3, openai.azure.de.o3"),
            ("openai", "openai.o3", "ambiguous: openai.EU.x, openai.azure.fr.o3, openai.azure.de.o3"),
            ("openai", "azure.o3", "ambiguous: openai.azure.fr.o3, openai.azure.de.o3"),
            ("openai", "mix", "ambiguous: openai.a.mix, openai.b.mix"),
            // Each candidate means one thing.
            ("openai", "openai.EU.four", "openai.EU <- gpt-4"),
            ("openai", "openai.azure.de.o3", "openai.azure.de <- o3"),
            ("openai", "openai.b.mix", "openai.b.mix <- x-2"),
            ("openai", "openai.gpt-4", "openai <- gpt-4"),
            // From the other endpoint it is still a name of this kind.
            ("anthropic", "gpt-4", "use openai"),
        ],
    );
}

// Spec: routing R-16.
#[test]
fn the_default_decides_between_several() {
    let providers = || {
        [
            provider("openai").model("gpt-4"),
            provider("openai.azure").model("gpt-4").section("o3", "o3"),
            provider("openai.azure.de").models(&["gpt-4", "mini"]),
            provider("openai.azure.fr").models(&["mini"]),
            provider("openai.eu").models(&["gpt-4", "o3", "mini"]),
        ]
    };
    for (default, name, expected) in [
        ("openai.gpt-4", "gpt-4", "openai <- gpt-4"),
        ("openai.azure.gpt-4", "gpt-4", "openai.azure <- gpt-4"),
        ("openai.azure", "gpt-4", "openai.azure <- gpt-4"),
        ("OPENAI.EU.GPT-4", "gpt-4", "openai.eu <- gpt-4"),
        ("openai.eu.o3", "o3", "openai.eu <- o3"),
        // It is another model of the same provider, so it decides nothing.
        ("openai.eu.gpt-4", "o3", "ambiguous: openai.azure.o3, openai.eu.o3"),
        // It is outside of what the name asks for.
        ("openai.eu.gpt-4", "azure.gpt-4", "openai.azure <- gpt-4"),
        ("openai.eu.mini", "azure.mini", "ambiguous: openai.azure.de.mini, openai.azure.fr.mini"),
        ("openai.azure.fr.mini", "azure.mini", "openai.azure.fr <- mini"),
    ] {
        let tree = tree_with_default(providers(), Some(default));
        assert_eq!(outcome(&tree, "openai", name), expected, "`{name}` with default `{default}`");
    }
}

// Spec: routing R-19, N-5.
#[test]
fn an_unknown_name_is_passed_to_the_longest_path() {
    check(
        &tree(usual()),
        &[
            ("openai", "openai.gpt-9", "openai <- gpt-9"),
            ("openai", "openai.GPT-9.1-Turbo", "openai <- GPT-9.1-Turbo"),
            ("openai", "openai.azure.gpt-4.1", "openai.azure <- gpt-4.1"),
            ("openai", "Azure.GPT-4.1", "openai.azure <- GPT-4.1"),
            (
                "openai",
                "openai.bedrock.anthropic.claude-3-sonnet-v1:0",
                "openai.bedrock <- anthropic.claude-3-sonnet-v1:0",
            ),
            ("openai", "bedrock.openai.gpt-oss-120b", "openai.bedrock <- openai.gpt-oss-120b"),
            ("openai", "bedrock.meta-llama/Llama-3.3-70B", "openai.bedrock <- meta-llama/Llama-3.3-70B"),
            ("anthropic", "anthropic.claude-opus-4-1", "anthropic <- claude-opus-4-1"),
            ("openai", "bedrock..x", "openai.bedrock <- .x"),
        ],
    );
}

// Spec: routing R-23.
#[test]
fn an_unknown_segment_is_never_dropped() {
    check(
        &tree(usual()),
        &[
            ("openai", "openai.typo.gpt-4", "openai <- typo.gpt-4"),
            ("openai", "typo.gpt-4", "openai <- typo.gpt-4"),
            ("openai", "openai.azure.typo.gpt-4", "openai.azure <- typo.gpt-4"),
            ("openai", "azure.typo.small", "openai.azure <- typo.small"),
        ],
    );
}

// Spec: routing R-20.
#[test]
fn a_closed_provider_takes_only_its_models() {
    let mut providers = usual();
    providers.push(provider("openai.ajar").models(&["a-1"]).open());
    providers.push(provider("openai.shut.inner").model("deep"));
    let tree = tree(providers);
    check(
        &tree,
        &[
            ("openai", "openai.shut.llama-3.1", "openai.shut <- llama-3.1"),
            ("openai", "shut.META-LLAMA/llama-3.3-70b", "openai.shut <- meta-llama/Llama-3.3-70B"),
            ("openai", "llama-3.1", "openai.shut <- llama-3.1"),
            ("openai", "openai.shut.llama-3.2", "closed: openai.shut"),
            ("openai", "shut.llama-3.2", "closed: openai.shut"),
            // What is below a closed provider is its own business.
            ("openai", "shut.deep", "openai.shut.inner <- deep"),
            ("openai", "shut.inner.x", "openai.shut.inner <- x"),
            ("openai", "ajar.a-1", "openai.ajar <- a-1"),
            ("openai", "ajar.a-2", "openai.ajar <- a-2"),
        ],
    );
}

// Spec: routing R-21.
#[test]
fn a_name_that_only_the_other_kind_has_is_sent_there() {
    let mut providers = usual();
    providers.push(provider("anthropic.tight").models(&["t-1"]));
    let tree = tree(providers);
    check(
        &tree,
        &[
            ("openai", "glm-5", "use anthropic"),
            ("openai", "GLM-4.5", "use anthropic"),
            ("openai", "glm.glm-5", "use anthropic"),
            ("openai", "sonnet-4.7", "use anthropic"),
            ("anthropic", "mini", "use openai"),
            ("anthropic", "azure", "use openai"),
            // A provider's path in front says whose name it is, even if the model is not configured.
            ("openai", "glm.glm-9", "use anthropic"),
            // Nobody would take this one.
            ("openai", "tight.t-2", "closed: anthropic.tight"),
        ],
    );
}

// Spec: routing R-22.
#[test]
fn a_name_that_nothing_claims_goes_to_a_configured_root() {
    check(
        &tree(usual()),
        &[
            ("openai", "gpt-9", "openai <- gpt-9"),
            ("openai", "ft:gpt-4o:org::id", "openai <- ft:gpt-4o:org::id"),
            ("openai", "Llama3.2:latest", "openai <- Llama3.2:latest"),
            ("anthropic", "claude-opus-4-1", "anthropic <- claude-opus-4-1"),
            ("anthropic", "gpt-9", "anthropic <- gpt-9"),
            ("openai", ".", "openai <- ."),
        ],
    );
    let closed = tree([provider("openai").models(&["gpt-4"]), provider("openai.x")]);
    check(
        &closed,
        &[
            ("openai", "gpt-4", "openai <- gpt-4"),
            ("openai", "gpt-5", "closed: openai"),
            ("openai", "openai.gpt-5", "closed: openai"),
            ("openai", "x.gpt-5", "openai.x <- gpt-5"),
        ],
    );
    let unmentioned = tree([provider("openai.azure").model("gpt-4")]);
    check(
        &unmentioned,
        &[
            ("openai", "gpt-4", "openai.azure <- gpt-4"),
            ("openai", "openai.gpt-4", "openai.azure <- gpt-4"),
            ("openai", "gpt-5", "no root: openai"),
            ("openai", "openai.gpt-5", "no root: openai"),
            ("openai", "openai", "no root: openai"),
            ("anthropic", "claude", "no root: anthropic"),
        ],
    );
}
