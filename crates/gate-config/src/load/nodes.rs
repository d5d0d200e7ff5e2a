//! The walk over `[llm.provider]`: which table is a provider, a model section or a plain container,
//! and what each says itself.

use figment::value::{Dict, Value};
use gate_model_ref::{ModelRef, ProviderKind};

use crate::document::{has_settings, is_section};
use crate::layers::Layers;
use crate::problem::Findings;
use crate::section::{Section, Set};
use crate::setting::{TableKind, nearest};
use crate::sources::Sources;

use super::own::{self, Inherited, Own};

/// The tables of the provider tree, each after the one above it: the kind roots, then the rest in
/// order of their names.
#[derive(Debug)]
pub(super) struct Nodes {
    /// `[llm.provider]`
    pub(super) top: Own,
    /// `llm.provider.default`
    pub(super) default: Option<Set<String>>,
    pub(super) nodes: Vec<Node>,
}

/// One table below `[llm.provider]`.
#[derive(Debug)]
pub(super) struct Node {
    /// The dotted path, which begins with the kind.
    pub(super) id: String,
    /// The short path, where the table stands directly below `[llm.provider]` without its kind.
    pub(super) alias: Option<String>,
    /// The full key of the table, as written.
    pub(super) key: String,
    pub(super) kind: ProviderKind,
    /// The table above; a kind root has `[llm.provider]` there.
    pub(super) parent: Option<usize>,
    pub(super) role: Role,
    /// Whether a source says something here, rather than only below.
    pub(super) is_mentioned: bool,
    pub(super) own: Own,
}

/// What a table of the tree is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It has an endpoint.
    Provider,
    /// It names one model of the provider above.
    ModelSection,
    /// It groups other tables, which inherit from it.
    Container,
}

/// Keys that make a table a provider.
const PROVIDER_MARKS: [&str; 7] = ["api_base", "api_key", "api_keys", "type", "models", "weight", "fallback"];

impl Nodes {
    /// Returns the short paths of providers, with their ids.
    pub(super) fn aliases(&self) -> Vec<(String, String)> {
        let providers = self.nodes.iter().filter(|node| node.role == Role::Provider);
        providers.filter_map(|node| Some((node.alias.clone()?, node.id.clone()))).collect()
    }
}

/// Walks the tree below `[llm.provider]`.
pub(super) fn walk(provider: &Dict, sources: &Sources, layers: &Layers, findings: &mut Findings) -> Nodes {
    let top = Section { key: "llm.provider", kind: TableKind::ProviderRoot, dict: provider, layers };
    let is_table = |name: &str| provider.get(name).is_some_and(|value| is_section(top.kind, name, value));
    top.check(is_table, findings);
    let default = top.text("default");
    let own = own::read(&top, sources, findings);
    let mut walk = Walk { sources, layers, findings, nodes: Vec::new() };
    for kind in ProviderKind::ALL {
        walk.kind_root(kind, provider);
    }
    for (name, value) in provider.iter().filter(|(name, _)| is_table(name)) {
        if ProviderKind::from_segment(name).is_none() {
            walk.short(name, value, provider);
        }
    }
    Nodes { top: own, default, nodes: walk.nodes }
}

struct Walk<'a> {
    sources: &'a Sources,
    layers: &'a Layers,
    findings: &'a mut Findings,
    nodes: Vec<Node>,
}

/// Where a table stands.
struct Place {
    id: String,
    alias: Option<String>,
    key: String,
    kind: ProviderKind,
    parent: Option<usize>,
}

