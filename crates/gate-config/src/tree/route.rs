//! What a name resolves to in whole: the targets that share its requests, and those that come after
//! them. It says who may be asked; who is asked, and when, is decided elsewhere.

use std::fmt;

use super::fallback::Fallback;
use super::index::{Folded, Owner};
use super::resolve::own;
use super::{ProviderIndex, ProviderTree, Target};
use crate::Source;

/// Where the requests of one name may go. It borrows all that it knows, and finding it allocates
/// nothing.
#[derive(Clone, Copy)]
pub struct Route<'a> {
    tree: &'a ProviderTree,
    /// What the steps of resolving found.
    found: Target<'a>,
    /// The name of that model at its provider, for which the others are asked first.
    name: &'a str,
    members: Members<'a>,
}

/// Which targets share the requests of a name.
#[derive(Clone, Copy)]
enum Members<'a> {
    /// The one that was found.
    One,
    /// All that have the name below a provider, or in the whole kind.
    Named { owners: &'a [Owner], above: Option<ProviderIndex> },
    /// The siblings that stand in for the provider that was found.
    Siblings(&'a [ProviderIndex]),
}

/// A target of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolMember<'a> {
    /// Where requests go.
    pub target: Target<'a>,
    /// Its share of them beside the other members' weights, 1 to 10,000.
    pub weight: u32,
}

impl<'a> Route<'a> {
    /// Makes the route of a target that was found: a pool, if one stands in for its provider.
    pub(super) fn to(tree: &'a ProviderTree, found: Target<'a>, name: &'a str) -> Self {
        let members = match tree.pool_below(found.provider) {
            [] => Members::One,
            siblings => Members::Siblings(siblings),
        };
        Self { tree, found, name, members }
    }

    /// Makes the route of a name that several have below a provider, or in the whole kind; nothing,
    /// unless each of them has a weight.
    pub(super) fn of_all(
        tree: &'a ProviderTree,
        owners: &'a [Owner],
        above: Option<ProviderIndex>,
        name: &'a str,
    ) -> Option<Self> {
        let mut here = owners.iter().filter(|owner| is_here(tree, owner, above));
        let first = here.next()?;
        let has_weight = |owner: &Owner| tree.provider(owner.provider).weight.is_some();
        let is_pool = has_weight(first) && here.all(has_weight);
        let found = target_of(tree, first);
        is_pool.then_some(Self { tree, found, name, members: Members::Named { owners, above } })
    }

    /// Returns the target of a request that is sent once only: the first of the pool.
    pub fn first(&self) -> Target<'a> {
        match self.members {
            Members::One | Members::Named { .. } => self.found,
            Members::Siblings(_) => self.pool().next().map_or(self.found, |member| member.target),
        }
    }

    /// Returns what the steps of resolving found, whether a pool stands in for it or not.
    pub(crate) const fn found(&self) -> Target<'a> {
        self.found
    }

    /// Returns the name of the model at its provider.
    pub(crate) const fn name(&self) -> &'a str {
        self.name
    }

    /// Tells whether several targets share the requests.
    pub const fn is_pool(&self) -> bool {
        !matches!(self.members, Members::One)
    }

    /// Returns the provider in whose place a pool of siblings stands.
    pub(crate) const fn parent(&self) -> Option<ProviderIndex> {
        match self.members {
            Members::Siblings(_) => Some(self.found.provider),
            Members::One | Members::Named { .. } => None,
        }
    }

    /// Returns the targets that share the requests, in order of the configuration: at least one.
    pub fn pool(&self) -> impl Iterator<Item = PoolMember<'a>> + use<'a> {
        let Self { tree, found, .. } = *self;
        let route = *self;
        let (alone, owners, above, siblings): (_, &'a [Owner], _, &'a [ProviderIndex]) = match self.members {
            Members::One => (Some(found), &[], None, &[]),
            Members::Named { owners, above } => (None, owners, above, &[]),
            Members::Siblings(siblings) => (None, &[], None, siblings),
        };
        let named = owners.iter().filter(move |owner| is_here(tree, owner, above));
        let siblings = siblings.iter().map(move |&sibling| {
            let upstream_model = route.known_to(sibling).unwrap_or(found.upstream_model);
            Target { provider: sibling, upstream_model }
        });
        let targets = alone.into_iter().chain(named.map(move |owner| target_of(tree, owner))).chain(siblings);
        targets.map(move |target| PoolMember {
            target,
            weight: tree.provider(target.provider).weight.unwrap_or(1),
        })
    }

    /// Returns the targets that come after the pool, in the order in which they are to be tried. Each
    /// is there once, and none is of the pool.
    ///
    /// A provider that is named as a fallback gets the model that it has under the name; without one
    /// its default; and without that the same model. One that is closed and has neither is left out.
    pub fn fallbacks(&self) -> impl Iterator<Item = Target<'a>> + use<'a> {
        let route = *self;
        let is_new = move |(at, target): &(usize, Target<'a>)| {
            route.pool().all(|member| member.target != *target)
                && route.all_fallbacks().take(*at).all(|earlier| earlier != *target)
        };
        self.all_fallbacks().enumerate().filter(is_new).map(|(_, target)| target)
    }

    /// Returns the fallbacks of the provider that siblings stand in for, then of each of the pool.
    fn all_fallbacks(&self) -> impl Iterator<Item = Target<'a>> + use<'a> {
        let route = *self;
        let tree = self.tree;
        let members = self.pool().map(|member| member.target.provider);
        let chains = self.parent().into_iter().chain(members).flat_map(move |of| tree.fallbacks_of(of));
        chains.filter_map(move |fallback| route.fallback_target(fallback))
    }

    fn fallback_target(&self, fallback: &'a Fallback) -> Option<Target<'a>> {
        let provider = fallback.provider();
        let wanted = match fallback {
            Fallback::Model { upstream, .. } => return Some(Target { provider, upstream_model: upstream }),
            Fallback::Provider { .. } => *self,
            Fallback::Behind { name, upstream, .. } => {
                let found = Target { provider, upstream_model: upstream };
                Self { found, name, ..*self }
            }
        };
        let there = self.tree.provider(provider);
        let same = Some(wanted.found.upstream_model).filter(|_| !there.is_closed);
        let upstream_model = wanted.known_to(provider).or(there.default_model.as_deref()).or(same)?;
        Some(Target { provider, upstream_model })
    }

    /// Returns the model that a provider has configured under the name, or else under what is sent
    /// for it.
    fn known_to(&self, provider: ProviderIndex) -> Option<&'a str> {
        let known = |name: &str| self.tree.configured_at(provider, name);
        known(self.name).or_else(|| known(self.found.upstream_model))
    }
}

