//! Cuts an event stream into the fields of its events, as the WHATWG standard ("server-sent
//! events", parsing an event stream) says. It keeps no text and does not look into any.

use memchr::{memchr2, memchr3};

use crate::word::Word;

/// A field of an event that matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    /// `event`: the name.
    Event,
    /// `data`: the payload; the lines of several are joined by line feeds.
    Data,
}

/// What the lexer finds, in the order in which it stands in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// A line with this field begins.
    Line(Field),
    /// The next part of the line's value.
    Text {
        /// The line's field.
        field: Field,
        /// The part; never empty.
        part: &'a [u8],
        /// Whether the part is already known to be the last of the whole event. `false` may also
        /// mean that the bytes that tell have not come yet.
        is_last: bool,
    },
    /// A blank line ends the event.
    End,
}

const BYTE_ORDER_MARK: [u8; 3] = [0xEF, 0xBB, 0xBF];

/// Where the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    /// In the byte order mark that may begin the stream, behind so many of its bytes.
    ByteOrderMark(u8),
    LineStart,
    FieldName,
    /// Behind the colon, where one space does not count.
    Colon(Option<Field>),
    Value(Option<Field>),
}

/// The state of one event stream.
#[derive(Clone, Debug)]
pub(crate) struct Lexer {
    position: Position,
    field_name: Word,
    /// Whether the last byte was a carriage return, which may be half of a line end.
    is_behind_cr: bool,
    /// Whether a line other than a comment stands since the last blank one.
    is_event_open: bool,
}

impl Lexer {
    pub(crate) const fn new() -> Self {
        Self {
            position: Position::ByteOrderMark(0),
            field_name: Word::new(),
            is_behind_cr: false,
            is_event_open: false,
        }
    }

    /// Tells whether a new event could start here without being taken for a part of an open one.
    pub(crate) const fn is_at_boundary(&self) -> bool {
        matches!(self.position, Position::LineStart | Position::ByteOrderMark(0)) && !self.is_event_open
    }

    /// Reads the next bytes and hands out what is in them.
    pub(crate) fn push(&mut self, mut bytes: &[u8], mut sink: impl FnMut(Piece<'_>)) {
        while let Some((&byte, tail)) = bytes.split_first() {
            if std::mem::take(&mut self.is_behind_cr) && byte == b'\n' {
                bytes = tail;
                continue;
            }
            bytes = match self.position {
                Position::ByteOrderMark(count) => self.byte_order_mark(count, byte, bytes),
                Position::LineStart => self.line_start(byte, bytes, &mut sink),
                Position::FieldName => self.field_name(bytes, &mut sink),
                Position::Colon(field) => {
                    self.position = Position::Value(field);
                    bytes.strip_prefix(b" ").unwrap_or(bytes)
                }
                Position::Value(field) => self.value(field, bytes, &mut sink),
            };
        }
    }

    fn byte_order_mark<'a>(&mut self, count: u8, byte: u8, bytes: &'a [u8]) -> &'a [u8] {
        if BYTE_ORDER_MARK.get(usize::from(count)) == Some(&byte) {
            let is_whole = usize::from(count) + 1 == BYTE_ORDER_MARK.len();
            self.position = if is_whole { Position::LineStart } else { Position::ByteOrderMark(count + 1) };
            return bytes.get(1..).unwrap_or_default();
        }
        self.position = Position::LineStart;
        if count > 0 {
            // Half a mark is the start of a field name that nobody knows.
            self.start_field_name();
            self.field_name.spoil();
        }
        bytes
    }

    fn line_start<'a>(&mut self, byte: u8, bytes: &'a [u8], sink: &mut impl FnMut(Piece<'_>)) -> &'a [u8] {
        // Nearly all lines begin so, and in one piece.
        for (field, start) in [(Field::Data, &b"data: "[..]), (Field::Event, b"event: ")] {
            if let Some(value) = bytes.strip_prefix(start) {
                self.is_event_open = true;
                self.position = Position::Value(Some(field));
                sink(Piece::Line(field));
                return value;
            }
        }
        match byte {
            // The line feed of a CRLF comes here again, as one more blank line without an event.
            b'\r' | b'\n' => {
                if std::mem::take(&mut self.is_event_open) {
                    sink(Piece::End);
                }
                bytes.get(1..).unwrap_or_default()
            }
            b':' => {
                self.position = Position::Value(None);
                bytes
            }
            _ => {
                self.start_field_name();
                bytes
            }
        }
    }

    fn start_field_name(&mut self) {
        self.position = Position::FieldName;
        self.field_name.clear();
        self.is_event_open = true;
    }

    fn field_name<'a>(&mut self, bytes: &'a [u8], sink: &mut impl FnMut(Piece<'_>)) -> &'a [u8] {
        let end = memchr3(b':', b'\n', b'\r', bytes).unwrap_or(bytes.len());
        let (part, rest) = bytes.split_at(end);
        self.field_name.push(part);
        let Some((&delimiter, tail)) = rest.split_first() else { return rest };
        let field = match self.field_name.as_bytes() {
            b"event" => Some(Field::Event),
            b"data" => Some(Field::Data),
            _ => None,
        };
        if let Some(field) = field {
            sink(Piece::Line(field));
        }
        if delimiter == b':' {
            self.position = Position::Colon(field);
            return tail;
        }
        // A field without a colon has an empty value.
        self.position = Position::Value(None);
        rest
    }

    fn value<'a>(
        &mut self,
        field: Option<Field>,
        bytes: &'a [u8],
        sink: &mut impl FnMut(Piece<'_>),
    ) -> &'a [u8] {
        let end = memchr2(b'\n', b'\r', bytes).unwrap_or(bytes.len());
        let (part, rest) = bytes.split_at(end);
        if let Some(field) = field
            && !part.is_empty()
        {
            let is_last = rest.starts_with(b"\n\n") || rest.starts_with(b"\r\n\r\n");
            sink(Piece::Text { field, part, is_last });
        }
        let Some((&delimiter, tail)) = rest.split_first() else { return rest };
        self.position = Position::LineStart;
        self.is_behind_cr = delimiter == b'\r';
        tail
    }
}

#[cfg(test)]
mod tests;
