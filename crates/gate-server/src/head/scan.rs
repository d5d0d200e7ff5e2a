//! The quick way through a body: a scanner for the JSON that clients send. It either reads a body just
//! as serde would, or is not sure of it and says no more; it never refuses one. What is wrong, and what
//! is merely rare (a key with an escape, deep nesting), is so left to the one reader that words errors.
//!
//! All of the syntax is checked (RFC 8259), and that the text is UTF-8. Most of a body stands in strings,
//! so these are taken in runs, each searched and checked many bytes at a time.
//!
//! A large body is read as it comes, while its bytes are still in the processor's cache: read all at once
//! in the end, they come from memory, which takes several times as long. The scanner stops where the body
//! does so far, and goes on behind the last whole piece that it has read.

use memchr::memchr2;

use super::members::{Key, Members};

/// How much must have come since the scanner looked last: what it has begun to read it begins again.
const LEAST_NEW_BYTES: usize = 16 * 1024;

/// Reads the top-level object of a body, as far as it has come.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    members: Members,
    /// Where it goes on when more has come: what comes there, and which containers are open.
    at: usize,
    next: Next,
    open: Open,
    /// The member at the top that is being read, and where its value begins.
    key: Key,
    value_at: usize,
    /// How much must have come before it is worth looking.
    patience: usize,
    is_doubtful: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Next {
    /// The opening brace of all.
    #[default]
    Opening,
    /// A key at the top.
    Key,
    Value,
    /// What is left of a string that is a value.
    String,
    /// Nothing but space.
    Nothing,
}

/// Why the scanner does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// The text ends here, or may go on in this piece.
    End,
    /// It is not sure of what it sees.
    Doubt,
}

impl Scanner {
    /// Reads on in a body of which this has come so far, once enough of it is new.
    pub(crate) fn look(&mut self, body: &[u8]) {
        if !self.is_doubtful && body.len() >= self.patience.max(LEAST_NEW_BYTES) {
            self.read_on(body);
            // A piece that does not end is so read again only when it is twice as long.
            let begun = body.len() - self.at;
            self.patience = body.len() + begun.max(LEAST_NEW_BYTES);
        }
    }

    /// Reads the rest of a body that is whole; `None` where the scanner is not sure of it.
    pub(super) fn finish(mut self, body: &[u8]) -> Option<Members> {
        if !self.is_doubtful {
            self.read_on(body);
        }
        (self.next == Next::Nothing && !self.is_doubtful).then_some(self.members)
    }

    /// Reads on in a body of which this has come so far.
    pub(super) fn read_on(&mut self, body: &[u8]) {
        let mut text = Text { rest: body.get(self.at..).unwrap_or_default(), length: body.len() };
        self.is_doubtful = self.read_members(&mut text, body) == Err(Stop::Doubt);
    }

    fn read_members(&mut self, text: &mut Text<'_>, body: &[u8]) -> Result<(), Stop> {
        if self.next == Next::Opening {
            text.expect(b'{')?;
            let is_empty = text.peek()? == b'}';
            if is_empty {
                text.byte()?;
            }
            self.go_on_at(text.place(), if is_empty { Next::Nothing } else { Next::Key });
        }
        while self.next != Next::Nothing {
            if self.next == Next::Key {
                let key = text.key()?;
                text.expect(b':')?;
                text.peek()?;
                (self.key, self.value_at, self.open) = (Key::new(key), text.place(), Open::default());
                self.go_on_at(self.value_at, Next::Value);
            }
            let end = self.skip_value(text)?;
            let next = match text.token()? {
                b',' => Next::Key,
                b'}' => Next::Nothing,
                _ => return Err(Stop::Doubt),
            };
            self.members.add(self.key, self.value_at..end, body);
            self.go_on_at(text.place(), next);
        }
        text.skip_space();
        if text.rest.is_empty() { Ok(()) } else { Err(Stop::Doubt) }
    }

    fn go_on_at(&mut self, place: usize, next: Next) {
        self.at = place;
        self.next = next;
    }

