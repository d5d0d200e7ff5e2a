//! Why a name resolves as it does, for people. It runs the very steps that resolve a request and
//! writes down what each found; it never shows a key.

use std::fmt;

use gate_model_ref::{ModelRef, ParseError, ProviderKind};

use crate::tree::{Finding, Place};
use crate::{
    NotFoundReason, Origin, Provider, ProviderIndex, ProviderTree, ResolveError, Route, Scope, Source, Target,
};

/// The account of how a name resolves; printing it is its purpose.
#[derive(Clone, Debug)]
pub struct Explanation {
    name: String,
    lookups: Result<Vec<Lookup>, ParseError>,
}

/// One way to look the name up.
#[derive(Clone, Debug)]
struct Lookup {
    heading: String,
    /// What each step is called, and what it found.
    steps: Vec<(&'static str, String)>,
    /// Where the requests go, or the error's sentence.
    outcome: Result<Found, String>,
}

/// Every target of a name.
#[derive(Clone, Debug)]
struct Found {
    /// Those that share the requests.
    pool: Vec<Shown>,
    /// Those that come after them, one line each.
    fallbacks: Vec<String>,
    warning: Option<String>,
}

/// A target with everything that leads to its URL.
#[derive(Clone, Debug)]
struct Shown {
    /// The provider, with its share of a pool.
    provider: String,
    upstream_model: String,
    url: String,
    /// Each setting, and where it came from.
    settings: Vec<(&'static str, String)>,
}

/// Explains how a name resolves. Without a scope the name is looked up at the endpoint of the kind
/// that it says, or of every kind if it says none.
pub fn explain(tree: &ProviderTree, name: &str, scope: Option<Scope>) -> Explanation {
    let lookups = ModelRef::parse(name).map(|parsed| {
        let scopes = match (scope, parsed.kind()) {
            (Some(scope), _) => vec![scope],
            (None, Some(kind)) => vec![Scope::Kind(kind)],
            (None, None) => ProviderKind::ALL.map(Scope::Kind).to_vec(),
        };
        scopes.into_iter().map(|scope| look_up(tree, parsed, scope)).collect()
    });
    Explanation { name: name.to_owned(), lookups }
}

impl Explanation {
    /// Tells whether the name resolves to something, at one of the endpoints that were tried.
    pub fn is_found(&self) -> bool {
        self.lookups.as_ref().is_ok_and(|lookups| lookups.iter().any(|lookup| lookup.outcome.is_ok()))
    }
}

fn look_up(tree: &ProviderTree, name: ModelRef<'_>, scope: Scope) -> Lookup {
    let mut findings = Vec::new();
    let resolved = tree.route_traced(name, scope, &mut findings);
    let is_passed = matches!(findings.last(), Some(Finding::PassedThrough(_) | Finding::RootTakes(_)));
    let mut steps: Vec<_> = findings.into_iter().map(|finding| step(tree, finding)).collect();
    if let Some(parent) = resolved.as_ref().ok().and_then(Route::parent) {
        steps.push((
            "  pool",
            format!("the providers with a weight below {} stand in for it", id(tree, parent)),
        ));
    }
    Lookup {
        heading: match scope {
            Scope::Kind(kind) => format!("at POST /v1{} (kind {kind})", endpoint(kind)),
            Scope::Pinned(pin) => format!("on a route pinned to provider {}", id(tree, pin)),
        },
        steps,
        outcome: match resolved {
            Ok(route) => Ok(found(tree, &route, is_passed)),
            Err(error) => Err(failure(tree, &error)),
        },
    }
}

/// Returns the path, below `/v1`, of the endpoint that stands for a kind.
const fn endpoint(kind: ProviderKind) -> &'static str {
    match kind {
        ProviderKind::OpenAi => "/chat/completions",
        ProviderKind::Anthropic => "/messages",
    }
}

fn id(tree: &ProviderTree, provider: ProviderIndex) -> String {
    format!("`{}`", tree.provider(provider).id)
}

/// Words one finding.
fn step(tree: &ProviderTree, finding: Finding<'_>) -> (&'static str, String) {
    let id = |provider| id(tree, provider);
    match finding {
        Finding::KindRefused { named, endpoint } => {
            ("1 kind", format!("the name says `{named}`, the endpoint is of kind {endpoint}"))
        }
        Finding::KindNamed(kind) => ("1 kind", format!("the name says `{kind}`")),
        Finding::KindOfEndpoint(kind) => ("1 kind", format!("the name says none; the endpoint's is {kind}")),
        Finding::Pinned { pin, rest: "" } => ("1 pin", format!("the name is that of provider {}", id(pin))),
        Finding::Pinned { pin, rest } => {
            ("1 pin", format!("`{rest}` is looked up inside provider {}", id(pin)))
        }
        Finding::Exact { path, target: Some(target) } => {
            let what = if path.is_empty() { "the name".to_owned() } else { format!("`{path}`") };
            ("2 exact", format!("{what} is configured: a model of provider {}", id(target.provider)))
        }
        Finding::Exact { path: "", target: None } => {
            ("2 exact", "no default model is behind the name".to_owned())
        }
        Finding::Exact { path, target: None } => {
            ("2 exact", format!("`{path}` is no section, and no provider with a default model"))
        }
        Finding::Own { provider, name, target } => {
            let has = if target.is_some() { "has" } else { "itself has no" };
            ("3 own", format!("provider {} {has} `{name}`", id(provider)))
        }
        Finding::Below { place, name, has_several, target } => {
            ("3 below", below(tree, place, name, has_several, target))
        }
        Finding::Balanced { place, name } => {
            let place = place_named(tree, place);
            ("3 below", format!("{place}, several have `{name}`, each with a `weight`: they are a pool"))
        }
        Finding::Listed(target) => {
            ("3 listed", format!("provider {} lists the whole name", id(target.provider)))
        }
        Finding::OutsidePin(provider) => ("  pin", format!("the name belongs to provider {}", id(provider))),
        Finding::PassedThrough(Target { provider, upstream_model }) => {
            ("4 pass-through", format!("provider {} takes `{upstream_model}` as it is", id(provider)))
        }
        Finding::NoPath => ("4 pass-through", "the name begins with no provider's path".to_owned()),
        Finding::OtherKind { kind, has_it: true } => ("5 other kind", format!("{kind} has the name")),
        Finding::OtherKind { kind, has_it: false } => {
            ("5 other kind", format!("{kind} does not have the name"))
        }
        Finding::RootTakes(target) => {
            ("6 kind root", format!("provider {} takes the name as it is", id(target.provider)))
        }
        Finding::NotTaken(reason) => ("7 not found", why_not_taken(tree, reason)),
    }
}

fn below(
    tree: &ProviderTree,
    place: Place,
    name: &str,
    has_several: bool,
    target: Option<Target<'_>>,
) -> String {
    let place = place_named(tree, place);
    match target.map(|target| id(tree, target.provider)) {
        Some(owner) if has_several => {
            format!("{place}, several have `{name}`; `llm.provider.default` is that of {owner}")
        }
        Some(owner) => format!("{place}, {owner} alone has `{name}`"),
        None if has_several => {
            format!("{place}, several have `{name}`, and none of them is `llm.provider.default`")
        }
        None => format!("{place}, nothing has `{name}`"),
    }
}

fn place_named(tree: &ProviderTree, place: Place) -> String {
    match place {
        Place::Provider(provider) => format!("below {}", id(tree, provider)),
        Place::Kind(kind) => format!("in all of {kind}"),
    }
}

fn why_not_taken(tree: &ProviderTree, reason: NotFoundReason) -> String {
    match reason {
        NotFoundReason::Closed(provider) => {
            format!(
                "provider {} takes only its `models`; `open = true` would pass other names on",
                id(tree, provider)
            )
        }
        NotFoundReason::NoDefaultModel(provider) => {
            format!("provider {} has no `model` that its name could stand for", id(tree, provider))
        }
        NotFoundReason::RootNotConfigured(kind) => {
            format!("`[llm.provider.{kind}]`, which would take the name, is not configured")
        }
    }
}

/// Words an error.
fn failure(tree: &ProviderTree, error: &ResolveError) -> String {
    match error {
        ResolveError::KindMismatch { kind } => {
            format!("the name belongs to kind {kind}: send it to POST /v1{}", endpoint(*kind))
        }
        ResolveError::Ambiguous { candidates } => {
            format!("several providers have the name: write one of `{}`", candidates.join("`, `"))
        }
        ResolveError::NotFound { near, .. } if near.is_empty() => "nothing has the name".to_owned(),
        ResolveError::NotFound { near, .. } => {
            format!("nothing has the name; did you mean `{}`?", near.join("`, `"))
        }
        ResolveError::OutsidePin { provider } => {
            format!("the name belongs to provider {}, which is outside the pin", id(tree, *provider))
        }
    }
}

fn found(tree: &ProviderTree, route: &Route<'_>, is_passed: bool) -> Found {
    let target = route.found();
    let provider = tree.provider(target.provider);
    let all: u64 = route.pool().map(|member| u64::from(member.weight)).sum();
    let share = |weight| if route.is_pool() { format!(" (weight {weight} of {all})") } else { String::new() };
    Found {
        pool: route.pool().map(|member| shown(tree, member.target, &share(member.weight))).collect(),
        fallbacks: route.fallbacks().map(|target| fallback(tree, target)).collect(),
        warning: path_like_part(target.upstream_model).filter(|_| is_passed).map(|part| {
            format!(
                "`{part}` names no provider below `{}`; it is sent as part of the model's name",
                provider.id
            )
        }),
    }
}

fn shown(tree: &ProviderTree, target: Target<'_>, share: &str) -> Shown {
    let provider = tree.provider(target.provider);
    Shown {
        provider: format!("{}{share}", provider.id),
        upstream_model: target.upstream_model.to_owned(),
        url: provider.url(endpoint(provider.kind), Some(target.upstream_model)),
        settings: settings(provider),
    }
}

fn fallback(tree: &ProviderTree, target: Target<'_>) -> String {
    let Shown { provider, upstream_model, url, .. } = shown(tree, target, "");
    format!("{provider} gets `{upstream_model}` at {url}")
}

/// Returns what stands before the first dot that does not look like one of a version, between two
/// digits. This decides nothing: a wrong guess costs a line of warning.
fn path_like_part(name: &str) -> Option<&str> {
    let is_digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_digit);
    let bytes = name.as_bytes();
    let dots = name.match_indices('.').map(|(at, _)| at);
    let separators =
        dots.filter(|&at| !(is_digit(bytes.get(at.wrapping_sub(1))) && is_digit(bytes.get(at + 1))));
    separators.filter_map(|at| name.get(..at)).find(|part| !part.is_empty())
}

