//! The sources as layers, merged: every value that counts, each with the source that said it. What
//! the values mean is decided elsewhere.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

use figment::value::{Dict, Map, Tag, Value};
use figment::{Figment, Metadata, Profile, Provider};
use gate_model_ref::ProviderKind;

use crate::document::{self, Spellings};
use crate::environment;
use crate::file_access;
use crate::problem::Findings;
use crate::sources::{Content, File, Sources};
use crate::{Origin, Source};

/// Every layer merged, lowest precedence first.
#[derive(Debug)]
pub(crate) struct Layers {
    figment: Figment,
    /// What they say below `llm`.
    pub(crate) llm: Dict,
    /// The sources that figment knows by the text that shows them.
    by_name: BTreeMap<String, Source>,
    spellings: Spellings,
    /// Whether a file could not be read, so that nothing else can be judged.
    pub(crate) is_incomplete: bool,
    /// The sources that said something or, as files, were read.
    pub(crate) read: Vec<Source>,
    /// Traditional variables that are set but lost, by kind and setting.
    pub(crate) losers: BTreeMap<(ProviderKind, &'static str), Vec<Origin>>,
}

/// One layer: what one source says below `llm`. Figment asks for it once, and a copy of a large
/// configuration is dear, so it is given away.
struct Layer<'a> {
    source: &'a Source,
    llm: Cell<Dict>,
}

impl Provider for Layer<'_> {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.source.to_string())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let root = Dict::from([("llm".to_owned(), Value::Dict(Tag::Default, self.llm.take()))]);
        Ok(Profile::Default.collect(root))
    }
}

impl Layers {
    /// Reads every source. Once a file cannot be read or parsed, only the other files are read:
    /// what the variables mean depends on all of them.
    pub(crate) fn read(sources: &Sources, findings: &mut Findings) -> Self {
        let mut layers = Self {
            figment: Figment::new(),
            llm: Dict::new(),
            by_name: BTreeMap::new(),
            spellings: Spellings::default(),
            is_incomplete: false,
            read: Vec::new(),
            losers: BTreeMap::new(),
        };
        for file in &sources.files {
            layers.add_file(file, findings);
        }
        if layers.is_incomplete {
            return layers;
        }
        // Figment gives away copies only, so they are made no oftener than something changes.
        let mut llm = layers.merged();
        let variables = environment::layers(sources, &llm, findings);
        if !variables.is_empty() {
            for (source, variable) in variables {
                layers.merge(&source, variable);
            }
            llm = layers.merged();
        }
        let mut filled = BTreeSet::new();
        for traditional in environment::traditional(sources) {
            layers.fill_in(traditional, &llm, &mut filled);
        }
        for over in &sources.overrides {
            layers.merge(&Source::Flag(over.flag), nested(over.key.iter().copied(), over.value.clone()));
        }
        let is_changed = !(filled.is_empty() && sources.overrides.is_empty());
        layers.llm = if is_changed { layers.merged() } else { llm };
        layers
    }

    /// Adds what a file says; an absent one that may be absent says nothing.
    fn add_file(&mut self, file: &File, findings: &mut Findings) {
        let source = Source::File(file.path.clone());
        let llm = match read_file(file) {
            Ok(None) => return,
            Ok(Some(text)) => document::parse(&text, &source, &mut self.spellings, findings),
            Err(error) => {
                findings.source_problem(source.clone(), format!("cannot read this file: {error}"));
                None
            }
        };
        let Some(llm) = llm else {
            self.is_incomplete = true;
            return;
        };
        if !matches!(file.content, Content::Text(_)) {
            file_access::check_document(&file.path, &llm, findings);
        }
        self.merge(&source, llm);
    }

    /// Returns what the layers say below `llm`.
    fn merged(&self) -> Dict {
        self.figment.find_value("llm").ok().and_then(Value::into_dict).unwrap_or_default()
    }

    /// Returns who said a value.
    pub(crate) fn source(&self, value: &Value) -> Source {
        let name = self.figment.get_metadata(value.tag()).map(|metadata| metadata.name.as_ref());
        name.and_then(|name| self.by_name.get(name)).cloned().unwrap_or(Source::Default)
    }

    /// Returns who said a value and under which key, spelled as there.
    pub(crate) fn origin(&self, value: &Value, key: &str) -> Origin {
        let source = self.source(value);
        let key = self.spellings.key(&source, key).to_owned();
        Origin { source, key }
    }

    /// Adds a layer that wins over the ones before it.
    fn merge(&mut self, source: &Source, llm: Dict) {
        self.note(source);
        self.figment = std::mem::take(&mut self.figment).merge(Layer { source, llm: llm.into() });
    }

    /// Adds a traditional variable, which only fills in what nothing before it says: neither the
    /// kind itself nor `[llm.provider]`, from which the kind would inherit. `llm` is what files and the
    /// gateway's own variables say, `filled` what other traditional ones have filled in.
    fn fill_in(
        &mut self,
        traditional: environment::Traditional,
        llm: &Dict,
        filled: &mut BTreeSet<(ProviderKind, &'static str)>,
    ) {
        let environment::Traditional { source, kind, setting, value } = traditional;
        let provider = llm.get("provider").and_then(Value::as_dict);
        let root = provider.and_then(|provider| provider.get(kind.as_str())).and_then(Value::as_dict);
        let says = |table: &Dict| {
            table.contains_key(setting) || (setting == "api_key" && table.contains_key("api_keys"))
        };
        if [provider, root].into_iter().flatten().any(says) || !filled.insert((kind, setting)) {
            let key = format!("llm.provider.{kind}.{setting}");
            self.losers.entry((kind, setting)).or_default().push(Origin { source, key });
            return;
        }
        self.note(&source);
        let llm = nested(["provider", kind.as_str(), setting].into_iter(), Value::from(value));
        self.figment = std::mem::take(&mut self.figment).join(Layer { source: &source, llm: llm.into() });
    }

    /// Remembers that a source counts, and by which text figment knows it.
    fn note(&mut self, source: &Source) {
        self.by_name.insert(source.to_string(), source.clone());
        if !self.read.contains(source) {
            self.read.push(source.clone());
        }
    }
}

/// Wraps a value in one table for each segment of its path; an empty path gives an empty table.
pub(crate) fn nested<'a>(path: impl DoubleEndedIterator<Item = &'a str>, value: Value) -> Dict {
    let wrapped = path
        .rev()
        .fold(value, |inner, segment| Value::Dict(Tag::Default, Dict::from([(segment.to_owned(), inner)])));
    wrapped.into_dict().unwrap_or_default()
}

/// Returns a file's text, nothing if it may be absent and is.
fn read_file(file: &File) -> io::Result<Option<String>> {
    if let Content::Text(text) = &file.content {
        return Ok(Some(text.clone()));
    }
    match std::fs::read_to_string(&file.path) {
        Err(error)
            if error.kind() == io::ErrorKind::NotFound && matches!(file.content, Content::Optional) =>
        {
            Ok(None)
        }
        read => read.map(Some),
    }
}
