//! Pools and fallbacks: who shares the requests of a name, and who comes after them.

use super::super::testing::with_roots;
use super::*;

fn linked(providers: impl IntoIterator<Item = Provider>, default: Option<&str>) -> ProviderTree {
    let mut tree =
        ProviderTree::build(with_roots(providers), Vec::new(), default.map(str::to_owned)).unwrap();
    tree.link_fallbacks().unwrap();
    tree
}

/// Writes a route as `openai.a:3 <- m, openai.b:1 <- m | openai.c <- n`; the weight of one alone, and
/// fallbacks that there are none of, are left out.
fn written(tree: &ProviderTree, route: &Route<'_>) -> String {
    let line = |target: Target<'_>, share: String| {
        format!("{}{share} <- {}", tree.provider(target.provider).id, target.upstream_model)
    };
    let share = |weight| if route.is_pool() { format!(":{weight}") } else { String::new() };
    let pool: Vec<_> = route.pool().map(|member| line(member.target, share(member.weight))).collect();
    let fallbacks: Vec<_> = route.fallbacks().map(|target| line(target, String::new())).collect();
    let fallbacks = if fallbacks.is_empty() { String::new() } else { format!(" | {}", fallbacks.join(", ")) };
    format!("{}{fallbacks}", pool.join(", "))
}

/// Checks rows of scope, name and route; what has none is written as elsewhere.
#[track_caller]
fn check(tree: &ProviderTree, rows: &[(&str, &str, &str)]) {
    for &(scope, name, expected) in rows {
        let parsed = ModelRef::parse(name).unwrap();
        let at = match scope.strip_prefix("pin ") {
            Some(path) => Scope::Pinned(tree.find(path).unwrap()),
            None => Scope::Kind(scope.parse().unwrap()),
        };
        let found = match tree.route(parsed, at) {
            Ok(route) => written(tree, &route),
            Err(_) => outcome(tree, scope, name),
        };
        assert_eq!(found, expected, "{name} in {scope}");
    }
}

// Spec: routing R-18.
#[test]
fn those_that_all_have_a_weight_share_their_name() {
    let usual = || {
        [
            provider("openai"),
            provider("openai.a").models(&["m", "only-a"]).weight(3),
            provider("openai.b").model("M").weight(1),
            provider("openai.b.deep").model("m").weight(2),
            provider("openai.c").model("other"),
            provider("openai.d").model("other").weight(1),
        ]
    };
    let three = "openai.a:3 <- m, openai.b:1 <- M, openai.b.deep:2 <- m";
    let ambiguous = "ambiguous: openai.c.other, openai.d.other";
    check(
        &linked(usual(), None),
        &[
            ("openai", "m", three),
            ("openai", "OpenAI.M", three),
            ("openai", "only-a", "openai.a <- only-a"),
            ("openai", "a.m", "openai.a <- m"),
            ("openai", "openai.b.m", "openai.b <- M"),
            ("pin openai.b", "m", "openai.b <- M"),
            ("openai", "other", ambiguous),
        ],
    );
    // The pool comes before the default, which decides only where not all have a weight.
    check(&linked(usual(), Some("openai.a.m")), &[("openai", "m", three), ("openai", "other", ambiguous)]);
    check(
        &linked(usual(), Some("openai.d.other")),
        &[("openai", "m", three), ("openai", "other", "openai.d <- other")],
    );
    // The root has a weight too, but what is its own by name stays its own.
    let mut with_root = usual();
    with_root[0] = provider("openai").model("m").weight(4);
    check(
        &linked(with_root, None),
        &[
            ("openai", "m", "openai:4 <- m, openai.a:3 <- m, openai.b:1 <- M, openai.b.deep:2 <- m"),
            ("openai", "openai.m", "openai <- m"),
        ],
    );
}

