//! `--test`: asks each provider for its list of models and prints who answers.

use std::io::{IsTerminal, stderr};
use std::process::ExitCode;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use gate_config::{ProviderIndex, Sources};
use gate_server::{Gateway, Probe, ProbeError};

use crate::{EXIT_CONFIG, load_usable, unusable};

/// How long one provider gets.
const LIMIT: Duration = Duration::from_secs(15);

/// One line of the table.
struct Row {
    provider: String,
    url: String,
    outcome: Result<Probe, ProbeError>,
}

/// Asks all configured providers, or one, and prints a table; exits with 1 unless all of them
/// answer and take the key.
///
/// # Errors
/// The configuration is not usable, or has nobody to ask.
pub(crate) async fn run(sources: &Sources, only: Option<&str>) -> Result<ExitCode, String> {
    let loaded = load_usable(sources)?;
    let tree = &loaded.config.providers;
    let chosen: Vec<ProviderIndex> = match only {
        Some(name) => match tree.find(name) {
            Some(provider) => vec![provider],
            None => {
                let known: Vec<&str> = tree.providers().map(|(_, provider)| provider.id.as_str()).collect();
                return Err(format!("no provider `{name}`; there are {}", known.join(", ")));
            }
        },
        None => {
            tree.providers().filter(|(_, provider)| provider.is_configured).map(|(index, _)| index).collect()
        }
    };
    if chosen.is_empty() {
        return Err("no provider is configured; `emx-gate --demo` works without one".to_owned());
    }
    let gateway = Gateway::builder(loaded.config.clone()).build().map_err(unusable)?;
    let mut rows = Vec::with_capacity(chosen.len());
    for index in chosen {
        let provider = tree.provider(index);
        if stderr().is_terminal() {
            anstream::eprint!("\rasking {} …\x1b[K", provider.id);
        }
        let url = provider.url("/models", None);
        rows.push(Row { provider: provider.id.clone(), url, outcome: gateway.probe(index, LIMIT).await });
    }
    if stderr().is_terminal() {
        anstream::eprint!("\r\x1b[K");
    }
    print(&rows);
    Ok(if rows.iter().all(Row::is_good) { ExitCode::SUCCESS } else { ExitCode::from(EXIT_CONFIG) })
}

impl Row {
    fn is_good(&self) -> bool {
        self.outcome.as_ref().is_ok_and(|probe| probe.status.is_success())
    }

    fn text(&self) -> String {
        match &self.outcome {
            Err(error) => format!("unreachable: {error}"),
            Ok(probe) => {
                let latency = format!("{} ms", probe.latency.as_millis());
                match probe.status.as_u16() {
                    200..=299 => match probe.models {
                        Some(models) => format!("ok, {latency}, {models} models"),
                        None => format!("ok, {latency}"),
                    },
                    status @ (401 | 403) => {
                        format!("the key is refused ({status}), {latency}: check `api_key`")
                    }
                    404 => format!("answers, {latency}, but has no list of models (404): check `api_base`"),
                    status => format!("answers with {status}, {latency}"),
                }
            }
        }
    }
}

fn print(rows: &[Row]) {
    let width = |text: fn(&Row) -> &str| rows.iter().map(|row| text(row).chars().count()).max().unwrap_or(0);
    let (names, urls) = (width(|row| &row.provider), width(|row| &row.url));
    let good = Style::new().fg_color(Some(AnsiColor::Green.into()));
    let bad = Style::new().fg_color(Some(AnsiColor::Red.into()));
    for row in rows {
        let style = if row.is_good() { good } else { bad };
        anstream::println!("{:<names$}  {:<urls$}  {style}{}{style:#}", row.provider, row.url, row.text());
    }
}
