//! From sources to the configuration, in one pass that reports everything it finds.

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
use crate::section::Section;
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
    let llm = layers.llm();
    let empty = Dict::new();
    let limits = subtable("limits", &llm, &layers, &mut findings).unwrap_or(&empty);
    let timeout = subtable("timeout", &llm, &layers, &mut findings).unwrap_or(&empty);
    let tls = subtable("tls", &llm, &layers, &mut findings).unwrap_or(&empty);
    let provider = subtable("provider", &llm, &layers, &mut findings).unwrap_or(&empty);

    let llm = Section { key: "llm", kind: TableKind::Llm, dict: &llm, layers: &layers };
    let limits = Section { key: "llm.limits", kind: TableKind::Limits, dict: limits, layers: &layers };
    let timeout = Section { key: "llm.timeout", kind: TableKind::Timeout, dict: timeout, layers: &layers };
    let tls = Section { key: "llm.tls", kind: TableKind::Tls, dict: tls, layers: &layers };
    llm.check(|name| TableKind::Llm.subtables().contains(&name), &mut findings);
    limits.check(|_| false, &mut findings);
    timeout.check(|_| false, &mut findings);
    tls.check(|_| false, &mut findings);

    let mut server = server::read(&llm, &limits, &timeout);
    server.tls = tls::read(&tls, &mut findings);
    server::check(&limits, &server, &mut findings);
    let nodes = nodes::walk(provider, sources, &layers, &mut findings);
    let providers = providers::resolve(&nodes, &layers, &mut findings);
    listen::check(&llm, &server, &providers, &mut findings);
    let is_bare = providers.iter().all(|provider| !provider.is_configured);
    // Where there are problems, one of them may be why nothing is configured.
    if is_bare && !findings.has_problems() {
        warn_of_bareness(&providers, &mut findings);
    }
    match tree(providers, &nodes) {
        Ok(providers) => {
            let warnings = findings.finish()?;
            Ok(Loaded { config: GateConfig { server, providers }, warnings, sources: layers.read, is_bare })
        }
        Err(error) => {
            let origin = nodes.default.map(|default| default.origin);
            let origin =
                origin.unwrap_or(Origin { source: Source::Default, key: "llm.provider.default".to_owned() });
            findings.problem(origin.key, origin.source, error.to_string());
            Err(findings.into_problems())
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

/// Returns a table of `[llm]`, nothing if it is absent or no table.
fn subtable<'a>(name: &str, llm: &'a Dict, layers: &Layers, findings: &mut Findings) -> Option<&'a Dict> {
    match llm.get(name)? {
        value @ Value::Dict(_, dict) if !is_date(value) => Some(dict),
        value => {
            let key = format!("llm.{name}");
            let message = format!("expected a table, `[{key}]`");
            findings.problem(key, layers.source(value), message);
            None
        }
    }
}

/// Builds the tree. Where a default without a kind does not resolve by itself, the kind that
/// `[llm.provider] type` assumes is put in front of it.
fn tree(providers: Vec<Provider>, nodes: &Nodes) -> Result<ProviderTree, DefaultError> {
    let default = nodes.default.as_ref().map(|set| set.value.as_str());
    let qualified = match (default, &nodes.top.kind) {
        (Some(name), Some(kind)) if ModelRef::parse(name).is_ok_and(|name| name.kind().is_none()) => {
            Some(format!("{}.{name}", kind.value))
        }
        _ => None,
    };
    let Some(qualified) = qualified else {
        return ProviderTree::build(providers, nodes.aliases(), default.map(str::to_owned));
    };
    let built = ProviderTree::build(providers.clone(), nodes.aliases(), default.map(str::to_owned));
    // The error about the name as written says more than one about a name that nobody wrote.
    built.or_else(|error| ProviderTree::build(providers, nodes.aliases(), Some(qualified)).map_err(|_| error))
}
