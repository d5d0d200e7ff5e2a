//! Why a text is no model ref, and where.

use std::fmt;

/// What is wrong with a text that should be a model ref.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseErrorKind {
    /// The text is empty.
    Empty,
    /// The text is longer than [`ModelRef::MAX_LEN`](crate::ModelRef::MAX_LEN) bytes.
    TooLong {
        /// The text's length in bytes.
        length: usize,
    },
    /// A character that no name may hold.
    IllegalCharacter(char),
}

/// The error of [`ModelRef::parse`](crate::ModelRef::parse): what is wrong, and at which byte.
///
/// ```
/// # use gate_model_ref::ModelRef;
/// let error = ModelRef::parse("gpt 4").unwrap_err();
/// assert_eq!(error.position(), 3);
/// assert_eq!(error.to_string(), "a model name cannot hold a space (byte 3)");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseError {
    pub(crate) kind: ParseErrorKind,
    pub(crate) position: usize,
}

impl ParseError {
    /// Returns what is wrong.
    pub const fn kind(&self) -> ParseErrorKind {
        self.kind
    }

    /// Returns the offset of the first offending byte, counted from 0.
    pub const fn position(&self) -> usize {
        self.position
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.position;
        match self.kind {
            ParseErrorKind::Empty => f.write_str("a model name cannot be empty"),
            ParseErrorKind::TooLong { length } => write!(
                f,
                "a model name has at most {} bytes, this one has {length} (first byte too many: {at})",
                crate::ModelRef::MAX_LEN
            ),
            ParseErrorKind::IllegalCharacter(' ') => {
                write!(f, "a model name cannot hold a space (byte {at})")
            }
            ParseErrorKind::IllegalCharacter(c @ '!'..='~') => {
                write!(f, "a model name cannot hold `{c}` (byte {at})")
            }
            // Control and look-alike characters are shown by number, so that a log stays readable.
            ParseErrorKind::IllegalCharacter(c) => {
                write!(f, "a model name cannot hold the character U+{:04X} (byte {at})", u32::from(c))
            }
        }
    }
}

impl std::error::Error for ParseError {}
