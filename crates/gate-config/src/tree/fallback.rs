//! Where requests go once a provider fails: what `fallback` names, resolved once, and followed to its
//! end, so that a route only reads a list.

use std::fmt;

use gate_model_ref::{ModelRef, ParseError, ProviderKind};

use super::trace::Finding;
use super::{ProviderIndex, ProviderTree, ResolveError, Scope};

/// The most fallbacks of one provider, those of its fallbacks included. No request has so many
/// attempts; the bound keeps long chains from becoming long lists at each of their links.
const MOST: usize = 32;

/// One place to go next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fallback {
    /// A provider, which gets the name that was asked for or its own default.
    Provider { provider: ProviderIndex },
    /// One model.
    Model { provider: ProviderIndex, name: String, upstream: String },
    /// A provider after a `Model`, which gets that model's name or its own default.
    Behind { provider: ProviderIndex, name: String, upstream: String },
}

impl Fallback {
    pub(crate) const fn provider(&self) -> ProviderIndex {
        match self {
            Self::Provider { provider } | Self::Model { provider, .. } | Self::Behind { provider, .. } => {
                *provider
            }
        }
    }

    /// Returns the model that is sent whatever was asked for.
    pub(crate) fn model(&self) -> Option<&str> {
        match self {
            Self::Model { upstream, .. } => Some(upstream),
            Self::Provider { .. } | Self::Behind { .. } => None,
        }
    }

    /// Returns what this is to a request that comes from another fallback.
    fn after(&self, before: &Self) -> Self {
        match (self, before) {
            (
                Self::Provider { provider },
                Self::Model { name, upstream, .. } | Self::Behind { name, upstream, .. },
            ) => Self::Behind { provider: *provider, name: name.clone(), upstream: upstream.clone() },
            _ => self.clone(),
        }
    }
}

/// Why a fallback cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FallbackError {
    /// The provider that says it.
    pub(crate) provider: ProviderIndex,
    message: String,
}

impl fmt::Display for FallbackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl ProviderTree {
    /// Returns where requests of a provider go once it fails, in order.
    pub(crate) fn fallbacks_of(&self, provider: ProviderIndex) -> &[Fallback] {
        self.fallbacks.get(provider.position()).map_or(&[], Vec::as_slice)
    }

    /// Resolves every provider's `fallback`.
    ///
    /// # Errors
    /// Each fallback that cannot be used: it names nothing, or something of the other kind, or leads
    /// back to where it came from.
    pub(crate) fn link_fallbacks(&mut self) -> Result<(), Vec<FallbackError>> {
        let mut direct: Vec<Vec<Fallback>> = Vec::with_capacity(self.providers.len());
        let mut errors = Vec::new();
        for (at, provider) in self.providers() {
            let mut next = Vec::new();
            for text in &provider.fallback {
                match self.fallback(at, provider.kind, text) {
                    Ok(found) => next.extend(found),
                    Err(message) => errors.push(FallbackError { provider: at, message }),
                }
            }
            direct.push(next);
        }
        errors.extend(circles(&direct).into_iter().map(|circle| self.circle(&circle)));
        if !errors.is_empty() {
            return Err(errors);
        }
        self.fallbacks = direct.iter().map(|start| chain(start, &direct)).collect();
        Ok(())
    }

    /// Resolves one text of `fallback`. A pool is each of its members.
    fn fallback(&self, of: ProviderIndex, kind: ProviderKind, text: &str) -> Result<Vec<Fallback>, String> {
        let named = self.find(text).or_else(|| self.find(&format!("{kind}.{text}")));
        if let Some(named) = named {
            let provider = self.provider(named);
            if provider.kind != kind {
                return Err(other_kind(text, provider.kind, kind));
            }
            if named == of {
                return Err(format!("`{text}` is this provider itself"));
            }
            let members = match self.pool_below(named) {
                [] if !provider.is_configured => {
                    return Err(format!("provider `{text}` is not configured"));
                }
                [] => vec![named],
                members => members.iter().copied().filter(|&member| member != of).collect(),
            };
            return Ok(members.into_iter().map(|provider| Fallback::Provider { provider }).collect());
        }
        let name = ModelRef::parse(text)
            .map_err(|error: ParseError| format!("`{}` is no name: {error}", text.escape_debug()))?;
        let mut findings = Vec::new();
        let route = self
            .route_traced(name, Scope::Kind(kind), &mut findings)
            .map_err(|error| unresolved(text, kind, error))?;
        // A short name that nobody has would go to the root of the kind whatever it is.
        if matches!(findings.last(), Some(Finding::RootTakes(_))) {
            let error = format!(
                "`{text}` is neither a provider nor a configured model; for a model that `{kind}` itself \
                 passes through, write `{kind}.{text}`"
            );
            return Err(error);
        }
        let targets: Vec<_> = route.pool().map(|member| member.target).collect();
        if route.parent().or(targets.first().map(|target| target.provider)) == Some(of) {
            return Err(format!("`{text}` is a model of this provider itself"));
        }
        let model = |target: super::Target<'_>| Fallback::Model {
            provider: target.provider,
            name: route.name().to_owned(),
            upstream: target.upstream_model.to_owned(),
        };
        Ok(targets.into_iter().filter(|target| target.provider != of).map(model).collect())
    }

    fn circle(&self, circle: &[ProviderIndex]) -> FallbackError {
        let first = circle.first().copied().unwrap_or(ProviderIndex(0));
        let path = circle.iter().chain([&first]).map(|&at| format!("`{}`", self.provider(at).id));
        let path = path.collect::<Vec<_>>().join(" → ");
        FallbackError { provider: first, message: format!("leads back to where it began: {path}") }
    }
}

