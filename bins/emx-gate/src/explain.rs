//! `explain NAME`: how a name resolves.

use std::process::ExitCode;

use gate_config::Sources;

use crate::{EXIT_CONFIG, load_usable};

/// Prints how a name resolves; exits with 1 if it resolves to nothing.
///
/// # Errors
/// The configuration is not usable.
pub(crate) fn run(sources: &Sources, name: &str) -> Result<ExitCode, String> {
    let loaded = load_usable(sources)?;
    let explanation = gate_config::explain(&loaded.config.providers, name, None);
    anstream::print!("{explanation}");
    Ok(if explanation.is_found() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_CONFIG) })
}