// Spec: routing R-43.
#[test]
fn siblings_with_a_weight_stand_in_for_their_parent() {
    let tree = linked(
        [
            provider("openai").model("gpt-4").section("fast", "gpt-mini"),
            provider("openai.a").weight(3),
            provider("openai.b").weight(1).section("fast", "b-mini"),
            // Those have models of their own, or no weight.
            provider("openai.c").model("c-1").weight(5),
            provider("openai.d"),
            provider("openai.group").models(&["g-1"]),
            provider("openai.group.x").weight(1),
            provider("openai.group.y").weight(2),
            provider("openai.group.y.inner").weight(9),
        ],
        Some("openai.gpt-4"),
    );
    let whole = |model: &str| format!("openai.a:3 <- {model}, openai.b:1 <- {model}");
    check(
        &tree,
        &[
            ("openai", "gpt-4", &whole("gpt-4")),
            ("openai", "openai.gpt-4", &whole("gpt-4")),
            ("openai", "openai", &whole("gpt-4")),
            ("openai", "openai.gpt-9.1", &whole("gpt-9.1")),
            ("openai", "gpt-9", &whole("gpt-9")),
            // A name of their own counts for each of them.
            ("openai", "openai.fast", "openai.a:3 <- gpt-mini, openai.b:1 <- b-mini"),
            ("openai", "openai.a.gpt-4", "openai.a <- gpt-4"),
            ("openai", "b.fast", "openai.b <- b-mini"),
            ("openai", "openai.d.m", "openai.d <- m"),
            ("openai", "g-1", "openai.group.x:1 <- g-1, openai.group.y:2 <- g-1"),
            ("pin openai.group", "g-1", "openai.group.x:1 <- g-1, openai.group.y:2 <- g-1"),
            // A parent that is closed takes no more with them than without.
            ("openai", "openai.group.g-2", "closed: openai.group"),
            // One alone shares with nobody.
            ("openai", "openai.group.y.z", "openai.group.y <- z"),
        ],
    );
    let default = tree.route_default(Scope::Kind(ProviderKind::OpenAi)).unwrap();
    assert_eq!(written(&tree, &default), whole("gpt-4"));
    let provider = tree.find("openai.group").unwrap();
    let pinned = tree.route_of(Target { provider, upstream_model: "g-1" });
    assert_eq!(written(&tree, &pinned), "openai.group.x:1 <- g-1, openai.group.y:2 <- g-1");
    let first = tree.resolve_default(Scope::Kind(ProviderKind::OpenAi)).map(|it| it.provider);
    assert_eq!(first, tree.find("openai.a"));
    assert!(tree.route_default(Scope::Pinned(tree.find("openai.a").unwrap())).is_none());
}

// Spec: routing R-44.
#[test]
fn a_root_that_nothing_configures_takes_names_for_the_pool_below_it() {
    let siblings = || [provider("openai.a").weight(1), provider("openai.b").weight(2)];
    let pool = "openai.a:1 <- m, openai.b:2 <- m";
    check(
        &linked(siblings(), None),
        &[
            ("openai", "m", pool),
            ("openai", "openai.m", pool),
            ("openai", "openai", "no default: openai"),
            ("anthropic", "m", "no root: anthropic"),
        ],
    );
    let [one, _] = siblings();
    check(&linked([one], None), &[("openai", "m", "no root: openai")]);
}

// Spec: routing.
#[test]
fn a_fallback_gets_the_name_or_its_default_or_the_same_model() {
    let tree = linked(
        [
            provider("openai").model("gpt-4").fallback(&["openai.named", "plain"]),
            provider("openai.named").models(&["gpt-4", "x"]).model("d").section("fast", "n-fast"),
            provider("openai.plain"),
            provider("openai.defaulted").model("d-1"),
            provider("openai.closed").models(&["c-1"]),
            provider("openai.s").section("fast", "s-fast").fallback(&[
                "named",
                "defaulted",
                "closed",
                "plain",
            ]),
            provider("openai.exact").fallback(&["openai.named.x", "openai.gpt-5"]),
            provider("anthropic").fallback(&["anthropic.glm"]),
            provider("anthropic.glm").section("glm-5", "GLM-5"),
        ],
        None,
    );
    check(
        &tree,
        &[
            ("openai", "openai.gpt-4", "openai <- gpt-4 | openai.named <- gpt-4, openai.plain <- gpt-4"),
            ("openai", "openai.q", "openai <- q | openai.named <- d, openai.plain <- q"),
            // A section's name is looked for before what is sent for it.
            (
                "openai",
                "s.fast",
                "openai.s <- s-fast | openai.named <- n-fast, openai.defaulted <- d-1, openai.plain <- s-fast",
            ),
            (
                "openai",
                "s.c-1",
                "openai.s <- c-1 | openai.named <- d, openai.defaulted <- d-1, openai.closed <- c-1, \
                 openai.plain <- c-1",
            ),
            // What a fallback falls back to comes right after it.
            (
                "openai",
                "exact.m",
                "openai.exact <- m | openai.named <- x, openai <- gpt-5, openai.named <- d, \
                 openai.plain <- gpt-5",
            ),
            ("openai", "defaulted", "openai.defaulted <- d-1"),
            ("anthropic", "claude", "anthropic <- claude | anthropic.glm <- claude"),
            ("anthropic", "anthropic.GLM-5", "anthropic.glm <- GLM-5"),
        ],
    );
}

