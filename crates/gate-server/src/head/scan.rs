//! The quick way through a body: a scanner for the JSON that clients send. It either reads a body just
//! as serde would, or is not sure of it and says no more; it never refuses one. What is wrong, and what
//! is merely rare (a key with an escape, deep nesting), is so left to the one reader that words errors.
//!
//! All of the syntax is checked (RFC 8259), and that the text is UTF-8. Most of a body stands in strings,
//! so these are taken in runs, each searched and checked many bytes at a time.

use memchr::memchr2;

use super::members::{Key, Members};

/// Reads the top-level object of a body; `None` where the scanner is not sure of it.
pub(super) fn members(body: &[u8]) -> Option<Members<'_>> {
    let mut members = Members::default();
    let mut text = Text { rest: body };
    text.expect(b'{')?;
    if !text.takes(b'}') {
        loop {
            let key = text.key()?;
            text.expect(b':')?;
            members.add(Key::new(key), text.value()?);
            match text.token()? {
                b',' => {}
                b'}' => break,
                _ => return None,
            }
        }
    }
    text.skip_space();
    text.rest.is_empty().then_some(members)
}

/// What is still to be read. A method returns `None` where the text does not go on as it says.
struct Text<'b> {
    rest: &'b [u8],
}

impl<'b> Text<'b> {
    /// Takes a value of any kind, and returns it without the space around it.
    fn value(&mut self) -> Option<&'b [u8]> {
        self.skip_space();
        let from = self.rest;
        self.skip_value()?;
        from.get(..from.len() - self.rest.len())
    }

    /// Skips a value, however much it holds, without recursion.
    fn skip_value(&mut self) -> Option<()> {
        let mut open = Open::NONE;
        let mut first = self.token()?;
        loop {
            match first {
                b'"' => self.string()?,
                b'{' => match self.token()? {
                    b'}' => {}
                    quote => {
                        open.push(Container::Object)?;
                        first = self.member(quote)?;
                        continue;
                    }
                },
                b'[' => match self.token()? {
                    b']' => {}
                    element => {
                        open.push(Container::Array)?;
                        first = element;
                        continue;
                    }
                },
                b't' => self.literal(b"rue")?,
                b'f' => self.literal(b"alse")?,
                b'n' => self.literal(b"ull")?,
                first => self.number(first)?,
            }
            // Behind a value: the ends of what it stands in, then a comma or the end of all.
            first = loop {
                let Some(container) = open.innermost() else { return Some(()) };
                match (self.token()?, container) {
                    (b',', Container::Array) => break self.token()?,
                    (b',', Container::Object) => {
                        let quote = self.token()?;
                        break self.member(quote)?;
                    }
                    (b']', Container::Array) | (b'}', Container::Object) => open.pop(),
                    _ => return None,
                }
            };
        }
    }

    /// Skips a key, of which this is the first byte, and its colon; takes the first byte of the value.
    fn member(&mut self, quote: u8) -> Option<u8> {
        if quote != b'"' {
            return None;
        }
        self.string()?;
        self.expect(b':')?;
        self.token()
    }

    /// Takes a key that stands there as it is.
    fn key(&mut self) -> Option<&'b [u8]> {
        self.expect(b'"')?;
        let (key, rest) = self.rest.split_at_checked(run(self.rest)?)?;
        self.rest = rest.strip_prefix(b"\"")?;
        Some(key)
    }

    /// Skips a string behind its first quote.
    fn string(&mut self) -> Option<()> {
        let mut rest = self.rest;
        loop {
            rest = match rest.get(run(rest)?..)? {
                [b'"', after @ ..] => {
                    self.rest = after;
                    return Some(());
                }
                [b'\\', b'n' | b'"' | b'\\' | b'/' | b'b' | b'f' | b'r' | b't', after @ ..] => after,
                // Any: half of a surrogate pair is the provider's to judge.
                [b'\\', b'u', a, b, c, d, after @ ..] => {
                    [a, b, c, d].into_iter().all(u8::is_ascii_hexdigit).then_some(after)?
                }
                _ => return None,
            };
        }
    }

    /// Skips what follows a number's first byte.
    fn number(&mut self, first: u8) -> Option<()> {
        match if first == b'-' { self.byte()? } else { first } {
            b'0' => {}
            b'1'..=b'9' => self.skip_digits(),
            _ => return None,
        }
        if let [b'.', rest @ ..] = self.rest {
            self.rest = rest;
            self.digits()?;
        }
        if let [b'e' | b'E', b'+' | b'-', rest @ ..] | [b'e' | b'E', rest @ ..] = self.rest {
            self.rest = rest;
            self.digits()?;
        }
        Some(())
    }

    /// Skips digits, of which there must be one.
    fn digits(&mut self) -> Option<()> {
        let is_digit = self.byte()?.is_ascii_digit();
        self.skip_digits();
        is_digit.then_some(())
    }

    fn skip_digits(&mut self) {
        while let [b'0'..=b'9', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    /// Skips what follows the first letter of a literal.
    fn literal(&mut self, letters: &[u8]) -> Option<()> {
        self.rest = self.rest.strip_prefix(letters)?;
        Some(())
    }

    /// Takes this byte, behind any space.
    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.token()? == byte).then_some(())
    }

    /// Takes this byte, behind any space, if it comes next.
    fn takes(&mut self, byte: u8) -> bool {
        self.skip_space();
        let rest = self.rest.strip_prefix(&[byte]);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Takes the next byte that is no space.
    fn token(&mut self) -> Option<u8> {
        loop {
            let byte = self.byte()?;
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
        }
    }

    fn skip_space(&mut self) {
        while let [b' ' | b'\n' | b'\r' | b'\t', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }
}

/// Returns how many bytes of a string stand before its next backslash or its end. They are text, or
/// another byte that must not be there ends the run.
#[inline]
fn run(text: &[u8]) -> Option<usize> {
    /// How many words are looked at before the search is worth its start.
    const FEW: usize = 8;
    const ONES: u64 = u64::MAX / 255;
    const HIGH_BITS: u64 = ONES << 7;
    // Sets the high bit of the first byte below `least`, and maybe of others behind it.
    let below = |word: u64, least: u8| word.wrapping_sub(ONES * u64::from(least)) & !word;
    let is = |word: u64, byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    let mut length = 0;
    for word in text.as_chunks::<8>().0.iter().take(FEW) {
        let word = u64::from_le_bytes(*word);
        if word & HIGH_BITS != 0 {
            break;
        }
        let ends = (is(word, b'"') | is(word, b'\\') | below(word, b' ')) & HIGH_BITS;
        if ends != 0 {
            return Some(length + (ends.trailing_zeros() / 8) as usize);
        }
        length += 8;
    }
    Some(length + long_run(text.get(length..)?)?)
}

/// Does the same for a run that is long, or not all ASCII.
#[inline(never)]
fn long_run(text: &[u8]) -> Option<usize> {
    let run = text.get(..memchr2(b'"', b'\\', text)?)?;
    // A loop without a branch, for the compiler to make vectors of.
    let (least, any) = run.iter().fold((u8::MAX, 0), |(least, any), byte| (least.min(*byte), any | byte));
    let is_text = least >= b' ' && (any.is_ascii() || std::str::from_utf8(run).is_ok());
    is_text.then_some(run.len())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Container {
    Array,
    Object,
}

/// The containers that are open: one bit for each, the innermost lowest, below a bit that is always set.
struct Open(u64);

impl Open {
    const NONE: Self = Self(1);

    /// Opens a container, unless there are too many to be noted.
    fn push(&mut self, container: Container) -> Option<()> {
        let has_room = self.0.leading_zeros() > 0;
        self.0 = self.0 << 1 | u64::from(container == Container::Object);
        has_room.then_some(())
    }

    fn innermost(&self) -> Option<Container> {
        match self.0 {
            1 => None,
            kinds if kinds & 1 == 1 => Some(Container::Object),
            _ => Some(Container::Array),
        }
    }

    fn pop(&mut self) {
        self.0 >>= 1;
    }
}

#[cfg(test)]
mod tests;
