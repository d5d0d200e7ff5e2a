//! Finds the part of a form (RFC 7578) by which it is routed, as its bytes pass. Pure: however the bytes are cut,
//! it finds the same. What two readers could read differently is refused, since the part that was
//! routed by must be the one that the provider reads.

use std::ops::Range;

use memchr::memmem;

use crate::error::{ApiError, ErrorCode};

mod part;
#[cfg(any(test, fuzzing))]
pub(crate) mod property;

use part::Part;
pub(crate) use part::{Boundary, Key};

/// The longest head of a part; real ones have a few hundred bytes.
const MAX_PART_HEAD_BYTES: usize = 16 * 1024;
/// The most white space behind a boundary.
const MAX_PADDING_BYTES: usize = 64;

/// Why a form is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FormError {
    /// It does not begin with its boundary.
    NoOpening,
    /// A boundary stands where none can, or something else behind it.
    BadBoundary,
    /// The head of a part is none.
    BadPartHead,
    /// The part is encoded, or a file where it should be a name.
    IsNoText(Key),
    /// It is longer than any.
    TooLong(Key),
    /// There are two parts of its name, in any case of letters.
    Repeated(Key),
    /// It ends without its closing boundary.
    Unclosed,
    /// Something follows the closing boundary.
    AfterEnd,
}

impl FormError {
    /// Returns the client's error.
    pub(crate) fn to_api_error(self) -> ApiError {
        let (code, message) = match self {
            Self::NoOpening => {
                (ErrorCode::BadRequest, "the form does not begin with the boundary of its `content-type`")
            }
            Self::BadBoundary => (
                ErrorCode::BadRequest,
                "the form has its boundary where none can stand: a boundary begins a line that ends with CRLF, and holds \
                 nothing else",
            ),
            Self::BadPartHead => (
                ErrorCode::BadRequest,
                "the form has a part without a plain head: send `content-disposition: form-data; name=\"…\"`, each header \
                 on one line, and an empty line",
            ),
            Self::IsNoText(Key::Model) => (
                ErrorCode::BadRequest,
                "the form's `model` must be plain text: send it without file name and encoding",
            ),
            Self::IsNoText(Key::Session) => {
                (ErrorCode::BadRequest, "the form's `session` must be JSON: send it without encoding")
            }
            Self::TooLong(Key::Model) => {
                (ErrorCode::InvalidModelName, "the form's `model` is longer than any name of a model")
            }
            Self::TooLong(Key::Session) => {
                (ErrorCode::RequestTooLarge, "the form's `session` has more than 256 KiB")
            }
            Self::Repeated(Key::Model) => (
                ErrorCode::DuplicateKey,
                "the form has more than one part `model` (in any case of letters); send it once",
            ),
            Self::Repeated(Key::Session) => (
                ErrorCode::DuplicateKey,
                "the form has more than one part `session` (in any case of letters); send it once",
            ),
            Self::Unclosed => (
                ErrorCode::BadRequest,
                "the form ends without its closing boundary: the last line must be the boundary between `--` and `--`",
            ),
            Self::AfterEnd => (ErrorCode::BadRequest, "something follows the closing boundary of the form"),
        };
        ApiError::new(code, message)
    }
}

/// The part by which a form is routed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RoutingPart {
    /// Where its value stands in the body.
    pub(crate) span: Range<usize>,
    /// The value.
    pub(crate) value: Vec<u8>,
}

/// A reader of a form. It holds what it cannot decide on yet: less than a part's head.
#[derive(Debug)]
pub(crate) struct FormScanner {
    /// The boundary as a line begins with it: `\n--boundary`.
    needle: memmem::Finder<'static>,
    /// What is not decided yet. At first a line end that the body does not have, so that the first
    /// boundary is like any other.
    carry: Vec<u8>,
    /// Where `carry` begins, counted with the line end before the body.
    offset: usize,
    state: State,
    key: Key,
    found: Option<RoutingPart>,
    has_twin: bool,
}

/// The line end that is put before the body.
const BEFORE: &[u8] = b"\r\n";

#[derive(Debug)]
enum State {
    /// Before the first boundary.
    Opening,
    /// Behind a boundary.
    Boundary,
    /// At the line end before a part's head.
    Head,
    /// Within a part's content, which began there.
    Content {
        start: usize,
        is_key: bool,
        /// How much of the part has been searched for a boundary, where all of it is held.
        searched: usize,
    },
    /// Behind the closing boundary.
    End,
}

/// What one look at the bytes decided.
enum Step {
    /// So many bytes are done with.
    Done(usize),
    /// More are needed.
    More,
}

impl FormScanner {
    /// Makes a reader at the beginning of a form that is routed by this part.
    pub(crate) fn new(boundary: &Boundary, key: Key) -> Self {
        let needle = [b"\n--", boundary.as_bytes()].concat();
        Self {
            needle: memmem::Finder::new(&needle).into_owned(),
            carry: BEFORE.to_vec(),
            offset: 0,
            state: State::Opening,
            key,
            found: None,
            has_twin: false,
        }
    }

    /// Returns the part, once it was read.
    pub(crate) fn found(&self) -> Option<&RoutingPart> {
        self.found.as_ref()
    }

