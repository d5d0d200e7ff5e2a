//! What is wrong or doubtful in a configuration, and how it is shown. It decides nothing.

use std::fmt;

use crate::Source;

/// Something that keeps the configuration from being used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The dotted key, such as `llm.limits.max_connections`; absent for a file as a whole.
    pub key: Option<String>,
    /// Who said it.
    pub source: Source,
    /// What was expected, or what to do. Never a secret.
    pub message: String,
}

/// Something that works but that its owner should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The dotted key; absent for what concerns no single setting.
    pub key: Option<String>,
    /// Who said it; absent for what nobody said.
    pub source: Option<Source>,
    /// What may go wrong, and what to do. Never a secret.
    pub message: String,
}

/// Every problem of a configuration, at least one, and what else was doubtful: the warning about a
/// variable that matches nothing may explain the problem about a setting that is not set.
///
/// `Display` shows one line for each problem, the messages in one column, then the warnings, if
/// any, below a line `warnings:`.
///
/// ```
/// # use gate_config::{Sources, load};
/// let text = "[llm]\nport = 70000\n[llm.limits]\nmax_connections = \"many\"\n";
/// let problems = load(&Sources::empty().with_text("a.toml", text)).unwrap_err();
/// assert_eq!(problems.to_string(), "\
/// llm.port (a.toml):                   expected a whole number from 0 to 65535, found the number 70000
/// llm.limits.max_connections (a.toml): expected a whole number from 1 to 1000000, found the text \"many\"");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    problems: Vec<Problem>,
    warnings: Vec<Warning>,
}

impl Problems {
    /// Returns the problems in the order in which they were found; there is at least one.
    pub fn as_slice(&self) -> &[Problem] {
        &self.problems
    }

    /// Returns the warnings in the order in which they were found; there may be none.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }
}

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<_> = self
            .problems
            .iter()
            .map(|p| (subject(p.key.as_deref(), Some(&p.source)), printable(&p.message)))
            .collect();
        let width = rows.iter().map(|(subject, _)| subject.chars().count()).max().unwrap_or(0);
        for (at, (subject, message)) in rows.iter().enumerate() {
            let line_end = if at == 0 { "" } else { "\n" };
            write!(f, "{line_end}{subject:<width$} {message}")?;
        }
        if !self.warnings.is_empty() {
            f.write_str("\nwarnings:")?;
        }
        self.warnings.iter().try_for_each(|warning| write!(f, "\n{warning}"))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", subject(self.key.as_deref(), Some(&self.source)), printable(&self.message))
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match subject(self.key.as_deref(), self.source.as_ref()) {
            subject if subject.is_empty() => f.write_str(&printable(&self.message)),
            subject => write!(f, "{subject} {}", printable(&self.message)),
        }
    }
}

/// Names what a line is about: `key (source):`, or less where less is known.
fn subject(key: Option<&str>, source: Option<&Source>) -> String {
    match (key, source) {
        (Some(key), Some(source)) => format!("{} ({source}):", printable(key)),
        (Some(key), None) => format!("{}:", printable(key)),
        (None, Some(source)) => format!("{source}:"),
        (None, None) => String::new(),
    }
}

/// Escapes control characters: a quoted key can hold any, messages quote it, and each line must stay
/// one line.
fn printable(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

/// Collects what the steps of loading find, so that one run reports everything.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    problems: Vec<Problem>,
    warnings: Vec<Warning>,
}

impl Findings {
    /// Adds a problem of one key.
    pub(crate) fn problem(&mut self, key: impl Into<String>, source: Source, message: impl Into<String>) {
        self.problems.push(Problem { key: Some(key.into()), source, message: message.into() });
    }

    /// Adds a problem of a source as a whole.
    pub(crate) fn source_problem(&mut self, source: Source, message: impl Into<String>) {
        self.problems.push(Problem { key: None, source, message: message.into() });
    }

    /// Adds a warning about one key.
    pub(crate) fn warning(
        &mut self,
        key: impl Into<String>,
        source: impl Into<Option<Source>>,
        message: impl Into<String>,
    ) {
        self.warnings.push(Warning { key: Some(key.into()), source: source.into(), message: message.into() });
    }

    /// Adds a warning about a source as a whole.
    pub(crate) fn source_warning(&mut self, source: Source, message: impl Into<String>) {
        self.warnings.push(Warning { key: None, source: Some(source), message: message.into() });
    }

    /// Adds a warning about the configuration as a whole.
    pub(crate) fn general_warning(&mut self, message: impl Into<String>) {
        self.warnings.push(Warning { key: None, source: None, message: message.into() });
    }

    /// Tells whether a problem was found so far.
    pub(crate) fn has_problems(&self) -> bool {
        !self.problems.is_empty()
    }

    /// Returns the warnings, or every problem if there is one.
    pub(crate) fn finish(self) -> Result<Vec<Warning>, Problems> {
        if self.has_problems() { Err(self.into_problems()) } else { Ok(self.warnings) }
    }

    /// Returns the problems, of which the caller knows one.
    pub(crate) fn into_problems(self) -> Problems {
        Problems { problems: self.problems, warnings: self.warnings }
    }
}
