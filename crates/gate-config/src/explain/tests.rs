//! The account as people see it: whole texts, so that a change of wording is seen.

use std::path::PathBuf;

use super::*;
use crate::tree::testing::{Says, provider, tree, tree_with_default};
use crate::{ApiBase, Secret};

const CANARY: &str = "sk-canary-7f3a";

fn sample() -> ProviderTree {
    let file = || Source::File(PathBuf::from("config.toml"));
    let mut glm = provider("anthropic.glm")
        .section("glm-5", "glm-5")
        .origin("api_base", file(), "llm.provider.anthropic.glm.api_base")
        .origin("api_key", Source::Env("ANTHROPIC_AUTH_TOKEN".to_owned()), "llm.provider.anthropic.api_key")
        .origin("auth", Source::Default, "llm.provider.anthropic.auth")
        .origin("timeout", file(), "llm.provider.timeout");
    glm.api_base = ApiBase::parse("https://open.bigmodel.cn/api/anthropic").unwrap();
    glm.api_key = Some(Secret::new(CANARY));
    glm.query.insert("access_token".to_owned(), CANARY.to_owned());
    glm.query.insert("region".to_owned(), "eu".to_owned());
    let loser = Origin {
        source: Source::Env("ANTHROPIC_API_KEY".to_owned()),
        key: "llm.provider.anthropic.api_key".to_owned(),
    };
    glm.losers.insert("api_key", vec![loser]);
    tree([provider("openai").model("gpt-4"), provider("openai.azure").model("gpt-4"), glm])
}

fn check(name: &str, scope: Option<&str>, expected: &str) {
    let tree = sample();
    let scope = scope.map(|path| Scope::Pinned(tree.find(path).unwrap()));
    let explanation = explain(&tree, name, scope);
    assert_eq!(explanation.to_string(), expected.trim_start_matches('\n'), "{name}");
    assert_eq!(explanation.is_found(), expected.contains("= provider"), "{name}");
}

// Spec: routing R-32.
#[test]
fn a_skipped_level_is_explained_down_to_its_url() {
    check(
        "anthropic.glm-5",
        None,
        "
`anthropic.glm-5` at POST /v1/messages (kind anthropic)
  1 kind          the name says `anthropic`
  2 exact         `glm-5` is no section, and no provider with a default model
  3 own           provider `anthropic` itself has no `glm-5`
  3 below         below `anthropic`, `anthropic.glm` alone has `glm-5`
  = provider      anthropic.glm
    model sent    glm-5
    URL           https://open.bigmodel.cn/api/anthropic/v1/messages?access_token=…&region=…
    api_base      llm.provider.anthropic.glm.api_base (config.toml)
    api_key       inherited: llm.provider.anthropic.api_key (environment variable ANTHROPIC_AUTH_TOKEN)
    api_key       not used: llm.provider.anthropic.api_key (environment variable ANTHROPIC_API_KEY)
    auth          built-in default
    timeout       inherited: llm.provider.timeout (config.toml)
",
    );
}

// Spec: routing R-32.
#[test]
fn a_short_name_is_tried_at_every_endpoint() {
    check(
        "gpt-4",
        None,
        "
`gpt-4` at POST /v1/chat/completions (kind openai)
  1 kind          the name says none; the endpoint's is openai
  2 exact         `gpt-4` is no section, and no provider with a default model
  3 below         in all of openai, several have `gpt-4`, and none of them is `llm.provider.default`
  = error         several providers have the name: write one of `openai.gpt-4`, `openai.azure.gpt-4`
`gpt-4` at POST /v1/messages (kind anthropic)
  1 kind          the name says none; the endpoint's is anthropic
  2 exact         `gpt-4` is no section, and no provider with a default model
  3 below         in all of anthropic, nothing has `gpt-4`
  4 pass-through  the name begins with no provider's path
  5 other kind    openai has the name
  = error         the name belongs to kind openai: send it to POST /v1/chat/completions
",
    );
}

// Spec: routing.
#[test]
fn an_unknown_segment_that_is_passed_through_is_warned_about() {
    check(
        "openai.typo.gpt-4.1",
        None,
        "
`openai.typo.gpt-4.1` at POST /v1/chat/completions (kind openai)
  1 kind          the name says `openai`
  2 exact         `typo.gpt-4.1` is no section, and no provider with a default model
  3 own           provider `openai` itself has no `typo.gpt-4.1`
  3 below         below `openai`, nothing has `typo.gpt-4.1`
  4 pass-through  provider `openai` takes `typo.gpt-4.1` as it is
  = provider      openai
    model sent    typo.gpt-4.1
    URL           https://openai.example/v1/chat/completions
  ! warning       `typo` names no provider below `openai`; it is sent as part of the model's name
",
    );
}