    /// Skips a value, however much it holds, without recursion, and returns where it ends. Where the text
    /// ends before, it goes on at the last of the values in it.
    fn skip_value(&mut self, text: &mut Text<'_>) -> Result<usize, Stop> {
        let mut open = self.open;
        let mut first = if self.next == Next::String { b'"' } else { text.token()? };
        loop {
            self.open = open;
            self.go_on_at(text.place() - 1, Next::Value);
            match first {
                b'"' => {
                    let outcome = text.string();
                    // It may be most of a body, so what was read of it is read, up to its last quote.
                    self.go_on_at(text.place() - usize::from(outcome.is_ok()), Next::String);
                    outcome?;
                }
                b'{' => match text.token()? {
                    b'}' => {}
                    quote => {
                        open.push(Container::Object)?;
                        first = text.member(quote)?;
                        continue;
                    }
                },
                b'[' => match text.token()? {
                    b']' => {}
                    element => {
                        open.push(Container::Array)?;
                        first = element;
                        continue;
                    }
                },
                b't' => text.literal(b"rue")?,
                b'f' => text.literal(b"alse")?,
                b'n' => text.literal(b"ull")?,
                first => text.number(first)?,
            }
            // Behind a value: the ends of what it stands in, then a comma or the end of all.
            first = loop {
                let Some(container) = open.innermost() else { return Ok(text.place()) };
                match (text.token()?, container) {
                    (b',', Container::Array) => break text.token()?,
                    (b',', Container::Object) => {
                        let quote = text.token()?;
                        break text.member(quote)?;
                    }
                    (b']', Container::Array) | (b'}', Container::Object) => open.pop(),
                    _ => return Err(Stop::Doubt),
                }
            };
        }
    }
}

/// What is still to be read of a text of some length.
struct Text<'b> {
    rest: &'b [u8],
    length: usize,
}

impl<'b> Text<'b> {
    fn place(&self) -> usize {
        self.length - self.rest.len()
    }

    /// Skips a key, of which this is the first byte, and its colon; takes the first byte of the value.
    fn member(&mut self, quote: u8) -> Result<u8, Stop> {
        if quote != b'"' {
            return Err(Stop::Doubt);
        }
        self.string()?;
        self.expect(b':')?;
        self.token()
    }

