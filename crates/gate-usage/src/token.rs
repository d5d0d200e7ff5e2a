//! Tokens of JSON that lie in one piece of a text. What does not is left to who keeps a state.

use memchr::memchr2;

/// Reads the key at the beginning of these bytes, if its value begins in them. One with an escape is none
/// that is looked for.
pub(crate) fn key_and_value(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = bytes.strip_prefix(b"\"")?;
    let (key, rest) = text.split_at_checked(text_end(text)?)?;
    let value = behind_spaces(behind_spaces(rest.strip_prefix(b"\"")?).strip_prefix(b":")?);
    (!value.is_empty()).then_some((key, value))
}

/// Returns what stands behind a string whose first quote has been read, if it ends here.
pub(crate) fn behind_text(mut bytes: &[u8]) -> Option<&[u8]> {
    loop {
        let (&delimiter, tail) = bytes.get(text_end(bytes)?..)?.split_first()?;
        if delimiter == b'"' {
            return Some(tail);
        }
        // Whatever follows a backslash ends nothing.
        bytes = tail.get(1..)?;
    }
}

/// Finds the first quote or backslash. Most strings are short, and end before a search that is made for
/// long texts has begun: so the first bytes are looked at here, eight at a time.
#[inline]
pub(crate) fn text_end(bytes: &[u8]) -> Option<usize> {
    let (words, _) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().take(2).enumerate() {
        let word = u64::from_le_bytes(*word);
        let found = zeros(word ^ every(b'"')) | zeros(word ^ every(b'\\'));
        if found != 0 {
            return Some(index * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    memchr2(b'"', b'\\', bytes)
}

/// Returns a word of eight times this byte.
const fn every(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// Sets the highest bit of each byte of a word that is zero. A borrow may set it in bytes above the first
/// of them, never below.
const fn zeros(word: u64) -> u64 {
    word.wrapping_sub(every(0x01)) & !word & every(0x80)
}

/// Reads a scalar that is a count.
pub(crate) fn count(scalar: &[u8]) -> Option<u64> {
    scalar.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

#[inline]
pub(crate) fn behind_spaces(bytes: &[u8]) -> &[u8] {
    // Most writers put none.
    if bytes.first().is_some_and(|byte| *byte > b' ') {
        return bytes;
    }
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    let at = bytes.iter().position(|byte| !is_space(byte)).unwrap_or(bytes.len());
    bytes.get(at..).unwrap_or_default()
}

/// Tells whether a scalar in an object ends before this byte.
#[inline]
pub(crate) const fn ends_scalar(byte: &u8) -> bool {
    matches!(byte, b',' | b'}' | b' ' | b'\t' | b'\n' | b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_text_is_its_first_quote_or_backslash_wherever_it_stands() {
        for place in 0..70 {
            for end in [b'"', b'\\'] {
                // What differs from an end by one bit, and a further end behind it.
                for filler in [b'x', end ^ 0x01, end ^ 0x80] {
                    let mut text = [filler; 72];
                    (text[place], text[place + 1]) = (end, b'"');
                    assert_eq!(text_end(&text), Some(place), "{text:?}");
                    assert_eq!(text_end(&text[..place]), None, "{text:?}");
                }
            }
        }
    }
}
