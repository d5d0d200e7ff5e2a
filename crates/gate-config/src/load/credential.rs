//! Keys: literal, in a variable (`env:NAME`), or in a file (`file:PATH`). No message shows one.

use crate::sources::Sources;
use crate::{Secret, Source};

use super::own::beside;

/// Returns the key that a setting means.
///
/// # Errors
/// Why it means none. What follows `env:` and `file:` is shown only where it cannot be a key that
/// someone pasted there.
pub(super) fn follow(text: &str, source: &Source, sources: &Sources) -> Result<Secret, String> {
    let key = if let Some(name) = text.strip_prefix("env:") {
        let shown = if is_variable_name(name) { format!("`{name}`") } else { "that it names".to_owned() };
        let value = sources.variable(name);
        value.ok_or_else(|| format!("the environment variable {shown} is not set, or is empty"))?.to_owned()
    } else if let Some(path) = text.strip_prefix("file:") {
        read_file(path, source)?
    } else {
        text.to_owned()
    };
    check(&key)?;
    Ok(Secret::new(key))
}

fn read_file(path: &str, source: &Source) -> Result<String, String> {
    let shown = if path.contains(['/', '\\']) { format!("`{path}`") } else { "that it names".to_owned() };
    let content = std::fs::read_to_string(beside(path, source));
    let content = content.map_err(|error| format!("cannot read the file {shown}: {error}"))?;
    // Editors and `echo` end a file with one line break that is no part of the key.
    let key =
        content.strip_suffix('\n').map_or(content.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    if key.is_empty() {
        return Err(format!("the file {shown} is empty"));
    }
    Ok(key.to_owned())
}

/// Checks that a header can carry a key as it is.
fn check(key: &str) -> Result<(), String> {
    if let Some(at) = key.bytes().position(|byte| !(b' '..=b'~').contains(&byte)) {
        return Err(format!(
            "the key holds a character that no header can carry (byte {at}): only printable ASCII"
        ));
    }
    if key.trim() != key {
        return Err("the key begins or ends with a space, which no header can carry".to_owned());
    }
    Ok(())
}

/// Tells whether a text looks like a variable's name, and so is no key.
fn is_variable_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}
