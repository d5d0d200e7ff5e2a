//! The wire dialects that a provider can speak.

use std::fmt;
use std::str::FromStr;

/// The wire dialect of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProviderKind {
    /// The OpenAI API: `/v1/chat/completions`, `/v1/responses`, `/v1/embeddings`, …
    OpenAi,
    /// The Anthropic API: `/v1/messages`, …
    Anthropic,
}

impl ProviderKind {
    /// Every kind, in the order in which lists show them.
    pub const ALL: [Self; 2] = [Self::OpenAi, Self::Anthropic];

    /// Returns the kind's name as configuration and model refs spell it.
    ///
    /// ```
    /// # use gate_model_ref::ProviderKind;
    /// assert_eq!(ProviderKind::OpenAi.as_str(), "openai");
    /// ```
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
        }
    }

    /// Returns the kind that one path segment names, if it names one; ASCII case is ignored.
    ///
    /// ```
    /// # use gate_model_ref::ProviderKind;
    /// assert_eq!(ProviderKind::from_segment("OpenAI"), Some(ProviderKind::OpenAi));
    /// assert_eq!(ProviderKind::from_segment("glm"), None);
    /// ```
    pub fn from_segment(segment: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| segment.eq_ignore_ascii_case(kind.as_str()))
    }
}

impl fmt::Display for ProviderKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for ProviderKind {
    type Err = ParseKindError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::from_segment(text).ok_or(ParseKindError)
    }
}

/// The error of text that names no provider kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseKindError;

impl fmt::Display for ParseKindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a provider kind: expected `openai` or `anthropic`")
    }
}

impl std::error::Error for ParseKindError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_named_in_any_case() {
        for (text, expected) in [
            ("openai", Ok(ProviderKind::OpenAi)),
            ("OpenAI", Ok(ProviderKind::OpenAi)),
            ("ANTHROPIC", Ok(ProviderKind::Anthropic)),
            ("anthropic ", Err(ParseKindError)),
            ("", Err(ParseKindError)),
            ("azure", Err(ParseKindError)),
        ] {
            assert_eq!(text.parse(), expected, "{text:?}");
        }
    }

    #[test]
    fn display_can_be_aligned() {
        assert_eq!(format!("{:<10}|", ProviderKind::OpenAi), "openai    |");
    }
}
