//! One TOML document, brought into the one spelling that layers are merged in: other names of
//! settings become their own, quoted dots become levels, and sections that differ only in case
//! become one. Types and meanings are checked later.

use std::collections::{BTreeMap, HashMap};

use figment::providers::{Format, Toml};
use figment::value::{Dict, Tag, Value};

use crate::Source;
use crate::problem::Findings;
use crate::setting::TableKind;
use crate::value::is_date;

/// The deepest section: more than any name can have use for, and little enough for the stack.
pub(crate) const MAX_DEPTH: usize = 64;

/// What must be remembered from one document to the next.
#[derive(Debug, Default)]
pub(crate) struct Spellings {
    /// How a section was spelled first, by its path in lower case. Later documents are brought to
    /// that spelling, so that the layers meet.
    sections: HashMap<String, String>,
    /// By source and key: the name that the source used for it, where it is not the key's own.
    renamed: BTreeMap<Source, BTreeMap<String, String>>,
}

impl Spellings {
    /// Returns the spelling of a section below a path: its first one. Kinds have their own.
    fn section(&mut self, parent: &[String], segment: &str) -> String {
        // No segment has a dot.
        let mut path = String::with_capacity(parent.iter().map(|level| level.len() + 1).sum::<usize>());
        for level in parent {
            path.push_str(level);
            path.push('.');
        }
        path.push_str(segment);
        path.make_ascii_lowercase();
        if parent.is_empty() && TableKind::ProviderRoot.subtables().contains(&path.as_str()) {
            return path;
        }
        self.sections.entry(path).or_insert_with(|| segment.to_owned()).clone()
    }

    /// Returns a key as its source spells it.
    pub(crate) fn key<'a>(&'a self, source: &Source, key: &'a str) -> &'a str {
        self.renamed.get(source).and_then(|keys| keys.get(key)).map_or(key, String::as_str)
    }
}

/// Parses a document and returns what it says below `llm`; nothing if it is not TOML.
pub(crate) fn parse(
    text: &str,
    source: &Source,
    spellings: &mut Spellings,
    findings: &mut Findings,
) -> Option<Dict> {
    let mut root: Dict = match Toml::from_str(text) {
        Ok(root) => root,
        Err(error) => {
            // The error's own text quotes the line, which may hold a key: only where and what.
            let (line, column) = position(text, error.span().map_or(0, |span| span.start));
            let reason = error.message().trim().replace('\n', ", ");
            findings
                .source_problem(source.clone(), format!("line {line}, column {column}: not TOML: {reason}"));
            return None;
        }
    };
    let mut llm = match root.remove("llm") {
        None => Dict::new(),
        Some(value) if value.as_dict().is_some() && !is_date(&value) => value.into_dict().unwrap_or_default(),
        Some(_) => {
            findings.problem("llm", source.clone(), "expected a table, `[llm]`");
            Dict::new()
        }
    };
    adopt_root_settings(&mut root, &mut llm, source, findings);
    if let Some(value) = llm.get_mut("provider").filter(|value| !is_date(value))
        && let Value::Dict(_, provider) = value
    {
        let mut document = Document { source, spellings, findings };
        *provider = document.sections(std::mem::take(provider), &mut Vec::new());
    }
    Some(llm)
}

/// Moves `host` and `port` from the root of the document, where emx-llm allowed them, to `[llm]`.
fn adopt_root_settings(root: &mut Dict, llm: &mut Dict, source: &Source, findings: &mut Findings) {
    for name in ["host", "port"] {
        match root.remove(name) {
            None | Some(Value::Dict(..) | Value::Array(..)) => {}
            Some(_) if llm.contains_key(name) => {
                findings.warning(
                    name,
                    source.clone(),
                    format!("ignored, because `[llm]` has a `{name}` too"),
                );
            }
            Some(value) => {
                findings.warning(
                    name,
                    source.clone(),
                    format!("read as `llm.{name}`; move it below `[llm]`"),
                );
                llm.insert(name.to_owned(), value);
            }
        }
    }
}

/// Returns the line and column of a byte, both counted from 1.
fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before.get(line_start..).unwrap_or_default().chars().count() + 1)
}

/// One document on its way to the common spelling.
struct Document<'a> {
    source: &'a Source,
    spellings: &'a mut Spellings,
    findings: &'a mut Findings,
}