/// A route has no more to show than where it leads.
impl fmt::Debug for Route<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route")
            .field("pool", &self.pool().collect::<Vec<_>>())
            .field("fallbacks", &self.fallbacks().collect::<Vec<_>>())
            .finish()
    }
}

fn is_here(tree: &ProviderTree, owner: &Owner, above: Option<ProviderIndex>) -> bool {
    above.is_none_or(|above| tree.is_below(owner.provider, above))
}

fn target_of<'a>(tree: &'a ProviderTree, owner: &Owner) -> Target<'a> {
    Target { provider: owner.provider, upstream_model: tree.upstream_of(owner.provider, owner.named) }
}

impl ProviderTree {
    /// Returns the siblings that stand in for a provider: two or more, or none at all.
    pub(crate) fn pool_below(&self, parent: ProviderIndex) -> &[ProviderIndex] {
        self.pools.get(parent.position()).map_or(&[], Vec::as_slice)
    }

    /// Tells whether a provider can be in no pool whatever its weight: it has no name that another could
    /// have too, and stands in for nobody.
    pub(crate) fn has_nothing_to_share(&self, at: ProviderIndex) -> bool {
        let is_sibling = || {
            let parent = self.provider_above(at);
            parent.is_some_and(|parent| self.pool_below(parent).binary_search(&at).is_ok())
        };
        self.provider(at).models.is_empty() && !is_sibling()
    }

    /// Tells whether a provider is not asked itself: a pool stands in for it, and it has neither an address
    /// nor a key of its own that it could be asked with.
    pub fn is_stood_in_for(&self, at: ProviderIndex) -> bool {
        let has_own = ["api_base", "api_key"].iter().any(|setting| self.has_own(at, setting));
        !self.pool_below(at).is_empty() && !has_own
    }

    /// Tells whether a setting was said of a provider, and not only of one above it or of all.
    fn has_own(&self, at: ProviderIndex, setting: &str) -> bool {
        let origin_at = |at: ProviderIndex| self.provider(at).origins.get(setting);
        let above = self.provider_above(at).and_then(origin_at);
        origin_at(at).is_some_and(|origin| {
            let is_for_all = origin.key.strip_prefix("llm.provider.") == Some(setting);
            origin.source != Source::Default && above != Some(origin) && !is_for_all
        })
    }

    /// Returns the provider whose path a provider continues by one segment.
    fn provider_above(&self, at: ProviderIndex) -> Option<ProviderIndex> {
        self.provider(at).id.rsplit_once('.').and_then(|(above, _)| self.find(above))
    }

    /// Returns the upstream model that a provider has configured under a name of a model.
    pub(super) fn configured_at(&self, provider: ProviderIndex, name: &str) -> Option<&str> {
        let name = Folded::join("", name);
        let owners = self.index.kind(self.provider(provider).kind).owners(name.as_str());
        own(owners, provider).map(|owner| self.upstream_of(provider, owner.named))
    }

    /// Returns the route of every name that is a pool because all who have it have a weight, in order of
    /// the configuration.
    pub(crate) fn named_pools(&self) -> impl Iterator<Item = Route<'_>> {
        self.models(None).filter_map(|model| {
            let kind = self.provider(model.provider).kind;
            let name = model.id.get(self.provider(model.provider).id.len() + 1..)?;
            let folded = Folded::join("", name);
            let owners = self.index.kind(kind).owners(folded.as_str());
            let is_first = owners.first().is_some_and(|owner| owner.provider == model.provider);
            if !is_first || owners.len() < 2 {
                return None;
            }
            Route::of_all(self, owners, None, name)
        })
    }
}

/// Finds the siblings that form pools, by the place of the provider above them.
///
/// A sibling has a weight, and no models of its own but sections: it takes what its parent would. One
/// alone has nobody to share with and is no pool.
pub(super) fn sibling_pools(tree: &ProviderTree) -> Vec<Vec<ProviderIndex>> {
    let mut pools = vec![Vec::new(); tree.providers.len()];
    for (at, provider) in tree.providers() {
        let has_own = provider.default_model.is_some()
            || provider.is_closed
            || provider.origins.contains_key("models")
            || provider.models.iter().any(|model| !model.is_section);
        let parent = Some(at).filter(|_| provider.weight.is_some() && !has_own);
        let parent = parent.and_then(|at| tree.provider_above(at));
        if let Some(pool) = parent.and_then(|parent| pools.get_mut(parent.position())) {
            pool.push(at);
        }
    }
    for pool in pools.iter_mut().filter(|pool| pool.len() == 1) {
        pool.clear();
    }
    pools
}
