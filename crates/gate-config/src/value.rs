//! Values as a configuration spells them, checked against the shape of their setting. It knows
//! nothing about what a value means.

use std::collections::BTreeMap;
use std::time::Duration;

use figment::error::Actual;
use figment::value::{Num, Value};

use crate::setting::{Shape, Zero, nearest};

/// A value that fits its setting's shape.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Plain {
    Text(String),
    Flag(bool),
    Whole(u64),
    Seconds(Duration),
    Number(f64),
    Texts(Vec<String>),
    Wholes(Vec<u64>),
    Pairs(BTreeMap<String, String>),
}

/// A year: longer waits are slips, and a clock can still add it to any instant.
const MAX_SECONDS: f64 = 31_536_000.0;

/// The most texts in a list that [`Shape::OneOrMore`] takes, and secrets in one of [`Shape::Secrets`].
const MAX_TEXTS: usize = 16;
const MAX_SECRETS: usize = 64;

/// The only key of the table that the TOML parser makes of a date.
const DATE_KEY: &str = "$__toml_private_datetime";

impl Shape {
    /// Reads a value.
    ///
    /// # Errors
    /// What was expected and, unless it could be a secret, what was found.
    pub(crate) fn read(self, value: &Value) -> Result<Plain, String> {
        let fits = match (self, value) {
            (Self::Text | Self::Secret, Value::String(_, text)) if !text.trim().is_empty() => {
                Some(Plain::Text(text.clone()))
            }
            (Self::Flag, Value::Bool(_, flag)) => Some(Plain::Flag(*flag)),
            (Self::Whole { min, max }, Value::Num(_, number)) => {
                whole(*number).filter(|number| (min..=max).contains(number)).map(Plain::Whole)
            }
            (Self::Seconds(zero), Value::Num(_, number)) => seconds(*number, zero).map(Plain::Seconds),
            (Self::Number { min, max }, Value::Num(_, number)) => {
                float(*number).filter(|it| (f64::from(min)..=f64::from(max)).contains(it)).map(Plain::Number)
            }
            (Self::OneOrMore, Value::String(..)) => text(value).map(|text| Plain::Texts(vec![text])),
            (Self::OneOrMore, Value::Array(_, items)) => some_texts(items, MAX_TEXTS),
            (Self::Secrets, Value::Array(_, items)) => some_texts(items, MAX_SECRETS),
            (Self::Wholes { min, max }, Value::Array(_, items)) => {
                let number = |item: &Value| match item {
                    Value::Num(_, number) => whole(*number).filter(|it| (min..=max).contains(it)),
                    _ => None,
                };
                items.iter().map(number).collect::<Option<_>>().map(Plain::Wholes)
            }
            (Self::Texts, Value::Array(_, items)) => {
                items.iter().map(text).collect::<Option<_>>().map(Plain::Texts)
            }
            (Self::Pairs, Value::Dict(_, dict)) if !is_date(value) => dict
                .iter()
                .map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
                .collect::<Option<_>>()
                .map(Plain::Pairs),
            (Self::OneOf(words), Value::String(_, text)) => {
                // Words are settings, not names: they are compared as people type them.
                let word = words.iter().find(|word| word.eq_ignore_ascii_case(text));
                word.map(|&word| Plain::Text(word.to_owned()))
            }
            _ => None,
        };
        fits.ok_or_else(|| format!("expected {}, found {}", self.expectation(), self.found(value)))
    }

    /// Turns the text of an environment variable into the value that a file would hold; a text
    /// that is no such value stays as it is, and reading it says what was expected.
    pub(crate) fn parse_env(self, text: &str) -> Value {
        let words = || text.split(',').map(str::trim).filter(|word| !word.is_empty());
        let value = match self {
            Self::Text | Self::Secret | Self::OneOf(_) => None,
            Self::Flag => text.trim().to_ascii_lowercase().parse::<bool>().ok().map(Value::from),
            Self::Whole { .. } => text.trim().parse::<u64>().ok().map(Value::from),
            Self::Seconds(_) | Self::Number { .. } => text.trim().parse::<f64>().ok().map(Value::from),
            Self::Texts | Self::OneOrMore | Self::Secrets => Some(Value::from(words().collect::<Vec<_>>())),
            Self::Wholes { .. } => {
                words().map(|word| word.parse::<u64>().ok()).collect::<Option<Vec<_>>>().map(Value::from)
            }
            Self::Pairs => words()
                .map(|word| {
                    word.split_once('=')
                        .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
                })
                .collect::<Option<BTreeMap<_, _>>>()
                .map(Value::from),
        };
        value.unwrap_or_else(|| Value::from(text))
    }

