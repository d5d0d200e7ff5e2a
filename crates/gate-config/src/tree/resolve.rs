//! The steps that turn a name into a target, in the order of the specification. They decide and
//! report what they find; texts are made only once a name has failed.

use gate_model_ref::{ModelRef, ProviderKind, Splits};

use super::index::{Folded, KindIndex, Listed, Named, Node, Owner, path_below_kind};
use super::trace::{Finding, Place, Trace};
use super::{NotFoundReason, ProviderIndex, ProviderTree, ResolveError, Route, Scope, Target, near};

/// Finds the route of a name.
pub(super) fn resolve<'a, T: Trace<'a>>(
    tree: &'a ProviderTree,
    name: ModelRef<'a>,
    scope: Scope,
    trace: &mut T,
) -> Result<Route<'a>, ResolveError> {
    let mut found = match scope {
        Scope::Kind(kind) => at_endpoint(tree, name, kind, trace),
        Scope::Pinned(pin) => in_pin(tree, name, pin, trace),
    };
    // Step 7.
    if let Err(ResolveError::NotFound { near, .. }) = &mut found {
        *near = near::names(tree, name.as_str(), scope);
    }
    found
}

/// Steps 1 to 6.
fn at_endpoint<'a, T: Trace<'a>>(
    tree: &'a ProviderTree,
    name: ModelRef<'a>,
    kind: ProviderKind,
    trace: &mut T,
) -> Result<Route<'a>, ResolveError> {
    let root = tree.kind_root(kind);
    let base = match name.kind() {
        Some(named) if named != kind => {
            trace.record(Finding::KindRefused { named, endpoint: kind });
            return Err(ResolveError::KindMismatch { kind: named });
        }
        Some(named) => {
            trace.record(Finding::KindNamed(named));
            root
        }
        None => {
            trace.record(Finding::KindOfEndpoint(kind));
            None
        }
    };
    if let Some(route) = Search::new(tree, kind, base, name.without_kind()).run(trace)? {
        return Ok(route);
    }
    if name.kind().is_none() {
        refuse_other_kinds(tree, name, kind, trace)?;
    }
    let taken = match root {
        Some(root) => accept(tree, root),
        None => Err(NotFoundReason::RootNotConfigured(kind)),
    };
    match taken {
        Ok(provider) => {
            let target = Target { provider, upstream_model: name.without_kind() };
            trace.record(Finding::RootTakes(target));
            Ok(Route::to(tree, target, target.upstream_model))
        }
        Err(reason) => Err(not_found(reason, trace)),
    }
}

/// Step 5. A name that the other kind has, or that begins with the path of one of its providers,
/// is not for this kind's root.
fn refuse_other_kinds<'a, T: Trace<'a>>(
    tree: &'a ProviderTree,
    name: ModelRef<'a>,
    kind: ProviderKind,
    trace: &mut T,
) -> Result<(), ResolveError> {
    for other in ProviderKind::ALL.into_iter().filter(|other| *other != kind) {
        let found = Search::new(tree, other, None, name.as_str()).run(&mut ());
        trace.record(Finding::OtherKind { kind: other, has_it: !matches!(found, Ok(None)) });
        match found {
            Ok(None) => {}
            // Its own endpoint would refuse the name as well, so the true reason helps more.
            Err(ResolveError::NotFound { reason, .. }) => return Err(not_found(reason, trace)),
            Ok(Some(_)) | Err(_) => return Err(ResolveError::KindMismatch { kind: other }),
        }
    }
    Ok(())
}

/// Steps 2 to 4 inside a provider, whatever kinds the name may mention: `anthropic.claude-3` can
/// be a model of a provider that resells it.
fn in_pin<'a, T: Trace<'a>>(
    tree: &'a ProviderTree,
    name: ModelRef<'a>,
    pin: ProviderIndex,
    trace: &mut T,
) -> Result<Route<'a>, ResolveError> {
    let provider = tree.provider(pin);
    let stripped = strip_own_path(name.as_str(), &provider.id);
    let rest = stripped.unwrap_or(name.as_str());
    trace.record(Finding::Pinned { pin, rest });
    let search = Search::new(tree, provider.kind, Some(pin), rest);
    if let Some(route) = search.configured(trace)? {
        return Ok(route);
    }
    if stripped.is_none()
        && let Some(provider) = owner_of_full_name(tree, name)
    {
        trace.record(Finding::OutsidePin(provider));
        return Err(ResolveError::OutsidePin { provider });
    }
    let passed = search.pass_through(trace)?;
    passed.ok_or_else(|| not_found(NotFoundReason::RootNotConfigured(provider.kind), trace))
}

