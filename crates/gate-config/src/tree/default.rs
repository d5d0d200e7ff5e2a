//! `llm.provider.default`: the model of requests that name none, resolved when the tree is built.

use std::fmt;

use gate_model_ref::{ModelRef, ParseError, ProviderKind};

use super::{NotFoundReason, ProviderIndex, ProviderTree, ResolveError, Route, Scope, Target, near};

/// The model of a request that names none, once resolved.
#[derive(Clone, Debug)]
pub(super) struct DefaultTarget {
    /// What `llm.provider.default` says, in the kind where it means something.
    name: String,
    kind: ProviderKind,
    /// What it means.
    provider: ProviderIndex,
    upstream: String,
    /// The first target of a pool that stands in for that, or the same.
    first: (ProviderIndex, String),
}

impl DefaultTarget {
    pub(super) fn found(&self) -> Target<'_> {
        Target { provider: self.provider, upstream_model: &self.upstream }
    }

    fn first(&self) -> Target<'_> {
        Target { provider: self.first.0, upstream_model: &self.first.1 }
    }
}

impl ProviderTree {
    /// Finds the target of a request that names no model: `llm.provider.default`, if its kind is
    /// that of the scope (or it lies inside the pin), else nothing.
    pub fn resolve_default(&self, scope: Scope) -> Option<Target<'_>> {
        self.default_within(scope).map(DefaultTarget::first)
    }

    /// Finds the route of a request that names no model: like [`resolve_default`](Self::resolve_default),
    /// with the whole pool and the fallbacks.
    pub fn route_default(&self, scope: Scope) -> Option<Route<'_>> {
        let default = self.default_within(scope)?;
        self.route(ModelRef::parse(&default.name).ok()?, Scope::Kind(default.kind)).ok()
    }

    fn default_within(&self, scope: Scope) -> Option<&DefaultTarget> {
        self.default.as_ref().filter(|default| self.is_within(default.provider, scope))
    }

    /// Resolves `llm.provider.default`. A name without a kind is looked up in every kind, because
    /// no endpoint gives one.
    pub(super) fn resolve_default_name(&self, name: String) -> Result<DefaultTarget, DefaultError> {
        let parsed = match ModelRef::parse(&name) {
            Ok(parsed) => parsed,
            Err(error) => return Err(DefaultError { name, reason: DefaultErrorReason::Name(error) }),
        };
        let kinds =
            ProviderKind::ALL.into_iter().filter(|kind| parsed.kind().is_none_or(|named| named == *kind));
        let mut found = Vec::new();
        let mut failed = Vec::new();
        for kind in kinds {
            match self.route(parsed, Scope::Kind(kind)) {
                Ok(route) => found.push((kind, route.found(), route.first())),
                Err(error) => failed.push(error),
            }
        }
        let reason = match found.as_slice() {
            [(kind, target, first)] => {
                return Ok(DefaultTarget {
                    kind: *kind,
                    provider: target.provider,
                    upstream: target.upstream_model.to_owned(),
                    first: (first.provider, first.upstream_model.to_owned()),
                    name,
                });
            }
            [] => DefaultErrorReason::of(self, failed),
            _ => DefaultErrorReason::SeveralKinds,
        };
        Err(DefaultError { name, reason })
    }
}

/// Why `llm.provider.default` cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultError {
    name: String,
    reason: DefaultErrorReason,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum DefaultErrorReason {
    Name(ParseError),
    SeveralKinds,
    Ambiguous { candidates: Vec<String> },
    NoDefaultModel { provider: String },
    NotFound { near: Vec<String> },
}

impl DefaultErrorReason {
    /// Picks the most telling of the errors that the kinds gave.
    fn of(tree: &ProviderTree, errors: Vec<ResolveError>) -> Self {
        let mut all_near = Vec::new();
        for error in errors {
            match error {
                ResolveError::Ambiguous { candidates } => return Self::Ambiguous { candidates },
                ResolveError::NotFound { reason: NotFoundReason::NoDefaultModel(provider), .. } => {
                    return Self::NoDefaultModel { provider: tree.provider(provider).id.clone() };
                }
                ResolveError::NotFound { near, .. } => all_near.extend(near),
                ResolveError::KindMismatch { .. } | ResolveError::OutsidePin { .. } => {}
            }
        }
        all_near.truncate(near::MOST);
        Self::NotFound { near: all_near }
    }
}

impl fmt::Display for DefaultError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.reason {
            DefaultErrorReason::Name(error) => {
                write!(f, "`{}` is no model name: {error}", name.escape_debug())
            }
            DefaultErrorReason::SeveralKinds => {
                write!(
                    f,
                    "`{name}` means something in both kinds: write `openai.{name}` or `anthropic.{name}`"
                )
            }
            DefaultErrorReason::Ambiguous { candidates } => {
                write!(f, "several providers have `{name}`: write one of `{}`", candidates.join("`, `"))
            }
            DefaultErrorReason::NoDefaultModel { provider } => {
                write!(
                    f,
                    "provider `{provider}` has no `model` that its name could stand for: add one, or write "
                )?;
                write!(f, "`{provider}.` and a model")
            }
            DefaultErrorReason::NotFound { near } if near.is_empty() => {
                write!(f, "no configured provider has or takes `{name}`")
            }
            DefaultErrorReason::NotFound { near } => {
                write!(
                    f,
                    "no configured provider has or takes `{name}`; did you mean `{}`?",
                    near.join("`, `")
                )
            }
        }
    }
}

impl std::error::Error for DefaultError {}
