//! Environment variables as layers. A variable cannot spell every name, so it is matched against
//! the settings that exist and the sections that the files have.

mod names;

use std::collections::{BTreeMap, BTreeSet};

use figment::value::{Dict, Value};
use gate_model_ref::ProviderKind;

use crate::Source;
use crate::document::table_at;
use crate::layers::nested;
use crate::problem::Findings;
use crate::setting::{Setting, TableKind};
use crate::sources::Sources;

use names::Names;

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
    fn new(tables: &[&str], setting: &Setting) -> Self {
        Self { tables: tables.iter().map(|&level| level.to_owned()).collect(), setting: setting.name }
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

/// Returns one layer for each `EMX_LLM_` variable, in order of their names. `llm` is what the files
/// say.
pub(crate) fn layers(sources: &Sources, llm: &Dict, findings: &mut Findings) -> Vec<(Source, Dict)> {
    let names: BTreeSet<&str> = sources.variables.iter().map(|(name, _)| name.as_str()).collect();
    let known = Names::of(llm);
    let mut layers = Vec::new();
    let mut said: BTreeMap<Place, (&str, &str)> = BTreeMap::new();
    for name in names {
        let (Some(rest), Some(value)) = (name.strip_prefix(PREFIX), sources.variable(name)) else { continue };
        let source = Source::Env(name.to_owned());
        let places = match rest.strip_prefix('_') {
            Some(levels) => known.spelled_out(levels),
            None => known.short(rest),
        };
        let Some(place) = one(places, rest, known, &source, findings) else { continue };
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
    known: Names<'_>,
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
        let hint = match known.nearest(rest) {
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
