//! Finds the usage in one JSON text that comes in pieces, and the little else that tells an event
//! apart. It follows only the few containers that can hold usage and skips over all others, which
//! are not checked: a text that is no JSON may pass, one that is JSON is always read right.

use crate::counts::{Counts, Section};
use crate::dialect::Dialect;
use crate::token::{behind_spaces, behind_text, count, ends_scalar, key_and_value, text_end};
use crate::word::Word;

/// Where a usage object stands. If one text has several, the greatest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    /// `x_groq.usage`
    Vendor,
    /// `choices[].usage`; the last one counts.
    Choice,
    /// `message.usage`
    Message,
    /// `response.usage`
    Response,
    /// `usage`
    Top,
}

/// The innermost followed container that the next byte stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// None: before or behind the text's one value.
    Outside,
    Root,
    /// An object in the root whose `usage` is the one of this origin.
    Wrapper(Origin),
    /// The array `choices`.
    Choices,
    /// An object in that array.
    Choice,
    /// A usage object, or one of its details.
    Usage(Origin, Section),
}

/// What the next byte may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The text's first byte.
    Start,
    /// A key or the end of an object.
    Key,
    Colon,
    /// The value of a member.
    Value,
    /// More of a number, of which this is known so far.
    Number(u64),
    /// More of `null`, `true`, `false`, or of a number that is no count.
    Literal,
    /// More of a string.
    Text(Text),
    /// What follows a backslash in a string.
    Escape(Text),
    /// A comma or the end of an object.
    Comma,
    /// An element of `choices`, a comma or the end.
    Element,
    /// Anything in containers that are not followed, so many deep.
    Skipped,
    /// White space behind the whole value.
    Done,
    /// Anything: the text is no JSON.
    Malformed,
}

/// What a string is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Text {
    /// A key of a followed object.
    Key,
    /// The value of `type` in the root.
    Type,
    /// One that does not matter.
    Other,
}

/// The state of one JSON text.
#[derive(Clone, Debug)]
pub(crate) struct Scanner {
    dialect: Dialect,
    place: Place,
    phase: Phase,
    /// How many containers that are not followed are open.
    skipped_depth: u64,
    key: Word,
    type_name: Word,
    has_error: bool,
    /// The counts of the usage object that is being read.
    reading: Counts,
    found: Option<(Origin, Counts)>,
}

