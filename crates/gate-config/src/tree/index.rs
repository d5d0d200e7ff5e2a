//! What a tree knows by name, prepared once so that resolving is a few hash lookups. It stores
//! and finds; which finding wins is the business of `resolve`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use gate_model_ref::{ModelRef, ProviderKind};

use super::ProviderIndex;
use crate::{Model, Provider};

/// The names of every kind, and the list of models.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    openai: KindIndex,
    anthropic: KindIndex,
    listed: Vec<Listed>,
}

/// The names of one kind. All keys are in lower case.
#[derive(Clone, Debug, Default)]
pub(super) struct KindIndex {
    /// The root of the kind, which every name that says its kind begins at.
    root: Option<ProviderIndex>,
    /// By dotted path below the kind; the root's is empty.
    nodes: HashMap<Box<str>, Node>,
    /// By the name of a model alone: everyone who has it, in order of the providers, each once.
    owners: HashMap<Box<str>, Vec<Owner>>,
    /// The length of the longest path of a provider: nothing longer needs a look.
    longest_path_bytes: usize,
}

/// What stands at one path. Both may: `models = ["azure"]` beside a provider `azure`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Node {
    /// The provider of that path.
    pub(super) provider: Option<ProviderIndex>,
    /// The configured model with that full name, as a place in the list.
    listed: Option<usize>,
}

/// A configured model under its full name.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) provider: ProviderIndex,
    /// The place among the provider's models.
    pub(super) model: usize,
    /// The full name, spelled as configured.
    pub(super) id: Box<str>,
    /// Whether it is a section, whose path is a name of its own even without its provider.
    pub(super) is_section: bool,
}

/// A provider that has a model of some name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    pub(super) provider: ProviderIndex,
    pub(super) named: Named,
}

/// Which of a provider's models a name means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// Its default, which the last segment of the provider's path names.
    Default,
    /// The one at that place among its models.
    Model(usize),
}

impl Index {
    /// Indexes the providers, whose ids begin with their kind.
    pub(super) fn build(providers: &[Provider]) -> Self {
        let mut index = Self::default();
        for (at, provider) in providers.iter().enumerate() {
            let at = ProviderIndex(at);
            index.add_provider(at, provider);
            index.add_names(at, provider);
            for (place, model) in provider.models.iter().enumerate() {
                let listed = Listed {
                    provider: at,
                    model: place,
                    id: format!("{}.{}", provider.id, model.name).into(),
                    is_section: model.is_section,
                };
                index.list(providers, provider.kind, listed);
            }
        }
        index
    }

    /// Returns the names of a kind.
    pub(super) fn kind(&self, kind: ProviderKind) -> &KindIndex {
        match kind {
            ProviderKind::OpenAi => &self.openai,
            ProviderKind::Anthropic => &self.anthropic,
        }
    }

    fn kind_mut(&mut self, kind: ProviderKind) -> &mut KindIndex {
        match kind {
            ProviderKind::OpenAi => &mut self.openai,
            ProviderKind::Anthropic => &mut self.anthropic,
        }
    }

    /// Returns the list of configured models.
    pub(super) fn listed(&self) -> impl Iterator<Item = &Listed> {
        self.listed.iter()
    }

    /// Returns the configured model at a node.
    pub(super) fn listed_at(&self, node: &Node) -> Option<&Listed> {
        self.listed.get(node.listed?)
    }

    fn add_provider(&mut self, at: ProviderIndex, provider: &Provider) {
        let path = path_below_kind(&provider.id).to_ascii_lowercase();
        let kind = self.kind_mut(provider.kind);
        if path.is_empty() {
            kind.root.get_or_insert(at);
        }
        kind.longest_path_bytes = kind.longest_path_bytes.max(path.len());
        kind.nodes.entry(path.into()).or_default().provider.get_or_insert(at);
    }

    /// Records the names by which a provider's models are found alone. A name of its own beats the
    /// last segment of the path, and that beats the upstream id of another of its models.
    fn add_names(&mut self, at: ProviderIndex, provider: &Provider) {
        let kind = self.kind_mut(provider.kind);
        let models = || provider.models.iter().enumerate();
        for (place, model) in models().filter(|(_, model)| is_renamed(model)) {
            kind.add_owner(&model.name, at, Named::Model(place));
        }
        for (place, model) in models().filter(|(_, model)| !is_renamed(model)) {
            kind.add_owner(&model.name, at, Named::Model(place));
        }
        if provider.default_model.is_some()
            && let Some((_, last)) = provider.id.rsplit_once('.')
        {
            kind.add_owner(last, at, Named::Default);
        }
        for (place, model) in models() {
            kind.add_owner(&model.upstream, at, Named::Model(place));
        }
    }

