//! From sources to the configuration, in one pass that reports everything it finds.

mod balancing;
mod credential;
mod listen;
mod nodes;
mod own;
mod pem;
mod providers;
mod server;
mod tls;

use figment::value::{Dict, Value};
use gate_model_ref::ModelRef;

use crate::layers::Layers;
use crate::problem::{Findings, Problems, Warning};
use crate::section::{Section, Set};
use crate::setting::TableKind;
use crate::sources::Sources;
use crate::value::is_date;
use crate::{DefaultError, GateConfig, Origin, Provider, ProviderTree, Source};

use nodes::Nodes;

/// A configuration that can be used, with what its owner should know.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: GateConfig,
    /// What may go wrong.
    pub warnings: Vec<Warning>,
    /// The files that were read and the variables and flags that were used, lowest precedence
    /// first.
    pub sources: Vec<Source>,
    /// Whether nothing configures a provider: a gateway that can only refuse.
    pub is_bare: bool,
}

/// Loads the configuration: reads the sources, merges them, and resolves what they say.
///
/// # Errors
/// Every problem, each with its key, its source and what is expected. Files that cannot be read or
/// are not TOML are reported alone, because nothing else can be judged without them.
pub fn load(sources: &Sources) -> Result<Loaded, Problems> {
    let mut findings = Findings::default();
    let layers = Layers::read(sources, &mut findings);
    if layers.is_incomplete {
        return Err(findings.into_problems());
    }
    let llm = Section { key: "llm", kind: TableKind::Llm, dict: &layers.llm, layers: &layers };
    let empty = Dict::new();
    let [limits, timeout, tls, load_balancing, retry, circuit_breaker, health_check, provider] = [
        ("llm.limits", TableKind::Limits),
        ("llm.timeout", TableKind::Timeout),
        ("llm.tls", TableKind::Tls),
        ("llm.load_balancing", TableKind::LoadBalancing),
        ("llm.retry", TableKind::Retry),
        ("llm.circuit_breaker", TableKind::CircuitBreaker),
        ("llm.health_check", TableKind::HealthCheck),
        ("llm.provider", TableKind::ProviderRoot),
    ]
    .map(|(key, kind)| {
        let dict = subtable(key, &llm, &mut findings).unwrap_or(&empty);
        Section { key, kind, dict, layers: &layers }
    });
    llm.check(|name| llm.has_table(name), &mut findings);
    for table in [&limits, &timeout, &tls, &load_balancing, &retry, &circuit_breaker, &health_check] {
        table.check(|_| false, &mut findings);
    }

    let mut server = server::read(&llm, &limits, &timeout);
    server.tls = tls::read(&tls, &mut findings);
    server.load_balancing = balancing::load_balancing(&load_balancing);
    server.retry = balancing::retry(&retry, &mut findings);
    server.circuit_breaker = balancing::circuit_breaker(&circuit_breaker);
    server.health_check = balancing::health_check(&health_check, &mut findings);
    server::check(&limits, &server, &mut findings);
    let nodes = nodes::walk(provider.dict, sources, &layers, &mut findings);
    let providers = providers::resolve(&nodes, &layers, &mut findings);
    listen::check(&llm, &server, &providers, &mut findings);
    let is_bare = providers.iter().all(|provider| !provider.is_configured);
    // Where there are problems, one of them may be why nothing is configured.
    if is_bare && !findings.has_problems() {
        warn_of_bareness(&providers, &mut findings);
    }
    let mut tree = ProviderTree::without_default(providers, nodes.aliases());
    providers::warn_of_missing_keys(&tree, &mut findings);
    let default = set_default(&mut tree, &nodes);
    // What is wrong with a fallback is told in the same run.
    check_routes(&mut tree, &mut findings);
    if let Err((error, Origin { source, key })) = default {
        findings.problem(key, source, error.to_string());
    }
    let warnings = findings.finish()?;
    Ok(Loaded { config: GateConfig { server, providers: tree }, warnings, sources: layers.read, is_bare })
}

/// Resolves what every `fallback` names, and reports what cannot be used and what has no effect.
fn check_routes(tree: &mut ProviderTree, findings: &mut Findings) {
    for error in tree.link_fallbacks().err().unwrap_or_default() {
        let provider = tree.provider(error.provider);
        if let Some(origin) = provider.origins.get("fallback") {
            findings.problem(&origin.key, origin.source.clone(), error.to_string());
        }
    }
    // Where there are problems, one of them may be why a weight has nobody beside it.
    let is_sound = !findings.has_problems();
    for (at, provider) in tree.providers().filter(|_| is_sound) {
        if let Some(origin) = provider.origins.get("weight").filter(|_| tree.has_nothing_to_share(at)) {
            let message = "has no effect: the provider has no models that another could have too, and no sibling \
                           with a weight; add one beside it, below the same provider";
            findings.warning(&origin.key, origin.source.clone(), message);
        }
    }
}

fn warn_of_bareness(providers: &[Provider], findings: &mut Findings) {
    let inherited = providers.iter().find_map(|provider| provider.origins.get("api_key"));
    match inherited {
        Some(origin) => findings.warning(
            &origin.key,
            origin.source.clone(),
            "no provider is configured to inherit this key, so every request will be refused; add \
             [llm.provider.openai] or [llm.provider.anthropic], even with nothing in it",
        ),
        None => findings.general_warning(
            "no provider and no key is configured, so every request will be refused; add a key, or start with --demo",
        ),
    }
}

/// Returns a table of `[llm]` by its full key, nothing if it is absent, no table, or refused.
fn subtable<'a>(key: &str, llm: &Section<'a>, findings: &mut Findings) -> Option<&'a Dict> {
    let name = key.rsplit('.').next().filter(|name| llm.has_table(name))?;
    match llm.dict.get(name)? {
        value @ Value::Dict(_, dict) if !is_date(value) => Some(dict),
        value => {
            let message = format!("expected a table, `[{key}]`");
            findings.problem(key, llm.layers.source(value), message);
            None
        }
    }
}

/// Sets the default. Where one without a kind does not resolve by itself, the kind that
/// `[llm.provider] type` assumes is put in front of it.
fn set_default(tree: &mut ProviderTree, nodes: &Nodes) -> Result<(), (DefaultError, Origin)> {
    let Some(Set { value: name, origin }) = &nodes.default else { return Ok(()) };
    let set = tree.set_default(name.clone()).or_else(|error| match &nodes.top.kind {
        Some(kind) if ModelRef::parse(name).is_ok_and(|name| name.kind().is_none()) => {
            // The error about the name as written says more than one about a name that nobody wrote.
            tree.set_default(format!("{}.{name}", kind.value)).map_err(|_| error)
        }
        _ => Err(error),
    });
    set.map_err(|error| (error, origin.clone()))
}
