//! A short text collected piece by piece, for comparison with known words only.

use std::fmt;

/// Up to [`Word::CAPACITY`] bytes. A longer text equals no word, and so does a spoiled one.
#[derive(Clone, Copy)]
pub(crate) struct Word {
    bytes: [u8; Self::CAPACITY],
    /// `None` once the text can no longer equal any word.
    length: Option<u8>,
}

impl Word {
    /// The longest word that is ever looked for is
    /// `conversation.item.input_audio_transcription.completed`.
    pub(crate) const CAPACITY: usize = 56;

    pub(crate) const fn new() -> Self {
        Self { bytes: [0; Self::CAPACITY], length: Some(0) }
    }

    pub(crate) const fn clear(&mut self) {
        self.length = Some(0);
    }

    /// Makes the text unequal to every word until it is cleared.
    pub(crate) const fn spoil(&mut self) {
        self.length = None;
    }

    pub(crate) fn push(&mut self, part: &[u8]) {
        let Some(length) = self.length else { return };
        let start = usize::from(length);
        match self.bytes.get_mut(start..start + part.len()) {
            Some(room) => {
                room.copy_from_slice(part);
                // The range was inside the array, whose length fits.
                self.length = u8::try_from(start + part.len()).ok();
            }
            None => self.spoil(),
        }
    }

    /// Returns the text; nothing if it is too long or spoiled.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.length.and_then(|length| self.bytes.get(..usize::from(length))).unwrap_or_default()
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.as_bytes().escape_ascii(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_what_fits_and_nothing_else() {
        fn check(parts: &[&[u8]], expected: &[u8]) {
            let mut word = Word::new();
            for part in parts {
                word.push(part);
            }
            assert_eq!(word.as_bytes(), expected, "{parts:?}");
        }
        check(&[], b"");
        check(&[b"us", b"", b"age"], b"usage");
        const LAST: usize = Word::CAPACITY - 1;
        check(&[&[b'x'; LAST], b"y"], &[&[b'x'; LAST][..], b"y"].concat());
        check(&[&[b'x'; LAST + 1], b"y"], b"");
        check(&[&[b'x'; LAST + 2]], b"");
        // What follows an overflow must not pass for the whole text.
        check(&[&[b'x'; LAST + 2], b"usage"], b"");
    }

    #[test]
    fn a_spoiled_word_stays_so_until_it_is_cleared() {
        let mut word = Word::new();
        word.spoil();
        word.push(b"usage");
        assert_eq!(word.as_bytes(), b"");
        word.clear();
        word.push(b"usage");
        assert_eq!(word.as_bytes(), b"usage");
        assert_eq!(format!("{word:?}"), "usage");
    }
}