    /// Reads the next bytes of the body.
    ///
    /// # Errors
    /// The form is not one, or is doubtful. The reader is of no further use.
    pub(crate) fn push(&mut self, data: &[u8]) -> Result<(), FormError> {
        self.carry.extend_from_slice(data);
        let mut done = 0;
        while let Step::Done(count) = self.step(done)? {
            done += count;
        }
        self.carry.drain(..done);
        self.offset += done;
        Ok(())
    }

    /// Checks that the form may end here.
    ///
    /// # Errors
    /// Its closing boundary is missing.
    pub(crate) fn finish(&self) -> Result<(), FormError> {
        match self.state {
            State::End => Ok(()),
            State::Opening => Err(FormError::NoOpening),
            State::Boundary | State::Head | State::Content { .. } => Err(FormError::Unclosed),
        }
    }

    fn step(&mut self, done: usize) -> Result<Step, FormError> {
        let Some(rest) = self.carry.get(done..) else { return Ok(Step::More) };
        match self.state {
            State::Opening => {
                // `\r` and then the needle.
                let length = 1 + self.needle.needle().len();
                let (Some(b'\r'), Some(line)) = (rest.first(), rest.get(1..length.min(rest.len()))) else {
                    return Err(FormError::NoOpening);
                };
                if !self.needle.needle().starts_with(line) {
                    return Err(FormError::NoOpening);
                }
                if rest.len() < length {
                    return Ok(Step::More);
                }
                self.state = State::Boundary;
                Ok(Step::Done(length))
            }
            State::Boundary => {
                let step = behind_boundary(rest)?;
                if let Some((next, count)) = step {
                    self.state = next;
                    return Ok(Step::Done(count));
                }
                Ok(Step::More)
            }
            State::Head => {
                let found = memmem::find(rest, b"\r\n\r\n");
                if found.unwrap_or(rest.len()) > MAX_PART_HEAD_BYTES {
                    return Err(FormError::BadPartHead);
                }
                let Some(end) = found else { return Ok(Step::More) };
                let part = Part::parse(rest.get(2..end).unwrap_or_default(), self.key)?;
                self.note(part)?;
                // The last line end is kept: a boundary right behind it would be one to some readers.
                let count = end + 2;
                let start = self.offset + done + count + 2;
                self.state = State::Content { start, is_key: part == Part::Key, searched: 0 };
                Ok(Step::Done(count))
            }
            State::Content { start, is_key, searched } => self.content(done, start, is_key, searched),
            State::End => {
                if rest.iter().any(|byte| !matches!(byte, b'\r' | b'\n' | b' ' | b'\t')) {
                    return Err(FormError::AfterEnd);
                }
                Ok(if rest.is_empty() { Step::More } else { Step::Done(rest.len()) })
            }
        }
    }

    fn content(
        &mut self,
        done: usize,
        start: usize,
        is_key: bool,
        searched: usize,
    ) -> Result<Step, FormError> {
        let rest = self.carry.get(done..).unwrap_or_default();
        let here = self.offset + done;
        let length = self.needle.needle().len();
        let from = searched.saturating_sub(length);
        let Some(found) = self.needle.find(rest.get(from..).unwrap_or_default()).map(|at| from + at) else {
            if is_key {
                if here + rest.len() > start + self.key.max_bytes() + length {
                    return Err(FormError::TooLong(self.key));
                }
                self.state = State::Content { start, is_key, searched: rest.len() };
                return Ok(Step::More);
            }
            // One byte more than a boundary that is still incomplete, for the `\r` before it.
            let decided = rest.len().saturating_sub(length);
            return Ok(if decided == 0 { Step::More } else { Step::Done(decided) });
        };
        let has_return = found.checked_sub(1).and_then(|at| rest.get(at)) == Some(&b'\r');
        // A line that ends without `\r`, or that belongs to the part's head, begins no boundary
        // here and does to other readers.
        if !has_return || here + found < start + 1 {
            return Err(FormError::BadBoundary);
        }
        if is_key {
            let end = here + found - 1;
            let value = self.carry.get(start - self.offset..end - self.offset).unwrap_or_default();
            if value.len() > self.key.max_bytes() {
                return Err(FormError::TooLong(self.key));
            }
            self.found =
                Some(RoutingPart { span: start - BEFORE.len()..end - BEFORE.len(), value: value.to_vec() });
        }
        self.state = State::Boundary;
        Ok(Step::Done(found + length))
    }

    /// Refuses a second part of the name, and one in other letters beside it.
    fn note(&mut self, part: Part) -> Result<(), FormError> {
        match part {
            Part::Other => return Ok(()),
            Part::Key if self.found.is_some() || self.has_twin => return Err(FormError::Repeated(self.key)),
            Part::Twin if self.found.is_some() => return Err(FormError::Repeated(self.key)),
            Part::Key => {}
            Part::Twin => self.has_twin = true,
        }
        Ok(())
    }
}

/// Decides what a boundary is from what stands behind it; `None` if that needs more bytes.
fn behind_boundary(rest: &[u8]) -> Result<Option<(State, usize)>, FormError> {
    if rest.len() < 2 {
        return Ok(None);
    }
    if rest.starts_with(b"--") {
        return Ok(Some((State::End, 2)));
    }
    let padding = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    if padding > MAX_PADDING_BYTES {
        return Err(FormError::BadBoundary);
    }
    match rest.get(padding..padding + 2) {
        None => Ok(None),
        Some(b"\r\n") => Ok(Some((State::Head, padding))),
        Some(_) => Err(FormError::BadBoundary),
    }
}

#[cfg(test)]
mod tests;
