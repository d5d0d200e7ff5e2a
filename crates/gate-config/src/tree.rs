//! The resolved tree of providers, and how a name finds its target in it.
//!
//! The tree is immutable. Whatever resolving needs is prepared when it is built, so that a lookup
//! allocates nothing unless it fails.

use std::collections::HashMap;

use gate_model_ref::{ModelRef, ProviderKind};

use crate::{Model, Provider};

mod default;
mod fallback;
mod index;
mod near;
mod resolve;
mod route;
mod trace;

pub use default::DefaultError;
use default::DefaultTarget;
use index::{Index, Named};
pub(crate) use near::Looks;
pub use route::{PoolMember, Route};
pub(crate) use trace::{Finding, Place, Trace};

/// Every provider of the configuration, with the index that resolves names.
#[derive(Clone, Debug)]
pub struct ProviderTree {
    providers: Vec<Provider>,
    index: Index,
    /// Short paths of providers, in lower case.
    aliases: HashMap<String, ProviderIndex>,
    default: Option<DefaultTarget>,
    /// The siblings that stand in for each provider, by its place: two or more, or none.
    pools: Vec<Vec<ProviderIndex>>,
    /// What comes after each provider, by its place.
    fallbacks: Vec<Vec<fallback::Fallback>>,
}

/// A provider's place in its tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProviderIndex(pub(crate) usize);

impl ProviderIndex {
    /// Returns the place as a number: [`ProviderTree::providers`] counts the providers from 0 in
    /// the same order, so that a vector beside the tree can hold one thing for each.
    pub const fn position(self) -> usize {
        self.0
    }
}

/// Where on the gateway a name is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// An endpoint of that kind.
    Kind(ProviderKind),
    /// A route that names its provider.
    Pinned(ProviderIndex),
}

/// What a name resolves to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// The provider to ask.
    pub provider: ProviderIndex,
    /// The model name to send.
    pub upstream_model: &'a str,
}

/// A configured model as lists show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedModel<'a> {
    /// The provider that has it.
    pub provider: ProviderIndex,
    /// The fully qualified name: the provider's path, a dot, and the model's name there.
    pub id: &'a str,
    /// The model name that is sent.
    pub upstream: &'a str,
}

/// Why a name resolves to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResolveError {
    /// The name belongs to the other kind; its endpoint must be used.
    KindMismatch {
        /// The kind that the name belongs to.
        kind: ProviderKind,
    },
    /// Several providers have the name.
    Ambiguous {
        /// The fully qualified names to choose from, in order of the configuration.
        candidates: Vec<String>,
    },
    /// Nothing has the name.
    NotFound {
        /// Up to three configured names that look like it.
        near: Vec<String>,
        /// Why the name is not passed through either.
        reason: NotFoundReason,
    },
    /// A pinned route was given the full name of another provider's model.
    OutsidePin {
        /// The provider that the name belongs to.
        provider: ProviderIndex,
    },
}

/// Why a name that nothing has is not passed through either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotFoundReason {
    /// The provider that would have to pass it through is closed.
    Closed(ProviderIndex),
    /// The name is the path of a provider, which has no model of its own to stand for.
    NoDefaultModel(ProviderIndex),
    /// Only the root of the kind could pass it through, and nothing configures that.
    RootNotConfigured(ProviderKind),
}

impl ProviderTree {
    /// Builds the tree and resolves its default.
    ///
    /// `aliases` are pairs of a short path and the id of the provider that it stands for, such as
    /// (`glm`, `anthropic.glm`); a pair that names no provider is dropped. `default` is the model
    /// of requests that name none, and it decides between several providers that have one name.
    ///
    /// # Errors
    /// The default resolves to nothing, or to more than one thing.
    pub fn build(
        providers: Vec<Provider>,
        aliases: Vec<(String, String)>,
        default: Option<String>,
    ) -> Result<Self, DefaultError> {
        let mut tree = Self::without_default(providers, aliases);
        default.map_or(Ok(()), |name| tree.set_default(name))?;
        Ok(tree)
    }

    /// Builds the tree as [`build`](Self::build) does, for a default that is set later.
    pub(crate) fn without_default(providers: Vec<Provider>, aliases: Vec<(String, String)>) -> Self {
        let index = Index::build(&providers);
        let (aliased, pools, fallbacks) = (HashMap::new(), Vec::new(), Vec::new());
        let mut tree = Self { providers, index, aliases: aliased, default: None, pools, fallbacks };
        tree.aliases = aliases
            .into_iter()
            .filter_map(|(alias, id)| Some((alias.to_ascii_lowercase(), tree.find(&id)?)))
            .collect();
        tree.pools = route::sibling_pools(&tree);
        tree
    }

    /// Resolves the default of a tree that has none yet.
    pub(crate) fn set_default(&mut self, name: String) -> Result<(), DefaultError> {
        self.default = Some(self.resolve_default_name(name)?);
        Ok(())
    }

    /// Finds where the requests of a name may go. Steps, in order; the first that finds something decides:
    ///
    /// 1. a kind in front must be that of the endpoint;
    /// 2. the exact path of a model section, or of a provider that has a default model;
    /// 3. a configured model of the longest provider path in front of the name, or of the
    ///    providers below it; a short name is looked up in the whole kind;
    /// 4. that longest path's provider takes the rest as it is, unless it is closed;
    /// 5. a name that only the other kind has is refused;
    /// 6. the root of the kind takes the name as it is, if it is configured and open.
    ///
    /// # Errors
    /// Says why there is none.
    pub fn route<'a>(&'a self, name: ModelRef<'a>, scope: Scope) -> Result<Route<'a>, ResolveError> {
        self.route_traced(name, scope, &mut ())
    }

