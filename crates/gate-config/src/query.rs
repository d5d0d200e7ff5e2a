//! Queries, parameter by parameter: which of several that say the same counts. It decodes names
//! alone, to compare them; every value stays as it is written.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// Joins a base's own query with configured parameters, percent-encoded. A configured parameter
/// stands for the one of its name in the base.
pub(crate) fn join(base: Option<&str>, configured: &BTreeMap<String, String>) -> Option<String> {
    let kept = base.map(|base| without(base, |name| configured.contains_key(name)));
    let added = configured.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value)));
    let all: Vec<_> =
        kept.filter(|kept| !kept.is_empty()).map(Cow::into_owned).into_iter().chain(added).collect();
    (!all.is_empty()).then(|| all.join("&"))
}

/// Returns a query without the parameters that `is_dropped`; the rest is not changed.
pub(crate) fn without(query: &str, is_dropped: impl Fn(&str) -> bool) -> Cow<'_, str> {
    let is_kept = |pair: &&str| !is_dropped(&name(pair));
    if query.split('&').all(|pair| is_kept(&pair)) {
        return Cow::Borrowed(query);
    }
    Cow::Owned(query.split('&').filter(is_kept).collect::<Vec<_>>().join("&"))
}

/// Tells whether a query has a parameter.
pub(crate) fn has(query: &str, wanted: &str) -> bool {
    query.split('&').any(|pair| name(pair) == wanted)
}

/// Returns the name of a parameter as a server reads it: percent-decoded, `+` being a space.
fn name(pair: &str) -> Cow<'_, str> {
    let name = pair.split_once('=').map_or(pair, |(name, _)| name);
    if !name.contains(['%', '+']) {
        return Cow::Borrowed(name);
    }
    let mut decoded = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = after.split_at_checked(2).filter(|_| byte == b'%');
        match escaped.and_then(|(digits, after)| Some((hex(digits)?, after))) {
            Some((byte, after)) => {
                decoded.push(byte);
                rest = after;
            }
            None => {
                decoded.push(if byte == b'+' { b' ' } else { byte });
                rest = after;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&decoded).into_owned())
}

/// Reads two hexadecimal digits.
fn hex(digits: &[u8]) -> Option<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let value = digits.iter().map(digit).try_fold(0, |value, digit| Some(value * 16 + digit?))?;
    value.try_into().ok()
}

/// Percent-encodes everything but the unreserved characters (RFC 3986 §2.3).
pub(crate) fn encode(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte.into()),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // Spec: config C-37, C-51.
    #[test]
    fn a_configured_parameter_stands_for_the_one_of_its_name_in_the_base() {
        for (base, configured, expected) in [
            (None, &[][..], None),
            (Some("a=1"), &[], Some("a=1")),
            (None, &[("api-version", "2024-10-21")], Some("api-version=2024-10-21")),
            (Some("a=1"), &[("c", "3"), ("b", "2")], Some("a=1&b=2&c=3")),
            (None, &[("a b", "1&2=é")], Some("a%20b=1%262%3D%C3%A9")),
            (Some("a=1&b=2&a=3"), &[("a", "4")], Some("b=2&a=4")),
            (Some("api%2Dversion=1"), &[("api-version", "2")], Some("api-version=2")),
            (Some("a+b=1&a%20b=2&c"), &[("a b", "3"), ("c", "4")], Some("a%20b=3&c=4")),
            // Repeated by the base alone, a parameter is a list.
            (Some("tag=1&tag=2"), &[("a", "b")], Some("tag=1&tag=2&a=b")),
        ] {
            let configured =
                configured.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
            assert_eq!(join(base, &configured).as_deref(), expected, "{base:?} {configured:?}");
        }
    }

    #[test]
    fn names_compare_as_a_server_reads_them() {
        for (query, name, expected) in [
            ("a=1&b", "a", true),
            ("a=1&b", "b", true),
            ("a=1&b", "1", false),
            ("a=b", "A", false),
            ("%61=1", "a", true),
            ("%C3%a9=1", "é", true),
            ("a%2", "a%2", true),
            ("a%zz", "a%zz", true),
            ("%", "%", true),
            ("%+1", "% 1", true),
            ("", "", true),
        ] {
            assert_eq!(has(query, name), expected, "{query} {name}");
        }
    }
}
