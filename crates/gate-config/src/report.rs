//! The account that `--validate` prints: everything that is wrong, or what the gateway would do.
//! It opens no socket itself; the caller tries the address.

use std::fmt;
use std::io;

use gate_model_ref::ProviderKind;

use crate::query;
use crate::{
    ApiBase, AuthStyle, Loaded, Provider, ProviderIndex, ProviderTree, Scheme, ServerConfig, Source, Sources,
    TlsConfig, is_loopback_host, load,
};

/// The account of a configuration, for people; its `Display` never shows a key.
#[derive(Clone, Debug)]
pub struct Report {
    lines: Vec<String>,
    is_ok: bool,
}

impl Report {
    /// Loads the configuration and tries its address. `bind` gets host and port and says whether
    /// a listener could be opened there; it is only called for a configuration without problems.
    pub fn of(sources: &Sources, bind: &dyn Fn(&str, u16) -> io::Result<()>) -> Self {
        Self::with_certificate(sources, bind, &|_| Ok(()))
    }

    /// Like [`of`](Self::of), and tries the listener's certificate too, if there is one. `certify` says
    /// what keeps it from being used, such as a key that is not its own.
    pub fn with_certificate(
        sources: &Sources,
        bind: &dyn Fn(&str, u16) -> io::Result<()>,
        certify: &dyn Fn(&TlsConfig) -> Result<(), String>,
    ) -> Self {
        match load(sources) {
            Ok(loaded) => Self::of_loaded(&loaded, bind, certify),
            Err(problems) => {
                let count = problems.as_slice().len();
                let title = if count == 1 { "1 problem".to_owned() } else { format!("{count} problems") };
                let lines = [format!("the configuration cannot be used: {title}"), problems.to_string()];
                Self { lines: lines.into(), is_ok: false }
            }
        }
    }

    /// Tells whether a gateway with this configuration would start and could serve a request.
    pub const fn is_ok(&self) -> bool {
        self.is_ok
    }

    fn of_loaded(
        loaded: &Loaded,
        bind: &dyn Fn(&str, u16) -> io::Result<()>,
        certify: &dyn Fn(&TlsConfig) -> Result<(), String>,
    ) -> Self {
        let server = &loaded.config.server;
        let bound = bind(&server.host, server.port);
        let certified = server.tls.as_ref().map(|tls| (tls, certify(tls)));
        let is_certified = certified.as_ref().is_none_or(|(_, certified)| certified.is_ok());
        let is_ok = bound.is_ok() && is_certified && !loaded.is_bare;
        let verdict = match (&bound, is_certified, loaded.is_bare) {
            (Err(_), ..) => "the address cannot be used",
            (Ok(()), false, _) => "the certificate cannot be used",
            (Ok(()), true, true) => "the configuration is not usable: it configures no provider",
            (Ok(()), true, false) => "the configuration is usable",
        };
        let address = match &bound {
            Ok(()) => address(server),
            Err(error) => format!("{} cannot be used: {error}", address(server)),
        };
        let mut lines = vec![verdict.to_owned(), String::new()];
        entry(&mut lines, "address", [address]);
        entry(&mut lines, "tls", certified.map(|(tls, certified)| certificate(tls, certified)));
        entry(&mut lines, "sources", sources(&loaded.sources));
        entry(&mut lines, "warnings", loaded.warnings.iter().map(ToString::to_string));
        entry(&mut lines, "hints", hints(&loaded.config.providers));
        lines.extend(providers(&loaded.config.providers));
        lines.extend(pools(&loaded.config.providers));
        Self { lines, is_ok }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines.join("\n"))
    }
}

/// Adds values in one column behind their title, nothing if there are none.
fn entry(lines: &mut Vec<String>, title: &str, values: impl IntoIterator<Item = String>) {
    for (at, value) in values.into_iter().enumerate() {
        let title = if at == 0 { format!("{title}:") } else { String::new() };
        lines.push(format!("{title:<10}{value}"));
    }
}

fn address(server: &ServerConfig) -> String {
    let ServerConfig { host, port, .. } = server;
    // A port behind an IPv6 address needs brackets between them (RFC 3986 §3.2.2).
    let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    let scheme = if server.tls.is_some() { "https" } else { "http" };
    if *port == 0 {
        format!("{scheme}://{host} (any free port)")
    } else {
        format!("{scheme}://{host}:{port}")
    }
}

fn certificate(tls: &TlsConfig, certified: Result<(), String>) -> String {
    let file = tls.cert_file.display();
    match certified {
        Ok(()) => format!("certificate from {file}"),
        Err(why) => format!("certificate from {file} cannot be used: {why}"),
    }
}

fn sources(sources: &[Source]) -> Vec<String> {
    match sources {
        [] => vec!["built-in defaults only".to_owned()],
        sources => sources.iter().map(ToString::to_string).collect(),
    }
}

