//! What holds for any event stream: the same is taken out however it is cut, in bounded memory, and
//! nothing but whole frames of usage without a choice.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::{ExtraFrame, MAX_HELD_BYTES};
use crate::fuzzing::pieces::{pieces, settings_and_bytes};

/// Checks one stream. The input is a line of settings, which are the sizes of the pieces, then the
/// stream.
pub fn extra_frame(input: &[u8]) {
    let (settings, stream) = settings_and_bytes(input);
    let whole = filtered(&[stream]);
    assert_eq!(text(&filtered(&pieces(stream, settings))), text(&whole), "in pieces, and whole");
    let mut passed = &*whole;
    for event in naive_events(stream) {
        match passed.strip_prefix(event) {
            Some(rest) => passed = rest,
            None => assert!(may_be_extra(event), "lost or changed: {:?}", text(event)),
        }
    }
    assert_eq!(text(passed), "", "added");
}

fn filtered(pieces: &[&[u8]]) -> Vec<u8> {
    let mut filter = ExtraFrame::default();
    let mut passed = Vec::new();
    for piece in pieces {
        passed.extend_from_slice(&filter.push(Bytes::copy_from_slice(piece)));
        assert!(filter.held.len() <= MAX_HELD_BYTES);
    }
    passed.extend_from_slice(&filter.finish());
    assert!(filter.release().is_empty());
    passed
}

/// Cuts a stream behind its blank lines, and behind comments that stand between events.
fn naive_events(mut stream: &[u8]) -> Vec<&[u8]> {
    let mut events = Vec::new();
    let (mut line, mut at) = (0, 0);
    while let Some(byte) = stream.get(at) {
        at += 1;
        if !matches!(byte, b'\r' | b'\n') {
            continue;
        }
        let is_blank = at == line + 1;
        at += usize::from(*byte == b'\r' && stream.get(at) == Some(&b'\n'));
        line = at;
        if is_blank || stream.starts_with(b":") {
            let (event, rest) = stream.split_at(at);
            events.push(event);
            (stream, line, at) = (rest, 0, 0);
        }
    }
    events.push(stream);
    events
}

/// Tells whether the data of an event is an object with an empty `choices` and a `usage`.
fn may_be_extra(event: &[u8]) -> bool {
    let event = String::from_utf8_lossy(event);
    let lines = event.split(['\r', '\n']).filter_map(|line| line.strip_prefix("data:"));
    let data = lines.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect::<Vec<_>>().join("\n");
    let Ok(members) = serde_json::from_str::<BTreeMap<String, &RawValue>>(&data) else { return false };
    let get = |name| members.get(name).map_or("", |value| value.get());
    get("choices").chars().filter(|c| !c.is_ascii_whitespace()).eq("[]".chars())
        && get("usage").starts_with('{')
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
