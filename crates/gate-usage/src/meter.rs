//! Follows one answer: what it used, whether it said its last word, and whether it stands between
//! two events. It only reads.

use crate::counts::Counts;
use crate::dialect::{Combination, Dialect};
use crate::glance;
use crate::json::Scanner;
use crate::sse::{Field, Lexer, Piece};
use crate::usage::{Usage, UsageSource};
use crate::word::Word;

/// How the bytes of an answer are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContentType {
    /// `text/event-stream`
    EventStream,
    /// `application/json`
    Json,
    /// Anything else, and everything that is compressed: it is counted and not read.
    Other,
}

/// Reads one answer while it passes.
///
/// It is smaller than 1 KiB and holds no heap memory, whatever comes, and it gives the same results
/// however the answer is cut into pieces. Bytes that are not what the content type promises are
/// passed over: an answer that cannot be read has no usage.
///
/// Usage counts once the event that holds it (of a body: the whole body) has ended, so a meter
/// that is left half-way has what was reported until then. The last report wins, but for
/// Anthropic's messages, where a later report corrects the earlier one count by count.
#[derive(Clone, Debug)]
pub struct Meter {
    reader: Reader,
    tally: Tally,
    bytes: u64,
}

/// What the bytes are read with.
#[derive(Clone, Debug)]
enum Reader {
    EventStream { lexer: Lexer, event: Event },
    Json(Scanner),
    Unread,
}

/// The event that is being read.
#[derive(Clone, Debug)]
struct Event {
    name: Word,
    has_data: bool,
    done_mark: DoneMark,
    scanner: Scanner,
}

/// How much of `[DONE]` an event's data has begun with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DoneMark {
    Matched(u8),
    Absent,
}

/// What the events until now have said.
#[derive(Clone, Debug)]
struct Tally {
    dialect: Dialect,
    counts: Counts,
    has_terminal: bool,
    has_error: bool,
    event_count: u64,
}

// The promise of bounded memory, kept by the compiler: a type that owns heap memory needs a drop.
const _: () = assert!(size_of::<Meter>() <= 1024 && !std::mem::needs_drop::<Meter>());

impl Meter {
    /// Makes the meter of one answer.
    pub const fn new(dialect: Dialect, content_type: ContentType) -> Self {
        let scanner = Scanner::new(dialect);
        let reader = match content_type {
            ContentType::EventStream => {
                Reader::EventStream { lexer: Lexer::new(), event: Event::new(scanner) }
            }
            ContentType::Json => Reader::Json(scanner),
            ContentType::Other => Reader::Unread,
        };
        let tally =
            Tally { dialect, counts: Counts::NONE, has_terminal: false, has_error: false, event_count: 0 };
        Self { reader, tally, bytes: 0 }
    }

