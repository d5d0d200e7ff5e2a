//! One model ref: checked text, and the ways to read its dots.

use std::fmt;

use crate::error::{ParseError, ParseErrorKind};
use crate::kind::ProviderKind;

/// A name of a model as a client sends it, checked against the grammar.
///
/// It borrows the text and keeps the client's spelling. Whoever compares names of configured
/// things does so without regard to ASCII case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ModelRef<'a>(&'a str);

impl<'a> ModelRef<'a> {
    /// The longest name, in bytes.
    pub const MAX_LEN: usize = 256;

    /// Checks that `text` is a model ref: 1 to 256 bytes of printable ASCII without space,
    /// quotes, backslash, backtick and `<>{}|^`.
    ///
    /// ```
    /// # use gate_model_ref::ModelRef;
    /// for name in ["gpt-4", "meta-llama/Llama-3.3-70B", "llama3.2:latest", "ft:gpt-4o:org::id"] {
    ///     assert_eq!(ModelRef::parse(name)?.as_str(), name);
    /// }
    /// # Ok::<(), gate_model_ref::ParseError>(())
    /// ```
    ///
    /// # Errors
    /// The first byte that is not allowed, or that is one too many.
    pub fn parse(text: &'a str) -> Result<Self, ParseError> {
        let fail = |kind, position| Err(ParseError { kind, position });
        if text.is_empty() {
            return fail(ParseErrorKind::Empty, 0);
        }
        // Characters before length: at the same position the more telling reason wins, and a
        // text far too long is not read further than the limit.
        let illegal =
            text.char_indices().take_while(|&(at, _)| at < Self::MAX_LEN).find(|&(_, c)| !is_legal(c));
        if let Some((at, c)) = illegal {
            return fail(ParseErrorKind::IllegalCharacter(c), at);
        }
        if text.len() > Self::MAX_LEN {
            return fail(ParseErrorKind::TooLong { length: text.len() }, Self::MAX_LEN);
        }
        Ok(Self(text))
    }

    /// Returns the text as the client spelled it.
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// Returns the kind that the first segment names, if it names one.
    ///
    /// ```
    /// # use gate_model_ref::{ModelRef, ProviderKind};
    /// let kind = |text| ModelRef::parse(text).ok().and_then(ModelRef::kind);
    /// assert_eq!(kind("anthropic.glm.glm-5"), Some(ProviderKind::Anthropic));
    /// assert_eq!(kind("anthropic"), Some(ProviderKind::Anthropic));
    /// assert_eq!(kind("anthropic-claude"), None);
    /// ```
    pub fn kind(self) -> Option<ProviderKind> {
        let first = self.0.split_once('.').map_or(self.0, |(first, _)| first);
        ProviderKind::from_segment(first)
    }

    /// Returns the part behind an explicit kind: the whole ref when it names none, nothing when
    /// it is a kind and nothing else.
    ///
    /// ```
    /// # use gate_model_ref::ModelRef;
    /// let rest = |text| ModelRef::parse(text).map(ModelRef::without_kind);
    /// assert_eq!(rest("openai.azure.gpt-4"), Ok("azure.gpt-4"));
    /// assert_eq!(rest("gpt-4.1"), Ok("gpt-4.1"));
    /// assert_eq!(rest("openai"), Ok(""));
    /// ```
    pub fn without_kind(self) -> &'a str {
        match self.kind() {
            None => self.0,
            Some(_) => self.0.split_once('.').map_or("", |(_, rest)| rest),
        }
    }

    /// Returns every way to read the ref as (provider path, rest), longest path first.
    ///
    /// Both sides of a split are non-empty, so `"a..b"` has the splits `("a.", "b")` and
    /// `("a", ".b")`, and a ref without a dot has none.
    pub fn splits(self) -> Splits<'a> {
        Splits::of(self.0)
    }
}

impl fmt::Display for ModelRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0)
    }
}

/// One way to read a ref.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split<'a> {
    /// The dotted path before the dot.
    pub path: &'a str,
    /// What follows the dot.
    pub rest: &'a str,
}

/// The iterator over the [`Split`]s of a dotted text, longest path first.
#[derive(Clone, Debug)]
pub struct Splits<'a> {
    text: &'a str,
    /// The splits at dots before this offset are still to come.
    end: usize,
}

impl<'a> Splits<'a> {
    /// Returns the splits of any dotted text, such as the part of a ref behind its kind.
    ///
    /// ```
    /// # use gate_model_ref::{Split, Splits};
    /// let mut splits = Splits::of("azure.gpt-4");
    /// assert_eq!(splits.next(), Some(Split { path: "azure", rest: "gpt-4" }));
    /// assert_eq!(splits.next(), None);
    /// ```
    pub const fn of(text: &'a str) -> Self {
        Self { text, end: text.len() }
    }
}

impl<'a> Iterator for Splits<'a> {
    type Item = Split<'a>;

    fn next(&mut self) -> Option<Split<'a>> {
        loop {
            let dot = self.text.get(..self.end)?.rfind('.')?;
            self.end = dot;
            // A dot is one byte of ASCII, so both bounds are character boundaries.
            let (path, rest) = (self.text.get(..dot)?, self.text.get(dot + 1..)?);
            if !path.is_empty() && !rest.is_empty() {
                return Some(Split { path, rest });
            }
        }
    }
}

/// Tells whether a name may hold `c`.
fn is_legal(c: char) -> bool {
    c.is_ascii_graphic() && !matches!(c, '"' | '\'' | '`' | '\\' | '<' | '>' | '{' | '}' | '|' | '^')
}

#[cfg(test)]
mod tests;
