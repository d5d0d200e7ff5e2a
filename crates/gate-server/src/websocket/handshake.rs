//! The opening handshake (RFC 6455 §4): what of it is checked before anything is agreed to, and
//! what of it must not reach a provider.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::{Method, Version};

use crate::error::{ApiError, ErrorCode};

/// What a server appends to the client's key, to show that it knows the protocol (§1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// A key is 16 bytes in base64.
const KEY_LENGTH: usize = 24;
/// What a browser's client puts before its key where a page can set no header.
const KEY_PROTOCOL: &str = "openai-insecure-api-key.";
/// Subprotocols that are none but carry the client's key and its account. They belong to the client,
/// as the headers of the same meaning do.
const CREDENTIAL_PROTOCOLS: [&str; 3] = [KEY_PROTOCOL, "openai-organization.", "openai-project."];

/// Tells whether a request asks for WebSocket. Any other method than GET only carries the header.
pub(super) fn is_wanted(parts: &Parts) -> bool {
    parts.method == Method::GET && names(&parts.headers, &UPGRADE, "websocket")
}

/// Tells whether a request offers to become a WebSocket, by whatever method. In HTTP/1.0 the header
/// means nothing (RFC 9110 §7.8), and without its `connection` it is not meant for this hop.
pub(super) fn is_offered(parts: &Parts) -> bool {
    parts.version == Version::HTTP_11
        && names(&parts.headers, &UPGRADE, "websocket")
        && names(&parts.headers, &CONNECTION, "upgrade")
}

/// Checks what a client must say to open a session.
///
/// # Errors
/// 400 names what is missing.
pub(super) fn check(parts: &Parts) -> Result<HeaderValue, ApiError> {
    let headers = &parts.headers;
    let has_body = headers.contains_key(TRANSFER_ENCODING)
        || headers.get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0");
    let mut keys = headers.get_all(SEC_WEBSOCKET_KEY).iter();
    let key = keys.next().filter(|key| keys.next().is_none() && is_key(key.as_bytes()));
    for (is_wrong, what) in [
        (parts.version != Version::HTTP_11, "it needs HTTP/1.1"),
        (has_body, "it cannot have a body"),
        (
            !names(headers, &CONNECTION, "upgrade"),
            "`connection` must name `upgrade`; a proxy may have dropped it",
        ),
        (
            headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version.as_bytes() != b"13"),
            "`sec-websocket-version` must be 13",
        ),
    ] {
        if is_wrong {
            return Err(refusal(what));
        }
    }
    key.cloned().ok_or_else(|| refusal("`sec-websocket-key` must be one key of 16 bytes in base64"))
}

fn refusal(what: &str) -> ApiError {
    ApiError::new(ErrorCode::BadRequest, format!("this is no WebSocket handshake: {what}"))
}

/// Tells whether a list in a header has a word.
fn names(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let texts = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).any(|token| token.trim().eq_ignore_ascii_case(word))
}

fn is_key(key: &[u8]) -> bool {
    key.len() == KEY_LENGTH
        && key.strip_suffix(b"==").is_some_and(|digits| {
            digits.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
        })
}

/// Returns the answer to a key (§4.2.2).
pub(super) fn accept(key: &HeaderValue) -> HeaderValue {
    let proof = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key.as_bytes(), GUID].concat());
    // Base64 is always a header's value.
    HeaderValue::from_str(&base64(proof.as_ref())).unwrap_or(HeaderValue::from_static(""))
}

/// Encodes bytes (RFC 4648 §4).
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits =
            group.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let digit = DIGITS.get((bits >> (18 - 6 * place) & 0x3f) as usize).copied();
            text.push(digit.filter(|_| place <= group.len()).map_or('=', char::from));
        }
    }
    text
}

/// Refuses a provider's answer that agrees to something else than what it was asked for.
pub(super) fn invalid_answer(provider: &str) -> ApiError {
    let message = format!("the answer of provider `{provider}` is no valid WebSocket handshake");
    ApiError::new(ErrorCode::UpstreamProtocol, message)
}