/// Lists where each setting came from, followed by the sources that lost to it.
fn settings(provider: &Provider) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    for (setting, origin) in &provider.origins {
        let inherited = if is_inherited(&provider.id, origin) { "inherited: " } else { "" };
        lines.push((*setting, format!("{inherited}{}", place_of(origin))));
        for loser in provider.losers.get(setting).into_iter().flatten() {
            lines.push((*setting, format!("not used: {}", place_of(loser))));
        }
    }
    lines
}

fn place_of(origin: &Origin) -> String {
    match &origin.source {
        Source::Default => Source::Default.to_string(),
        source => format!("{} ({source})", origin.key),
    }
}

/// Tells whether an origin's table is above the provider's.
fn is_inherited(id: &str, origin: &Origin) -> bool {
    if origin.source == Source::Default {
        return false;
    }
    let own = format!("llm.provider.{id}").to_ascii_lowercase();
    let table = origin.key.rsplit_once('.').map_or("", |(table, _)| table).to_ascii_lowercase();
    own.strip_prefix(&table).is_some_and(|below| below.starts_with('.'))
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.escape_debug();
        match &self.lookups {
            Err(error) => writeln!(f, "`{name}` is no model name: {error}"),
            Ok(lookups) => lookups.iter().try_for_each(|lookup| write!(f, "`{name}` {lookup}")),
        }
    }
}

impl fmt::Display for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.heading)?;
        for (label, text) in &self.steps {
            writeln!(f, "  {label:<16}{text}")?;
        }
        match &self.outcome {
            Ok(found) => found.fmt(f),
            Err(sentence) => writeln!(f, "  = error         {sentence}"),
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pool.iter().try_for_each(|member| member.fmt(f))?;
        for fallback in &self.fallbacks {
            writeln!(f, "  then            {fallback}")?;
        }
        match &self.warning {
            Some(warning) => writeln!(f, "  ! warning       {warning}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  = provider      {}", self.provider)?;
        writeln!(f, "    model sent    {}", self.upstream_model)?;
        writeln!(f, "    URL           {}", self.url)?;
        for (setting, text) in &self.settings {
            writeln!(f, "    {setting:<13} {text}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