/// Finds what a name means at the provider that made an object, or nothing where the name says by
/// itself that it is another's.
pub(super) fn at_maker<'a>(
    tree: &'a ProviderTree,
    name: ModelRef<'a>,
    maker: ProviderIndex,
) -> Option<Target<'a>> {
    let kind = tree.provider(maker).kind;
    let is_its_own = |target: &Target<'_>| target.provider == maker;
    let inside = Search::new(tree, kind, Some(maker), name.as_str());
    // As inside a pin, a name can mean a provider below, which did not make the object.
    if let Some(route) = inside.configured(&mut ()).ok()? {
        return Some(route.first()).filter(is_its_own);
    }
    // A pin takes `other.gpt-4` for a model; who pins has said so, and here nobody has.
    let anywhere = Search::new(tree, kind, None, name.as_str());
    let has_path =
        name.kind().is_some() || anywhere.itself().is_some() || anywhere.longest_path().0.is_some();
    if has_path || refuse_other_kinds(tree, name, kind, &mut ()).is_err() {
        return None;
    }
    let route = inside.pass_through(&mut ()).ok().flatten();
    route.map(|route| route.first()).filter(is_its_own)
}

/// Removes a provider's path, with or without its kind, from the front of a name.
fn strip_own_path<'a>(name: &'a str, id: &str) -> Option<&'a str> {
    let strip = |path: &str| {
        let (front, rest) = name.split_at_checked(path.len())?;
        let is_path = !path.is_empty() && front.eq_ignore_ascii_case(path);
        match rest.strip_prefix('.') {
            Some(rest) if is_path => Some(rest),
            None if is_path && rest.is_empty() => Some(rest),
            _ => None,
        }
    };
    strip(id).or_else(|| strip(path_below_kind(id)))
}

/// Returns the provider whose full name, or whose model's full name, this is. The root of a kind
/// has only what it configures: taking every `anthropic.…` for its own would hide the models of
/// resellers, whose ids begin like that.
fn owner_of_full_name(tree: &ProviderTree, name: ModelRef<'_>) -> Option<ProviderIndex> {
    let kind = name.kind()?;
    let root = tree.kind_root(kind);
    let search = Search::new(tree, kind, root, name.without_kind());
    let exact = search.itself().or_else(|| search.listed().map(|listed| listed.provider));
    exact.or_else(|| match search.longest_path() {
        (provider, 0) => provider.filter(|root| own(search.owners(0), *root).is_some()),
        (provider, _) => provider,
    })
}

/// Returns the provider if it takes names that it does not know.
fn accept(tree: &ProviderTree, at: ProviderIndex) -> Result<ProviderIndex, NotFoundReason> {
    let provider = tree.provider(at);
    if provider.is_closed {
        return Err(NotFoundReason::Closed(at));
    }
    // Where a pool stands in for it, the root itself is not asked.
    if !provider.is_configured && tree.pool_below(at).is_empty() {
        return Err(NotFoundReason::RootNotConfigured(provider.kind));
    }
    Ok(at)
}

/// Makes the error of a name that is not passed through; the names near it are added at the end.
fn not_found<'a, T: Trace<'a>>(reason: NotFoundReason, trace: &mut T) -> ResolveError {
    trace.record(Finding::NotTaken(reason));
    ResolveError::NotFound { near: Vec::new(), reason }
}

/// Steps 2 to 4 for one name in one part of the tree.
struct Search<'a> {
    tree: &'a ProviderTree,
    index: &'a KindIndex,
    kind: ProviderKind,
    /// Where the name starts: the pin, or the root where the name says its kind. `None` is a short
    /// name, which may mean anything in the kind.
    base: Option<ProviderIndex>,
    /// The name below the base, as the client spelled it.
    name: &'a str,
    /// The whole path below the kind, in lower case.
    folded: Folded,
    /// Where the name begins in the folded path.
    start: usize,
}

