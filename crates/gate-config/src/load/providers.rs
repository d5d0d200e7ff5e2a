//! From tables to providers: inheritance, applied once, with the origin of every setting.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::time::Duration;

use gate_model_ref::ProviderKind;

use crate::environment::{ANTHROPIC_AUTH_TOKEN, is_traditional};
use crate::layers::Layers;
use crate::problem::Findings;
use crate::section::Set;
use crate::{ApiBase, AuthStyle, ClientIdentity, Model, Origin, Provider, ProviderTree, Source};

use super::nodes::{Node, Nodes, Role};
use super::own::Inherited;

/// Resolves every provider of the tree, in the order of its tables.
pub(super) fn resolve(nodes: &Nodes, layers: &Layers, findings: &mut Findings) -> Vec<Provider> {
    let top = Rc::new(nodes.top.inherited().clone());
    let mut filled: Vec<Rc<Inherited>> = Vec::with_capacity(nodes.nodes.len());
    let mut providers = Vec::new();
    let sections = sections(nodes);
    for (at, node) in nodes.nodes.iter().enumerate() {
        // A table stands after the one above it, so that one is filled already.
        let above = node.parent.and_then(|parent| filled.get(parent)).unwrap_or(&top);
        let settings = if node.own.has_inherited() || above.api_base.is_none() {
            let mut settings = node.own.inherited().clone().or(above);
            settings.api_base = settings.api_base.or_else(|| built_in_base(node.kind));
            Rc::new(settings)
        } else {
            Rc::clone(above)
        };
        if node.role == Role::Provider {
            warn_of_foreign_key(node, nodes, &filled, &settings, findings);
            refuse_model_in_path(node, &settings, findings);
            let own = sections.get(&at).map_or(&[][..], Vec::as_slice);
            providers.extend(provider(node, own, &settings, layers));
        }
        filled.push(settings);
    }
    warn_of_shared_key(nodes.top.inherited(), &providers, findings);
    providers
}

/// Warns of each provider that may be asked without a key.
pub(super) fn warn_of_missing_keys(tree: &ProviderTree, findings: &mut Findings) {
    // Where there are problems, one of them may be why the key is missing.
    if findings.has_problems() {
        return;
    }
    let is_keyless = |p: &Provider| p.is_configured && p.api_key.is_none() && p.auth != AuthStyle::None;
    for (_, provider) in tree.providers().filter(|(at, p)| is_keyless(p) && !tree.is_stood_in_for(*at)) {
        let message = "has no key; set `api_key`, or `auth = \"none\"` if it needs none";
        findings.warning(format!("llm.provider.{}", provider.id), None, message);
    }
}

/// Warns when one key of `[llm.provider]` goes to both vendors: no key is valid at both, so one of
/// them sees a key that it should not. Providers with other bases have warnings of their own.
fn warn_of_shared_key(top: &Inherited, providers: &[Provider], findings: &mut Findings) {
    let Some(Set { origin: key, .. }) = &top.api_keys else { return };
    let has_key = |p: &&Provider| p.auth != AuthStyle::None && p.origins.get("api_key") == Some(key);
    let has_built_in_base =
        |p: &&Provider| p.origins.get("api_base").is_some_and(|base| base.source == Source::Default);
    let sharing = providers.iter().filter(|p| p.is_configured).filter(has_key).filter(has_built_in_base);
    let hosts: BTreeSet<_> = sharing.map(|provider| format!("`{}`", provider.api_base.host())).collect();
    if hosts.len() > 1 {
        let message = format!(
            "inherited, so this one key goes to {}; give each provider its own `api_key` (or `auth = \"none\"`)",
            Vec::from_iter(hosts).join(" and to ")
        );
        findings.warning(&key.key, key.source.clone(), message);
    }
}

fn built_in_base(kind: ProviderKind) -> Option<Set<ApiBase>> {
    let base = match kind {
        ProviderKind::OpenAi => "https://api.openai.com/v1",
        ProviderKind::Anthropic => "https://api.anthropic.com",
    };
    let origin = Origin { source: Source::Default, key: format!("llm.provider.{kind}.api_base") };
    ApiBase::parse(base).ok().map(|value| Set { value, origin })
}

/// Refuses a base with `{model}` for a kind whose operations no vendor has below deployments.
fn refuse_model_in_path(node: &Node, settings: &Inherited, findings: &mut Findings) {
    let Some(base) = settings.api_base.as_ref().filter(|base| base.value.has_model_in_path()) else { return };
    // One that inherits from another provider adds nothing to what was said there.
    let is_first = node.own.inherited().api_base.is_some() || node.parent.is_none();
    if node.kind == ProviderKind::Anthropic && is_first {
        let message =
            "has `{model}`, which only providers of kind openai can have; write the model's own base";
        findings.problem(&base.origin.key, base.origin.source.clone(), message);
    }
}

