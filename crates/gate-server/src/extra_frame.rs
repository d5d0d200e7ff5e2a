//! Takes out of an event stream the frame that only has the usage, where the gateway asked for it
//! and the client did not. Every other byte passes as it came, however the stream is cut.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use memchr::memchr2;
use memchr::memmem::Finder;
use serde::Deserialize;
use serde_json::value::RawValue;

/// An open event that grows beyond this passes unread: the frame in question is a few hundred bytes.
const MAX_HELD_BYTES: usize = 16 * 1024;

static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"usage\""));
static CHOICE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"choices\":[{"));

/// The state of one stream.
///
/// An event that is whole is decided on at once. Of one that is not, what came is held back until
/// the rest comes, since no client can use half an event; what cannot be the frame passes.
#[derive(Debug, Default)]
pub(crate) struct ExtraFrame {
    /// The beginning of the open event, while it may be the frame.
    held: BytesMut,
    /// Whether a byte of an event has come whose end has not.
    is_event_open: bool,
    /// Whether the open event is a comment, which ends with its line.
    is_comment: bool,
    /// Whether the open event passes whatever it says.
    is_passing: bool,
    /// Whether the current line has bytes.
    is_line_open: bool,
    /// Whether the last byte was a carriage return, to which a line feed may belong.
    is_behind_cr: bool,
    /// What became of the last event: a line feed that belongs to its end follows it.
    was_dropped: bool,
}

impl ExtraFrame {
    /// Takes the next bytes of the stream and returns those that may pass now.
    pub(crate) fn push(&mut self, data: Bytes) -> Bytes {
        if data.is_empty() {
            return data;
        }
        let mut passed = Passed::of(&data);
        // Where the open event, and its current line, begin in these bytes.
        let (mut event, mut line) = (0, 0);
        if std::mem::take(&mut self.is_behind_cr) && data.starts_with(b"\n") {
            line = 1;
            if !self.is_event_open {
                event = 1;
                if !self.was_dropped {
                    passed.keep(0..1);
                }
            }
        }
        while let Some(at) = data.get(line..).and_then(|rest| memchr2(b'\n', b'\r', rest)) {
            let is_blank = at == 0 && !self.is_line_open;
            let end = line + at;
            line = end + 1;
            if data.get(end) == Some(&b'\r') {
                match data.get(line) {
                    Some(b'\n') => line += 1,
                    Some(_) => {}
                    None => self.is_behind_cr = true,
                }
            }
            self.is_line_open = false;
            self.open_event(&data, event);
            if is_blank || self.is_comment {
                self.is_event_open = false;
                self.end_event(&mut passed, event..line);
                event = line;
            }
        }
        self.is_line_open |= line < data.len();
        if event < data.len() {
            self.open_event(&data, event);
            self.hold(&mut passed, event..data.len());
        }
        passed.into_bytes()
    }

    /// Returns what is held back at the end of the stream: nothing if that is the frame without its
    /// blank line.
    pub(crate) fn finish(&mut self) -> Bytes {
        if is_extra(&self.held) {
            self.held.clear();
        }
        self.release()
    }

    /// Returns what is held back where the stream breaks off.
    pub(crate) fn release(&mut self) -> Bytes {
        self.held.split().freeze()
    }

    /// Begins an event at this place unless one is open.
    fn open_event(&mut self, data: &[u8], at: usize) {
        if !self.is_event_open {
            self.is_event_open = true;
            // Comments belong to no event, and are often all the life that a stream shows.
            self.is_comment = data.get(at) == Some(&b':');
        }
    }

    /// Decides on an event whose last bytes are these.
    fn end_event(&mut self, passed: &mut Passed<'_>, range: Range<usize>) {
        let is_passing = std::mem::take(&mut self.is_passing);
        if self.held.is_empty() {
            self.was_dropped = !is_passing && is_extra(passed.slice(&range));
            if !self.was_dropped {
                passed.keep(range);
            }
            return;
        }
        self.held.extend_from_slice(passed.slice(&range));
        self.was_dropped = is_extra(&self.held);
        if self.was_dropped {
            self.held.clear();
        } else {
            passed.release(&mut self.held);
        }
    }

    /// Holds back the bytes of an event that goes on, unless it cannot be the frame.
    fn hold(&mut self, passed: &mut Passed<'_>, range: Range<usize>) {
        if self.is_passing {
            return passed.keep(range);
        }
        self.held.extend_from_slice(passed.slice(&range));
        if self.held.len() > MAX_HELD_BYTES || CHOICE.find(&self.held).is_some() {
            self.is_passing = true;
            passed.release(&mut self.held);
        }
    }
}

/// The bytes that pass: a slice of what came as long as they are one, else a copy.
struct Passed<'d> {
    data: &'d Bytes,
    copied: BytesMut,
    run: Range<usize>,
}

impl<'d> Passed<'d> {
    fn of(data: &'d Bytes) -> Self {
        Self { data, copied: BytesMut::new(), run: 0..0 }
    }

    /// The ranges are made of places that were found in the data.
    fn slice(&self, range: &Range<usize>) -> &'d [u8] {
        self.data.get(range.clone()).unwrap_or_default()
    }

    fn keep(&mut self, range: Range<usize>) {
        if self.run.end != range.start {
            self.copy_run();
            self.run.start = range.start;
        }
        self.run.end = range.end;
    }

    fn release(&mut self, held: &mut BytesMut) {
        self.copy_run();
        self.copied.extend_from_slice(held);
        held.clear();
    }

    fn copy_run(&mut self) {
        self.copied.extend_from_slice(self.slice(&self.run));
        self.run.start = self.run.end;
    }

    fn into_bytes(mut self) -> Bytes {
        if self.copied.is_empty() {
            return self.data.slice(self.run);
        }
        self.copy_run();
        self.copied.freeze()
    }
}

/// The members of a chunk that tell the frame from others.
#[derive(Deserialize)]
struct Chunk<'c> {
    #[serde(borrow)]
    choices: &'c RawValue,
    #[serde(borrow)]
    usage: &'c RawValue,
}

/// Tells whether an event is the frame that was asked for: usage, and an empty list of choices.
fn is_extra(event: &[u8]) -> bool {
    // Nearly all events end here.
    if event.len() > MAX_HELD_BYTES || USAGE.find(event).is_none() || CHOICE.find(event).is_some() {
        return false;
    }
    let Some(data) = data_of(event) else { return false };
    let Ok(chunk) = serde_json::from_str::<Chunk<'_>>(&data) else { return false };
    let choices = chunk.choices.get().strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    choices.is_some_and(|inner| inner.trim_ascii().is_empty()) && chunk.usage.get().starts_with('{')
}

/// Returns the data of an event, its lines joined as the standard says.
fn data_of(event: &[u8]) -> Option<Cow<'_, str>> {
    let event = std::str::from_utf8(event).ok()?;
    let mut lines = event.split(['\n', '\r']).filter_map(|line| {
        let value = line.strip_prefix("data:")?;
        Some(value.strip_prefix(' ').unwrap_or(value))
    });
    let first = lines.next()?;
    let rest = lines.collect::<Vec<_>>();
    Some(if rest.is_empty() {
        Cow::Borrowed(first)
    } else {
        Cow::Owned([&[first], &*rest].concat().join("\n"))
    })
}

#[cfg(any(test, fuzzing))]
pub(crate) mod property;
#[cfg(test)]
mod tests;
