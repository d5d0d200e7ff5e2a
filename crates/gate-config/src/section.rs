//! One table of the merged configuration: its keys checked against the known settings, its values
//! read by their shapes.

use std::collections::BTreeMap;
use std::time::Duration;

use figment::value::Dict;

use crate::Origin;
use crate::layers::Layers;
use crate::problem::Findings;
use crate::setting::{Setting, TableKind};
use crate::value::Plain;

/// A value with its origin.
#[derive(Clone, Debug)]
pub(crate) struct Set<T> {
    pub(crate) value: T,
    pub(crate) origin: Origin,
}

/// A table of the merged configuration.
///
/// [`Section::check`] reports what is wrong with it; the readers then pass over what is wrong, so
/// that nothing is reported twice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Section<'a> {
    /// The full key of the table, such as `llm.limits`.
    pub(crate) key: &'a str,
    pub(crate) kind: TableKind,
    pub(crate) dict: &'a Dict,
    pub(crate) layers: &'a Layers,
}

impl Section<'_> {
    /// Reports unknown keys and values of a wrong shape. `is_table` tells which keys are tables
    /// that someone else checks.
    pub(crate) fn check(&self, is_table: impl Fn(&str) -> bool, findings: &mut Findings) {
        for (name, value) in self.dict.iter().filter(|(name, _)| !is_table(name)) {
            let origin = || self.layers.origin(value, &format!("{}.{name}", self.key));
            let problem = match self.kind.find(name) {
                Some(setting) => setting.shape.read(value).err(),
                None => Some(self.unknown(name)),
            };
            if let Some(message) = problem {
                let Origin { source, key } = origin();
                findings.problem(key, source, message);
            }
        }
    }

    /// Says what to do about a key that this table does not have.
    fn unknown(&self, name: &str) -> String {
        let key = format!("{}.{name}", self.key);
        if self.kind.later().contains(&name) {
            return not_yet(&key);
        }
        if self.kind == TableKind::ProviderRoot && TableKind::Provider.find(name).is_some() {
            return format!(
                "`{name}` belongs to one provider, such as [llm.provider.openai], not to all of them"
            );
        }
        if self.kind == TableKind::Provider && TableKind::ProviderRoot.find(name).is_some() {
            return format!("`{name}` belongs to [llm.provider]");
        }
        if self.kind.subtables().contains(&name) {
            return format!("expected a table, `[{key}]`");
        }
        match self.kind.nearest(name) {
            Some(known) => format!("there is no such setting; did you mean `{known}`?"),
            None => "there is no such setting".to_owned(),
        }
    }

    /// Tells whether a key holds a table that this one may have.
    pub(crate) fn has_table(&self, name: &str) -> bool {
        self.kind.subtables().contains(&name)
    }

    /// Reads a setting that is present and has its shape.
    fn read<T>(&self, name: &'static str, take: impl FnOnce(Plain) -> Option<T>) -> Option<Set<T>> {
        let value = self.dict.get(name)?;
        let setting: &Setting = self.kind.find(name)?;
        let plain = setting.shape.read(value).ok()?;
        Some(Set { value: take(plain)?, origin: self.layers.origin(value, &format!("{}.{name}", self.key)) })
    }

    pub(crate) fn text(&self, name: &'static str) -> Option<Set<String>> {
        self.read(name, |plain| match plain {
            Plain::Text(text) => Some(text),
            _ => None,
        })
    }

    /// Reads a setting that is one word of an enum, given all of it and its `as_str`.
    pub(crate) fn word<T: Copy>(
        &self,
        name: &'static str,
        all: impl IntoIterator<Item = T>,
        as_str: impl Fn(T) -> &'static str,
    ) -> Option<Set<T>> {
        let Set { value: word, origin } = self.text(name)?;
        let value = all.into_iter().find(|&candidate| as_str(candidate) == word)?;
        Some(Set { value, origin })
    }

    pub(crate) fn flag(&self, name: &'static str) -> Option<Set<bool>> {
        self.read(name, |plain| match plain {
            Plain::Flag(flag) => Some(flag),
            _ => None,
        })
    }

    pub(crate) fn whole(&self, name: &'static str) -> Option<Set<u64>> {
        self.read(name, |plain| match plain {
            Plain::Whole(number) => Some(number),
            _ => None,
        })
    }

    pub(crate) fn seconds(&self, name: &'static str) -> Option<Set<Duration>> {
        self.read(name, |plain| match plain {
            Plain::Seconds(time) => Some(time),
            _ => None,
        })
    }

    pub(crate) fn number(&self, name: &'static str) -> Option<Set<f64>> {
        self.read(name, |plain| match plain {
            Plain::Number(number) => Some(number),
            _ => None,
        })
    }

    pub(crate) fn wholes(&self, name: &'static str) -> Option<Set<Vec<u64>>> {
        self.read(name, |plain| match plain {
            Plain::Wholes(numbers) => Some(numbers),
            _ => None,
        })
    }

    pub(crate) fn texts(&self, name: &'static str) -> Option<Set<Vec<String>>> {
        self.read(name, |plain| match plain {
            Plain::Texts(texts) => Some(texts),
            _ => None,
        })
    }

    pub(crate) fn pairs(&self, name: &'static str) -> Option<Set<BTreeMap<String, String>>> {
        self.read(name, |plain| match plain {
            Plain::Pairs(pairs) => Some(pairs),
            _ => None,
        })
    }
}

/// Says that a key comes with a later version.
fn not_yet(key: &str) -> String {
    format!("`{key}` is not available in this version of emx-gate yet; remove it")
}
