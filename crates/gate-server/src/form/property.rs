//! What holds for any form: the same however it is cut, as another reader reads it, in bounded
//! memory, and with a splice that changes nothing but the model.

use super::{Boundary, FormError, FormScanner, Key, MAX_PART_HEAD_BYTES, RoutingPart};
use crate::fuzzing::pieces::{pieces, settings_and_bytes};

/// Checks one form of the boundary `b`. The input is a line of settings, which are the sizes of the
/// pieces, then the form.
pub fn form(input: &[u8]) {
    let (settings, form) = settings_and_bytes(input);
    let found = scan(&[form]);
    assert_eq!(scan(&pieces(form, settings)), found, "in pieces, and whole");
    let Ok(model) = found else { return };
    let parts = naive_parts(form);
    let models: Vec<_> = parts.iter().filter(|(name, _)| name.eq_ignore_ascii_case("model")).collect();
    let Some(model) = model else {
        return assert!(models.iter().all(|(name, _)| name != "model"), "not found: {models:?}");
    };
    assert_eq!(form.get(model.span.clone()), Some(&*model.value));
    assert_eq!(models, [&("model".to_owned(), model.value.clone())]);

    let spliced = [&form[..model.span.start], b"o3", &form[model.span.end..]].concat();
    let span = model.span.start..model.span.start + 2;
    assert_eq!(scan(&[&spliced]), Ok(Some(RoutingPart { span, value: b"o3".to_vec() })));
    let rest = |parts: Vec<(String, Vec<u8>)>| {
        parts.into_iter().filter(|(name, _)| name != "model").collect::<Vec<_>>()
    };
    assert_eq!(rest(naive_parts(&spliced)), rest(parts), "the other parts");
}

fn scan(pieces: &[&[u8]]) -> Result<Option<RoutingPart>, FormError> {
    let Ok(boundary) = Boundary::parse("boundary=b") else { return Ok(None) };
    let mut scanner = FormScanner::new(&boundary, Key::Model);
    for piece in pieces {
        scanner.push(piece)?;
        let bound = MAX_PART_HEAD_BYTES.max(Key::Model.max_bytes()) + 16;
        assert!(scanner.carry.len() <= bound + piece.len(), "{} bytes are held", scanner.carry.len());
    }
    scanner.finish()?;
    Ok(scanner.found().cloned())
}

/// Reads the names and contents of a form that is known to be one, by cutting it at its boundaries.
fn naive_parts(form: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut rest = [b"\r\n", form].concat();
    let mut parts = Vec::new();
    while let Some(at) = find(&rest, b"\r\n--b") {
        rest.drain(..at + 5);
        if rest.starts_with(b"--") {
            break;
        }
        let content = find(&rest, b"\r\n\r\n").map_or(rest.len(), |at| at + 4);
        let end = find(&rest[content..], b"\r\n--b").map_or(rest.len(), |at| content + at);
        parts.push((naive_name(&rest[..content]), rest[content..end].to_vec()));
    }
    parts
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// Reads the `name` of a part as a state machine over the characters of its disposition.
fn naive_name(head: &[u8]) -> String {
    let head: String = head.iter().copied().map(char::from).collect();
    let is_disposition = |line: &&str| line.to_ascii_lowercase().starts_with("content-disposition:");
    let line = head.split("\r\n").find(is_disposition).unwrap_or_default();
    let (mut fields, mut field) = (Vec::new(), String::new());
    let (mut is_quoted, mut is_escaped) = (false, false);
    for c in line.chars() {
        match c {
            _ if std::mem::take(&mut is_escaped) => field.push(c),
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            ';' if !is_quoted => fields.push(std::mem::take(&mut field)),
            // Outside quotes white space means nothing.
            ' ' | '\t' if !is_quoted => {}
            _ => field.push(c),
        }
    }
    fields.push(field);
    let named = |field: &String| {
        let (key, value) = field.split_once('=')?;
        key.eq_ignore_ascii_case("name").then(|| value.to_owned())
    };
    fields.iter().find_map(named).unwrap_or_default()
}
