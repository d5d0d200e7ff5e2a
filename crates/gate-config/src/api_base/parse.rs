//! From a pasted text to an [`ApiBase`], or to a sentence that says what to write instead.

use std::fmt;
use std::net::Ipv6Addr;

use http::Uri;

use super::{ApiBase, Scheme, deployment};

/// Why a text is no base URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiBaseError {
    /// There is nothing, or only white space.
    Empty,
    /// It does not begin with a scheme.
    NoScheme,
    /// The scheme is neither `http` nor `https`.
    Scheme,
    /// It holds white space or another character that no URL can hold.
    Character(char),
    /// The host holds characters beyond ASCII.
    HostNotAscii,
    /// The host is missing, or is neither a name nor an address.
    Host,
    /// The port is not a number from 1 to 65535.
    Port,
    /// It holds a user name or a password.
    UserInfo,
    /// It has a fragment.
    Fragment,
    /// It holds a user name or a password, and has a fragment.
    UserInfoAndFragment,
    /// Its path has a `.` or `..` segment.
    DotSegment,
    /// It holds `{` or `}` outside of `{model}`.
    Brace,
    /// `{model}` stands in it twice.
    TwoModels,
    /// `{model}` stands elsewhere than at the end of a path with `/deployments/{model}`.
    ModelPlace,
}

impl fmt::Display for ApiBaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "is empty: write a URL such as `https://api.openai.com/v1`",
            Self::NoScheme => "is not an absolute URL: begin it with `https://` or `http://`",
            Self::Scheme => "has another scheme than `https` or `http`: begin it with one of those",
            Self::Character(' ') => "holds a space: remove it, or write it as `%20`",
            Self::Character(c) if c.is_ascii_graphic() => {
                return write!(f, "holds `{c}`: write it percent-encoded");
            }
            Self::Character(c) => {
                return write!(f, "holds the character U+{:04X}: write it percent-encoded", u32::from(*c));
            }
            Self::HostNotAscii => "has a host with characters beyond ASCII: write it in punycode (`xn--…`)",
            Self::Host => {
                "has no valid host: write a host name, an IPv4 address, or an IPv6 address in brackets"
            }
            Self::Port => "has no valid port: write a number from 1 to 65535, or leave out the colon",
            Self::UserInfo => "holds a user name or a password: leave it out and write the key in `api_key`",
            Self::Fragment => "has a fragment: leave out `#` and what follows",
            Self::UserInfoAndFragment => {
                "holds a user name or a password, and a fragment: leave out both and write the key in `api_key`"
            }
            Self::DotSegment => "has a `.` or `..` segment in its path: write the path that it leads to",
            Self::Brace => "holds a brace: only `{model}` is replaced; write another brace percent-encoded",
            Self::TwoModels => "has `{model}` twice: write it once",
            Self::ModelPlace => {
                "has `{model}` in a place where it means nothing: the path must end in `/deployments/{model}`"
            }
        })
    }
}

impl std::error::Error for ApiBaseError {}

/// Endpoints that people paste along with their base, the part that goes. A longer one stands
/// before its own end.
const PASTED: [&str; 13] = [
    "/chat/completions",
    "/completions",
    "/responses",
    "/embeddings",
    "/moderations",
    "/images/generations",
    "/images/edits",
    "/audio/speech",
    "/audio/transcriptions",
    "/messages/count_tokens",
    "/messages/batches",
    "/messages",
    "/complete",
];

