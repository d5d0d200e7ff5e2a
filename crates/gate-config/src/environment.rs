//! Environment variables as layers. A variable cannot spell every name, so it is matched against
//! the settings that exist and the sections that the files have.

use std::collections::{BTreeMap, BTreeSet};

use figment::value::{Dict, Value};
use gate_model_ref::ProviderKind;

use crate::Source;
use crate::document::{MAX_DEPTH, is_section, table_at};
use crate::layers::nested;
use crate::problem::Findings;
use crate::setting::{Setting, TableKind, nearest};
use crate::sources::Sources;

const PREFIX: &str = "EMX_LLM_";

/// A variable that the vendors' own clients read, with the setting that it fills in.
pub(crate) struct Traditional {
    pub(crate) source: Source,
    pub(crate) kind: ProviderKind,
    pub(crate) setting: &'static str,
    pub(crate) value: String,
}

/// The variable by which Anthropic's clients send a bearer token rather than a key.
pub(crate) const ANTHROPIC_AUTH_TOKEN: &str = "ANTHROPIC_AUTH_TOKEN";

/// In order: of two that fill in the same setting the first wins.
const TRADITIONAL: [(&str, ProviderKind, &str); 6] = [
    ("OPENAI_API_KEY", ProviderKind::OpenAi, "api_key"),
    ("OPENAI_API_BASE", ProviderKind::OpenAi, "api_base"),
    ("OPENAI_BASE_URL", ProviderKind::OpenAi, "api_base"),
    (ANTHROPIC_AUTH_TOKEN, ProviderKind::Anthropic, "api_key"),
    ("ANTHROPIC_API_KEY", ProviderKind::Anthropic, "api_key"),
    ("ANTHROPIC_BASE_URL", ProviderKind::Anthropic, "api_base"),
];

/// Tells whether a source is a traditional variable.
pub(crate) fn is_traditional(source: &Source) -> bool {
    matches!(source, Source::Env(name) if TRADITIONAL.iter().any(|(traditional, ..)| name == traditional))
}

/// Returns the traditional variables that are set, in the order in which they may fill in.
pub(crate) fn traditional(sources: &Sources) -> impl Iterator<Item = Traditional> {
    TRADITIONAL.into_iter().filter_map(|(name, kind, setting)| {
        let value = sources.variable(name)?.to_owned();
        Some(Traditional { source: Source::Env(name.to_owned()), kind, setting, value })
    })
}

/// A place for a value: the tables below `llm`, then the setting.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    tables: Vec<String>,
    setting: &'static str,
}

impl Place {
    fn new(tables: &[String], setting: &Setting) -> Self {
        Self { tables: tables.to_vec(), setting: setting.name }
    }

    fn key(&self) -> String {
        let levels = self.tables.iter().map(String::as_str);
        ["llm"].into_iter().chain(levels).chain([self.setting]).collect::<Vec<_>>().join(".")
    }

    /// Returns the layer that says `text` here, as the value that the setting expects.
    fn layer(&self, text: &str) -> Dict {
        let setting = table(&self.tables).find(self.setting);
        let value = setting.map_or_else(|| Value::from(text), |setting| setting.shape.parse_env(text));
        nested(self.tables.iter().map(String::as_str).chain([self.setting]), value)
    }
}

/// Returns the kind of the table at a path below `llm`.
fn table(tables: &[String]) -> TableKind {
    match tables {
        [] => TableKind::Llm,
        [name] => TableKind::of_llm(name).unwrap_or(TableKind::ProviderRoot),
        [_, path @ ..] => table_at(path),
    }
}

/// A table that variables can name.
struct Known {
    /// The levels in the form that variables have: upper case, `_` for what they cannot hold.
    levels: Vec<String>,
    /// The tables below `llm`.
    tables: Vec<String>,
}

/// Returns one layer for each `EMX_LLM_` variable, in order of their names. `llm` is what the files
/// say.
pub(crate) fn layers(sources: &Sources, llm: &Dict, findings: &mut Findings) -> Vec<(Source, Dict)> {
    let names: BTreeSet<&str> = sources.variables.iter().map(|(name, _)| name.as_str()).collect();
    let known = known_tables(llm);
    let short = short_names(&known);
    let mut layers = Vec::new();
    let mut said: BTreeMap<Place, (&str, &str)> = BTreeMap::new();
    for name in names {
        let (Some(rest), Some(value)) = (name.strip_prefix(PREFIX), sources.variable(name)) else { continue };
        let source = Source::Env(name.to_owned());
        let places = match rest.strip_prefix('_') {
            Some(levels) => spelled_out(levels, &known),
            None => short.get(rest).cloned().unwrap_or_default(),
        };
        let Some(place) = one(places, rest, &short, &source, findings) else { continue };
        match said.get(&place) {
            Some((_, earlier)) if *earlier == value => {}
            Some((earlier, _)) => {
                let message =
                    format!("says something else than {earlier} about the same setting; keep one of them");
                findings.problem(place.key(), source, message);
            }
            None => {
                layers.push((source, place.layer(value)));
                said.insert(place, (name, value));
            }
        }
    }
    layers
}

