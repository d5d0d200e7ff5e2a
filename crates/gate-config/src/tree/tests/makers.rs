//! Names in a request that names an object too, at the object's maker.

use super::super::testing::{Says, provider, tree};
use super::*;

// Spec: api A-61.
#[test]
fn a_name_is_the_makers_unless_it_leads_elsewhere() {
    let tree = tree([
        provider("openai").model("gpt-4"),
        provider("openai.azure").section("small", "gpt-35"),
        provider("openai.azure.eu").section("tiny", "gpt-3"),
        provider("openai.shut").models(&["llama-3", "gpt-4"]),
        provider("openai.other").section("big", "gpt-5").models(&["azure.x"]).open(),
        provider("anthropic.glm").section("glm-5", "GLM-5"),
    ]);
    for (maker, name, expected) in [
        ("openai.azure", "small", "gpt-35"),
        ("openai.azure", "gpt-4", "gpt-4"),
        ("openai.azure", "gpt-9", "gpt-9"),
        // The name says where it belongs; the usual steps find that.
        ("openai.azure", "openai.other.gpt-4", ""),
        ("openai.azure", "other.gpt-4", ""),
        ("openai.azure", "other", ""),
        ("openai.azure", "openai.gpt-9", ""),
        ("openai.azure", "azure.gpt-9", ""),
        // Below the maker is another provider.
        ("openai.azure", "tiny", ""),
        ("openai.azure", "eu.tiny", ""),
        ("openai", "small", ""),
        ("openai", "gpt-4", "gpt-4"),
        ("openai", "gpt-9", "gpt-9"),
        // The maker's own list comes before the path of another.
        ("openai.other", "azure.x", "azure.x"),
        ("openai.other", "azure.y", ""),
        ("openai.shut", "gpt-4", "gpt-4"),
        ("openai.shut", "gpt-9", ""),
        // Of the other kind.
        ("openai.azure", "glm-5", ""),
        ("openai.azure", "glm.glm-9", ""),
        ("openai.azure", "anthropic.claude", ""),
        ("anthropic.glm", "claude-9", "claude-9"),
    ] {
        let at = tree.find(maker).unwrap();
        let found = tree.resolve_at_maker(ModelRef::parse(name).unwrap(), at);
        assert!(found.is_none_or(|target| target.provider == at), "`{name}` at {maker}");
        assert_eq!(found.map_or("", |target| target.upstream_model), expected, "`{name}` at {maker}");
    }
}