#[test]
fn a_pin_is_explained_too() {
    check(
        "openai.gpt-4",
        Some("openai.azure"),
        "
`openai.gpt-4` on a route pinned to provider `openai.azure`
  1 pin           `openai.gpt-4` is looked up inside provider `openai.azure`
  2 exact         `openai.gpt-4` is no section, and no provider with a default model
  3 own           provider `openai.azure` itself has no `openai.gpt-4`
  3 below         below `openai.azure`, nothing has `openai.gpt-4`
    pin           the name belongs to provider `openai`
  = error         the name belongs to provider `openai`, which is outside the pin
",
    );
    check(
        "azure",
        Some("openai.azure"),
        "
`azure` on a route pinned to provider `openai.azure`
  1 pin           the name is that of provider `openai.azure`
  2 exact         the name is configured: a model of provider `openai.azure`
  = provider      openai.azure
    model sent    gpt-4
    URL           https://openai-azure.example/v1/chat/completions
",
    );
}

#[test]
fn an_illegal_name_is_explained_by_its_error() {
    check(
        "gpt\n4",
        None,
        "`gpt\\n4` is no model name: a model name cannot hold the character U+000A (byte 3)\n",
    );
}

#[test]
fn each_other_way_to_end_has_its_sentence() {
    let tree = tree_with_default(
        [
            provider("openai").model("gpt-4"),
            provider("openai.azure").model("gpt-4"),
            provider("openai.shut").models(&["llama-3", "openai.x"]),
            provider("openai.bare"),
            provider("anthropic.glm").model("glm-5"),
            provider("openai.shut.below").model("azure.gpt"),
        ],
        Some("openai.azure"),
    );
    for (name, expected) in [
        ("gpt-4", "in all of openai, several have `gpt-4`; `llm.provider.default` is that of `openai.azure`"),
        ("azure", "`azure` is configured: a model of provider `openai.azure`"),
        ("openai.gpt-4", "provider `openai` has `gpt-4`"),
        ("gpt-9", "provider `openai` takes the name as it is"),
        ("glm", "the name belongs to kind anthropic: send it to POST /v1/messages"),
        (
            "shut.llama-2",
            "provider `openai.shut` takes only its `models`; `open = true` would pass other names on",
        ),
        ("shut.llama-2", "nothing has the name; did you mean `openai.shut.llama-3`?"),
        ("bare", "provider `openai.bare` has no `model` that its name could stand for"),
        ("anthropic.x", "`[llm.provider.anthropic]`, which would take the name, is not configured"),
        ("no.such-thing-at-all-anywhere", "anthropic does not have the name"),
    ] {
        let text = explain(&tree, name, None).to_string();
        assert!(text.contains(expected), "`{name}` lacks {expected:?}:\n{text}");
    }
    let openai = Some(Scope::Kind(ProviderKind::OpenAi));
    let text = explain(&tree, "anthropic.glm", openai).to_string();
    assert!(text.contains("the name says `anthropic`, the endpoint is of kind openai"), "{text}");
}

#[test]
fn dots_of_versions_are_no_reason_for_a_warning() {
    for (name, expected) in [
        ("gpt-4.1", None),
        ("claude-3.5-sonnet-4.6", None),
        ("llama3.2:latest", None),
        ("gpt-4", None),
        ("typo.gpt-4", Some("typo")),
        ("typo.gpt-4.1", Some("typo")),
        ("v1.x", Some("v1")),
        ("anthropic.claude-3-sonnet-v1:0", Some("anthropic")),
        (".", None),
        ("..", Some(".")),
        (".x", None),
        ("x.", Some("x")),
    ] {
        assert_eq!(path_like_part(name), expected, "{name}");
    }
}

// Spec: config C-41.
#[test]
fn no_explanation_shows_a_key() {
    let tree = sample();
    for name in ["glm-5", "anthropic.glm.other", "glm", "nothing"] {
        let explanation = explain(&tree, name, None);
        let texts = [explanation.to_string(), format!("{explanation:?}")];
        assert!(texts.iter().all(|text| !text.contains(CANARY)), "{texts:?}");
    }
}

// Spec: config C-56.
#[test]
fn a_deployment_is_in_the_url() {
    let mut azure = provider("openai.azure").section("fast", "gpt-4o:x");
    azure.api_base = ApiBase::parse("https://r.openai.azure.com/openai/deployments/{model}").unwrap();
    let explanation = explain(&tree([azure]), "openai.azure.fast", None).to_string();
    let url = "https://r.openai.azure.com/openai/deployments/gpt-4o%3Ax/chat/completions";
    assert!(explanation.contains(&format!("    URL           {url}\n")), "{explanation}");
}
