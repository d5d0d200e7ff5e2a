//! Tells from a quick look at a whole JSON text that there is nothing in it to find.
//!
//! Nearly all events of a stream are like that: a word of text, and at most a usage that is
//! `null`. Two searches at the speed of memory spare the scanner, whose answer would be the same.

use std::sync::LazyLock;

use memchr::memmem::Finder;

/// The keys without which a text has neither usage nor error. Within a string their quotes would
/// be escaped, so that talk about usage does not look like it.
static KEYS: LazyLock<[Finder<'static>; 2]> =
    LazyLock::new(|| [Finder::new("\"usage\""), Finder::new("\"error\"")]);

/// Tells whether a text may have usage or an error. It errs on the safe side.
pub(crate) fn may_matter(text: &[u8]) -> bool {
    KEYS.iter().any(|key| {
        let mut rest = text;
        while let Some(at) = key.find(rest) {
            rest = rest.get(at + key.needle().len()..).unwrap_or_default();
            if !rest.starts_with(b":null") {
                return true;
            }
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_text_without_usage_and_without_error_is_passed_over() {
        fn check(text: &str, expected: bool) {
            assert_eq!(may_matter(text.as_bytes()), expected, "{text}");
        }
        check("", false);
        check(r#"{"choices":[{"delta":{"content":"hi"}}]}"#, false);
        check(r#"{"usage":null,"error":null}"#, false);
        check(r#"{"text":"\"usage\":{} and \"error\":{}"}"#, false);
        check(r#"{"usages":{}}"#, false);
        check(r#"{"usage":{}}"#, true);
        check(r#"{"usage": null}"#, true);
        check(r#"{"usage" :{}}"#, true);
        check(r#"{"a":{"usage":null},"usage":{}}"#, true);
        check(r#"{"error":"no"}"#, true);
        check(r#"{"type":"error"}"#, true);
        check(r#"{"usage""#, true);
    }
}
