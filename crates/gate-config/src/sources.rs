//! Where configuration comes from. This is the only place that reads the environment of the
//! process; it reads no file yet and understands nothing.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use figment::value::Value;

use crate::LogFormat;

/// What the command line says about the configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SourceArgs {
    /// `--config`: the only file to read; it must exist.
    pub config: Option<PathBuf>,
    /// `--host`
    pub host: Option<String>,
    /// `--port`
    pub port: Option<u16>,
    /// `--timeout`, in seconds: the longest wait for a byte from an upstream, that is both
    /// `llm.timeout.first_byte` and `llm.timeout.read`; 0 means no limit.
    pub timeout: Option<f64>,
    /// `--log-format`
    pub log_format: Option<LogFormat>,
    /// `--insecure-allow-unauthenticated`
    pub allow_unauthenticated: bool,
}

/// The sources of one configuration, lowest precedence first: files, environment, command line.
///
/// It holds a copy of the environment, keys included; `Debug` shows names only.
#[derive(Clone, Default)]
pub struct Sources {
    pub(crate) files: Vec<File>,
    pub(crate) variables: Vec<(String, String)>,
    pub(crate) overrides: Vec<Override>,
}

/// A file, or a text that stands for one.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) path: PathBuf,
    pub(crate) content: Content,
}

/// Where a file's text is found.
#[derive(Clone)]
pub(crate) enum Content {
    /// On disk; it must exist.
    Required,
    /// On disk; it may be absent.
    Optional,
    /// Here.
    Text(String),
}

/// A setting of `[llm]` from the command line.
#[derive(Clone, Debug)]
pub(crate) struct Override {
    pub(crate) flag: &'static str,
    /// The key below `llm`, one segment each.
    pub(crate) key: &'static [&'static str],
    pub(crate) value: Value,
}

/// The variables that a demo respects: it must start alike on every machine.
const DEMO_VARIABLES: [&str; 3] = ["EMX_LLM_HOST", "EMX_LLM_PORT", "EMX_LLM_LOG_LEVEL"];

impl Sources {
    /// Returns no source at all: built-in defaults only. Nothing of the process is read.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Returns the sources of a gateway started in this process: `$EMX_HOME/config.toml` or
    /// `~/.emx/config.toml`, then `./config.toml`, or the file of `--config` alone; then the
    /// environment; then the command line.
    pub fn from_process(args: SourceArgs) -> Self {
        Self::of(args, std::env::vars_os(), std::env::home_dir())
    }

    /// Returns the sources of a demo: a built-in text, the variables that say where to listen and
    /// how much to log, and the command line. No file of the user and no key is read.
    pub fn for_demo(text: &str, args: SourceArgs) -> Self {
        Self::of_demo(text, args, std::env::vars_os())
    }

    /// Adds a file that must exist; it wins over the ones before it.
    #[must_use]
    pub fn with_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.files.push(File { path: path.into(), content: Content::Required });
        self
    }

    /// Adds a TOML text under a name that messages show; it wins over the ones before it.
    #[must_use]
    pub fn with_text(mut self, name: &str, toml: &str) -> Self {
        self.files.push(File { path: name.into(), content: Content::Text(toml.to_owned()) });
        self
    }

    /// Adds variables, as if they were the environment's.
    #[must_use]
    pub fn with_env<N: Into<String>, V: Into<String>>(
        mut self,
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        self.variables.extend(variables.into_iter().map(|(name, value)| (name.into(), value.into())));
        self
    }

    /// Adds what the command line says, except for its file.
    #[must_use]
    pub fn with_args(mut self, args: SourceArgs) -> Self {
        let mut add = |flag, key, value: Option<Value>| {
            self.overrides.extend(value.map(|value| Override { flag, key, value }));
        };
        add("--host", &["host"], args.host.map(Value::from));
        add("--port", &["port"], args.port.map(Value::from));
        add("--timeout", &["timeout", "first_byte"], args.timeout.map(Value::from));
        add("--timeout", &["timeout", "read"], args.timeout.map(Value::from));
        add("--log-format", &["log_format"], args.log_format.map(|format| Value::from(format.as_str())));
        let insecure = args.allow_unauthenticated.then(|| Value::from(true));
        add("--insecure-allow-unauthenticated", &["allow_unauthenticated"], insecure);
        self
    }

    /// Finds a variable; an empty one counts as unset, as shells and container tools often cannot
    /// unset one.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        // The last one wins, as with a process that was started with `env A=1 A=2`.
        let found = self.variables.iter().rev().find(|(candidate, _)| candidate == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    fn of(
        mut args: SourceArgs,
        variables: impl Iterator<Item = (OsString, OsString)>,
        home: Option<PathBuf>,
    ) -> Self {
        let mut sources = Self::empty().with_env(readable(variables));
        match args.config.take() {
            Some(path) => sources = sources.with_file(path),
            None => {
                let emx_home = sources.variable("EMX_HOME").map(PathBuf::from);
                let user = emx_home.or_else(|| home.map(|home| home.join(".emx")));
                sources.add_optional(user.map(|directory| directory.join("config.toml")));
                sources.add_optional(Some(Path::new(".").join("config.toml")));
            }
        }
        sources.with_args(args)
    }

    fn of_demo(text: &str, args: SourceArgs, variables: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let respected = readable(variables).filter(|(name, _)| DEMO_VARIABLES.contains(&name.as_str()));
        Self::empty().with_text("built-in demo", text).with_env(respected).with_args(args)
    }

    fn add_optional(&mut self, path: Option<PathBuf>) {
        let Some(path) = path else { return };
        // Started inside the user's own directory, both names are one file.
        let is_same = |file: &File| match (file.path.canonicalize(), path.canonicalize()) {
            (Ok(one), Ok(other)) => one == other,
            _ => false,
        };
        if !self.files.iter().any(is_same) {
            self.files.push(File { path, content: Content::Optional });
        }
    }
}