    /// Puts a model on the list, unless its full name stands there with a better right to it.
    fn list(&mut self, providers: &[Provider], kind: ProviderKind, new: Listed) {
        let next = self.listed.len();
        let key = path_below_kind(&new.id).to_ascii_lowercase();
        let place = *self.kind_mut(kind).nodes.entry(key.into()).or_default().listed.get_or_insert(next);
        match self.listed.get_mut(place) {
            None => self.listed.push(new),
            // `azure.gpt-4` of `openai` and `gpt-4` of `openai.azure` have one full name. The
            // longer provider path wins, as it does when a name is resolved.
            Some(old) => {
                let path_len = |listed: &Listed| providers.get(listed.provider.0).map_or(0, |it| it.id.len());
                let renamed = |listed: &Listed| {
                    let provider = providers.get(listed.provider.0);
                    provider.and_then(|it| it.models.get(listed.model)).is_some_and(is_renamed)
                };
                let right = |listed: &Listed| (path_len(listed), renamed(listed), listed.is_section);
                if right(&new) > right(old) {
                    *old = new;
                }
            }
        }
    }
}

impl KindIndex {
    /// Returns the root of the kind.
    pub(super) const fn root(&self) -> Option<ProviderIndex> {
        self.root
    }

    /// Returns what stands at a lower-case path below the kind.
    pub(super) fn node(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// Returns the provider with a lower-case path below the kind.
    pub(super) fn provider(&self, path: &str) -> Option<ProviderIndex> {
        if path.len() > self.longest_path_bytes { None } else { self.node(path)?.provider }
    }

    /// Returns everyone who has a model of that lower-case name, in order of the providers.
    pub(super) fn owners(&self, name: &str) -> &[Owner] {
        self.owners.get(name).map_or(&[], Vec::as_slice)
    }

    /// Names one of a provider's models, unless the provider has that name already.
    fn add_owner(&mut self, name: &str, provider: ProviderIndex, named: Named) {
        let owner = Owner { provider, named };
        match self.owners.entry(name.to_ascii_lowercase().into()) {
            Entry::Vacant(vacant) => drop(vacant.insert(vec![owner])),
            // Providers come one after another, so only the last owner can be the same.
            Entry::Occupied(mut there) => {
                if there.get().last().is_none_or(|last| last.provider != provider) {
                    there.get_mut().push(owner);
                }
            }
        }
    }
}

/// Returns the part of a full name behind its kind, nothing for a kind alone.
pub(super) fn path_below_kind(id: &str) -> &str {
    id.split_once('.').map_or("", |(_, rest)| rest)
}

/// Tells whether a model is sent under another name than its own.
fn is_renamed(model: &Model) -> bool {
    model.name != model.upstream
}

/// Text in lower case, on the stack if it is not longer than a name can be, so that a lookup
/// allocates nothing. Longer is only the path of a deep provider with the name that a pinned route
/// looks up below it.
#[expect(clippy::large_enum_variant, reason = "it lives on the stack for one lookup")]
pub(super) enum Folded {
    Stack { bytes: [u8; ModelRef::MAX_LEN], len: usize },
    Heap(String),
}

impl Folded {
    /// Folds `path` and `name` with a dot between them, or the one that is not empty.
    pub(super) fn join(path: &str, name: &str) -> Self {
        let dot = if path.is_empty() || name.is_empty() { "" } else { "." };
        let mut bytes = [0; ModelRef::MAX_LEN];
        let mut len = 0;
        for part in [path, dot, name] {
            let end = len + part.len();
            let Some(free) = bytes.get_mut(len..end) else {
                return Self::Heap(format!("{path}{dot}{name}").to_ascii_lowercase());
            };
            free.copy_from_slice(part.as_bytes());
            free.make_ascii_lowercase();
            len = end;
        }
        Self::Stack { bytes, len }
    }

    /// Returns the folded text.
    pub(super) fn as_str(&self) -> &str {
        match self {
            // Text stays text when ASCII letters change case.
            Self::Stack { bytes, len } => {
                bytes.get(..*len).and_then(|bytes| str::from_utf8(bytes).ok()).unwrap_or_default()
            }
            Self::Heap(text) => text,
        }
    }
}