    /// Finds the target of a name at the provider that made an object which the request names too:
    /// the maker's model of that name, or the name as it is where the maker takes any. Nothing for a
    /// name that leads to another provider by a kind or a path in it, and for one that only the
    /// other kind has.
    pub fn resolve_at_maker<'a>(&'a self, name: ModelRef<'a>, maker: ProviderIndex) -> Option<Target<'a>> {
        resolve::at_maker(self, name, maker)
    }

    /// Returns the route of a target that was found without a name, such as the default model of a pinned
    /// provider: with the pool that stands in for its provider, and the fallbacks.
    pub fn route_of<'a>(&'a self, target: Target<'a>) -> Route<'a> {
        Route::to(self, target, target.upstream_model)
    }

    /// Finds the first target of a name: [`route`](Self::route) for a request that is sent once.
    ///
    /// # Errors
    /// Says why there is none.
    pub fn resolve<'a>(&'a self, name: ModelRef<'a>, scope: Scope) -> Result<Target<'a>, ResolveError> {
        self.route(name, scope).map(|route| route.first())
    }

    /// Finds the route of a name and tells `trace` what each step found.
    pub(crate) fn route_traced<'a>(
        &'a self,
        name: ModelRef<'a>,
        scope: Scope,
        trace: &mut impl Trace<'a>,
    ) -> Result<Route<'a>, ResolveError> {
        resolve::resolve(self, name, scope, trace)
    }

    /// Returns the provider at a place.
    #[allow(clippy::indexing_slicing, reason = "an index is only made by the tree that it points into")]
    pub fn provider(&self, index: ProviderIndex) -> &Provider {
        &self.providers[index.0]
    }

    /// Returns every provider, kind roots first, then in order of the configuration.
    pub fn providers(&self) -> impl ExactSizeIterator<Item = (ProviderIndex, &Provider)> {
        self.providers.iter().enumerate().map(|(at, provider)| (ProviderIndex(at), provider))
    }

    /// Finds a provider by its dotted path; ASCII case is ignored. `glm` finds `anthropic.glm`
    /// where the configuration has `[llm.provider.glm] type = "anthropic"`.
    pub fn find(&self, path: &str) -> Option<ProviderIndex> {
        let (first, rest) = path.split_once('.').unwrap_or((path, ""));
        let by_path = ProviderKind::from_segment(first)
            .filter(|_| !path.ends_with('.'))
            .and_then(|kind| self.index.kind(kind).provider(&rest.to_ascii_lowercase()));
        by_path.or_else(|| self.aliases.get(&path.to_ascii_lowercase()).copied())
    }

    /// Returns the root of a kind.
    pub fn kind_root(&self, kind: ProviderKind) -> Option<ProviderIndex> {
        self.index.kind(kind).root()
    }

    /// Returns every configured model, or those of a kind, or those of a pinned provider and the
    /// providers below it: provider by provider, each in order of the configuration. No two ids
    /// are equal, and each resolves to its own line.
    pub fn models(&self, scope: Option<Scope>) -> impl Iterator<Item = ListedModel<'_>> {
        self.index
            .listed()
            .filter(move |listed| scope.is_none_or(|scope| self.is_within(listed.provider, scope)))
            .map(|listed| self.listed_model(listed))
    }

    /// Finds a configured model by the id that [`models`](Self::models) shows; ASCII case is
    /// ignored.
    pub fn find_model(&self, id: &str, scope: Option<Scope>) -> Option<ListedModel<'_>> {
        let (first, rest) = id.split_once('.')?;
        let kind = ProviderKind::from_segment(first)?;
        let listed = self.index.listed_at(self.index.kind(kind).node(&rest.to_ascii_lowercase())?)?;
        let is_visible = scope.is_none_or(|scope| self.is_within(listed.provider, scope));
        is_visible.then(|| self.listed_model(listed))
    }

    fn listed_model<'a>(&'a self, listed: &'a index::Listed) -> ListedModel<'a> {
        ListedModel {
            provider: listed.provider,
            id: &listed.id,
            upstream: self.upstream_of(listed.provider, Named::Model(listed.model)),
        }
    }

    /// Returns the upstream model behind a name of a provider.
    fn upstream_of(&self, provider: ProviderIndex, named: Named) -> &str {
        let provider = self.provider(provider);
        match named {
            Named::Default => provider.default_model.as_deref(),
            Named::Model(at) => provider.models.get(at).map(|model: &Model| model.upstream.as_str()),
        }
        // The index names only what it saw in this very provider.
        .unwrap_or_default()
    }

    /// Tells whether a provider serves a scope: it is of the kind, or the pin or below it.
    fn is_within(&self, provider: ProviderIndex, scope: Scope) -> bool {
        match scope {
            Scope::Kind(kind) => self.provider(provider).kind == kind,
            Scope::Pinned(pin) => provider == pin || self.is_below(provider, pin),
        }
    }

    /// Tells whether a provider's path continues that of another.
    fn is_below(&self, provider: ProviderIndex, ancestor: ProviderIndex) -> bool {
        let (id, above) = (&self.provider(provider).id, &self.provider(ancestor).id);
        id.as_bytes().get(above.len()) == Some(&b'.')
            && id.get(..above.len()).is_some_and(|front| front.eq_ignore_ascii_case(above))
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