fn other_kind(text: &str, named: ProviderKind, kind: ProviderKind) -> String {
    format!("`{text}` is of kind `{named}`, and a request of kind `{kind}` cannot go there")
}

fn unresolved(text: &str, kind: ProviderKind, error: ResolveError) -> String {
    match error {
        ResolveError::KindMismatch { kind: named } => other_kind(text, named, kind),
        ResolveError::Ambiguous { candidates } => {
            format!("several providers have `{text}`: write one of `{}`", candidates.join("`, `"))
        }
        ResolveError::NotFound { near, .. } if !near.is_empty() => {
            format!(
                "`{text}` is neither a provider nor a configured model; did you mean `{}`?",
                near.join("`, `")
            )
        }
        ResolveError::NotFound { .. } | ResolveError::OutsidePin { .. } => {
            format!("`{text}` is neither a provider nor a configured model")
        }
    }
}

/// Follows fallbacks to their end: depth first, each once.
fn chain(start: &[Fallback], direct: &[Vec<Fallback>]) -> Vec<Fallback> {
    let mut chain: Vec<Fallback> = Vec::new();
    let mut waiting: Vec<Fallback> = start.iter().rev().cloned().collect();
    while let Some(next) = waiting.pop().filter(|_| chain.len() < MOST) {
        if chain.contains(&next) {
            continue;
        }
        let further = direct.get(next.provider().position()).into_iter().flatten();
        waiting.extend(further.rev().map(|further| further.after(&next)));
        chain.push(next);
    }
    chain
}

/// Finds the circles among fallbacks, each once and from its first provider on. The walk keeps its
/// own stack, since a chain may be as long as a configuration.
fn circles(direct: &[Vec<Fallback>]) -> Vec<Vec<ProviderIndex>> {
    let mut circles = Vec::new();
    let mut is_done = vec![false; direct.len()];
    let mut depth_of: Vec<Option<usize>> = vec![None; direct.len()];
    for start in 0..direct.len() {
        let mut path = vec![(start, 0)];
        while let Some((at, next)) = path.last_mut() {
            let at = *at;
            if is_done.get(at).copied().unwrap_or(true) {
                path.pop();
                continue;
            }
            let edge =
                direct.get(at).and_then(|edges| edges.get(*next)).map(|edge| edge.provider().position());
            *next += 1;
            let depth = path.len() - 1;
            if let Some(entry) = depth_of.get_mut(at) {
                *entry = Some(depth);
            }
            match edge {
                None => {
                    set(&mut is_done, at, true);
                    set(&mut depth_of, at, None);
                    path.pop();
                }
                Some(to) => match depth_of.get(to).copied().flatten() {
                    Some(from) => circles.push(turned(path.get(from..).unwrap_or_default())),
                    None => path.push((to, 0)),
                },
            }
        }
    }
    circles
}

fn set<T>(places: &mut [T], at: usize, value: T) {
    if let Some(place) = places.get_mut(at) {
        *place = value;
    }
}

/// Turns a circle so that it begins at its first provider.
fn turned(path: &[(usize, usize)]) -> Vec<ProviderIndex> {
    let mut circle: Vec<_> = path.iter().map(|&(at, _)| ProviderIndex(at)).collect();
    let first = circle.iter().enumerate().min_by_key(|(_, at)| **at).map_or(0, |(place, _)| place);
    circle.rotate_left(first);
    circle
}