/// Returns the keys that a client offers as subprotocols.
pub(super) fn offered_keys(headers: &HeaderMap) -> Vec<&str> {
    let keys = offered(headers).filter_map(|protocol| behind(protocol, KEY_PROTOCOL));
    keys.filter(|key| !key.is_empty()).collect()
}

/// Takes the client's credentials out of the subprotocols that it offers. A line without any stays
/// as it is, and of the others the rest of the list.
pub(super) fn strip_protocols(headers: &mut HeaderMap) {
    let kept: Vec<_> =
        headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(without_credentials).collect();
    headers.remove(SEC_WEBSOCKET_PROTOCOL);
    for value in kept {
        headers.append(SEC_WEBSOCKET_PROTOCOL, value);
    }
}

/// Returns a list of subprotocols without its credentials, if anything is left of it. One that is no
/// text is dropped: nobody could say what is in it.
fn without_credentials(value: &HeaderValue) -> Option<HeaderValue> {
    let list = value.to_str().ok()?;
    if !list.split(',').any(is_credential) {
        return Some(value.clone());
    }
    let kept: Vec<_> = list.split(',').filter(|protocol| !is_credential(protocol)).map(str::trim).collect();
    HeaderValue::from_str(&kept.join(", ")).ok().filter(|value| !value.is_empty())
}

fn is_credential(protocol: &str) -> bool {
    CREDENTIAL_PROTOCOLS.iter().any(|prefix| behind(protocol.trim(), prefix).is_some())
}

/// Returns what follows a prefix in any case of letters.
fn behind<'p>(protocol: &'p str, prefix: &str) -> Option<&'p str> {
    let (start, rest) = protocol.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// Returns the subprotocols that a client offers, credentials among them.
fn offered(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let texts = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).map(str::trim).filter(|protocol| !protocol.is_empty())
}