/// Warns when a key goes to another host than the one that it was given for.
fn warn_of_foreign_key(
    node: &Node,
    nodes: &Nodes,
    filled: &[Rc<Inherited>],
    settings: &Inherited,
    findings: &mut Findings,
) {
    let (Some(base), Some(key)) = (&settings.api_base, &settings.api_keys) else { return };
    if settings.auth.as_ref().is_some_and(|auth| auth.value == AuthStyle::None) {
        return;
    }
    let host = base.value.authority();
    if is_traditional(&base.origin.source) && !is_traditional(&key.origin.source) {
        let message = format!(
            "the key from {} goes to `{host}`, which {} names",
            key.origin.source, base.origin.source
        );
        findings.warning(format!("{}.api_base", node.key), base.origin.source.clone(), message);
    }
    if node.own.inherited().api_keys.is_some() {
        return;
    }
    // The table that gave the key, `None` being `[llm.provider]`.
    let mut giver = node.parent;
    while let Some(above) =
        giver.and_then(|at| nodes.nodes.get(at)).filter(|node| node.own.inherited().api_keys.is_none())
    {
        giver = above.parent;
    }
    let given_for = match giver {
        Some(at) => filled.get(at).and_then(|above| above.api_base.as_ref()),
        None => nodes.top.inherited().api_base.as_ref(),
    };
    let is_foreign = match given_for {
        Some(given_for) => !given_for.value.is_same_host(&base.value),
        // A key for all providers was given for the vendors' own hosts.
        None => base.origin.source != Source::Default,
    };
    if is_foreign {
        let message = format!(
            "inherited, so the key from `{}` goes to `{host}`; give this provider its own `api_key` (or `auth = \"none\"`)",
            key.origin.key
        );
        findings.warning(format!("{}.api_key", node.key), key.origin.source.clone(), message);
    }
}

/// Makes one provider of its table; the base is always there, as the kind root has a built-in one.
fn provider(node: &Node, sections: &[&Node], settings: &Inherited, layers: &Layers) -> Option<Provider> {
    let Inherited { api_base, api_keys, auth, .. } = settings;
    let keys = value(api_keys.as_ref()).unwrap_or_default();
    let models = models(node, sections);
    let is_root = node.parent.is_none();
    let is_own_open = node.own.open.as_ref().is_some_and(|open| open.value);
    let losers = layers.losers.iter().filter(|((kind, _), _)| is_root && *kind == node.kind);
    let identity = settings.client_cert_file.as_ref().zip(settings.client_key_file.as_ref());
    let version = settings.anthropic_version.as_ref().filter(|_| node.kind == ProviderKind::Anthropic);
    Some(Provider {
        id: node.id.clone(),
        kind: node.kind,
        api_base: api_base.as_ref()?.value.clone(),
        auth: auth.as_ref().map_or_else(
            || default_auth(node.kind, api_keys.as_ref().map(|key| &key.origin)),
            |set| set.value,
        ),
        api_key: keys.first().cloned(),
        api_keys: keys,
        query: value(settings.query.as_ref()).unwrap_or_default(),
        headers: value(settings.headers.as_ref()).unwrap_or_default(),
        exact_base: value(settings.exact_base.as_ref()).unwrap_or_default(),
        timeout: value(settings.timeout.as_ref()),
        max_tokens: value(settings.max_tokens.as_ref()),
        max_connections: value(settings.max_connections.as_ref()).and_then(|count| count.try_into().ok()),
        ca_file: value(settings.ca_file.as_ref()),
        client_identity: identity
            .map(|(cert, key)| ClientIdentity { cert_file: cert.value.clone(), key_file: key.value.clone() }),
        anthropic_version: value(version),
        websocket: value(settings.websocket.as_ref()).unwrap_or_default(),
        on_disconnect: value(settings.on_disconnect.as_ref()).unwrap_or_default(),
        inject_stream_usage: value(settings.inject_stream_usage.as_ref()).unwrap_or_default(),
        default_model: value(node.own.model.as_ref()),
        weight: value(node.own.weight.as_ref()).and_then(|weight| weight.try_into().ok()),
        fallback: value(node.own.fallback.as_ref()).unwrap_or_default(),
        hedge_after: value(settings.hedge_after_ms.as_ref()).map(Duration::from_millis),
        is_closed: node.own.models.is_some() && !is_own_open,
        is_configured: node.is_mentioned || !models.is_empty(),
        models,
        origins: origins(node, settings),
        losers: losers.map(|((_, setting), losers)| (*setting, losers.clone())).collect(),
    })
}

