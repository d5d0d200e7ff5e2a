//! The index against the plainest way to do the same: look at everything, compare whole texts.

use proptest::prelude::*;

use super::super::testing::with_roots;
use super::*;

/// A segment from so small an alphabet that names collide all the time, in either case.
fn segment() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "B", "c-1", "4"]).prop_map(str::to_owned)
}

fn dotted(most: usize) -> impl Strategy<Value = String> {
    prop::collection::vec(segment(), 1..=most).prop_map(|segments| segments.join("."))
}

/// Providers with distinct paths; some have a default, a list, or sections.
fn providers() -> impl Strategy<Value = Vec<Provider>> {
    let one = (
        prop::sample::select(vec!["openai", "anthropic"]),
        dotted(3),
        prop::option::of(dotted(2)),
        prop::collection::vec(dotted(2), 0..3),
        prop::collection::vec(dotted(2), 0..3),
    );
    prop::collection::vec(one, 0..6).prop_map(|drawn| {
        let mut providers: Vec<Provider> = Vec::new();
        for (kind, path, default, models, sections) in drawn {
            let id = format!("{kind}.{path}");
            if providers.iter().any(|other| other.id.eq_ignore_ascii_case(&id)) {
                continue;
            }
            let mut new = provider(&id);
            if let Some(default) = default {
                new = new.model(&default);
            }
            if !models.is_empty() {
                new = new.models(&models.iter().map(String::as_str).collect::<Vec<_>>());
            }
            for section in sections {
                new = new.section(&section, &format!("{section}-sent"));
            }
            providers.push(new);
        }
        with_roots(providers)
    })
}

/// Everyone within a scope whose own models have a name, by any of the three ways to say it.
fn owners(tree: &ProviderTree, name: &str, is_here: impl Fn(&Provider) -> bool) -> Vec<String> {
    let has = |provider: &Provider| {
        let is_last = provider.id.rsplit('.').next().is_some_and(|last| last.eq_ignore_ascii_case(name));
        (provider.default_model.is_some() && is_last)
            || provider.models.iter().any(|model| {
                model.name.eq_ignore_ascii_case(name) || model.upstream.eq_ignore_ascii_case(name)
            })
    };
    let here =
        tree.providers().map(|(_, provider)| provider).filter(|provider| is_here(provider) && has(provider));
    here.map(|provider| provider.id.clone()).collect()
}

