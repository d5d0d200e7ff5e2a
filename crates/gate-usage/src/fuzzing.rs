//! What holds for the bytes of any answer that is metered. Compiled for tests and fuzz targets only.

use crate::{ContentType, Dialect, Estimate, Meter, Usage};

#[path = "../../../fuzz/shared/pieces.rs"]
mod pieces;

use pieces::{pieces, settings_and_bytes};

const DIALECTS: [Dialect; 5] =
    [Dialect::ChatCompletions, Dialect::Responses, Dialect::Messages, Dialect::CountTokens, Dialect::Other];
const REQUEST: &[u8] = br#"{"model":"m","messages":[{"role":"user","content":"hello"}]}"#;

/// Checks one answer: however it is cut, meter and estimate say the same, and the events are those
/// that a plain reader counts.
///
/// The input is a line of settings, then the answer. The first setting (`0` to `4`) is the dialect,
/// the second is `j` for JSON, and all of them are the sizes of the pieces.
pub fn meter(input: &[u8]) {
    let (settings, answer) = settings_and_bytes(input);
    let dialect = settings.first().map_or(0, |byte| usize::from(byte % 5));
    let dialect = DIALECTS.get((dialect + 2) % 5).copied().unwrap_or(Dialect::Other);
    let content_type =
        if settings.get(1) == Some(&b'j') { ContentType::Json } else { ContentType::EventStream };
    let whole = read(dialect, content_type, &[answer]);
    let in_pieces = read(dialect, content_type, &pieces(answer, settings));
    assert_eq!(in_pieces, whole, "in pieces, and whole");
    assert_eq!(whole.bytes, u64::try_from(answer.len()).unwrap_or(u64::MAX));
    if content_type == ContentType::EventStream {
        assert_eq!(whole.event_count, naive_event_count(answer));
    }
}

/// Everything that is said about an answer, before and after its end.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    usage: [Usage; 2],
    has_terminal: [bool; 2],
    has_error: [bool; 2],
    is_at_boundary: bool,
    event_count: u64,
    bytes: u64,
    estimate: Option<Usage>,
}

fn read(dialect: Dialect, content_type: ContentType, pieces: &[&[u8]]) -> Said {
    let mut meter = Meter::new(dialect, content_type);
    let mut estimate = Estimate::begin(dialect, content_type, REQUEST);
    for piece in pieces {
        meter.push(piece);
        if let Some(estimate) = &mut estimate {
            estimate.push(piece);
        }
    }
    let mut ended = meter.clone();
    ended.finish();
    let once = ended.event_count();
    ended.finish();
    assert_eq!(ended.event_count(), once, "the end is noted once");
    Said {
        usage: [meter.usage(), ended.usage()],
        has_terminal: [meter.has_terminal(), ended.has_terminal()],
        has_error: [meter.has_error(), ended.has_error()],
        is_at_boundary: meter.is_at_event_boundary(),
        event_count: meter.event_count(),
        bytes: meter.bytes(),
        estimate: estimate.map(|estimate| estimate.usage()),
    }
}

/// Counts events with data as the WHATWG standard reads them, line by line.
fn naive_event_count(stream: &[u8]) -> u64 {
    let mut rest = stream.strip_prefix(b"\xef\xbb\xbf").unwrap_or(stream);
    let (mut count, mut has_data) = (0, false);
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
        let line = &rest[..at];
        let line_end = if rest[at..].starts_with(b"\r\n") { 2 } else { 1 };
        rest = &rest[at + line_end..];
        if line.is_empty() {
            count += u64::from(std::mem::take(&mut has_data));
        } else {
            has_data |= line == b"data" || line.starts_with(b"data:");
        }
    }
    count
}

#[cfg(test)]
#[path = "../../../fuzz/shared/replay.rs"]
mod replay;

#[test]
fn the_corpus_of_answers_reads_the_same_in_pieces() {
    replay::replay("meter", meter);
}