// Spec: routing.
#[test]
fn a_pool_has_the_fallbacks_of_all_its_members_once() {
    let tree = linked(
        [
            provider("openai").fallback(&["spare"]),
            provider("openai.a").weight(1).fallback(&["openai.b", "last"]),
            provider("openai.b").weight(1).fallback(&["openai.last"]),
            provider("openai.spare").model("spare-1"),
            provider("openai.last").model("last-1").fallback(&["spare"]),
            provider("openai.to-pool").model("p").fallback(&["openai"]),
        ],
        None,
    );
    check(
        &tree,
        &[
            (
                "openai",
                "m",
                "openai.a:1 <- m, openai.b:1 <- m | openai.spare <- spare-1, openai.last <- last-1",
            ),
            (
                "openai",
                "openai.a.m",
                "openai.a <- m | openai.b <- m, openai.last <- last-1, openai.spare <- spare-1",
            ),
            // A pool that is a fallback is each of its members, one after the other.
            (
                "openai",
                "to-pool",
                "openai.to-pool <- p | openai.a <- p, openai.b <- p, openai.last <- last-1, \
                 openai.spare <- spare-1",
            ),
        ],
    );
}

// Spec: routing R-47.
#[test]
fn a_fallback_that_leads_nowhere_or_back_is_refused() {
    let check = |providers: &[Provider], expected: &[&str]| {
        let mut tree = ProviderTree::build(with_roots(providers.to_vec()), Vec::new(), None).unwrap();
        let errors = tree.link_fallbacks().err().unwrap_or_default();
        let lines: Vec<_> =
            errors.iter().map(|it| format!("{}: {it}", tree.provider(it.provider).id)).collect();
        assert_eq!(lines, expected);
    };
    let one = |text: &str, expected: &str| {
        let providers = [
            provider("openai").model("gpt-4").fallback(&[text]),
            provider("openai.azure").models(&["gpt-4o", "both"]),
            provider("openai.other").model("both"),
            provider("anthropic.glm").section("glm-5", "glm-5"),
        ];
        check(&providers, &[&format!("openai: {expected}")]);
    };
    one("openai", "`openai` is this provider itself");
    one("gpt-4", "`gpt-4` is a model of this provider itself");
    one("openai.gpt-5", "`openai.gpt-5` is a model of this provider itself");
    one(
        "anthropic.glm",
        "`anthropic.glm` is of kind `anthropic`, and a request of kind `openai` cannot go there",
    );
    one(
        "anthropic.glm.glm-5",
        "`anthropic.glm.glm-5` is of kind `anthropic`, and a request of kind `openai` cannot go there",
    );
    one("glm-5", "`glm-5` is of kind `anthropic`, and a request of kind `openai` cannot go there");
    one("both", "several providers have `both`: write one of `openai.azure.both`, `openai.other.both`");
    one(
        "azrue",
        "`azrue` is neither a provider nor a configured model; for a model that `openai` itself passes through, \
         write `openai.azrue`",
    );
    one(
        "azure.gpt-4x",
        "`azure.gpt-4x` is neither a provider nor a configured model; did you mean `openai.azure.gpt-4o`, `openai.azure.both`?",
    );
    one("a b", "`a b` is no name: a model name cannot hold a space (byte 1)");
    check(
        &[
            provider("openai.a").fallback(&["b"]),
            provider("openai.b").fallback(&["openai.c.any"]),
            provider("openai.c").fallback(&["d", "a"]),
            provider("openai.d"),
            provider("openai.e").fallback(&["a"]),
        ],
        &["openai.a: leads back to where it began: `openai.a` → `openai.b` → `openai.c` → `openai.a`"],
    );
}

// Spec: routing R-47.
#[test]
fn a_long_chain_costs_neither_the_stack_nor_a_list_at_each_link() {
    let count = 3000;
    let links = (0..count).map(|at| provider(&format!("openai.p{at}")).fallback(&[&format!("p{}", at + 1)]));
    let tree = linked(links.chain([provider(&format!("openai.p{count}"))]), None);
    let longest = (0..tree.providers().len()).map(|at| tree.fallbacks_of(ProviderIndex(at)).len()).max();
    assert_eq!(longest, Some(32));
    assert_eq!(tree.fallbacks_of(tree.find("openai.p2990").unwrap()).len(), 10);
}