impl<'a> Search<'a> {
    fn new(tree: &'a ProviderTree, kind: ProviderKind, base: Option<ProviderIndex>, name: &'a str) -> Self {
        let base_path = base.map_or("", |base| path_below_kind(&tree.provider(base).id));
        let folded = Folded::join(base_path, name);
        // The name is the end of that path, and folding changes no length.
        let start = folded.as_str().len().saturating_sub(name.len());
        Self { tree, index: tree.index.kind(kind), kind, base, name, folded, start }
    }

    /// Takes steps 2, 3 and 4.
    fn run<T: Trace<'a>>(&self, trace: &mut T) -> Result<Option<Route<'a>>, ResolveError> {
        match self.configured(trace)? {
            Some(route) => Ok(Some(route)),
            None => self.pass_through(trace),
        }
    }

    /// Takes steps 2 and 3: finds a model that the configuration names.
    fn configured<T: Trace<'a>>(&self, trace: &mut T) -> Result<Option<Route<'a>>, ResolveError> {
        let exact = self.exact();
        trace.record(Finding::Exact { path: self.name, target: exact.map(|route| route.found()) });
        if exact.is_some() || self.name.is_empty() {
            return Ok(exact);
        }
        let (provider, from) = self.longest_path();
        let name = self.name.get(from..).unwrap_or_default();
        let owners = self.owners(from);
        if let Some(provider) = provider {
            let route = own(owners, provider).map(|owner| self.route(owner));
            trace.record(Finding::Own { provider, name, target: route.map(|route| route.found()) });
            if route.is_some() {
                return Ok(route);
            }
        }
        if let Some(route) = self.below(provider, name, owners, trace)? {
            return Ok(Some(route));
        }
        // The provider of the longest path would now take the rest of the name as it is. It must
        // not take what another lists by the whole name: `azure.gpt-4` among the models of
        // `openai`, beside a provider `openai.azure`.
        let route = self.listed().map(|listed| self.listed_route(listed));
        if let Some(route) = route {
            trace.record(Finding::Listed(route.found()));
        }
        Ok(route)
    }