/// Returns the one place that a variable names, or reports that there is none or more than one.
fn one(
    places: BTreeSet<Place>,
    rest: &str,
    short: &BTreeMap<String, BTreeSet<Place>>,
    source: &Source,
    findings: &mut Findings,
) -> Option<Place> {
    if places.len() > 1 {
        let keys: Vec<_> = places.iter().map(|place| format!("`{}`", place.key())).collect();
        let advice =
            if rest.starts_with('_') { "set it in a file" } else { "use the form with double underscores" };
        let message = format!("could mean {}; {advice}", keys.join(" or "));
        findings.source_problem(source.clone(), message);
        return None;
    }
    let place = places.into_iter().next();
    if place.is_none() {
        // In names this long, more slips than these are rather the name of another section.
        let near = nearest(rest, short.keys().map(String::as_str));
        let hint = match near.filter(|name| strsim::osa_distance(rest, name) <= 3) {
            Some(name) => format!("; did you mean {PREFIX}{name}?"),
            None if rest.starts_with("PROVIDER_") => {
                format!("; a section that no file has is written {PREFIX}_PROVIDER__KIND__NAME__SETTING")
            }
            None => String::new(),
        };
        let message = format!("ignored: it matches no setting and no section{hint}");
        findings.source_warning(source.clone(), message);
    }
    place
}

/// Returns what every variable with single underscores may mean, by its name behind the prefix.
fn short_names(known: &[Known]) -> BTreeMap<String, BTreeSet<Place>> {
    let mut names: BTreeMap<String, BTreeSet<Place>> = BTreeMap::new();
    for Known { levels, tables } in known {
        let settings = table(tables).settings().iter();
        for (setting, name) in
            settings.flat_map(|s| [s.name].into_iter().chain(s.aliases.iter().copied()).map(move |n| (s, n)))
        {
            let name = name.to_ascii_uppercase();
            let full: Vec<&str> = levels.iter().map(String::as_str).chain([name.as_str()]).collect();
            names.entry(full.join("_")).or_default().insert(Place::new(tables, setting));
            // `PROVIDER` may be left out before a section, never before a setting of all providers.
            if let ["PROVIDER", section @ ..] = full.as_slice()
                && section.len() > 1
            {
                names.entry(section.join("_")).or_default().insert(Place::new(tables, setting));
            }
        }
    }
    names
}

/// Returns what a variable with double underscores means: the tables that it names, the deepest of
/// them known, the rest of its levels made new.
fn spelled_out(rest: &str, known: &[Known]) -> BTreeSet<Place> {
    let levels: Vec<&str> = rest.split("__").collect();
    let Some((&name, levels)) =
        levels.split_last().filter(|_| !levels.contains(&"") && levels.len() <= MAX_DEPTH)
    else {
        return BTreeSet::new();
    };
    let at = |depth: usize| {
        let (present, new) = levels.split_at(depth);
        let new: Vec<String> = new.iter().map(|level| level.to_ascii_lowercase()).collect();
        let matching = known.iter().filter(|known| is_named(&known.levels, present));
        // Only the provider tree can grow.
        let matching = matching
            .filter(|known| new.is_empty() || known.tables.first().is_some_and(|top| top == "provider"));
        matching.map(|known| [known.tables.as_slice(), &new].concat()).collect::<BTreeSet<_>>()
    };
    let deepest = (0..=levels.len()).rev().map(at).find(|tables| !tables.is_empty()).unwrap_or_default();
    deepest
        .iter()
        .filter_map(|tables| {
            let named = |candidate: &str| candidate.eq_ignore_ascii_case(name);
            let setting = table(tables)
                .settings()
                .iter()
                .find(|s| named(s.name) || s.aliases.iter().any(|a| named(a)))?;
            Some(Place::new(tables, setting))
        })
        .collect()
}

/// Tells whether the levels of a variable name these levels; one of them may stand for several,
/// because a dot in a section's name is a level too.
fn is_named(levels: &[String], variable: &[&str]) -> bool {
    let mut rest = levels;
    for &level in variable {
        let taken =
            (1..=rest.len()).find(|&count| rest.get(..count).is_some_and(|some| some.join("_") == level));
        let Some(after) = taken.and_then(|count| rest.get(count..)) else { return false };
        rest = after;
    }
    rest.is_empty()
}

/// Returns every table that variables can name: those that always exist, and the files' sections.
fn known_tables(llm: &Dict) -> Vec<Known> {
    let fixed = |path: &[&str]| Known {
        levels: path.iter().map(|level| variable_level(level)).collect(),
        tables: path.iter().map(|&level| level.to_owned()).collect(),
    };
    let mut known = vec![fixed(&[])];
    known.extend(TableKind::Llm.subtables().iter().map(|&name| fixed(&[name])));
    known.extend(ProviderKind::ALL.map(|kind| fixed(&["provider", kind.as_str()])));
    if let Some(provider) = llm.get("provider").and_then(Value::as_dict) {
        add_sections(&mut known, provider, &["PROVIDER".to_owned()], &["provider".to_owned()]);
    }
    known
}

fn add_sections(known: &mut Vec<Known>, dict: &Dict, levels: &[String], tables: &[String]) {
    for (name, value) in dict.iter().filter(|(name, value)| is_section(table(tables), name, value)) {
        let Some(section) = value.as_dict() else { continue };
        let tables = [tables, std::slice::from_ref(name)].concat();
        let mut add = |levels: &[String]| {
            let levels = [levels, &[variable_level(name)]].concat();
            add_sections(known, section, &levels, &tables);
            known.push(Known { levels, tables: tables.clone() });
        };
        add(levels);
        let is_short = levels.len() == 1 && ProviderKind::from_segment(name).is_none();
        // `[llm.provider.glm] type = "anthropic"` is also `anthropic.glm`.
        if let Some(kind) = section.get("type").and_then(Value::as_str).filter(|_| is_short) {
            add(&[levels, &[variable_level(kind)]].concat());
        }
    }
}

/// Returns the form that a section's level has in a variable.
fn variable_level(level: &str) -> String {
    level.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}