impl Walk<'_> {
    /// Adds the root of a kind, which exists even if nothing mentions it, and all below it.
    fn kind_root(&mut self, kind: ProviderKind, provider: &Dict) {
        let name = kind.as_str();
        let empty = Dict::new();
        let present = provider.get(name).and_then(Value::as_dict);
        let place = Place {
            id: name.to_owned(),
            alias: None,
            key: format!("llm.provider.{name}"),
            kind,
            parent: None,
        };
        let dict = present.unwrap_or(&empty);
        let at = self.add(place, dict, Role::Provider);
        if let Some(root) = self.nodes.get_mut(at) {
            // An empty table was written by someone who meant the provider.
            root.is_mentioned = present.is_some_and(|dict| dict.is_empty() || has_settings(dict));
        }
        self.below(at, dict);
    }

    /// Adds a table directly below `[llm.provider]` that is no kind, and all below it.
    fn short(&mut self, name: &str, value: &Value, provider: &Dict) {
        let Some(dict) = value.as_dict() else { return };
        let key = format!("llm.provider.{name}");
        let kind = match dict.get("type").map(|kind| kind.as_str().map(str::parse::<ProviderKind>)) {
            Some(Some(Ok(kind))) => kind,
            // A `type` that is none is reported where its value is read.
            Some(_) => ProviderKind::OpenAi,
            None => {
                let advice = match nearest(name, ProviderKind::ALL.into_iter().map(ProviderKind::as_str)) {
                    Some(kind) => format!("did you mean [llm.provider.{kind}]?"),
                    None => format!(
                        "add `type = \"openai\"` or `type = \"anthropic\"`, \
                         or write [llm.provider.openai.{name}] or [llm.provider.anthropic.{name}]"
                    ),
                };
                let message = format!("nothing says which API this provider speaks; {advice}");
                self.findings.problem(&key, self.layers.source(value), message);
                ProviderKind::OpenAi
            }
        };
        let siblings = provider.get(kind.as_str()).and_then(Value::as_dict);
        let twin =
            siblings.and_then(|siblings| siblings.keys().find(|other| other.eq_ignore_ascii_case(name)));
        if let Some(twin) = twin {
            let message = format!("is the same provider as [llm.provider.{kind}.{twin}]; keep one of them");
            self.findings.problem(&key, self.layers.source(value), message);
        }
        let id = format!("{kind}.{name}");
        let parent = self.nodes.iter().position(|node| node.id == kind.as_str());
        let place = Place { id, alias: Some(name.to_owned()), key, kind, parent };
        let role = role(dict);
        self.add_all(place, value, dict, role);
    }

    /// Adds the sections of a table.
    fn below(&mut self, parent: usize, dict: &Dict) {
        for (name, value) in dict.iter().filter(|(name, value)| is_section(TableKind::Provider, name, value))
        {
            let (Some(above), Some(dict)) = (self.nodes.get(parent), value.as_dict()) else { continue };
            let place = Place {
                id: [&above.id, ".", name].concat(),
                alias: above.alias.as_ref().map(|alias| [alias, ".", name].concat()),
                key: [&above.key, ".", name].concat(),
                kind: above.kind,
                parent: Some(parent),
            };
            self.add_all(place, value, dict, role(dict));
        }
    }

    /// Adds a table and all below it, unless no request could ever name it.
    fn add_all(&mut self, place: Place, value: &Value, dict: &Dict, role: Role) {
        if let Err(error) = ModelRef::parse(&place.id) {
            let message =
                format!("no request can name this section: {error} of `{}`", place.id.escape_debug());
            self.findings.problem(place.key, self.layers.source(value), message);
            return;
        }
        let at = self.add(place, dict, role);
        self.below(at, dict);
    }

    fn add(&mut self, place: Place, dict: &Dict, role: Role) -> usize {
        let section = Section { key: &place.key, kind: TableKind::Provider, dict, layers: self.layers };
        section.check(
            |name| dict.get(name).is_some_and(|value| is_section(TableKind::Provider, name, value)),
            self.findings,
        );
        self.check_role(&place, dict, role);
        let own = own::read(&section, self.sources, self.findings);
        self.check_kind(&place, &own);
        let Place { id, alias, key, kind, parent } = place;
        self.nodes.push(Node { id, alias, key, kind, parent, role, is_mentioned: true, own });
        self.nodes.len() - 1
    }

    /// Reports settings that a table of this role cannot have: nothing is accepted and ignored.
    fn check_role(&mut self, place: &Place, dict: &Dict, role: Role) {
        for (name, value) in dict {
            let message = match (role, name.as_str()) {
                (Role::Provider, _) | (Role::ModelSection, "model" | "max_tokens") => continue,
                (Role::ModelSection, name) if is_setting(name) => format!(
                    "a model has no `{name}` of its own: move it to its provider, [{}], \
                     or give this table an `api_base`, which makes it a provider",
                    self.provider_above(place)
                ),
                (Role::Container, "open") => "has no effect without `models`".to_owned(),
                (Role::ModelSection | Role::Container, _) => continue,
            };
            let origin = self.layers.origin(value, &format!("{}.{name}", place.key));
            self.findings.problem(origin.key, origin.source, message);
        }
    }

    /// Returns the key of the provider that a table belongs to.
    fn provider_above(&self, place: &Place) -> String {
        let mut above = place.parent.and_then(|at| self.nodes.get(at));
        while let Some(node) = above.filter(|node| node.role != Role::Provider) {
            above = node.parent.and_then(|at| self.nodes.get(at));
        }
        // Only a kind root stands below no other table, and it is a provider.
        above.map_or_else(|| format!("llm.provider.{}", place.kind), |node| node.key.clone())
    }

    /// Reports what contradicts the kind that the place implies.
    fn check_kind(&mut self, place: &Place, own: &Own) {
        let kind = place.kind;
        if let Some(Set { value, origin }) = own.kind.as_ref().filter(|set| set.value != kind) {
            let path = place.id.split_once('.').map_or(String::new(), |(_, path)| format!(".{path}"));
            let message = format!(
                "says `{value}`, but everything below [llm.provider.{kind}] is `{kind}`; \
                 move it to [llm.provider.{value}{path}]"
            );
            self.findings.problem(&origin.key, origin.source.clone(), message);
        }
        let Inherited { anthropic_version, inject_stream_usage, .. } = own.inherited();
        let version = anthropic_version.as_ref().map(|set| (ProviderKind::Anthropic, &set.origin));
        let injection = inject_stream_usage.as_ref().map(|set| (ProviderKind::OpenAi, &set.origin));
        for (_, origin) in [version, injection].into_iter().flatten().filter(|(of, _)| *of != kind) {
            let message = format!("means nothing to a provider of kind `{kind}`; remove it");
            self.findings.problem(&origin.key, origin.source.clone(), message);
        }
    }
}

fn role(dict: &Dict) -> Role {
    if PROVIDER_MARKS.iter().any(|&mark| dict.contains_key(mark)) {
        Role::Provider
    } else if dict.contains_key("model") {
        Role::ModelSection
    } else {
        Role::Container
    }
}

fn is_setting(name: &str) -> bool {
    TableKind::Provider.find(name).is_some()
}