    /// Step 2: the path is that of a section or of a provider with a default model, as one lookup tells.
    fn exact(&self) -> Option<Route<'a>> {
        let node = self.index.node(self.path())?;
        if let Some(provider) = node.provider
            && let Some(upstream_model) = self.tree.provider(provider).default_model.as_deref()
        {
            return Some(Route::to(self.tree, Target { provider, upstream_model }, upstream_model));
        }
        self.listed_at(node).filter(|listed| listed.is_section).map(|listed| self.listed_route(listed))
    }

    /// Returns the provider whose path this is.
    fn itself(&self) -> Option<ProviderIndex> {
        self.index.provider(self.path())
    }

    /// Returns the model whose full name this is, unless only a provider above the pin lists it.
    fn listed(&self) -> Option<&'a Listed> {
        self.listed_at(self.index.node(self.path())?)
    }

    fn listed_at(&self, node: &Node) -> Option<&'a Listed> {
        let listed = self.tree.index.listed_at(node)?;
        let is_inside = |base| self.tree.is_within(listed.provider, Scope::Pinned(base));
        self.base.is_none_or(is_inside).then_some(listed)
    }

    /// Step 3, second half: those below a provider, or a whole kind, that have the name.
    fn below<T: Trace<'a>>(
        &self,
        provider: Option<ProviderIndex>,
        name: &'a str,
        owners: &'a [Owner],
        trace: &mut T,
    ) -> Result<Option<Route<'a>>, ResolveError> {
        let is_here = |owner: &&Owner| provider.is_none_or(|above| self.tree.is_below(owner.provider, above));
        let mut here = owners.iter().filter(is_here);
        let (first, has_several) = (here.next(), here.next().is_some());
        let place = provider.map_or(Place::Kind(self.kind), Place::Provider);
        if has_several && let Some(pool) = Route::of_all(self.tree, owners, provider, name) {
            trace.record(Finding::Balanced { place, name });
            return Ok(Some(pool));
        }
        let route = match first {
            Some(_) if has_several => self.default_among(owners).filter(|owner| is_here(owner)),
            first => first,
        }
        .map(|owner| self.route(owner));
        let target = route.map(|route| route.found());
        trace.record(Finding::Below { place, name, has_several, target });
        if has_several && route.is_none() {
            let candidates = owners.iter().filter(is_here).map(|owner| self.full_name(owner)).collect();
            return Err(ResolveError::Ambiguous { candidates });
        }
        Ok(route)
    }

    /// Returns the configured default if it is one of those that have a name.
    fn default_among<'o>(&self, owners: &'o [Owner]) -> Option<&'o Owner> {
        let default = self.tree.default.as_ref()?.found();
        own(owners, default.provider).filter(|owner| self.target(owner) == default)
    }

    /// Step 4: the provider in front of the name takes the rest as it is.
    fn pass_through<T: Trace<'a>>(&self, trace: &mut T) -> Result<Option<Route<'a>>, ResolveError> {
        let (provider, from) = self.longest_path();
        // The path of a provider is never a model of the provider above it.
        let accepted = match (self.itself(), provider) {
            (Some(itself), _)
                if accept(self.tree, itself) != Err(NotFoundReason::RootNotConfigured(self.kind)) =>
            {
                Err(NotFoundReason::NoDefaultModel(itself))
            }
            (_, Some(provider)) => accept(self.tree, provider),
            (_, None) => {
                trace.record(Finding::NoPath);
                return Ok(None);
            }
        };
        match accepted {
            Ok(provider) => {
                let upstream_model = self.name.get(from..).unwrap_or_default();
                let target = Target { provider, upstream_model };
                trace.record(Finding::PassedThrough(target));
                Ok(Some(Route::to(self.tree, target, upstream_model)))
            }
            Err(reason) => Err(not_found(reason, trace)),
        }
    }

    /// Returns the provider with the longest path in front of the name, and where the rest of the
    /// name begins: the base and 0 if there is no longer one.
    fn longest_path(&self) -> (Option<ProviderIndex>, usize) {
        let path = self.path();
        let provider_at = |end: usize| self.index.provider(path.get(..self.start + end)?);
        let longest = Splits::of(self.name)
            .map(|split| split.path.len())
            .find_map(|end| Some((provider_at(end)?, end + 1)));
        longest.map_or((self.base, 0), |(provider, from)| (Some(provider), from))
    }

    /// Returns everyone in the kind who has the name that begins at an offset.
    fn owners(&self, from: usize) -> &'a [Owner] {
        self.path().get(self.start + from..).map_or(&[], |name| self.index.owners(name))
    }

    fn path(&self) -> &str {
        self.folded.as_str()
    }

    fn target(&self, owner: &Owner) -> Target<'a> {
        Target {
            provider: owner.provider,
            upstream_model: self.tree.upstream_of(owner.provider, owner.named),
        }
    }

    fn route(&self, owner: &Owner) -> Route<'a> {
        let target = self.target(owner);
        let provider = self.tree.provider(owner.provider);
        let name = match owner.named {
            Named::Default => None,
            Named::Model(at) => provider.models.get(at).map(|model| model.name.as_str()),
        };
        Route::to(self.tree, target, name.unwrap_or(target.upstream_model))
    }

    fn listed_route(&self, listed: &'a Listed) -> Route<'a> {
        self.route(&Owner { provider: listed.provider, named: Named::Model(listed.model) })
    }

    /// Returns a name that means this owner and nobody else.
    fn full_name(&self, owner: &Owner) -> String {
        let provider = self.tree.provider(owner.provider);
        match owner.named {
            Named::Default => provider.id.clone(),
            Named::Model(at) => {
                let name = provider.models.get(at).map(|model| model.name.as_str()).unwrap_or_default();
                format!("{}.{name}", provider.id)
            }
        }
    }
}

/// Returns a provider's own place among the owners, which are in order of the providers.
pub(super) fn own(owners: &[Owner], provider: ProviderIndex) -> Option<&Owner> {
    owners.binary_search_by_key(&provider, |owner| owner.provider).ok().and_then(|at| owners.get(at))
}