/// Chooses a subprotocol for a session that is agreed to before its provider is known, and leaves
/// only that one to be offered to the provider.
pub(super) fn choose_protocol(headers: &mut HeaderMap) -> Option<HeaderValue> {
    let first = offered(headers).find(|protocol| !is_credential(protocol));
    let chosen = first.and_then(|protocol| HeaderValue::from_str(protocol).ok());
    headers.remove(SEC_WEBSOCKET_PROTOCOL);
    let chosen = chosen?;
    headers.insert(SEC_WEBSOCKET_PROTOCOL, chosen.clone());
    Some(chosen)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    fn parts(headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri("/v1/realtime");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    // Spec: api A-51.
    #[test]
    fn a_handshake_is_checked_before_it_is_answered() {
        fn check_with(changed: &str, values: &[&str], expected: &str) {
            let good = [
                ("connection", "keep-alive, Upgrade"),
                ("upgrade", "websocket"),
                ("sec-websocket-version", "13"),
                ("sec-websocket-key", KEY),
            ];
            let kept = good.into_iter().filter(|(name, _)| *name != changed);
            let headers: Vec<_> = kept.chain(values.iter().map(|value| (changed, *value))).collect();
            let outcome = check(&parts(&headers)).map(|key| key.to_str().unwrap().to_owned());
            let found = outcome.unwrap_or_else(|error| error.message.into_owned());
            let expected = if expected == KEY {
                KEY.to_owned()
            } else {
                format!("this is no WebSocket handshake: {expected}")
            };
            assert_eq!(found, expected, "{changed}: {values:?}");
        }
        let no_key = "`sec-websocket-key` must be one key of 16 bytes in base64";
        check_with("x", &[], KEY);
        check_with("content-length", &["0"], KEY);
        check_with("sec-websocket-key", &[], no_key);
        check_with("sec-websocket-key", &[KEY, KEY], no_key);
        check_with("sec-websocket-key", &["dGhl"], no_key);
        check_with("sec-websocket-key", &["dGhlIHNhbXBsZSBub25jZQ=!"], no_key);
        check_with("sec-websocket-version", &[], "`sec-websocket-version` must be 13");
        check_with("sec-websocket-version", &["8"], "`sec-websocket-version` must be 13");
        check_with("connection", &["close"], "`connection` must name `upgrade`; a proxy may have dropped it");
        check_with("content-length", &["2"], "it cannot have a body");
        check_with("transfer-encoding", &["chunked"], "it cannot have a body");
    }

    #[test]
    fn only_a_get_that_names_websocket_asks_for_it() {
        for (upgrade, expected) in [("websocket", true), ("h2c, WebSocket", true), ("h2c", false)] {
            let mut parts = parts(&[("upgrade", upgrade)]);
            assert_eq!(is_wanted(&parts), expected, "{upgrade}");
            parts.method = Method::POST;
            assert!(!is_wanted(&parts), "a POST is one, whatever it carries");
        }
    }

    // Spec: api A-51.
    #[test]
    fn the_proof_is_that_of_the_specification() {
        assert_eq!(accept(&HeaderValue::from_static(KEY)), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        // RFC 4648 §10.
        for (text, expected) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(text.as_bytes()), expected, "{text}");
        }
    }

    // Spec: api A-52.
    #[test]
    fn credentials_among_the_subprotocols_stay_here() {
        fn check(offered: &[&'static str], passed: Option<&str>, chosen: Option<&str>) {
            let mut headers = HeaderMap::new();
            for value in offered {
                headers.append(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            let mut others = headers.clone();
            strip_protocols(&mut headers);
            assert_eq!(headers.get(SEC_WEBSOCKET_PROTOCOL).map(|value| value.to_str().unwrap()), passed);
            let choice = choose_protocol(&mut others);
            assert_eq!(choice.as_ref().map(|value| value.to_str().unwrap()), chosen);
            assert_eq!(others.get(SEC_WEBSOCKET_PROTOCOL), choice.as_ref());
        }
        check(&[], None, None);
        check(&["realtime"], Some("realtime"), Some("realtime"));
        check(
            &["realtime, openai-insecure-api-key.sk-canary, openai-beta.realtime-v1"],
            Some("realtime, openai-beta.realtime-v1"),
            Some("realtime"),
        );
        check(
            &["OpenAI-Insecure-Api-Key.sk-canary", "openai-organization.o,openai-project.p", "realtime"],
            Some("realtime"),
            Some("realtime"),
        );
        check(&["openai-insecure-api-key.sk-canary"], None, None);
        check(&["openai-insecure-api-key.sk-canary, "], None, None);
        // Without a credential nothing changes, be it written as it may.
        check(&["realtime,b ,  c"], Some("realtime,b ,  c"), Some("realtime"));
        check(&["a,openai-insecure-api-key.sk-canary ,b"], Some("a, b"), Some("a"));
        check(&["openai-insecure-api-key.sk-canary, caf\u{e9}", "b"], Some("b"), Some("b"));
    }

    // Spec: api A-67.
    #[test]
    fn the_key_among_the_subprotocols_is_found() {
        fn check(offered: &[&'static str], keys: &[&str]) {
            let mut headers = HeaderMap::new();
            for value in offered {
                headers.append(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(value));
            }
            assert_eq!(offered_keys(&headers), keys, "{offered:?}");
        }
        check(&[], &[]);
        check(&["realtime, openai-beta.realtime-v1"], &[]);
        check(&["realtime, openai-insecure-api-key.sk-Proj.1-a_B, x"], &["sk-Proj.1-a_B"]);
        check(&["a", "OpenAI-Insecure-API-Key.k"], &["k"]);
        check(&["openai-insecure-api-key.k,openai-insecure-api-key.l"], &["k", "l"]);
        check(&["openai-insecure-api-key.", "openai-insecure-api-key"], &[]);
    }
}
