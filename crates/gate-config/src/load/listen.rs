//! The address that the gateway listens on: who may reach it, and that it is not its own upstream.

use std::net::IpAddr;

use crate::host::{address, is_bare_host, is_loopback_host};
use crate::problem::Findings;
use crate::section::{Section, Set};
use crate::{Provider, ServerConfig, Source};

/// Checks the address against the rules of safe defaults, and every base against the address.
pub(super) fn check(
    llm: &Section<'_>,
    server: &ServerConfig,
    providers: &[Provider],
    findings: &mut Findings,
) {
    let host = server.host.as_str();
    let source = llm.text("host").map_or(Source::Default, |set| set.origin.source);
    if !is_bare_host(host) {
        let message = "expected a host name or an IP address, without port, brackets or scheme";
        findings.problem("llm.host", source, message);
    } else if !is_loopback_host(host) {
        guard(llm, host, source, findings);
    }
    check_allowed(llm, &server.allowed_hosts, findings);
    for provider in providers.iter().filter(|provider| is_own_address(provider, server)) {
        if let Some(origin) = provider.origins.get("api_base") {
            let message = format!(
                "is the address that this gateway listens on, so `{}` would ask itself; clients need that address, \
                 the gateway needs the vendor's",
                provider.id
            );
            findings.problem(&origin.key, origin.source.clone(), message);
        }
    }
}

/// Refuses an address that others can reach, unless someone said so on purpose.
fn guard(llm: &Section<'_>, host: &str, source: Source, findings: &mut Findings) {
    let allowed = llm.flag("allow_unauthenticated").filter(|set| set.value);
    if allowed.is_none() && !matches!(source, Source::Flag(_)) {
        let message = format!(
            "`{host}` can be reached by others, and the gateway asks nobody for a key: use a loopback address such as \
             127.0.0.1, set `allow_unauthenticated = true` in [llm], or start with --host {host} or with \
             --insecure-allow-unauthenticated"
        );
        findings.problem("llm.host", source, message);
        return;
    }
    let reason = allowed.map_or(source, |set| set.origin.source);
    let message =
        format!("anyone who can reach `{host}` can use the providers' keys, because no key is asked for");
    findings.warning("llm.host", reason, message);
}

/// Reports names that no `Host` can ever be equal to, as it is compared without its port.
fn check_allowed(llm: &Section<'_>, allowed: &[String], findings: &mut Findings) {
    let Some(Set { origin, .. }) = llm.texts("allowed_hosts") else { return };
    for host in allowed.iter().filter(|host| !is_bare_host(host)) {
        let message = format!(
            "{host:?} would match no `Host`: write a host name or an IP address, without port, brackets or scheme"
        );
        findings.problem(&origin.key, origin.source.clone(), message);
    }
}

/// Tells whether a provider's base is where the gateway itself listens.
fn is_own_address(provider: &Provider, server: &ServerConfig) -> bool {
    // Port 0 becomes one that nobody can have written down before.
    if server.port == 0 || provider.api_base.port() != server.port {
        return false;
    }
    let is_here = |address: IpAddr| address.to_canonical().is_loopback() || address.is_unspecified();
    match (address(provider.api_base.host()), address(&server.host)) {
        (Some(base), Some(own)) => base == own || (is_here(base) && is_here(own)),
        _ => provider.api_base.host().eq_ignore_ascii_case(&server.host),
    }
}