proptest! {
    #[test]
    fn find_is_a_comparison_of_paths(providers in providers(), path in dotted(3)) {
        let tree = ProviderTree::build(providers, Vec::new(), None).unwrap();
        for kind in ProviderKind::ALL {
            let path = format!("{kind}.{path}");
            let expected = tree.providers().find(|(_, it)| it.id.eq_ignore_ascii_case(&path)).map(|(at, _)| at);
            prop_assert_eq!(tree.find(&path), expected);
        }
    }

    #[test]
    fn every_listed_id_resolves_to_its_own_line(providers in providers()) {
        let tree = ProviderTree::build(providers, Vec::new(), None).unwrap();
        let mut seen = std::collections::HashSet::new();
        for model in tree.models(None) {
            prop_assert!(seen.insert(model.id.to_ascii_lowercase()), "{} twice", model.id);
            prop_assert_eq!(tree.find_model(&model.id.to_ascii_uppercase(), None), Some(model));
            // A provider's path means its default, and what a longer path has comes first, even
            // where a provider above lists such a name.
            let is_default = tree.find(model.id).is_some_and(|at| tree.provider(at).default_model.is_some());
            let owner_len = tree.provider(model.provider).id.len();
            let is_had_below = ModelRef::parse(model.id).unwrap().splits().any(|split| {
                let longer = tree.find(split.path).filter(|_| split.path.len() > owner_len).map(Scope::Pinned);
                let is_here = |it: &Provider| longer.is_some_and(|pin| tree.is_within(tree.find(&it.id).unwrap(), pin));
                !owners(&tree, split.rest, is_here).is_empty()
            });
            if is_default || is_had_below {
                continue;
            }
            let kind = tree.provider(model.provider).kind;
            let found = tree.resolve(ModelRef::parse(model.id).unwrap(), Scope::Kind(kind));
            let expected = Target { provider: model.provider, upstream_model: model.upstream };
            prop_assert_eq!(found, Ok(expected), "{}", model.id);
        }
    }

    #[test]
    fn every_configured_model_is_listed(providers in providers()) {
        let tree = ProviderTree::build(providers, Vec::new(), None).unwrap();
        for (_, provider) in tree.providers() {
            for model in &provider.models {
                let id = format!("{}.{}", provider.id, model.name);
                prop_assert!(tree.find_model(&id, None).is_some(), "{}", id);
            }
        }
    }

    #[test]
    fn a_short_name_is_ambiguous_exactly_if_several_have_it(providers in providers(), name in segment()) {
        let tree = ProviderTree::build(providers, Vec::new(), None).unwrap();
        let kind = ProviderKind::OpenAi;
        // Anything at the path itself is exact, and decides before.
        let path = format!("openai.{name}");
        if tree.find(&path).is_some() || tree.find_model(&path, None).is_some() {
            return Ok(());
        }
        let owners = owners(&tree, &name, |provider| provider.kind == kind);
        match tree.resolve(ModelRef::parse(&name).unwrap(), Scope::Kind(kind)) {
            Ok(target) => prop_assert_eq!(vec![tree.provider(target.provider).id.clone()], owners),
            Err(ResolveError::Ambiguous { candidates }) => {
                prop_assert_eq!(candidates.len(), owners.len());
                prop_assert!(owners.len() > 1);
                prop_assert!(candidates.iter().zip(&owners).all(|(name, owner)| name.starts_with(owner.as_str())));
            }
            Err(_) => prop_assert_eq!(owners, Vec::<String>::new()),
        }
    }

    #[test]
    fn no_name_breaks_the_resolver(
        providers in providers(),
        kind in prop::option::of(prop::sample::select(vec!["openai", "Anthropic"])),
        name in "[aAbBc.4-]{1,12}",
    ) {
        let tree = ProviderTree::build(providers, Vec::new(), None).unwrap();
        let name = kind.map_or(name.clone(), |kind| format!("{kind}.{name}"));
        let parsed = ModelRef::parse(&name).unwrap();
        let pins = tree.providers().map(|(at, _)| Scope::Pinned(at));
        for scope in ProviderKind::ALL.map(Scope::Kind).into_iter().chain(pins) {
            let resolved = tree.resolve(parsed, scope);
            if let Ok(target) = resolved {
                prop_assert!(!target.upstream_model.is_empty(), "{} in {:?}", name, scope);
                prop_assert!(tree.is_within(target.provider, scope), "{} in {:?}", name, scope);
            }
            // Whoever listens hears the truth.
            let mut findings = Vec::new();
            let traced = tree.route_traced(parsed, scope, &mut findings).map(|route| route.first());
            prop_assert_eq!(&traced, &resolved);
            prop_assert!(!findings.is_empty());
        }
    }

    // Spec: routing.
    #[test]
    fn every_target_of_a_route_has_or_takes_the_name(
        providers in providers(),
        weights in prop::collection::vec(prop::option::of(1_u32..5), 8),
        fallbacks in prop::collection::vec(prop::option::of(dotted(3)), 8),
        name in dotted(3),
    ) {
        let mut providers = providers;
        for ((provider, weight), fallback) in providers.iter_mut().zip(weights).zip(fallbacks) {
            provider.weight = weight;
            provider.fallback.extend(fallback);
        }
        let mut tree = ProviderTree::build(providers, Vec::new(), None).unwrap();
        while let Err(errors) = tree.link_fallbacks() {
            for error in errors {
                tree.providers[error.provider.position()].fallback.clear();
            }
        }
        let name = ModelRef::parse(&name).unwrap();
        for kind in ProviderKind::ALL {
            let Ok(route) = tree.route(name, Scope::Kind(kind)) else { continue };
            let pool: Vec<_> = route.pool().collect();
            let first = pool.first().map(|member| member.target);
            prop_assert_eq!(first, Some(route.first()));
            prop_assert_eq!(pool.len() > 1, route.is_pool());
            let fallbacks: Vec<_> = route.fallbacks().collect();
            let all: Vec<_> = pool.iter().map(|member| member.target).chain(fallbacks).collect();
            for (at, target) in all.iter().enumerate() {
                let provider = tree.provider(target.provider);
                prop_assert_eq!(provider.kind, kind);
                prop_assert!(!target.upstream_model.is_empty());
                prop_assert!(!all[..at].contains(target), "{:?} is there twice", target);
                let is_configured = provider.models.iter().any(|model| model.upstream == target.upstream_model);
                prop_assert!(is_configured || !provider.is_closed, "{:?}", target);
                if route.is_pool() && at < pool.len() && route.parent().is_none() {
                    prop_assert!(is_configured && provider.weight == Some(pool[at].weight));
                    let has = owners(&tree, route.name(), |it| it.id == provider.id);
                    prop_assert_eq!(has.len(), 1, "{} has no {}", provider.id, route.name());
                }
            }
        }
    }
}
