//! Where a setting came from.

use std::fmt;
use std::path::PathBuf;

/// Where a value came from: a source, and the table that said it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The source.
    pub source: Source,
    /// The dotted key that holds the value, such as `llm.provider.openai.api_key`; it names an
    /// ancestor when the value is inherited.
    pub key: String,
}

/// A source of configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Built into the program.
    Default,
    /// A file.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// A command-line flag, such as `--port`.
    Flag(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("built-in default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::Flag(flag) => write!(f, "command line {flag}"),
        }
    }
}
