//! What one table of the provider tree says itself, before anything is inherited.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use gate_model_ref::{ModelRef, ProviderKind};

use crate::file_access;
use crate::problem::Findings;
use crate::section::{Section, Set};
use crate::setting::TableKind;
use crate::sources::Sources;
use crate::{ApiBase, AuthStyle, OnDisconnect, Secret, Source};

use super::credential;
use super::pem::{self, Pem};

/// The settings of one table; what is wrong has been reported and is absent.
#[derive(Debug, Default)]
pub(super) struct Own {
    pub(super) kind: Option<Set<ProviderKind>>,
    pub(super) model: Option<Set<String>>,
    pub(super) models: Option<Set<Vec<String>>>,
    pub(super) open: Option<Set<bool>>,
    pub(super) weight: Option<Set<u64>>,
    pub(super) fallback: Option<Set<Vec<String>>>,
    inherited: Option<Box<Inherited>>,
}

/// What a table inherits to those below it that says nothing of this kind.
static NOTHING: LazyLock<Inherited> = LazyLock::new(Inherited::default);

impl Own {
    /// Returns the settings that tables below inherit.
    pub(super) fn inherited(&self) -> &Inherited {
        self.inherited.as_deref().unwrap_or(&NOTHING)
    }

    /// Tells whether tables below inherit anything from this one that it has not inherited itself.
    pub(super) const fn has_inherited(&self) -> bool {
        self.inherited.is_some()
    }
}

/// The settings that tables below inherit.
#[derive(Clone, Debug, Default)]
pub(super) struct Inherited {
    pub(super) api_base: Option<Set<ApiBase>>,
    /// Of `api_key` or `api_keys`, at least one; the origin says which.
    pub(super) api_keys: Option<Set<Vec<Secret>>>,
    pub(super) auth: Option<Set<AuthStyle>>,
    pub(super) query: Option<Set<BTreeMap<String, String>>>,
    pub(super) headers: Option<Set<BTreeMap<String, String>>>,
    pub(super) exact_base: Option<Set<bool>>,
    pub(super) timeout: Option<Set<Duration>>,
    pub(super) max_tokens: Option<Set<u64>>,
    pub(super) max_connections: Option<Set<u64>>,
    pub(super) ca_file: Option<Set<PathBuf>>,
    pub(super) client_cert_file: Option<Set<PathBuf>>,
    pub(super) client_key_file: Option<Set<PathBuf>>,
    pub(super) anthropic_version: Option<Set<String>>,
    pub(super) websocket: Option<Set<bool>>,
    pub(super) on_disconnect: Option<Set<OnDisconnect>>,
    pub(super) inject_stream_usage: Option<Set<bool>>,
    pub(super) hedge_after_ms: Option<Set<u64>>,
}

impl Inherited {
    /// Fills in from the table above what this one leaves unset. A certificate never meets another
    /// table's key, because a table that says only one of them is refused.
    pub(super) fn or(self, above: &Self) -> Self {
        Self {
            api_base: self.api_base.or_else(|| above.api_base.clone()),
            api_keys: self.api_keys.or_else(|| above.api_keys.clone()),
            auth: self.auth.or_else(|| above.auth.clone()),
            query: self.query.or_else(|| above.query.clone()),
            headers: self.headers.or_else(|| above.headers.clone()),
            exact_base: self.exact_base.or_else(|| above.exact_base.clone()),
            timeout: self.timeout.or_else(|| above.timeout.clone()),
            max_tokens: self.max_tokens.or_else(|| above.max_tokens.clone()),
            max_connections: self.max_connections.or_else(|| above.max_connections.clone()),
            ca_file: self.ca_file.or_else(|| above.ca_file.clone()),
            client_cert_file: self.client_cert_file.or_else(|| above.client_cert_file.clone()),
            client_key_file: self.client_key_file.or_else(|| above.client_key_file.clone()),
            anthropic_version: self.anthropic_version.or_else(|| above.anthropic_version.clone()),
            websocket: self.websocket.or_else(|| above.websocket.clone()),
            on_disconnect: self.on_disconnect.or_else(|| above.on_disconnect.clone()),
            inject_stream_usage: self.inject_stream_usage.or_else(|| above.inject_stream_usage.clone()),
            hedge_after_ms: self.hedge_after_ms.or_else(|| above.hedge_after_ms.clone()),
        }
    }
}

/// Reads what a table says itself, and reports what means nothing.
pub(super) fn read(section: &Section<'_>, sources: &Sources, findings: &mut Findings) -> Own {
    // Most model sections say nothing else, and there may be thousands.
    let has_any = section.dict.keys().any(|name| TableKind::ProviderRoot.find(name).is_some());
    let own = Own {
        kind: section.word("type", ProviderKind::ALL, ProviderKind::as_str),
        model: section.text("model").and_then(|set| parsed(set, model_name, findings)),
        models: section
            .texts("models")
            .and_then(|set| parsed(set, |names| names.into_iter().map(model_name).collect(), findings)),
        open: section.flag("open"),
        weight: section.whole("weight"),
        fallback: section.texts("fallback"),
        inherited: has_any.then(|| Box::new(inherited(section, sources, findings))),
    };
    check_client_pair(section, findings);
    own
}

