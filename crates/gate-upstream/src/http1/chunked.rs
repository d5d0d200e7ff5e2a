//! The chunked coding (RFC 9112 §7.1), undone byte by byte as it comes.

use bytes::Bytes;

use crate::error::Violation;

/// Most bytes that a body may spend on what nobody reads: extensions of its chunks and trailers.
const MAX_UNREAD_BYTES: usize = 16 * 1024;

/// Most digits of a chunk's size: as many as a `u64` has.
const MAX_DIGITS: u8 = 16;

/// Where in a chunked body its reader is.
#[derive(Debug, Default)]
pub(super) struct Chunked {
    state: State,
    /// How much has come that nobody reads.
    unread: usize,
    /// What is wrong behind the data that was handed on.
    violation: Option<Violation>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In the size of a chunk, of which so many digits have come.
    Size {
        size: u64,
        digits: u8,
    },
    /// Behind the digits: blanks, and extensions if there are any.
    Extension {
        size: u64,
        is_named: bool,
    },
    /// Before the line feed that ends the line with the size.
    SizeEnd {
        size: u64,
    },
    /// In the data of a chunk, of which so much is still to come.
    Data {
        left: u64,
    },
    /// Behind the data.
    DataCr,
    DataEnd,
    /// At the beginning of a line behind the last chunk.
    Line,
    /// In the name of a trailer.
    TrailerName,
    /// In its value.
    Trailer,
    TrailerEnd,
    /// Before the last byte of all.
    LastEnd,
    /// Behind it.
    Over,
}

impl Default for State {
    fn default() -> Self {
        Self::Size { size: 0, digits: 0 }
    }
}

impl Chunked {
    /// Returns whether the body has ended.
    pub(super) fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Returns whether what was read so far is well-formed.
    ///
    /// # Errors
    /// [`Violation::Chunk`].
    pub(super) fn check(&self) -> Result<(), Violation> {
        self.violation.map_or(Ok(()), Err)
    }

    /// Returns the data in these bytes, the next of the body, and how many of them belong to it: all, unless
    /// it has ended. Data in front of a fault is returned, and the fault is there for [`check`](Self::check) and
    /// with the next call.
    ///
    /// # Errors
    /// [`Violation::Chunk`].
    pub(super) fn decode(&mut self, bytes: &[u8]) -> Result<(Bytes, usize), Violation> {
        self.check()?;
        let (mut rest, mut first, mut all) = (bytes, &[][..], Vec::new());
        while !rest.is_empty() && !self.is_over() {
            let (data, behind) = match self.step(rest) {
                Ok(step) => step,
                Err(violation) if first.is_empty() => return Err(violation),
                Err(violation) => {
                    self.violation = Some(violation);
                    break;
                }
            };
            rest = behind;
            if first.is_empty() {
                first = data;
            } else if !data.is_empty() {
                // Several small chunks go on as one piece: each piece is work for all who handle it.
                if all.is_empty() {
                    all.reserve_exact(bytes.len());
                    all.extend_from_slice(first);
                }
                all.extend_from_slice(data);
            }
        }
        let data = if all.is_empty() { Bytes::copy_from_slice(first) } else { Bytes::from(all) };
        Ok((data, bytes.len() - rest.len()))
    }

    /// Takes data, or one byte of what surrounds it; returns the data and the rest.
    fn step<'b>(&mut self, bytes: &'b [u8]) -> Result<(&'b [u8], &'b [u8]), Violation> {
        if let State::Data { left } = &mut self.state {
            let length = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
            // A `usize` is at most 64 bits wide, so nothing is lost.
            *left -= length as u64;
            if *left == 0 {
                self.state = State::DataCr;
            }
            return Ok(bytes.split_at(length));
        }
        let Some((byte, rest)) = bytes.split_first() else { return Ok((&[], &[])) };
        self.state = self.after(*byte)?;
        Ok((&[], rest))
    }

    /// Returns the state behind a byte that is no data.
    fn after(&mut self, byte: u8) -> Result<State, Violation> {
        let next = match (self.state, byte) {
            (State::Size { size, digits }, _) if byte.is_ascii_hexdigit() && digits < MAX_DIGITS => {
                State::Size { size: size << 4 | u64::from(value_of(byte)), digits: digits + 1 }
            }
            (State::Size { digits: 0, .. }, _) => return Err(Violation::Chunk),
            (State::Size { size, .. } | State::Extension { size, .. }, b'\r') => State::SizeEnd { size },
            (State::Size { size, .. }, b' ' | b'\t') => State::Extension { size, is_named: false },
            (State::Size { size, .. }, b';') => State::Extension { size, is_named: true },
            (State::Extension { size, is_named }, _) if byte != b'\n' => {
                let is_named = is_named || byte == b';';
                if !is_named && !matches!(byte, b' ' | b'\t') {
                    return Err(Violation::Chunk);
                }
                self.count_unread()?;
                State::Extension { size, is_named }
            }
            (State::SizeEnd { size: 0 }, b'\n') => State::Line,
            (State::SizeEnd { size }, b'\n') => State::Data { left: size },
            (State::DataCr, b'\r') => State::DataEnd,
            (State::DataEnd, b'\n') => State::default(),
            (State::Line, b'\r') => State::LastEnd,
            (State::Trailer, b'\r') => State::TrailerEnd,
            (State::TrailerEnd, b'\n') => State::Line,
            (State::Line | State::TrailerName, _) if is_of_a_name(byte) => {
                self.count_unread()?;
                State::TrailerName
            }
            (State::TrailerName, b':') => State::Trailer,
            (State::Trailer, b'\t' | b' '..=b'~' | 0x80..) => {
                self.count_unread()?;
                State::Trailer
            }
            (State::LastEnd, b'\n') => State::Over,
            _ => return Err(Violation::Chunk),
        };
        Ok(next)
    }

    fn count_unread(&mut self) -> Result<(), Violation> {
        self.unread += 1;
        if self.unread > MAX_UNREAD_BYTES { Err(Violation::Chunk) } else { Ok(()) }
    }
}

/// Tells whether a byte may stand in the name of a header (RFC 9110 §5.6.2).
fn is_of_a_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Returns the value of a hexadecimal digit.
fn value_of(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        // The low half of a letter counts from one.
        _ => (digit & 0xf) + 9,
    }
}
