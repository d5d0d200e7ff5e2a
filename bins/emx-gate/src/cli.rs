//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use gate_config::{LogFormat, SourceArgs};

use crate::doctor;

/// An LLM gateway that does not translate: many providers behind one address, chosen by the `model`
/// in the body.
#[derive(Debug, Parser)]
#[command(name = "emx-gate", version, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,

    /// Configuration file, read instead of ~/.emx/config.toml and ./config.toml
    #[arg(short, long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,

    /// Address to listen on [default: 127.0.0.1]
    #[arg(long, value_name = "HOST")]
    host: Option<String>,

    /// Port to listen on; 0 takes any free one [default: 8848]
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,

    /// Longest wait for a byte from a provider; 0 waits for ever [default: 600 to the first, then 300]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<f64>,

    /// Shape of log lines [default: text]
    #[arg(long, value_name = "FORMAT", value_enum)]
    log_format: Option<Format>,

    /// Serve without authentication although others can reach the address
    #[arg(long)]
    insecure_allow_unauthenticated: bool,

    /// Start with two built-in mock providers: no key, no network, no file of yours is read
    #[arg(long, conflicts_with_all = ["validate", "test", "test_provider"])]
    pub(crate) demo: bool,

    /// Check the configuration, print every problem or what it means, and exit
    #[arg(long, group = "mode")]
    validate: bool,

    /// Ask each provider for its models, print who answers and how fast, and exit
    #[arg(long, alias = "test-config", group = "mode")]
    test: bool,

    /// The same for one provider, such as `openai.azure`
    #[arg(long, value_name = "NAME", group = "mode")]
    test_provider: Option<String>,

    /// Print how a model's name resolves, and exit with 1 if it does not
    #[arg(long, value_name = "NAME", group = "mode")]
    validate_model: Option<String>,
}

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Task<'a> {
    /// Serve until a signal.
    Serve,
    /// Check the configuration.
    Validate,
    /// Ask every provider, or one, for its models.
    Test { only: Option<&'a str> },
    /// Show how this name resolves.
    Explain(&'a str),
    /// Check a running gateway.
    Doctor(&'a doctor::Args),
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print how a model's name resolves: each step, the target, and where each setting came from
    Explain {
        /// The name, as a client would send it
        name: String,
    },
    /// Check a running gateway against what each client needs, one line a rule; exit 1 if one fails
    Doctor(doctor::Args),
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Text,
    Json,
}

const AFTER_HELP: &str = "\
Files: $EMX_HOME/config.toml or ~/.emx/config.toml, then ./config.toml. Then the environment
(EMX_LLM_…, and OPENAI_API_KEY, ANTHROPIC_API_KEY and their like for what is still unset), then
these flags. docs/configuration.md has every key.

Exit codes: 0 clean end; 1 problem of the configuration or the address, failed --test, name that
resolves to nothing, or second signal; 2 wrong usage.

Try it:  emx-gate --demo";

impl Cli {
    /// Reads a command line, with the program's name first.
    ///
    /// # Errors
    /// It is wrong, or asks for help or the version; the error prints itself and knows the exit code.
    pub(crate) fn try_from_args<T>(arguments: impl IntoIterator<Item = T>) -> Result<Self, clap::Error>
    where
        T: Into<OsString> + Clone,
    {
        let cli = Self::try_parse_from(arguments)?;
        // What clap cannot say: a group holds no subcommand, and of a global flag behind the
        // subcommand it checks no conflict.
        let has_mode =
            cli.validate || cli.test || cli.test_provider.is_some() || cli.validate_model.is_some();
        let conflict = if cli.command.is_some() && has_mode {
            "`explain` and `doctor` cannot be used with --validate, --test, --test-provider or --validate-model"
        } else if cli.demo && cli.config.is_some() {
            "--demo cannot be used with --config: it reads no file"
        } else {
            return Ok(cli);
        };
        Err(Self::command().error(ErrorKind::ArgumentConflict, conflict))
    }

    /// Returns what is to be done.
    pub(crate) fn task(&self) -> Task<'_> {
        let name = match &self.command {
            Some(Command::Explain { name }) => Some(name),
            Some(Command::Doctor(arguments)) => return Task::Doctor(arguments),
            None => self.validate_model.as_ref(),
        };
        match name {
            Some(name) => Task::Explain(name),
            None if self.validate => Task::Validate,
            None if self.test || self.test_provider.is_some() => {
                Task::Test { only: self.test_provider.as_deref() }
            }
            None => Task::Serve,
        }
    }

    /// Returns what the command line says about the configuration.
    pub(crate) fn source_args(&self) -> SourceArgs {
        SourceArgs {
            config: self.config.clone(),
            host: self.host.clone(),
            port: self.port,
            timeout: self.timeout,
            log_format: self.log_format.map(|format| match format {
                Format::Text => LogFormat::Text,
                Format::Json => LogFormat::Json,
            }),
            allow_unauthenticated: self.insecure_allow_unauthenticated,
        }
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() && (0.0..=1e9).contains(&seconds) => Ok(seconds),
        _ => Err("expected seconds, such as 30 or 0.5".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    // Spec: mvp M-5.
    #[test]
    fn flags_become_settings() {
        let cli = Cli::try_parse_from([
            "emx-gate",
            "-c",
            "a.toml",
            "--host",
            "::1",
            "--port",
            "0",
            "--timeout",
            "2.5",
            "--log-format",
            "json",
            "--insecure-allow-unauthenticated",
        ])
        .unwrap();
        let args = cli.source_args();
        assert_eq!(args.config, Some("a.toml".into()));
        assert_eq!((args.host.as_deref(), args.port, args.timeout), (Some("::1"), Some(0), Some(2.5)));
        assert_eq!((args.log_format, args.allow_unauthenticated), (Some(LogFormat::Json), true));
    }

    // Spec: security S-24.
    #[test]
    fn no_flag_takes_a_key() {
        for argument in Cli::command().get_arguments() {
            let name = argument.get_id().as_str();
            assert!(!["key", "token", "secret", "password"].iter().any(|word| name.contains(word)), "{name}");
        }
    }

    // Spec: mvp M-5, M-6, M-8, M-9.
    #[test]
    fn the_command_line_says_what_to_do() {
        for (arguments, task) in [
            (&["emx-gate"][..], Task::Serve),
            (&["emx-gate", "--demo"], Task::Serve),
            (&["emx-gate", "--validate", "-c", "x"], Task::Validate),
            (&["emx-gate", "--test"], Task::Test { only: None }),
            (&["emx-gate", "--test-config"], Task::Test { only: None }),
            (&["emx-gate", "--test-provider", "openai.azure"], Task::Test { only: Some("openai.azure") }),
            (&["emx-gate", "explain", "gpt-4"], Task::Explain("gpt-4")),
            (&["emx-gate", "--validate-model", "gpt-4"], Task::Explain("gpt-4")),
            (&["emx-gate", "explain", "gpt-4", "-c", "x"], Task::Explain("gpt-4")),
            (&["emx-gate", "-c", "x", "explain", "gpt-4"], Task::Explain("gpt-4")),
            (&["emx-gate", "--demo", "explain", "gpt-4"], Task::Explain("gpt-4")),
            (&["emx-gate", "--demo", "--validate-model", "gpt-4"], Task::Explain("gpt-4")),
        ] {
            assert_eq!(Cli::try_from_args(arguments).unwrap().task(), task, "{arguments:?}");
        }
    }

    // Spec: mvp M-12.
    #[test]
    fn modes_exclude_each_other() {
        for arguments in [
            &["emx-gate", "--validate", "--test"][..],
            &["emx-gate", "--demo", "--config", "x"],
            &["emx-gate", "--demo", "explain", "x", "--config", "y"],
            &["emx-gate", "--demo", "--validate"],
            &["emx-gate", "--demo", "--test"],
            &["emx-gate", "--validate", "explain", "x"],
            &["emx-gate", "--test", "explain", "x"],
            &["emx-gate", "--test-provider", "openai", "explain", "x"],
            &["emx-gate", "--validate-model", "y", "explain", "x"],
            &["emx-gate", "--timeout", "-1"],
            &["emx-gate", "--timeout", "soon"],
            &["emx-gate", "--port", "70000"],
            &["emx-gate", "--nonsense"],
        ] {
            assert_eq!(Cli::try_from_args(arguments).unwrap_err().exit_code(), 2, "{arguments:?}");
        }
    }
}
