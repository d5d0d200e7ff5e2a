//! `doctor`: checks a running gateway against what each client needs. It asks only what the client
//! itself would ask, and asks no provider unless `--live` says so or the gateway runs the demo.

mod call;
mod checks;
mod model;
mod report;
mod shape;
mod tls;

use std::process::ExitCode;

use gate_model_ref::ProviderKind;

use self::call::{Call, Caller};
use self::checks::Check;
use self::model::Offer;
use crate::{EXIT_CONFIG, fail};

/// The variable with the key that the gateway asks its clients for. Command lines can be read by
/// other users of the machine, so there is no flag for it.
const KEY_VARIABLE: &str = "EMX_GATE_KEY";
/// What is sent where no key is set: clients cannot be started without one.
const ANY_KEY: &str = "doctor";

/// What `doctor` is told.
#[derive(Debug, clap::Args, PartialEq, Eq)]
pub(crate) struct Args {
    /// Address of the gateway; the key that it asks for, if any, comes from EMX_GATE_KEY
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8848")]
    url: String,

    /// Check what Claude Code needs (without any of these four: what all of them need)
    #[arg(long)]
    claude_code: bool,

    /// Check what Codex needs
    #[arg(long)]
    codex: bool,

    /// Check what OpenAI's SDKs need
    #[arg(long)]
    openai: bool,

    /// Check what Anthropic's SDKs need
    #[arg(long)]
    anthropic: bool,

    /// Model to ask for [default: the first that the gateway lists for the kind]
    #[arg(long, value_name = "NAME")]
    model: Option<String>,

    /// Also send requests that reach a provider and may cost money
    #[arg(long)]
    live: bool,
}

/// A client whose needs are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    ClaudeCode,
    Codex,
    OpenAi,
    Anthropic,
}

impl Client {
    const ALL: [Self; 4] = [Self::ClaudeCode, Self::Codex, Self::OpenAi, Self::Anthropic];

    const fn kind(self) -> ProviderKind {
        match self {
            Self::ClaudeCode | Self::Anthropic => ProviderKind::Anthropic,
            Self::Codex | Self::OpenAi => ProviderKind::OpenAi,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::ClaudeCode => "claude-code",
            Self::Codex => "codex",
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
        }
    }
}

/// How a rule came out; the text says what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Pass(String),
    Fail(String),
    NotTried(String),
}

/// Runs every check and prints one line for each; exits with 1 unless none failed.
pub(crate) async fn run(args: &Args) -> ExitCode {
    let clients = args.clients();
    if let Some(name) = args.model.as_deref().filter(|_| !args.fits_a_kind(&clients)) {
        return fail(&format!("`--model {name}` says no kind: write its full name, or name the client too"));
    }
    let key = std::env::var(KEY_VARIABLE).ok().filter(|key| !key.is_empty());
    let caller = match Caller::try_new(&args.url, key.unwrap_or_else(|| ANY_KEY.to_owned())) {
        Ok(caller) => caller,
        Err(message) => return fail(&format!("`{}` {message}", args.url)),
    };
    if let Err(message) = caller.call(Call::get("/health")).await {
        return fail(&format!("no gateway answers at {}: {message}", caller.base()));
    }
    let mut offers = Vec::new();
    for kind in ProviderKind::ALL.into_iter().filter(|kind| clients.iter().any(|c| c.kind() == *kind)) {
        match Offer::find(&caller, kind, args.model_for(kind, &clients)).await {
            Ok(offer) => offers.push(offer),
            Err(message) => return fail(&message),
        }
    }
    anstream::println!("emx-gate doctor {} asks {}", env!("CARGO_PKG_VERSION"), caller.base());
    for offer in &offers {
        anstream::println!("{}", offer.announcement(args.live));
    }
    anstream::println!();
    let mut rows = Vec::new();
    for check in Check::ALL {
        let needed_by: Vec<Client> = clients.iter().copied().filter(|client| check.is_for(*client)).collect();
        let Some(first) = needed_by.first() else { continue };
        let Some(offer) = offers.iter().find(|offer| offer.kind == first.kind()) else { continue };
        rows.push(report::Row { check, needed_by, verdict: check.run(&caller, offer, args.live).await });
    }
    report::print(&rows);
    let has_failed = rows.iter().any(|row| matches!(row.verdict, Verdict::Fail(_)));
    if has_failed { ExitCode::from(EXIT_CONFIG) } else { ExitCode::SUCCESS }
}

impl Args {
    /// Returns the clients to check for, in one order.
    fn clients(&self) -> Vec<Client> {
        let is_named = |client: &Client| match client {
            Client::ClaudeCode => self.claude_code,
            Client::Codex => self.codex,
            Client::OpenAi => self.openai,
            Client::Anthropic => self.anthropic,
        };
        let named: Vec<Client> = Client::ALL.into_iter().filter(is_named).collect();
        if named.is_empty() { Client::ALL.to_vec() } else { named }
    }

    fn fits_a_kind(&self, clients: &[Client]) -> bool {
        clients.iter().any(|client| self.model_for(client.kind(), clients).is_some())
    }

    /// Returns the named model where it can be meant for the kind: its name says so, or no client of
    /// another kind is checked.
    fn model_for(&self, kind: ProviderKind, clients: &[Client]) -> Option<&str> {
        let name = self.model.as_deref()?;
        let said = name.split('.').next().and_then(ProviderKind::from_segment);
        let is_meant =
            said.map_or_else(|| clients.iter().all(|client| client.kind() == kind), |said| said == kind);
        is_meant.then_some(name)
    }
}

#[cfg(test)]
mod tests;