    /// Says what such a value looks like.
    fn expectation(self) -> String {
        match self {
            Self::Text | Self::Secret => "a text that is not empty".to_owned(),
            Self::Flag => "`true` or `false`".to_owned(),
            Self::Whole { min, max } => format!("a whole number from {min} to {max}"),
            Self::Seconds(Zero::Allowed) => format!("a number of seconds from 0 to {MAX_SECONDS}"),
            Self::Seconds(Zero::Refused) => format!("a number of seconds above 0 and up to {MAX_SECONDS}"),
            Self::Number { min, max } => format!("a number from {min} to {max}"),
            Self::OneOrMore => format!("a text, or a list of 1 to {MAX_TEXTS} texts"),
            Self::Secrets => format!("a list of 1 to {MAX_SECRETS} texts that are not empty"),
            Self::Wholes { min, max } => format!("a list of whole numbers from {min} to {max}"),
            Self::Texts => "a list of texts, such as [\"a\", \"b\"]".to_owned(),
            Self::Pairs => "a table of texts, such as { name = \"value\" }".to_owned(),
            Self::OneOf(words) => {
                let quoted: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
                format!("one of {}", quoted.join(", "))
            }
        }
    }

    /// Describes a value that does not fit.
    fn found(self, value: &Value) -> String {
        let is_shown = !matches!(self, Self::Secret | Self::Secrets | Self::Pairs);
        match value {
            Value::String(_, text) if text.trim().is_empty() => "an empty text".to_owned(),
            Value::String(_, text) if is_shown => {
                let shown: String = text.chars().take(60).collect();
                let rest = if shown.len() < text.len() { "…" } else { "" };
                let hint = match self {
                    Self::OneOf(words) => nearest(text, words.iter().copied()),
                    _ => None,
                };
                let hint = hint.map(|word| format!("; did you mean `{word}`?")).unwrap_or_default();
                format!("the text {shown:?}{rest}{hint}")
            }
            Value::String(..) | Value::Char(..) => "a text".to_owned(),
            Value::Bool(_, flag) if is_shown => format!("`{flag}`"),
            Value::Bool(..) => "a flag".to_owned(),
            Value::Num(_, number) if is_shown => format!("the number {}", show(*number)),
            Value::Num(..) => "a number".to_owned(),
            Value::Dict(..) if is_date(value) => "a date".to_owned(),
            Value::Dict(..) if self == Self::Pairs => "a table that holds something else".to_owned(),
            Value::Dict(..) => "a table".to_owned(),
            Value::Array(_, items) if items.is_empty() => "an empty list".to_owned(),
            Value::Array(_, items) if self == Self::OneOrMore && items.len() > MAX_TEXTS => {
                format!("a list of {}", items.len())
            }
            Value::Array(_, items) if self == Self::Secrets && items.len() > MAX_SECRETS => {
                format!("a list of {}", items.len())
            }
            Value::Array(..)
                if matches!(self, Self::Texts | Self::OneOrMore | Self::Secrets | Self::Wholes { .. }) =>
            {
                "a list that holds something else".to_owned()
            }
            Value::Array(..) => "a list".to_owned(),
            Value::Empty(..) => "nothing".to_owned(),
        }
    }
}

/// Tells whether a value is a date, which arrives as a table.
pub(crate) fn is_date(value: &Value) -> bool {
    value.as_dict().is_some_and(|dict| dict.contains_key(DATE_KEY))
}

fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.trim().is_empty()).map(str::to_owned)
}

/// Reads a list of texts that has some, and not too many.
fn some_texts(items: &[Value], most: usize) -> Option<Plain> {
    let fits = (1..=most).contains(&items.len());
    fits.then(|| items.iter().map(text).collect::<Option<_>>()).flatten().map(Plain::Texts)
}

fn float(number: Num) -> Option<f64> {
    match number.to_actual() {
        Actual::Unsigned(whole) => Some(whole as f64),
        Actual::Signed(whole) => Some(whole as f64),
        Actual::Float(fraction) => Some(fraction),
        _ => None,
    }
}

fn whole(number: Num) -> Option<u64> {
    number.to_u128_lossy()?.try_into().ok()
}

fn seconds(number: Num, zero: Zero) -> Option<Duration> {
    let seconds = float(number)?;
    // The comparison also refuses NaN.
    let is_legal = (0.0..=MAX_SECONDS).contains(&seconds) && (zero == Zero::Allowed || seconds > 0.0);
    let duration = is_legal.then(|| Duration::try_from_secs_f64(seconds).ok())??;
    // A positive time below a nanosecond must not become "none".
    Some(if seconds > 0.0 { duration.max(Duration::from_nanos(1)) } else { duration })
}

fn show(number: Num) -> String {
    match number.to_actual() {
        Actual::Unsigned(whole) => whole.to_string(),
        Actual::Signed(whole) => whole.to_string(),
        Actual::Float(fraction) => format!("{fraction:?}"),
        other => other.to_string(),
    }
}
