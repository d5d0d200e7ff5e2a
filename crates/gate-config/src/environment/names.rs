//! What the name of a variable means: the settings that exist, looked up in the tables that the
//! files have. It goes down only where the name leads, since there may be thousands of sections,
//! each with two dozen settings.

use std::collections::BTreeSet;

use figment::value::{Dict, Value};
use gate_model_ref::ProviderKind;

use super::Place;
use crate::document::{MAX_DEPTH, is_section};
use crate::setting::{Setting, TableKind};
use crate::tree::Looks;

/// In names this long, more slips than these are rather the name of another section.
const MOST_SLIPS: usize = 3;

/// Every table that variables can name: those that always exist, and the files' sections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names<'a> {
    llm: &'a Dict,
}

/// A table, with what the files say in it.
#[derive(Clone, Copy, Debug)]
struct Table<'a> {
    kind: TableKind,
    dict: Option<&'a Dict>,
}

/// A table below another.
#[derive(Clone, Copy, Debug)]
struct Child<'a> {
    /// A level before the name that only variables have.
    kind: Option<&'a str>,
    name: &'a str,
    table: Table<'a>,
}

impl<'a> Names<'a> {
    /// Returns the names of a configuration; `llm` is what the files say.
    pub(super) const fn of(llm: &'a Dict) -> Self {
        Self { llm }
    }

    /// Returns what a variable with single underscores may mean: `OPENAI_API_KEY`.
    pub(super) fn short(self, name: &str) -> BTreeSet<Place> {
        let mut search = Short { names: self, path: Vec::new(), places: BTreeSet::new() };
        let top = self.top();
        search.setting(top, name);
        search.children(top, name);
        // `PROVIDER` may be left out before a section, never before a setting of all providers.
        search.path.push("provider");
        search.children(self.provider_root(), name);
        search.places
    }

    /// Returns what a variable with double underscores means, `PROVIDER__OPENAI__API_KEY`: the tables
    /// that it names, the deepest of them known, the rest of its levels made new.
    pub(super) fn spelled_out(self, name: &str) -> BTreeSet<Place> {
        let levels: Vec<&str> = name.split("__").collect();
        let Some((&name, levels)) =
            levels.split_last().filter(|_| !levels.contains(&"") && levels.len() <= MAX_DEPTH)
        else {
            return BTreeSet::new();
        };
        let mut search = SpelledOut { names: self, path: Vec::new(), known: 0, tables: BTreeSet::new() };
        search.table(self.top(), Levels { levels, from: 0, passed: 0 });
        let places = search.tables.into_iter().filter_map(|tables| {
            let kind = super::table(&tables);
            let setting = kind.settings().iter().find(|setting| has_name(setting, name))?;
            Some(Place { tables, setting: setting.name })
        });
        places.collect()
    }

    /// Returns the name that looks most like one that means nothing; of several the first by the alphabet.
    pub(super) fn nearest(self, name: &str) -> Option<String> {
        let folded = name.to_ascii_lowercase();
        let looks = Looks::within(&folded, MOST_SLIPS);
        let mut best: Option<(usize, String)> = None;
        let mut compare = |candidate: &str| {
            let most = (candidate.len() / 3).max(1).min(candidate.len().saturating_sub(1));
            if let Some(slips) = looks.distance(candidate).filter(|slips| *slips <= most)
                && best.as_ref().is_none_or(|(fewest, name)| (slips, candidate) < (*fewest, name))
            {
                best = Some((slips, candidate.to_owned()));
            }
        };
        self.each_name(self.top(), &mut String::new(), &mut compare);
        let (_, nearest) = best?;
        // Only the candidates are in upper case.
        (strsim::osa_distance(name, &nearest) <= MOST_SLIPS).then_some(nearest)
    }

    /// Calls `visit` with every name that a variable with single underscores can have, from a table
    /// with that prefix on.
    fn each_name(self, table: Table<'a>, prefix: &mut String, visit: &mut impl FnMut(&str)) {
        const TOP: &str = "PROVIDER_";
        let start = prefix.len();
        let is_section = start > TOP.len() && prefix.starts_with(TOP);
        for setting in table.kind.settings() {
            for name in names_of(setting) {
                prefix.extend(name.bytes().map(|byte| char::from(byte.to_ascii_uppercase())));
                visit(prefix);
                if let Some(short) = prefix.strip_prefix(TOP).filter(|_| is_section) {
                    visit(short);
                }
                prefix.truncate(start);
            }
        }
        self.children(table, |child| {
            for level in child.kind.into_iter().chain([child.name]) {
                prefix.extend(level.chars().map(in_variable));
                prefix.push('_');
            }
            self.each_name(child.table, prefix, visit);
            prefix.truncate(start);
        });
    }