/// Reads the settings that tables below inherit.
fn inherited(section: &Section<'_>, sources: &Sources, findings: &mut Findings) -> Inherited {
    Inherited {
        api_base: section
            .text("api_base")
            .and_then(|set| parsed(set, |text| ApiBase::parse(&text).map_err(|e| e.to_string()), findings)),
        api_keys: keys(section, sources, findings),
        auth: section.word("auth", AuthStyle::ALL, AuthStyle::as_str),
        query: section.pairs("query"),
        headers: section.pairs("headers").and_then(|set| parsed(set, headers, findings)),
        exact_base: section.flag("exact_base"),
        timeout: section.seconds("timeout"),
        max_tokens: section.whole("max_tokens"),
        max_connections: section.whole("max_connections"),
        ca_file: pem_file(section, "ca_file", Pem::Certificate, findings),
        client_cert_file: pem_file(section, "client_cert_file", Pem::Certificate, findings),
        client_key_file: pem_file(section, "client_key_file", Pem::PrivateKey, findings),
        anthropic_version: section
            .text("anthropic_version")
            .and_then(|set| parsed(set, header_value, findings)),
        websocket: section.flag("websocket"),
        on_disconnect: section.word("on_disconnect", OnDisconnect::ALL, OnDisconnect::as_str),
        inject_stream_usage: section.flag("inject_stream_usage"),
        hedge_after_ms: section.whole("hedge_after_ms"),
    }
}

/// Reads the keys of a table, wherever they are: `api_key`, or the list `api_keys`.
fn keys(section: &Section<'_>, sources: &Sources, findings: &mut Findings) -> Option<Set<Vec<Secret>>> {
    let one = section.text("api_key").map(|set| Set { value: vec![set.value], origin: set.origin });
    let several = section.texts("api_keys");
    if let (Some(_), Some(Set { origin, .. })) = (&one, &several) {
        let message = "`api_key` and `api_keys` are in one table; keep one of them";
        findings.problem(&origin.key, origin.source.clone(), message);
    }
    let is_list = several.is_some();
    let set = several.or(one)?;
    let source = set.origin.source.clone();
    for path in set.value.iter().filter_map(|text| text.strip_prefix("file:")) {
        file_access::check_key_file(&beside(path, &source), findings);
    }
    let follow = |texts: Vec<String>| {
        let mut keys: Vec<Secret> = Vec::with_capacity(texts.len());
        for (at, text) in (1..).zip(texts) {
            let place = if is_list { format!("entry {at}: ") } else { String::new() };
            let key = credential::follow(&text, &source, sources).map_err(|why| format!("{place}{why}"))?;
            if let Some(twin) = keys.iter().position(|other| *other == key) {
                return Err(format!("entries {} and {at} are the same key; keep one of them", twin + 1));
            }
            keys.push(key);
        }
        Ok(keys)
    };
    parsed(set, follow, findings)
}

/// Reports a certificate without its key, or a key without its certificate, in one table: half a
/// pair would otherwise meet the other half of a table above.
fn check_client_pair(section: &Section<'_>, findings: &mut Findings) {
    let half = |name| section.dict.get(name).map(|value| (name, value));
    if let (Some((name, value)), None) | (None, Some((name, value))) =
        (half("client_cert_file"), half("client_key_file"))
    {
        let origin = section.layers.origin(value, &format!("{}.{name}", section.key));
        let message = "`client_cert_file` and `client_key_file` go together; set both in one table, or none";
        findings.problem(origin.key, origin.source, message);
    }
}

/// Gives a value its meaning, or reports that it has none.
fn parsed<T, U>(
    set: Set<T>,
    parse: impl FnOnce(T) -> Result<U, String>,
    findings: &mut Findings,
) -> Option<Set<U>> {
    match parse(set.value) {
        Ok(value) => Some(Set { value, origin: set.origin }),
        Err(message) => {
            findings.problem(set.origin.key, set.origin.source, message);
            None
        }
    }
}

fn model_name(name: String) -> Result<String, String> {
    ModelRef::parse(&name).map_err(|error| error.to_string())?;
    Ok(name)
}

/// Headers that carry credentials or frame a message: each is set elsewhere, or never.
const OWN_HEADERS: [&str; 13] = [
    "authorization",
    "x-api-key",
    "api-key",
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "upgrade",
    "accept-encoding",
    "content-encoding",
];

fn headers(pairs: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, String> {
    let mut headers = BTreeMap::new();
    for (name, value) in pairs {
        let lower = match http::HeaderName::from_bytes(name.as_bytes()) {
            Ok(name) => name.as_str().to_owned(),
            Err(_) => return Err(format!("{name:?} is no header name")),
        };
        if OWN_HEADERS.contains(&lower.as_str()) || lower.starts_with("proxy-") {
            return Err(format!(
                "`{lower}` cannot be set here; a key goes to `api_key` and its header to `auth`"
            ));
        }
        if http::HeaderValue::from_str(&value).is_err() {
            return Err(format!("the value of `{lower}` holds a character that no header can carry"));
        }
        if headers.insert(lower.clone(), value).is_some() {
            return Err(format!("`{lower}` is there twice; case makes no difference"));
        }
    }
    Ok(headers)
}

fn header_value(value: String) -> Result<String, String> {
    match http::HeaderValue::from_str(&value) {
        Ok(_) => Ok(value),
        Err(_) => Err("holds a character that no header can carry".to_owned()),
    }
}

/// Reads the path of a PEM file, relative to the file that says it, and looks into that file.
pub(super) fn pem_file(
    section: &Section<'_>,
    name: &'static str,
    pem: Pem,
    findings: &mut Findings,
) -> Option<Set<PathBuf>> {
    let set = section.text(name)?;
    let source = set.origin.source.clone();
    parsed(set, |path| pem::check(&path, &beside(&path, &source), pem), findings)
}

/// Returns a path as seen from the file that mentions it; from elsewhere, as it is.
pub(super) fn beside(path: &str, source: &Source) -> PathBuf {
    match source {
        Source::File(file) => file.parent().map_or_else(|| path.into(), |directory| directory.join(path)),
        Source::Default | Source::Env(_) | Source::Flag(_) => path.into(),
    }
}