    /// Reads the next bytes of the answer.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes = self.bytes.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        let tally = &mut self.tally;
        match &mut self.reader {
            Reader::EventStream { lexer, event } => lexer.push(bytes, |piece| event.read(piece, tally)),
            Reader::Json(scanner) => scanner.push(bytes),
            Reader::Unread => {}
        }
    }

    /// Notes that the answer has ended by itself. Calling it again changes nothing.
    ///
    /// A last event without the blank line that should end it counts if its data is all there:
    /// clients differ on such an event, but its tokens have been used.
    pub fn finish(&mut self) {
        if let Reader::EventStream { event, .. } = &mut self.reader
            && event.has_whole_data()
        {
            event.end(&mut self.tally);
        }
    }

    /// Returns what the answer has reported so far.
    pub fn usage(&self) -> Usage {
        let counts = match &self.reader {
            Reader::Json(scanner) => scanner.counts().unwrap_or(Counts::NONE),
            Reader::EventStream { .. } | Reader::Unread => self.tally.counts,
        };
        counts.usage()
    }

    /// Returns what the answer has reported so far, and who says so: the provider, or nobody.
    pub fn result(&self) -> (Usage, UsageSource) {
        let usage = self.usage();
        (usage, if usage.is_empty() { UsageSource::None } else { UsageSource::Provider })
    }

    /// Tells whether the answer has said its last word: a stream its terminal event (`[DONE]`,
    /// `message_stop`, `response.completed`, an error, …), a JSON body its last bracket.
    ///
    /// Where an upstream marks the end by closing the connection, a cut looks like an end; only
    /// this tells them apart. Nothing marks the end of other bodies: it is `false` for them.
    pub fn has_terminal(&self) -> bool {
        match &self.reader {
            Reader::EventStream { .. } => self.tally.has_terminal,
            Reader::Json(scanner) => scanner.is_complete(),
            Reader::Unread => false,
        }
    }

    /// Tells whether a stream has told of an error of the provider's. It is `false` for what is no
    /// event stream: there the status says so.
    pub const fn has_error(&self) -> bool {
        self.tally.has_error
    }

    /// Tells whether an event could be added here as it is. Otherwise the stream stands within an
    /// event, and two line feeds must come first. It is `false` for what is no event stream.
    pub const fn is_at_event_boundary(&self) -> bool {
        match &self.reader {
            Reader::EventStream { lexer, .. } => lexer.is_at_boundary(),
            Reader::Json(_) | Reader::Unread => false,
        }
    }

    /// Returns how many events with data have ended, a final `[DONE]` among them.
    pub const fn event_count(&self) -> u64 {
        self.tally.event_count
    }

    /// Returns how many bytes have been read.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Event {
    const fn new(scanner: Scanner) -> Self {
        Self { name: Word::new(), has_data: false, done_mark: DoneMark::NONE, scanner }
    }

    fn read(&mut self, piece: Piece<'_>, tally: &mut Tally) {
        match piece {
            Piece::Line(Field::Event) => self.name.clear(),
            Piece::Text { field: Field::Event, part, .. } => self.name.push(part),
            Piece::Line(Field::Data) if self.has_data => self.read_data(b"\n"),
            Piece::Line(Field::Data) => self.has_data = true,
            Piece::Text { field: Field::Data, part, is_last } => {
                let is_whole = is_last && self.scanner.is_untouched();
                if is_whole && !self.needs_type(tally.dialect) && !glance::may_matter(part) {
                    self.done_mark = self.done_mark.followed_by(part);
                } else {
                    self.read_data(part);
                }
            }
            Piece::End => self.end(tally),
        }
    }

    /// Tells whether the `type` in the data must say what the event is: the vendors give the name
    /// in both places, but some others leave the `event` line out.
    fn needs_type(&self, dialect: Dialect) -> bool {
        self.name.as_bytes().is_empty() && dialect.has_named_events()
    }

    fn read_data(&mut self, part: &[u8]) {
        self.done_mark = self.done_mark.followed_by(part);
        self.scanner.push(part);
    }

    /// Tells whether the data, as far as it has been read, could stand as it is.
    fn has_whole_data(&self) -> bool {
        self.scanner.is_complete() || self.done_mark.is_whole()
    }

    /// Takes the event's account and makes room for the next.
    fn end(&mut self, tally: &mut Tally) {
        let dialect = tally.dialect;
        if self.has_data {
            tally.event_count = tally.event_count.saturating_add(1);
            if let Some(counts) = self.scanner.counts() {
                tally.add(counts);
            }
            let kind = if self.needs_type(dialect) { self.scanner.type_name() } else { self.name.as_bytes() };
            let is_error = self.scanner.has_error() || dialect.is_error(kind);
            tally.has_error |= is_error;
            tally.has_terminal |= self.done_mark.is_whole() || is_error || dialect.is_terminal(kind);
        }
        self.name.clear();
        self.has_data = false;
        self.done_mark = DoneMark::NONE;
        // Most events were not looked into, and it is large.
        if !self.scanner.is_untouched() {
            self.scanner = Scanner::new(dialect);
        }
    }
}

impl DoneMark {
    const TEXT: &'static [u8] = b"[DONE]";
    /// Of no data yet.
    const NONE: Self = Self::Matched(0);

    fn followed_by(self, part: &[u8]) -> Self {
        let Self::Matched(count) = self else { return self };
        let missing = Self::TEXT.get(usize::from(count)..).unwrap_or_default();
        let length = missing.len().min(part.len());
        // `length` is within both, and no more than the six bytes of the text.
        if missing.get(..length) == part.get(..length) {
            Self::Matched(count + u8::try_from(length).unwrap_or(0))
        } else {
            Self::Absent
        }
    }

    /// Like the clients, it does not mind what follows the mark.
    fn is_whole(self) -> bool {
        matches!(self, Self::Matched(count) if usize::from(count) == Self::TEXT.len())
    }
}

impl Tally {
    fn add(&mut self, counts: Counts) {
        self.counts = match self.dialect.combination() {
            Combination::Replace => counts,
            Combination::Correct => self.counts.corrected_by(counts),
        };
    }
}

#[cfg(test)]
mod tests;
