//! Warnings about files that hold keys and that others on the machine can read.

use std::path::Path;

use figment::value::{Dict, Value};

use crate::Source;
use crate::problem::Findings;

/// Warns if a configuration file says a key itself and others can read it.
pub(crate) fn check_document(path: &Path, llm: &Dict, findings: &mut Findings) {
    if llm.values().any(holds_key) {
        check_key_file(path, findings);
    }
}

/// Warns if others can read a file that holds a key.
pub(crate) fn check_key_file(path: &Path, findings: &mut Findings) {
    if let Some(mode) = mode_for_others(path) {
        let message = format!(
            "holds a key, and others on this machine can read it (mode {mode:03o}); run `chmod 600 {}`",
            path.display()
        );
        findings.source_warning(Source::File(path.to_owned()), message);
    }
}

fn holds_key(value: &Value) -> bool {
    let is_literal = |text: &str| !text.starts_with("env:") && !text.starts_with("file:");
    value.as_dict().is_some_and(|dict| {
        let keys = match dict.get("api_keys") {
            Some(Value::Array(_, keys)) => keys.as_slice(),
            _ => &[],
        };
        dict.get("api_key").into_iter().chain(keys).filter_map(Value::as_str).any(is_literal)
            || dict.values().any(holds_key)
    })
}

/// Returns a file's permissions if its group or others can read it.
#[cfg(unix)]
fn mode_for_others(path: &Path) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
    (mode & 0o044 != 0).then_some(mode)
}

/// Elsewhere, permissions are lists that this check would have to guess about.
#[cfg(not(unix))]
fn mode_for_others(_path: &Path) -> Option<u32> {
    None
}
