//! What holds for any text that is taken for a model ref. Compiled for tests and fuzz targets only.

use crate::{ModelRef, ParseErrorKind, ProviderKind, Splits};

/// Checks one input, the text of a name: it is refused exactly where the grammar says so, and what
/// is taken keeps its text and has consistent readings.
pub fn model_ref(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    check_splits(text);
    let is_legal = (1..=256).contains(&text.len()) && text.bytes().all(is_name_byte);
    match ModelRef::parse(text) {
        Ok(name) => {
            assert!(is_legal, "{text:?} is taken");
            check_name(name, text);
        }
        Err(error) => {
            assert!(!is_legal, "{text:?} is refused: {error}");
            assert!(text.is_char_boundary(error.position), "{error:?}");
            if let ParseErrorKind::IllegalCharacter(found) = error.kind {
                assert!(text[error.position..].starts_with(found), "{error:?}");
            }
            assert!(!error.to_string().is_empty());
        }
    }
}

fn check_name(name: ModelRef<'_>, text: &str) {
    assert_eq!((name.as_str(), name.to_string().as_str()), (text, text));
    let first = text.split('.').next().unwrap_or_default();
    let kind = ProviderKind::ALL.into_iter().find(|kind| kind.as_str() == first.to_ascii_lowercase());
    assert_eq!(name.kind(), kind);
    let rest = if kind.is_some() { text.get(first.len() + 1..).unwrap_or_default() } else { text };
    assert_eq!(name.without_kind(), rest);
    assert!(name.splits().eq(Splits::of(text)));
}

/// The readings are those of a reader that knows nothing of iterators.
fn check_splits(text: &str) {
    let mut expected = Vec::new();
    for (at, _) in text.match_indices('.').filter(|(at, _)| *at > 0 && at + 1 < text.len()) {
        expected.insert(0, (&text[..at], &text[at + 1..]));
    }
    let found: Vec<_> = Splits::of(text).map(|split| (split.path, split.rest)).collect();
    assert_eq!(found, expected, "{text:?}");
}

/// `name-byte` of the grammar, as it is written there.
fn is_name_byte(byte: u8) -> bool {
    matches!(byte,
        0x21 | 0x23..=0x26 | 0x28..=0x3B | 0x3D | 0x3F..=0x5B | 0x5D | 0x5F | 0x61..=0x7A | 0x7E)
}

#[cfg(test)]
#[path = "../../../fuzz/shared/replay.rs"]
mod replay;

#[test]
fn the_corpus_of_names_holds() {
    replay::replay("model_ref", model_ref);
}