    /// Takes a key that stands there as it is.
    fn key(&mut self) -> Result<&'b [u8], Stop> {
        self.expect(b'"')?;
        let from = self.rest;
        self.string()?;
        let key = from.get(..from.len() - self.rest.len() - 1).ok_or(Stop::Doubt)?;
        if key.contains(&b'\\') { Err(Stop::Doubt) } else { Ok(key) }
    }

    /// Skips a string behind its first quote. Where the text ends before, what there is of it is skipped, and
    /// the rest may be when it has come.
    fn string(&mut self) -> Result<(), Stop> {
        let mut rest = self.rest;
        loop {
            let length = run(rest)?;
            rest = rest.get(length..).unwrap_or_default();
            rest = match rest {
                [b'"', after @ ..] => {
                    self.rest = after;
                    return Ok(());
                }
                [b'\\', b'n' | b'"' | b'\\' | b'/' | b'b' | b'f' | b'r' | b't', after @ ..] => after,
                // Any: half of a surrogate pair is the provider's to judge.
                [b'\\', b'u', a, b, c, d, after @ ..] => {
                    let is_hex = [a, b, c, d].into_iter().all(|digit| digit.is_ascii_hexdigit());
                    is_hex.then_some(after).ok_or(Stop::Doubt)?
                }
                [b'\\', _, _, _, _, _, ..] | [..b' ', ..] => return Err(Stop::Doubt),
                rest if length == 0 || rest.first() == Some(&b'\\') => {
                    self.rest = rest;
                    return Err(Stop::End);
                }
                rest => rest,
            };
        }
    }

    /// Skips what follows a number's first byte.
    fn number(&mut self, first: u8) -> Result<(), Stop> {
        match if first == b'-' { self.byte()? } else { first } {
            b'0' => {}
            b'1'..=b'9' => self.skip_digits(),
            _ => return Err(Stop::Doubt),
        }
        if let [b'.', rest @ ..] = self.rest {
            self.rest = rest;
            self.digits()?;
        }
        if let [b'e' | b'E', b'+' | b'-', rest @ ..] | [b'e' | b'E', rest @ ..] = self.rest {
            self.rest = rest;
            self.digits()?;
        }
        // More digits may come.
        if self.rest.is_empty() { Err(Stop::End) } else { Ok(()) }
    }

    /// Skips digits, of which there must be one.
    fn digits(&mut self) -> Result<(), Stop> {
        if !self.byte()?.is_ascii_digit() {
            return Err(Stop::Doubt);
        }
        self.skip_digits();
        Ok(())
    }

    fn skip_digits(&mut self) {
        while let [b'0'..=b'9', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    /// Skips what follows the first letter of a literal.
    fn literal(&mut self, letters: &[u8]) -> Result<(), Stop> {
        match self.rest.strip_prefix(letters) {
            Some(rest) => self.rest = rest,
            None if self.rest.len() < letters.len() => return Err(Stop::End),
            None => return Err(Stop::Doubt),
        }
        Ok(())
    }

    /// Takes this byte, behind any space.
    fn expect(&mut self, byte: u8) -> Result<(), Stop> {
        if self.token()? == byte { Ok(()) } else { Err(Stop::Doubt) }
    }

    /// Takes the next byte that is no space.
    #[inline]
    fn token(&mut self) -> Result<u8, Stop> {
        loop {
            let byte = self.byte()?;
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Ok(byte);
            }
        }
    }

    /// Skips space, and returns the byte behind it.
    fn peek(&mut self) -> Result<u8, Stop> {
        self.skip_space();
        self.rest.first().copied().ok_or(Stop::End)
    }

    fn skip_space(&mut self) {
        while let [b' ' | b'\n' | b'\r' | b'\t', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    fn byte(&mut self) -> Result<u8, Stop> {
        let (byte, rest) = self.rest.split_first().ok_or(Stop::End)?;
        self.rest = rest;
        Ok(*byte)
    }
}

/// Returns how many bytes of a string stand before its next backslash, its end, or a byte that must not be
/// there; or before some place where it goes on, unless they are none.
///
/// # Errors
/// They are no text.
#[inline]
fn run(text: &[u8]) -> Result<usize, Stop> {
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
            return Ok(length + (ends.trailing_zeros() / 8) as usize);
        }
        length += 8;
    }
    Ok(length + long_run(text.get(length..).unwrap_or_default())?)
}

/// Does the same for a run that is long, or not all ASCII.
#[inline(never)]
fn long_run(text: &[u8]) -> Result<usize, Stop> {
    /// It is gone over twice or more, so that this has to stay in the nearest cache.
    const MOST: usize = 8 * 1024;
    let text = text.get(..MOST).unwrap_or(text);
    let run = memchr2(b'"', b'\\', text).and_then(|end| text.get(..end)).unwrap_or(text);
    // A loop without a branch, for the compiler to make vectors of.
    let (least, any) = run.iter().fold((u8::MAX, 0), |(least, any), byte| (least.min(*byte), any | byte));
    if least < b' ' {
        return Err(Stop::Doubt);
    }
    if any.is_ascii() {
        return Ok(run.len());
    }
    match std::str::from_utf8(run) {
        Ok(_) => Ok(run.len()),
        // The last character goes on behind this.
        Err(error) if error.error_len().is_none() && run.len() == text.len() => Ok(error.valid_up_to()),
        Err(_) => Err(Stop::Doubt),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Container {
    Array,
    Object,
}

/// The containers that are open: one bit for each, the innermost lowest, below a bit that is always set.
#[derive(Clone, Copy, Debug)]
struct Open(u64);

impl Default for Open {
    fn default() -> Self {
        Self(1)
    }
}

impl Open {
    /// Opens a container, unless there are too many to be noted.
    fn push(&mut self, container: Container) -> Result<(), Stop> {
        let has_room = self.0.leading_zeros() > 0;
        self.0 = self.0 << 1 | u64::from(container == Container::Object);
        if has_room { Ok(()) } else { Err(Stop::Doubt) }
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