fn value<T: Clone>(set: Option<&Set<T>>) -> Option<T> {
    set.map(|set| set.value.clone())
}

/// A token from `ANTHROPIC_AUTH_TOKEN` is what Anthropic's clients send as a bearer token; another
/// key goes where the kind's own API wants it.
fn default_auth(kind: ProviderKind, key: Option<&Origin>) -> AuthStyle {
    match (kind, key.map(|origin| &origin.source)) {
        (ProviderKind::OpenAi, _) => AuthStyle::Bearer,
        (ProviderKind::Anthropic, Some(Source::Env(name))) if name == ANTHROPIC_AUTH_TOKEN => {
            AuthStyle::Bearer
        }
        (ProviderKind::Anthropic, _) => AuthStyle::XApiKey,
    }
}

/// Returns the model sections of each provider: those below it that belong to no provider nearer to
/// them.
fn sections(nodes: &Nodes) -> HashMap<usize, Vec<&Node>> {
    let mut sections: HashMap<usize, Vec<&Node>> = HashMap::new();
    for section in nodes.nodes.iter().filter(|node| node.role == Role::ModelSection) {
        if let Some(provider) = owner(section, nodes) {
            sections.entry(provider).or_default().push(section);
        }
    }
    sections
}

/// Returns a provider's own models: its default, its list, and its sections.
fn models(node: &Node, sections: &[&Node]) -> Vec<Model> {
    let listed = node.own.model.iter().map(|set| &set.value);
    let listed = listed.chain(node.own.models.iter().flat_map(|set| &set.value));
    let listed = listed.map(|name| Model {
        name: name.clone(),
        upstream: name.clone(),
        is_section: false,
        max_tokens: None,
    });
    let sections = sections.iter().filter_map(|section| {
        Some(Model {
            name: section.id.strip_prefix(&node.id)?.strip_prefix('.')?.to_owned(),
            upstream: section.own.model.as_ref()?.value.clone(),
            is_section: true,
            max_tokens: value(section.own.inherited().max_tokens.as_ref()),
        })
    });
    // What says the same is there once: a section often names a model that the list has too.
    let mut places: HashMap<(String, String), usize> = HashMap::new();
    let mut models: Vec<Model> = Vec::new();
    for model in listed.chain(sections) {
        let same = (model.name.to_ascii_lowercase(), model.upstream.clone());
        match places.get(&same).and_then(|&at| models.get_mut(at)) {
            Some(earlier) => {
                earlier.is_section |= model.is_section;
                earlier.max_tokens = earlier.max_tokens.or(model.max_tokens);
            }
            None => {
                places.insert(same, models.len());
                models.push(model);
            }
        }
    }
    models
}

/// Finds the provider that a table belongs to.
fn owner(node: &Node, nodes: &Nodes) -> Option<usize> {
    let mut at = node.parent?;
    loop {
        let above = nodes.nodes.get(at)?;
        if above.role == Role::Provider {
            return Some(at);
        }
        at = above.parent?;
    }
}

/// Returns the origin of every setting that is set.
fn origins(node: &Node, settings: &Inherited) -> BTreeMap<&'static str, Origin> {
    fn entry<T>(name: &'static str, set: Option<&Set<T>>) -> Option<(&'static str, Origin)> {
        set.map(|set| (name, set.origin.clone()))
    }
    let own = &node.own;
    [
        entry("type", own.kind.as_ref()),
        entry("model", own.model.as_ref()),
        entry("models", own.models.as_ref()),
        entry("open", own.open.as_ref()),
        entry("weight", own.weight.as_ref()),
        entry("fallback", own.fallback.as_ref()),
        entry("api_base", settings.api_base.as_ref()),
        entry("api_key", settings.api_keys.as_ref()),
        entry("auth", settings.auth.as_ref()),
        entry("query", settings.query.as_ref()),
        entry("headers", settings.headers.as_ref()),
        entry("exact_base", settings.exact_base.as_ref()),
        entry("timeout", settings.timeout.as_ref()),
        entry("max_tokens", settings.max_tokens.as_ref()),
        entry("max_connections", settings.max_connections.as_ref()),
        entry("ca_file", settings.ca_file.as_ref()),
        entry("client_cert_file", settings.client_cert_file.as_ref()),
        entry("client_key_file", settings.client_key_file.as_ref()),
        entry("anthropic_version", settings.anthropic_version.as_ref()),
        entry("websocket", settings.websocket.as_ref()),
        entry("on_disconnect", settings.on_disconnect.as_ref()),
        entry("inject_stream_usage", settings.inject_stream_usage.as_ref()),
        entry("hedge_after_ms", settings.hedge_after_ms.as_ref()),
    ]
    .into_iter()
    .flatten()
    .collect()
}