impl Scanner {
    pub(crate) const fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            place: Place::Outside,
            phase: Phase::Start,
            skipped_depth: 0,
            key: Word::new(),
            type_name: Word::new(),
            has_error: false,
            reading: Counts::NONE,
            found: None,
        }
    }

    /// Tells whether nothing has been read yet but white space.
    pub(crate) const fn is_untouched(&self) -> bool {
        matches!(self.phase, Phase::Start)
    }

    /// Tells whether the text's one value has ended and nothing but white space followed it.
    pub(crate) const fn is_complete(&self) -> bool {
        matches!(self.phase, Phase::Done)
    }

    /// Returns the text's usage, if it has any and is complete.
    pub(crate) fn counts(&self) -> Option<Counts> {
        if !self.is_complete() {
            return None;
        }
        self.found.map(|(_, counts)| counts)
    }

    /// Returns the text's top-level `type`; nothing if it has none, or a long one.
    pub(crate) fn type_name(&self) -> &[u8] {
        self.type_name.as_bytes()
    }

    /// Tells whether the text has a top-level `error` that says something.
    pub(crate) const fn has_error(&self) -> bool {
        self.has_error
    }

    /// Reads the next bytes.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) {
        while let Some((&byte, tail)) = bytes.split_first() {
            bytes = match self.phase {
                Phase::Malformed => return,
                Phase::Key if byte == b'"' => self.members(bytes),
                Phase::Text(text) => self.text(text, bytes),
                Phase::Skipped => self.skip(bytes),
                Phase::Escape(text) => {
                    self.phase = Phase::Text(text);
                    tail
                }
                _ => {
                    self.structure(byte);
                    tail
                }
            };
        }
    }

    /// Reads members of a followed object as long as each lies here as a whole and is a count, or a scalar
    /// that does not matter. All others are left to the functions below, which read any byte by itself.
    fn members<'a>(&mut self, mut bytes: &'a [u8]) -> &'a [u8] {
        while let Some((key, value)) = key_and_value(bytes) {
            let behind = match value.first() {
                Some(b'"') if self.place == Place::Root && matches!(key, b"type" | b"error") => None,
                Some(b'"') => value.get(1..).and_then(behind_text),
                Some(b'0'..=b'9' | b'-' | b'n' | b't' | b'f') => {
                    let end = value.iter().position(ends_scalar);
                    end.and_then(|end| value.split_at_checked(end)).map(|(scalar, behind)| {
                        if let Place::Usage(_, section) = self.place
                            && let Some(number) = count(scalar)
                        {
                            self.reading.set(section, key, number);
                        }
                        behind
                    })
                }
                _ => None,
            };
            let Some(behind) = behind else {
                self.key.clear();
                self.key.push(key);
                self.phase = Phase::Value;
                return value;
            };
            let behind = behind_spaces(behind);
            let Some(tail) = behind.strip_prefix(b",") else {
                self.phase = Phase::Comma;
                return behind;
            };
            bytes = behind_spaces(tail);
            self.phase = Phase::Key;
        }
        let Some((&byte, tail)) = bytes.split_first() else { return bytes };
        self.structure(byte);
        tail
    }

    /// Reads on in a string.
    fn text<'a>(&mut self, text: Text, bytes: &'a [u8]) -> &'a [u8] {
        let end = text_end(bytes).unwrap_or(bytes.len());
        let (part, rest) = bytes.split_at(end);
        let word = match text {
            Text::Key => Some(&mut self.key),
            Text::Type => Some(&mut self.type_name),
            Text::Other => None,
        };
        let Some((&delimiter, tail)) = rest.split_first() else {
            word.into_iter().for_each(|word| word.push(part));
            return rest;
        };
        if delimiter == b'\\' {
            // No writer escapes a letter of the words that are looked for.
            word.into_iter().for_each(Word::spoil);
            self.phase = Phase::Escape(text);
            return tail;
        }
        word.into_iter().for_each(|word| word.push(part));
        match text {
            Text::Key => self.phase = Phase::Colon,
            Text::Type | Text::Other => self.value_ended(),
        }
        tail
    }

    /// Reads on in containers that are not followed.
    fn skip<'a>(&mut self, mut bytes: &'a [u8]) -> &'a [u8] {
        let is_structure = |byte: &u8| matches!(byte, b'"' | b'{' | b'}' | b'[' | b']');
        while let Some(at) = bytes.iter().position(is_structure) {
            let (structure, tail) = (bytes.get(at), bytes.get(at + 1..).unwrap_or_default());
            bytes = tail;
            match structure {
                Some(b'"') => match behind_text(tail) {
                    Some(behind) => bytes = behind,
                    None => {
                        self.phase = Phase::Text(Text::Other);
                        return tail;
                    }
                },
                Some(b'{' | b'[') => self.skipped_depth += 1,
                // At least one is open: this phase starts with the first and ends with the last.
                _ => self.skipped_depth -= 1,
            }
            if self.skipped_depth == 0 {
                self.value_ended();
                return bytes;
            }
        }
        &[]
    }

    /// Reads one byte outside strings in a followed container.
    fn structure(&mut self, byte: u8) {
        match (self.phase, byte) {
            (Phase::Number(_) | Phase::Literal, _) => self.scalar(byte),
            (_, b' ' | b'\t' | b'\n' | b'\r') => {}
            (Phase::Start | Phase::Value | Phase::Element, b'{' | b'[') => self.open(byte),
            (Phase::Key, b'"') => {
                self.key.clear();
                self.phase = Phase::Text(Text::Key);
            }
            (Phase::Colon, b':') => self.phase = Phase::Value,
            (Phase::Value, _) => self.scalar_starts(byte),
            (Phase::Comma, b',') => self.phase = Phase::Key,
            (Phase::Key | Phase::Comma, b'}') | (Phase::Element, b']') => self.close(),
            (Phase::Element, b'"') => self.phase = Phase::Text(Text::Other),
            // Commas, and scalars that no vendor puts among choices.
            (Phase::Element, _) => {}
            _ => self.phase = Phase::Malformed,
        }
    }

    /// Enters a container: a followed one if usage may stand in it.
    fn open(&mut self, bracket: u8) {
        let dialect = self.dialect;
        let key = self.key.as_bytes();
        let inner = match (self.place, bracket) {
            (Place::Outside, b'{') => Some(Place::Root),
            (Place::Root, b'{') if key == b"usage" && dialect.has_usage() => {
                Some(Place::Usage(Origin::Top, Section::Top))
            }
            (Place::Root, b'{') => dialect.origin_within(key).map(Place::Wrapper),
            (Place::Root, b'[') if key == b"choices" && dialect.has_choices() => Some(Place::Choices),
            (Place::Wrapper(origin), b'{') if key == b"usage" => Some(Place::Usage(origin, Section::Top)),
            (Place::Choices, b'{') => Some(Place::Choice),
            (Place::Choice, b'{') if key == b"usage" => Some(Place::Usage(Origin::Choice, Section::Top)),
            (Place::Usage(origin, Section::Top), b'{') => {
                Section::opened_by(key).map(|section| Place::Usage(origin, section))
            }
            _ => None,
        };
        self.has_error |= self.place == Place::Root && bracket == b'{' && key == b"error";
        let Some(inner) = inner else {
            self.skipped_depth = 1;
            self.phase = Phase::Skipped;
            return;
        };
        if let Place::Usage(_, Section::Top) = inner {
            self.reading = Counts::NONE;
        }
        self.place = inner;
        self.phase = if inner == Place::Choices { Phase::Element } else { Phase::Key };
    }

    /// Leaves a followed container.
    fn close(&mut self) {
        self.place = match self.place {
            Place::Outside | Place::Root => Place::Outside,
            Place::Wrapper(_) | Place::Choices => Place::Root,
            Place::Choice => Place::Choices,
            Place::Usage(origin, Section::InputDetails | Section::OutputDetails) => {
                Place::Usage(origin, Section::Top)
            }
            Place::Usage(origin, Section::Top) => {
                let is_better = self.found.is_none_or(|(found, _)| found <= origin);
                // An object without counts says no more than `null`.
                if is_better && self.reading != Counts::NONE {
                    self.found = Some((origin, self.reading));
                }
                match origin {
                    Origin::Top => Place::Root,
                    Origin::Choice => Place::Choice,
                    Origin::Vendor | Origin::Message | Origin::Response => Place::Wrapper(origin),
                }
            }
        };
        self.value_ended();
    }

    /// Starts a value that is no container and stands in a followed object.
    fn scalar_starts(&mut self, byte: u8) {
        let key = self.key.as_bytes();
        let is_in_root = self.place == Place::Root;
        self.phase = match byte {
            b'"' if is_in_root && key == b"type" => {
                self.type_name.clear();
                Phase::Text(Text::Type)
            }
            b'"' => {
                self.has_error |= is_in_root && key == b"error";
                Phase::Text(Text::Other)
            }
            b'0'..=b'9' => Phase::Number(u64::from(byte - b'0')),
            b'-' | b'n' | b't' | b'f' => Phase::Literal,
            _ => Phase::Malformed,
        };
    }

    /// Reads on in a scalar, or the byte behind it.
    fn scalar(&mut self, byte: u8) {
        if !ends_scalar(&byte) {
            self.phase = match (self.phase, byte) {
                (Phase::Number(number), b'0'..=b'9') => number
                    .checked_mul(10)
                    .and_then(|tens| tens.checked_add(u64::from(byte - b'0')))
                    .map_or(Phase::Literal, Phase::Number),
                // A fraction, an exponent, or the middle of a word.
                _ => Phase::Literal,
            };
            return;
        }
        if let (Phase::Number(number), Place::Usage(_, section)) = (self.phase, self.place) {
            self.reading.set(section, self.key.as_bytes(), number);
        }
        self.phase = Phase::Comma;
        self.structure(byte);
    }

    /// Goes on behind a value, in whatever it stands in.
    fn value_ended(&mut self) {
        self.phase = match self.place {
            _ if self.skipped_depth > 0 => Phase::Skipped,
            Place::Outside => Phase::Done,
            Place::Choices => Phase::Element,
            _ => Phase::Comma,
        };
    }
}

#[cfg(test)]
mod tests;