pub(super) fn parse(text: &str) -> Result<ApiBase, ApiBaseError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(ApiBaseError::Empty);
    }
    let (scheme, rest) = scheme(text)?;
    let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    // The parser of `http` drops a fragment in silence.
    match (authority.contains('@'), tail.contains('#')) {
        (true, true) => return Err(ApiBaseError::UserInfoAndFragment),
        (true, false) => return Err(ApiBaseError::UserInfo),
        (false, true) => return Err(ApiBaseError::Fragment),
        (false, false) => {}
    }
    if !authority.is_ascii() {
        return Err(ApiBaseError::HostNotAscii);
    }
    if let Some(c) = tail.chars().find(|c| !c.is_ascii_graphic() || matches!(c, '\\' | '"' | '<' | '>' | '`'))
    {
        return Err(ApiBaseError::Character(c));
    }
    if authority.contains(deployment::MODEL) {
        return Err(ApiBaseError::ModelPlace);
    }
    let (host, port) = host_and_port(authority)?;
    // The pieces are fine, so this finds what is left: a character that only some part may hold.
    let uri =
        format!("{}://{authority}{tail}", scheme.as_str()).parse::<Uri>().map_err(|_| ApiBaseError::Host)?;
    let path = clean_path(uri.path())?;
    check_braces(&path, uri.query().unwrap_or_default())?;
    let explicit_port = port.filter(|port| *port != scheme.default_port());
    Ok(ApiBase {
        scheme,
        authority: explicit_port.map_or_else(|| host.clone(), |port| format!("{host}:{port}")),
        host,
        explicit_port,
        path,
        query: uri.query().filter(|query| !query.is_empty()).map(str::to_owned),
    })
}

/// Splits the scheme off. `localhost:8080` has none, though it looks like one.
fn scheme(text: &str) -> Result<(Scheme, &str), ApiBaseError> {
    let (name, rest) = text.split_once("://").ok_or(ApiBaseError::NoScheme)?;
    if name.eq_ignore_ascii_case("https") {
        return Ok((Scheme::Https, rest));
    }
    if name.eq_ignore_ascii_case("http") {
        return Ok((Scheme::Http, rest));
    }
    // A `://` further on, in a query say, is none of a scheme.
    let is_scheme =
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    Err(if is_scheme { ApiBaseError::Scheme } else { ApiBaseError::NoScheme })
}

fn host_and_port(authority: &str) -> Result<(String, Option<u16>), ApiBaseError> {
    let host_len = match authority.strip_prefix('[') {
        Some(rest) => rest.find(']').map(|end| end + 2).ok_or(ApiBaseError::Host)?,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at_checked(host_len).ok_or(ApiBaseError::Host)?;
    if !is_host(host) {
        return Err(ApiBaseError::Host);
    }
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => None,
        None => return Err(ApiBaseError::Host),
        Some(digits) => {
            let number = digits.parse().ok().filter(|_| digits.bytes().all(|b| b.is_ascii_digit()));
            Some(number.filter(|port| *port != 0).ok_or(ApiBaseError::Port)?)
        }
    };
    Ok((host.to_ascii_lowercase(), port))
}

fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().is_ok();
    }
    // Underscores are no part of host names, and yet container networks are full of them.
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    host.strip_suffix('.').unwrap_or(host).split('.').all(is_label)
}

/// Collapses doubled slashes, drops a trailing one and a pasted endpoint.
fn clean_path(path: &str) -> Result<String, ApiBaseError> {
    let mut clean = String::with_capacity(path.len());
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        // Proxies decode `%2e` before they walk the path.
        if matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..") {
            return Err(ApiBaseError::DotSegment);
        }
        clean.push('/');
        clean.push_str(segment);
    }
    let base = PASTED.iter().find_map(|endpoint| clean.strip_suffix(endpoint));
    // A list of models is an endpoint only behind a version: other bases may well end like it.
    let base = base.or_else(|| {
        clean.strip_suffix("/models").filter(|base| base.rsplit('/').next().is_some_and(is_version))
    });
    Ok(base.map(str::to_owned).unwrap_or(clean))
}

/// Refuses every brace but those of one `{model}` at the end of the path.
fn check_braces(path: &str, query: &str) -> Result<(), ApiBaseError> {
    let has_brace = |text: &str| text.contains(['{', '}']);
    let count = path.matches(deployment::MODEL).count() + query.matches(deployment::MODEL).count();
    if has_brace(&path.replace(deployment::MODEL, "")) || has_brace(&query.replace(deployment::MODEL, "")) {
        Err(ApiBaseError::Brace)
    } else if count > 1 {
        Err(ApiBaseError::TwoModels)
    } else if count == 1 && !path.ends_with(deployment::TEMPLATE) {
        Err(ApiBaseError::ModelPlace)
    } else {
        Ok(())
    }
}

/// Tells whether a path segment is `v` and a number.
pub(super) fn is_version(segment: &str) -> bool {
    segment
        .strip_prefix('v')
        .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}