impl Document<'_> {
    /// Respells a table at `path` below `llm.provider`, and every section below it.
    fn sections(&mut self, dict: Dict, path: &mut Vec<String>) -> Dict {
        let table = table_at(path);
        let is_plain = |(key, value): (&String, &Value)| {
            table.find(key).is_none_or(|setting| setting.name == key) && !is_section(table, key, value)
        };
        // Most tables have nothing to respell.
        if dict.iter().all(is_plain) {
            return dict;
        }
        let mut respelled = Dict::new();
        for (key, value) in dict {
            match value {
                value if !is_section(table, &key, &value) => {
                    self.setting(&mut respelled, path, table, &key, value);
                }
                value => self.section(&mut respelled, path, &key, value.into_dict().unwrap_or_default()),
            }
        }
        respelled
    }

    /// Places a setting under its own name.
    fn setting(&mut self, into: &mut Dict, path: &[String], table: TableKind, key: &str, value: Value) {
        let name = table.find(key).map_or(key, |setting| setting.name);
        if into.contains_key(name) {
            let full = join(path, name);
            let names = (self.spellings.key(self.source, &full).rsplit('.').next().unwrap_or(name), key);
            let message = format!("`{}` and `{}` mean the same; keep one of them", names.0, names.1);
            self.findings.problem(full, self.source.clone(), message);
            return;
        }
        if name != key {
            let renamed = self.spellings.renamed.entry(self.source.clone()).or_default();
            renamed.insert(join(path, name), join(path, key));
        }
        into.insert(name.to_owned(), value);
    }

    /// Places a section, each dot of its name being a level, at its first spelling.
    fn section(&mut self, into: &mut Dict, parent: &mut Vec<String>, name: &str, section: Dict) {
        let depth = parent.len();
        if depth + name.matches('.').count() >= MAX_DEPTH {
            let message = format!("sections are nested at most {MAX_DEPTH} levels deep");
            self.findings.problem(join(parent, ""), self.source.clone(), message);
            return;
        }
        for segment in name.split('.') {
            let message = if segment.is_empty() {
                Some("a section name cannot have an empty part; remove the extra dot".to_owned())
            } else if table_at(parent).is_reserved(segment) {
                Some(format!("`{segment}` is the name of a setting and cannot be a section name"))
            } else {
                None
            };
            if let Some(message) = message {
                let key = join(parent.get(..depth).unwrap_or_default(), name);
                self.findings.problem(key, self.source.clone(), message);
            }
            let spelled = self.spellings.section(parent, segment);
            parent.push(spelled);
        }
        let section = Value::Dict(Tag::Default, self.sections(section, parent));
        // From the innermost level outwards, so that one merge places the whole chain.
        let mut levels = parent.drain(depth..);
        let Some(outermost) = levels.next() else { return };
        let chain = levels
            .rev()
            .fold(section, |inner, segment| Value::Dict(Tag::Default, Dict::from([(segment, inner)])));
        self.place(into, outermost, chain, parent);
    }

    /// Merges sections of one document. What two sections both say is never decided by chance.
    fn merge(&mut self, into: &mut Dict, from: Dict, path: &mut Vec<String>) {
        for (key, value) in from {
            self.place(into, key, value, path);
        }
    }

    fn place(&mut self, into: &mut Dict, key: String, value: Value, path: &mut Vec<String>) {
        match (into.get_mut(&key), value) {
            (Some(Value::Dict(_, present)), Value::Dict(_, added)) if !table_at(path).is_reserved(&key) => {
                path.push(key);
                if has_settings(present) && has_settings(&added) {
                    let message =
                        "two sections of this name: case and quotes make no difference; keep one of them";
                    self.findings.problem(join(path, ""), self.source.clone(), message);
                }
                self.merge(present, added, path);
                path.pop();
            }
            (Some(_), _) => {}
            (None, value) => {
                into.insert(key, value);
            }
        }
    }
}

/// Tells whether a provider's table says anything itself, apart from the sections below it.
pub(crate) fn has_settings(dict: &Dict) -> bool {
    dict.iter().any(|(key, value)| !is_section(TableKind::Provider, key, value))
}

/// Tells whether an entry of a provider's table is a section below it.
pub(crate) fn is_section(table: TableKind, key: &str, value: &Value) -> bool {
    value.as_dict().is_some() && !table.is_reserved(key) && !is_date(value)
}

/// Returns the kind of the table at a path below `llm.provider`.
pub(crate) const fn table_at(path: &[String]) -> TableKind {
    if path.is_empty() { TableKind::ProviderRoot } else { TableKind::Provider }
}

/// Returns the full key of a name below a path of sections; of the section itself if it is empty.
pub(crate) fn join(path: &[String], name: &str) -> String {
    let name = (!name.is_empty()).then_some(name);
    ["llm", "provider"]
        .into_iter()
        .chain(path.iter().map(String::as_str))
        .chain(name)
        .collect::<Vec<_>>()
        .join(".")
}