    const fn top(self) -> Table<'a> {
        Table { kind: TableKind::Llm, dict: Some(self.llm) }
    }

    fn provider_root(self) -> Table<'a> {
        let dict = self.llm.get("provider").and_then(Value::as_dict);
        Table { kind: TableKind::ProviderRoot, dict }
    }

    /// Calls `visit` for each table below one, twice where it has two names: `[llm.provider.glm]
    /// type = "anthropic"` is also `anthropic.glm`.
    fn children(self, of: Table<'a>, mut visit: impl FnMut(Child<'a>)) {
        if of.kind == TableKind::Llm {
            for &name in of.kind.subtables() {
                let known = TableKind::of_llm(name).map(|kind| Table { kind, dict: None });
                let table = known.unwrap_or_else(|| self.provider_root());
                visit(Child { kind: None, name, table });
            }
            return;
        }
        let below = |dict| Table { kind: TableKind::Provider, dict };
        let is_root = of.kind == TableKind::ProviderRoot;
        for kind in ProviderKind::ALL.into_iter().filter(|_| is_root) {
            let present = of.dict.and_then(|dict| dict.get(kind.as_str()));
            let table = below(present.and_then(Value::as_dict));
            visit(Child { kind: None, name: kind.as_str(), table });
        }
        for (name, value) in of.dict.into_iter().flatten() {
            let is_kind = is_root && ProviderKind::from_segment(name).is_some();
            let Some(dict) = value.as_dict().filter(|_| !is_kind && is_section(of.kind, name, value)) else {
                continue;
            };
            let child = Child { kind: None, name, table: below(Some(dict)) };
            visit(child);
            if let Some(kind) = dict.get("type").and_then(Value::as_str).filter(|_| is_root) {
                visit(Child { kind: Some(kind), ..child });
            }
        }
    }
}

/// A search for a name with single underscores, which may stand for dots or for themselves.
struct Short<'a> {
    names: Names<'a>,
    /// The tables on the way down, below `llm`.
    path: Vec<&'a str>,
    places: BTreeSet<Place>,
}

impl<'a> Short<'a> {
    fn setting(&mut self, table: Table<'_>, name: &str) {
        let is_named =
            |setting: &&Setting| names_of(setting).any(|own| behind(name, own).is_some_and(str::is_empty));
        let found = table.kind.settings().iter().filter(is_named);
        self.places.extend(found.map(|setting| Place::new(&self.path, setting)));
    }

    fn children(&mut self, of: Table<'a>, name: &str) {
        let names = self.names;
        let behind = |name, level| behind(name, level).and_then(|rest| rest.strip_prefix('_'));
        names.children(of, |child| {
            let name = child.kind.map_or(Some(name), |kind| behind(name, kind));
            if let Some(rest) = name.and_then(|name| behind(name, child.name)) {
                self.path.push(child.name);
                self.setting(child.table, rest);
                self.children(child.table, rest);
                self.path.pop();
            }
        });
    }
}

/// A search for a name with double underscores.
struct SpelledOut<'a> {
    names: Names<'a>,
    /// The tables on the way down, below `llm`.
    path: Vec<&'a str>,
    /// How many of the name's levels the tables found have.
    known: usize,
    /// The tables found, with their new levels.
    tables: BTreeSet<Vec<String>>,
}

/// What is left of a name's levels on the way down.
#[derive(Clone, Copy)]
struct Levels<'v> {
    levels: &'v [&'v str],
    /// Where the first of them begins: one level may stand for several tables, because a dot in a
    /// section's name is a level too.
    from: usize,
    /// How many there were before.
    passed: usize,
}

impl Levels<'_> {
    /// Returns what is left behind a table's name.
    fn behind(self, table: &str) -> Option<Self> {
        let (first, others) = self.levels.split_first()?;
        let rest = behind(first.get(self.from..)?, table)?;
        if rest.is_empty() {
            return Some(Self { levels: others, from: 0, passed: self.passed + 1 });
        }
        rest.starts_with('_').then_some(Self { from: first.len() - rest.len() + 1, ..self })
    }
}

impl<'a> SpelledOut<'a> {
    fn table(&mut self, table: Table<'a>, left: Levels<'_>) {
        // Only the provider tree can grow.
        let can_be = left.levels.is_empty() || self.path.first() == Some(&"provider");
        if left.from == 0 && can_be && left.passed >= self.known {
            if left.passed > self.known {
                self.tables.clear();
                self.known = left.passed;
            }
            let new = left.levels.iter().map(|level| level.to_ascii_lowercase());
            let known = self.path.iter().map(|&level| level.to_owned());
            self.tables.insert(known.chain(new).collect());
        }
        if left.levels.is_empty() {
            return;
        }
        let names = self.names;
        names.children(table, |child| {
            let left = child.kind.map_or(Some(left), |kind| left.behind(kind));
            if let Some(left) = left.and_then(|left| left.behind(child.name)) {
                self.path.push(child.name);
                self.table(child.table, left);
                self.path.pop();
            }
        });
    }
}

/// Returns all names of a setting.
fn names_of(setting: &Setting) -> impl Iterator<Item = &'static str> + use<> {
    [setting.name].into_iter().chain(setting.aliases.iter().copied())
}

fn has_name(setting: &Setting, name: &str) -> bool {
    names_of(setting).any(|own| own.eq_ignore_ascii_case(name))
}

/// Returns what stands behind a table's name, or a setting's, in the form that variables have.
fn behind<'v>(variable: &'v str, name: &str) -> Option<&'v str> {
    let mut rest = variable.chars();
    name.chars().all(|c| rest.next() == Some(in_variable(c))).then_some(rest.as_str())
}

/// Returns the form that a character of a name has in a variable: upper case, `_` for what variables
/// cannot hold.
const fn in_variable(c: char) -> char {
    if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }
}