/// Returns a paragraph for each provider that could be asked: where it is, and the models that it
/// has.
fn providers(tree: &ProviderTree) -> Vec<String> {
    let mut lines = Vec::new();
    for (index, provider) in tree.providers().filter(|(_, p)| p.is_configured) {
        lines.push(String::new());
        let open = if provider.is_closed { "only these models" } else { "passes other models through" };
        lines.push(format!(
            "{}  {} ({}, {open})",
            provider.id,
            endpoint(provider, None),
            credential(provider)
        ));
        let models: Vec<_> = tree.models(None).filter(|model| model.provider == index).collect();
        let width = models.iter().map(|model| model.id.len()).max().unwrap_or(0);
        for model in models {
            // Elsewhere the provider's own line has the URL already.
            let url = provider.api_base.has_model_in_path().then(|| endpoint(provider, Some(model.upstream)));
            let to = url.map(|url| format!(" to {url}")).unwrap_or_default();
            lines.push(format!("  {:<width$}  sends `{}`{to}", model.id, model.upstream));
        }
    }
    lines
}

/// Returns a paragraph for each pool, and one for each provider that has fallbacks.
fn pools(tree: &ProviderTree) -> Vec<String> {
    let mut lines = Vec::new();
    for (parent, provider) in tree.providers() {
        let members = tree.pool_below(parent);
        if !members.is_empty() {
            lines.extend([String::new(), format!("pool  for every name of {}", provider.id)]);
            lines.extend(members.iter().map(|&at| member(tree, at, None)));
        }
    }
    for route in tree.named_pools() {
        lines.extend([String::new(), format!("pool  for {}", route.name())]);
        lines.extend(route.pool().map(|it| member(tree, it.target.provider, Some(it.target.upstream_model))));
    }
    for (at, provider) in tree.providers() {
        let chain = tree.fallbacks_of(at);
        if !chain.is_empty() {
            lines.extend([String::new(), format!("after {}", provider.id)]);
            lines.extend(chain.iter().map(|next| {
                let (there, model) = (tree.provider(next.provider()), next.model());
                let what = match model.or(there.default_model.as_deref()) {
                    Some(model) if next.model().is_some() => format!("`{model}`"),
                    Some(model) => format!("the same name, or else `{model}`"),
                    None => "the same name".to_owned(),
                };
                format!("  {}  gets {what} at {}", there.id, endpoint(there, model))
            }));
        }
    }
    lines
}

fn member(tree: &ProviderTree, at: ProviderIndex, model: Option<&str>) -> String {
    let provider = tree.provider(at);
    let sends = model.map(|model| format!("sends `{model}` ")).unwrap_or_default();
    let weight = provider.weight.unwrap_or(1);
    format!("  {}  weight {weight}, {sends}to {}", provider.id, endpoint(provider, model))
}

/// Returns the URL that the provider's main operation goes to, for this model where the URL has it.
fn endpoint(provider: &Provider, model: Option<&str>) -> String {
    let path = match provider.kind {
        ProviderKind::OpenAi => "/chat/completions",
        ProviderKind::Anthropic => "/messages",
    };
    provider.url(path, model)
}

fn credential(provider: &Provider) -> String {
    match (provider.auth, provider.origins.get("api_key").filter(|_| provider.api_key.is_some())) {
        (AuthStyle::None, _) => "sends no key".to_owned(),
        (_, None) => "no key".to_owned(),
        (_, Some(origin)) => format!("key from {}", origin.source),
    }
}

fn hints(tree: &ProviderTree) -> Vec<String> {
    tree.providers()
        .filter(|(_, p)| p.is_configured)
        .flat_map(|(_, provider)| provider_hints(provider))
        .collect()
}

/// Returns what looks unfinished about a provider although it can be used.
fn provider_hints(provider: &Provider) -> Vec<String> {
    let base: &ApiBase = &provider.api_base;
    let key = format!("llm.provider.{}", provider.id);
    let is_azure = base.host().ends_with(".openai.azure.com");
    let has_version = provider.query.contains_key("api-version")
        || base.query().is_some_and(|query| query::has(query, "api-version"));
    let mut hints = Vec::new();
    if is_azure && base.path().contains("/deployments/") && !has_version {
        hints.push(format!("{key}: an Azure deployment needs `query = {{ api-version = \"2024-10-21\" }}`"));
    }
    if is_azure && provider.auth == AuthStyle::Bearer && provider.api_key.is_some() {
        hints.push(format!(
            "{key}: Azure takes a key with `auth = \"api-key\"`; a bearer token must be one of Entra ID"
        ));
    }
    if base.scheme() == Scheme::Http
        && !is_loopback_host(base.host())
        && provider.api_key.is_some()
        && provider.auth != AuthStyle::None
    {
        hints.push(format!("{key}: sends its key to {} without encryption", base.authority()));
    }
    hints
}
