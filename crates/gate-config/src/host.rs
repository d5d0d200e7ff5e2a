//! Hosts as a configuration and a `Host` header write them, a port apart. It resolves no name.

use std::net::{IpAddr, Ipv6Addr};

/// Tells whether a host is one that no other machine can have: `localhost` in any case, an address
/// of 127.0.0.0/8, `::1`, or an IPv6 address that stands for one of those (RFC 4291 §2.5.5.2).
///
/// An IPv6 address may have its brackets or not; a port is never part of a host.
///
/// ```
/// # use gate_config::is_loopback_host;
/// assert!(is_loopback_host("[::1]"));
/// assert!(!is_loopback_host("localhost.example"));
/// ```
pub fn is_loopback_host(host: &str) -> bool {
    address(host).is_some_and(|address| address.to_canonical().is_loopback())
}

/// Tells whether a text is a bare host name or address, without port, brackets or scheme.
pub(crate) fn is_bare_host(host: &str) -> bool {
    let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    host.parse::<IpAddr>().is_ok() || (!host.is_empty() && host.bytes().all(is_name_byte))
}

/// Returns the address that a host is; `localhost` is one too, with the dot of the root or without
/// (RFC 6761 §6.3).
pub(crate) fn address(host: &str) -> Option<IpAddr> {
    if host.strip_suffix('.').unwrap_or(host).eq_ignore_ascii_case("localhost") {
        return Some(IpAddr::from([127, 0, 0, 1]));
    }
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().ok().map(IpAddr::from),
        None => host.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Spec: security S-2, S-58.
    #[test]
    fn only_names_of_this_machine_are_loopback() {
        for (host, expected) in [
            ("localhost", true),
            ("LocalHost", true),
            ("localhost.", true),
            ("localhost..", false),
            (".localhost", false),
            ("127.0.0.1.", false),
            ("2130706433", false),
            ("0x7f000001", false),
            ("0177.0.0.1", false),
            ("127.1", false),
            ("0", false),
            ("127.0.0.1", true),
            ("127.255.0.9", true),
            ("::1", true),
            ("[::1]", true),
            ("0:0:0:0:0:0:0:1", true),
            ("::ffff:127.0.0.1", true),
            ("[::FFFF:127.8.8.8]", true),
            ("0.0.0.0", false),
            ("::", false),
            ("128.0.0.1", false),
            ("::ffff:10.0.0.1", false),
            ("localhost.example", false),
            ("localhost:80", false),
            ("127.0.0.1:80", false),
            ("127.1", false),
            ("[127.0.0.1]", false),
            ("[localhost]", false),
            ("[::1", false),
            ("", false),
        ] {
            assert_eq!(is_loopback_host(host), expected, "{host}");
        }
    }
}
