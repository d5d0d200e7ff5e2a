//! Trees for tests, written as short as tables need them.

use std::collections::BTreeMap;

use gate_model_ref::{ModelRef, ProviderKind};

use super::{NotFoundReason, ProviderIndex, ProviderTree, ResolveError, Scope};
use crate::{ApiBase, AuthStyle, Model, OnDisconnect, Origin, Provider, Source};

/// Starts an open provider with nothing of its own.
pub(crate) fn provider(id: &str) -> Provider {
    let kind = ProviderKind::from_segment(id.split('.').next().unwrap()).unwrap();
    Provider {
        id: id.to_owned(),
        kind,
        api_base: ApiBase::parse(&format!("https://{}.example/v1", id.replace(['.', ' '], "-"))).unwrap(),
        auth: AuthStyle::Bearer,
        api_key: None,
        api_keys: Vec::new(),
        query: BTreeMap::new(),
        headers: BTreeMap::new(),
        exact_base: false,
        timeout: None,
        max_tokens: None,
        max_connections: None,
        ca_file: None,
        client_identity: None,
        anthropic_version: None,
        websocket: false,
        on_disconnect: OnDisconnect::Cancel,
        inject_stream_usage: false,
        default_model: None,
        models: Vec::new(),
        weight: None,
        fallback: Vec::new(),
        hedge_after: None,
        is_closed: false,
        is_configured: true,
        origins: BTreeMap::new(),
        losers: BTreeMap::new(),
    }
}

/// What a table of the configuration would say, as methods.
pub(crate) trait Says: Sized {
    /// `model = "…"`
    fn model(self, upstream: &str) -> Self;
    /// `models = […]`, which closes the provider
    fn models(self, upstream: &[&str]) -> Self;
    /// `open = true`
    fn open(self) -> Self;
    /// `[….<path>] model = "…"`
    fn section(self, path: &str, upstream: &str) -> Self;
    /// `weight = …`
    fn weight(self, weight: u32) -> Self;
    /// `fallback = […]`
    fn fallback(self, names: &[&str]) -> Self;
    /// A kind root that nothing mentions.
    fn unmentioned(self) -> Self;
    /// Where a setting came from.
    fn origin(self, setting: &'static str, source: Source, key: &str) -> Self;
}

impl Says for Provider {
    fn model(mut self, upstream: &str) -> Self {
        self.default_model = Some(upstream.to_owned());
        self.models.insert(0, named(upstream, upstream));
        self
    }

    fn models(mut self, upstream: &[&str]) -> Self {
        self.models.extend(upstream.iter().map(|model| named(model, model)));
        self.is_closed = true;
        self
    }

    fn open(mut self) -> Self {
        self.is_closed = false;
        self
    }

    fn section(mut self, path: &str, upstream: &str) -> Self {
        self.models.push(Model { is_section: true, ..named(path, upstream) });
        self
    }

    fn weight(mut self, weight: u32) -> Self {
        self.weight = Some(weight);
        self
    }

    fn fallback(mut self, names: &[&str]) -> Self {
        self.fallback = names.iter().map(|&name| name.to_owned()).collect();
        self
    }

    fn unmentioned(mut self) -> Self {
        self.is_configured = false;
        self
    }

    fn origin(mut self, setting: &'static str, source: Source, key: &str) -> Self {
        self.origins.insert(setting, Origin { source, key: key.to_owned() });
        self
    }
}

fn named(name: &str, upstream: &str) -> Model {
    Model { name: name.to_owned(), upstream: upstream.to_owned(), is_section: false, max_tokens: None }
}

/// Builds a tree without a default. Kind roots that are not given exist, but nothing mentions them.
pub(crate) fn tree(providers: impl IntoIterator<Item = Provider>) -> ProviderTree {
    tree_with_default(providers, None)
}

/// Builds a tree with a default.
pub(crate) fn tree_with_default(
    providers: impl IntoIterator<Item = Provider>,
    default: Option<&str>,
) -> ProviderTree {
    ProviderTree::build(with_roots(providers), Vec::new(), default.map(str::to_owned)).unwrap()
}

/// Adds the roots that always exist, in front.
pub(crate) fn with_roots(providers: impl IntoIterator<Item = Provider>) -> Vec<Provider> {
    let mut given: Vec<Provider> = providers.into_iter().collect();
    let roots = ProviderKind::ALL.map(|kind| {
        let at = given.iter().position(|provider| provider.id == kind.as_str());
        at.map_or_else(|| provider(kind.as_str()).unmentioned(), |at| given.remove(at))
    });
    roots.into_iter().chain(given).collect()
}

/// Resolves a name and writes the result as a row of a table: `provider <- upstream model`, or
/// what failed. The scope is a kind, or the path of the pinned provider.
pub(crate) fn outcome(tree: &ProviderTree, scope: &str, name: &str) -> String {
    let scope = match ProviderKind::from_segment(scope.trim_start_matches("pin ")) {
        Some(kind) if !scope.starts_with("pin ") => Scope::Kind(kind),
        _ => Scope::Pinned(tree.find(scope.trim_start_matches("pin ")).unwrap()),
    };
    let id = |at: ProviderIndex| tree.provider(at).id.as_str();
    match tree.resolve(ModelRef::parse(name).unwrap(), scope) {
        Ok(target) => format!("{} <- {}", id(target.provider), target.upstream_model),
        Err(ResolveError::KindMismatch { kind }) => format!("use {kind}"),
        Err(ResolveError::Ambiguous { candidates }) => format!("ambiguous: {}", candidates.join(", ")),
        Err(ResolveError::OutsidePin { provider }) => format!("outside: {}", id(provider)),
        Err(ResolveError::NotFound { reason, .. }) => match reason {
            NotFoundReason::Closed(provider) => format!("closed: {}", id(provider)),
            NotFoundReason::NoDefaultModel(provider) => format!("no default: {}", id(provider)),
            NotFoundReason::RootNotConfigured(kind) => format!("no root: {kind}"),
        },
    }
}