/// Returns variables as text. A value that is not Unicode is kept with replacement characters:
/// whatever it is for, its own check refuses it and names the variable.
fn readable(variables: impl Iterator<Item = (OsString, OsString)>) -> impl Iterator<Item = (String, String)> {
    variables
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.variables.iter().map(|(name, _)| name).collect();
        f.debug_struct("Sources")
            .field("files", &self.files)
            .field("variables", &names)
            .field("overrides", &self.overrides)
            .finish()
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Required => "Required",
            Self::Optional => "Optional",
            Self::Text(_) => "Text(…)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> impl Iterator<Item = (OsString, OsString)> {
        pairs.iter().map(|(name, value)| (name.into(), value.into())).collect::<Vec<_>>().into_iter()
    }

    fn paths(sources: &Sources) -> Vec<&str> {
        sources.files.iter().filter_map(|file| file.path.to_str()).collect()
    }

    // Spec: config C-1, C-2, C-3, C-15.
    #[test]
    fn exactly_the_named_files_are_read() {
        let check = |args: SourceArgs, env: &[(&str, &str)], home: Option<&str>, expected: &[&str]| {
            let sources = Sources::of(args, variables(env), home.map(PathBuf::from));
            assert_eq!(paths(&sources), expected, "{env:?} {home:?}");
        };
        let none = SourceArgs::default;
        check(none(), &[], Some("/home/u"), &["/home/u/.emx/config.toml", "./config.toml"]);
        check(none(), &[("EMX_HOME", "/emx")], Some("/home/u"), &["/emx/config.toml", "./config.toml"]);
        check(none(), &[("EMX_HOME", "")], Some("/home/u"), &["/home/u/.emx/config.toml", "./config.toml"]);
        check(none(), &[], None, &["./config.toml"]);
        let named = SourceArgs { config: Some("x.toml".into()), ..none() };
        check(named, &[("EMX_HOME", "/emx")], Some("/home/u"), &["x.toml"]);
    }

    #[test]
    fn a_default_file_may_be_absent_and_a_named_one_may_not() {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path().to_str().unwrap().to_owned();
        let absent = Sources::of(SourceArgs::default(), variables(&[("EMX_HOME", &home)]), None);
        assert!(absent.files.iter().all(|file| matches!(file.content, Content::Optional)));
        assert!(crate::load(&absent).is_ok());
        let path = directory.path().join("config.toml");
        let named = SourceArgs { config: Some(path.clone()), ..SourceArgs::default() };
        assert!(crate::load(&Sources::of(named, variables(&[]), None)).is_err());
        // What is there but cannot be read is never taken for absent.
        std::fs::create_dir(path).unwrap();
        assert!(crate::load(&absent).is_err());
    }

    // Spec: mvp M-2.
    #[test]
    fn a_demo_reads_neither_files_nor_keys() {
        let env = [
            ("EMX_LLM_PORT", "1"),
            ("EMX_LLM_HOST", "localhost"),
            ("EMX_LLM_LOG_LEVEL", "debug"),
            ("EMX_LLM_OPENAI_API_KEY", "canary"),
            ("OPENAI_API_KEY", "canary"),
            ("EMX_HOME", "/emx"),
        ];
        let args = SourceArgs { config: Some("x.toml".into()), port: Some(2), ..SourceArgs::default() };
        let demo = Sources::of_demo("[llm.provider.openai.demo]\napi_key = 'd'", args, variables(&env));
        assert_eq!(paths(&demo), ["built-in demo"]);
        let names: Vec<_> = demo.variables.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["EMX_LLM_PORT", "EMX_LLM_HOST", "EMX_LLM_LOG_LEVEL"]);
        assert_eq!(crate::load(&demo).unwrap().config.server.port, 2);
    }

    #[cfg(unix)]
    #[test]
    fn a_variable_that_is_not_unicode_is_refused_where_it_is_used() {
        use std::os::unix::ffi::OsStringExt;
        let broken = [("EMX_LLM_OPENAI_API_KEY".into(), OsString::from_vec(vec![b'k', 0xff]))];
        let sources =
            Sources::of(SourceArgs { config: None, ..SourceArgs::default() }, broken.into_iter(), None);
        let problems = crate::load(&sources).unwrap_err();
        assert_eq!(
            problems.to_string(),
            "llm.provider.openai.api_key (environment variable EMX_LLM_OPENAI_API_KEY): the key holds a character that \
             no header can carry (byte 1): only printable ASCII"
        );
    }

    // Spec: config C-41.
    #[test]
    fn debug_output_has_the_names_of_variables_only() {
        let sources = Sources::empty().with_text("a.toml", "canary").with_env([("KEY", "canary")]);
        let shown = format!("{sources:?}");
        assert!(shown.contains("KEY") && shown.contains("a.toml") && !shown.contains("canary"), "{shown}");
    }
}
