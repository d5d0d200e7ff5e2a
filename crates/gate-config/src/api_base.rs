//! Base URLs as people paste them, and the URL of a request below one. It joins text; it opens no
//! connection and resolves no host.

use std::collections::BTreeMap;
use std::fmt;

use gate_model_ref::ProviderKind;

mod deployment;
use crate::query;

mod parse;

pub use deployment::NoDeployment;
pub use parse::ApiBaseError;

/// A parsed `api_base`: scheme, host, and a path without doubled or trailing slashes.
///
/// ```
/// # use gate_config::ApiBase;
/// # use gate_model_ref::ProviderKind;
/// let base = ApiBase::parse("https://api.openai.com/v1/")?;
/// assert_eq!(base.to_string(), "https://api.openai.com/v1");
/// assert_eq!(base.prefix(ProviderKind::OpenAi, false), "/v1");
/// # Ok::<(), gate_config::ApiBaseError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct ApiBase {
    scheme: Scheme,
    /// In lower case, an IPv6 address in brackets.
    host: String,
    /// The port, unless it is the scheme's own.
    explicit_port: Option<u16>,
    authority: String,
    /// Empty, or with a leading and without a trailing slash.
    path: String,
    query: Option<String>,
}

/// The scheme of a base URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Plain TCP.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// Returns the scheme as URLs spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// Returns the port where a URL names none.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl ApiBase {
    /// Parses what people give an SDK as its base URL: an absolute `http` or `https` URL, its
    /// query included.
    ///
    /// Doubled and trailing slashes go, and so does an endpoint that was pasted with its base, such
    /// as `/chat/completions` or `/messages`. The host is put in lower case, and the scheme's own
    /// port is dropped.
    ///
    /// # Errors
    /// What is wrong, and what to write instead. The text itself is not repeated: it may hold a
    /// password.
    pub fn parse(text: &str) -> Result<Self, ApiBaseError> {
        parse::parse(text)
    }

    /// Returns the scheme.
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Returns `host` or `host:port`, as a `host` header carries it.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Returns the host in lower case, an IPv6 address in its brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port, the scheme's own where the URL names none.
    pub fn port(&self) -> u16 {
        self.explicit_port.unwrap_or(self.scheme.default_port())
    }

    /// Returns the path: empty, or `/v1` and the like.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the base's own query without its question mark. It may hold a key.
    pub fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    /// Tells whether both name the same host, whatever their schemes, ports and paths.
    pub(crate) fn is_same_host(&self, other: &Self) -> bool {
        self.host == other.host
    }

    /// Returns the path that stands in for the `/v1` of a request.
    ///
    /// OpenAI's SDK expects a base that ends in its version, Anthropic's one that stops before it;
    /// both kinds of base are in use for both dialects. So an OpenAI base keeps its path, `/v1` if
    /// it has none; an Anthropic base gets a `/v1` unless it ends in a version already. With
    /// `exact_base` the path stays as it is. A base with `/deployments/{model}` has what stands before
    /// that: [`request_path`](Self::request_path) has the rest.
    pub fn prefix(&self, kind: ProviderKind, exact_base: bool) -> String {
        let path = self.path.as_str();
        if let Some(root) = path.strip_suffix(deployment::TEMPLATE) {
            return root.to_owned();
        }
        let is_complete = match kind {
            _ if exact_base => true,
            ProviderKind::OpenAi => !path.is_empty(),
            ProviderKind::Anthropic => path.rsplit('/').next().is_some_and(parse::is_version),
        };
        if is_complete { path.to_owned() } else { format!("{path}/v1") }
    }

    /// Returns the query that every request has: the base's own, then `extra`, percent-encoded. A
    /// parameter of `extra` replaces those of its name in the base.
    pub fn query_with(&self, extra: &BTreeMap<String, String>) -> Option<String> {
        query::join(self.query(), extra)
    }

    /// Returns the URL of a request for people to read: `path_below_v1` is such as
    /// `/chat/completions`, and `model` the upstream model, where it is known and the URL has it. Of
    /// the query it shows the names alone: any value may be a credential. Only `api-version`, which
    /// tells endpoints apart, is whole.
    pub fn url(
        &self,
        kind: ProviderKind,
        exact_base: bool,
        path_below_v1: &str,
        model: Option<&str>,
        extra_query: &BTreeMap<String, String>,
    ) -> String {
        let prefix = self.prefix(kind, exact_base);
        let path = self.shown_path(path_below_v1, model);
        let query = self.query_with(extra_query);
        format!("{}{prefix}{path}{}", self.origin(), Shown(query.as_deref()))
    }

    /// Returns the base without its query, which may hold a key.
    pub fn without_query(&self) -> String {
        format!("{}{}", self.origin(), self.path)
    }

    fn origin(&self) -> String {
        format!("{}://{}", self.scheme.as_str(), self.authority)
    }
}

/// Prints the URL, of its query the names alone (see [`ApiBase::url`]).
impl fmt::Display for ApiBase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.without_query(), Shown(self.query.as_deref()))
    }
}

impl fmt::Debug for ApiBase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiBase({self})")
    }
}

/// A query as people may see it: whatever is not known to be harmless may be a key.
struct Shown<'a>(Option<&'a str>);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(query) = self.0 else { return Ok(()) };
        for (at, pair) in query.split('&').enumerate() {
            f.write_str(if at == 0 { "?" } else { "&" })?;
            match pair.split_once('=') {
                Some(("api-version", _)) => f.write_str(pair)?,
                Some((name, _)) => write!(f, "{name}=…")?,
                None => f.write_str("…")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
