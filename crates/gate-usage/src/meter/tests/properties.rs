//! What holds for every answer: the cut into pieces does not matter, line ends and comments do
//! not matter, and nothing makes a meter panic.

use proptest::prelude::*;

use super::cases::{CASES, Case};
use super::meter_behind;
use crate::{ContentType, Dialect, Meter, Usage};

/// Everything that a meter says.
#[derive(Debug, PartialEq, Eq)]
struct Report {
    usage: Usage,
    has_terminal: bool,
    is_at_event_boundary: bool,
    event_count: u64,
    bytes: u64,
}

impl Report {
    fn of(meter: &Meter) -> Self {
        Self {
            usage: meter.usage(),
            has_terminal: meter.has_terminal(),
            is_at_event_boundary: meter.is_at_event_boundary(),
            event_count: meter.event_count(),
            bytes: meter.bytes(),
        }
    }

    fn of_pieces(dialect: Dialect, content_type: ContentType, pieces: &[&[u8]]) -> Self {
        Self::of(&meter_behind(dialect, content_type, pieces.iter().copied()))
    }
}

/// Cuts a text at fractions of its length, given in 65536ths.
fn cut<'a>(text: &'a [u8], cuts: &[u16]) -> Vec<&'a [u8]> {
    let mut offsets: Vec<_> = cuts.iter().map(|cut| text.len() * usize::from(*cut) / 65536).collect();
    offsets.sort_unstable();
    let mut pieces = Vec::new();
    let mut start = 0;
    for offset in offsets.into_iter().chain([text.len()]) {
        pieces.push(&text[start..offset]);
        start = offset;
    }
    pieces
}

/// Writes a stream with other line ends, with comments before some lines, and with a mark before
/// its first byte: the same stream to whoever reads it by the standard.
fn rewritten(stream: &str, line_ends: &[&str], comments: &[bool], has_mark: bool) -> String {
    let mut text = String::from(if has_mark { "\u{feff}" } else { "" });
    let mut line_ends = line_ends.iter().cycle();
    let mut comments = comments.iter().cycle();
    for line in stream.split_terminator('\n') {
        let mut line_end = || line_ends.next().copied().unwrap_or("\n");
        if comments.next() == Some(&true) {
            text.push_str(": event: message_stop");
            text.push_str(line_end());
        }
        text.push_str(line);
        text.push_str(line_end());
    }
    text
}

/// A carriage return and a line feed that belong to two line ends would be read as one.
fn line_ends() -> impl Strategy<Value = Vec<&'static str>> {
    prop_oneof![
        prop::collection::vec(prop::sample::select(vec!["\n", "\r\n"]), 1..8),
        prop::collection::vec(prop::sample::select(vec!["\r", "\r\n"]), 1..8),
    ]
}

fn case() -> impl Strategy<Value = Case> {
    prop::sample::select(CASES)
}

fn stream_case() -> impl Strategy<Value = Case> {
    let is_stream = |case: &&Case| case.content_type == ContentType::EventStream;
    prop::sample::select(CASES.iter().filter(is_stream).copied().collect::<Vec<_>>())
}

/// Pieces of streams and of JSON, sense and nonsense mixed.
fn soup() -> impl Strategy<Value = Vec<u8>> {
    let words = [
        "data:",
        "data: ",
        "event: ",
        "data",
        ":",
        "\n",
        "\r",
        "\n\n",
        "\u{feff}",
        "[DONE]",
        "message_stop",
        "{",
        "}",
        "[",
        "]",
        "\"",
        "\\",
        ",",
        " ",
        "0",
        "12",
        ".5",
        "-",
        "null",
        "\"usage\":",
        "\"usage\":{",
        "\"prompt_tokens\":3",
        "\"choices\":[",
        "\"response\":{",
        "\"message\":{",
        "\"type\":\"error\"",
        "\"error\":{",
        "é",
    ];
    let word = prop_oneof![
        8 => prop::sample::select(words.to_vec()).prop_map(|word| word.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ];
    prop::collection::vec(word, 0..60).prop_map(|words| words.concat())
}

fn dialect() -> impl Strategy<Value = Dialect> {
    prop::sample::select(vec![
        Dialect::ChatCompletions,
        Dialect::Responses,
        Dialect::Messages,
        Dialect::CountTokens,
        Dialect::Other,
    ])
}

// Spec: monitoring L-18.
#[test]
fn every_answer_reads_the_same_cut_anywhere_in_two_and_byte_by_byte() {
    for case in CASES {
        let body = case.body.as_bytes();
        let whole = Report::of_pieces(case.dialect, case.content_type, &[body]);
        for at in 0..=body.len() {
            let halves = [&body[..at], &body[at..]];
            let report = Report::of_pieces(case.dialect, case.content_type, &halves);
            assert_eq!(report, whole, "{}: cut at {at}", case.name);
        }
        let bytes: Vec<_> = body.chunks(1).collect();
        let report = Report::of_pieces(case.dialect, case.content_type, &bytes);
        assert_eq!(report, whole, "{}: byte by byte", case.name);
    }
}

proptest! {
    // Spec: monitoring L-18.
    #[test]
    fn any_cut_of_an_answer_reads_the_same(
        case in case(),
        cuts in prop::collection::vec(any::<u16>(), 0..12),
    ) {
        let pieces = cut(case.body.as_bytes(), &cuts);
        let report = Report::of_pieces(case.dialect, case.content_type, &pieces);
        prop_assert_eq!(report.usage, case.usage);
        prop_assert_eq!(report.has_terminal, case.has_terminal);
        prop_assert_eq!(report.event_count, case.event_count);
    }

    // Spec: monitoring L-18.
    #[test]
    fn line_ends_comments_and_a_byte_order_mark_change_nothing(
        case in stream_case(),
        line_ends in line_ends(),
        comments in prop::collection::vec(any::<bool>(), 1..8),
        has_mark in any::<bool>(),
        cuts in prop::collection::vec(any::<u16>(), 0..12),
    ) {
        let stream = rewritten(case.body, &line_ends, &comments, has_mark);
        let report = Report::of_pieces(case.dialect, case.content_type, &cut(stream.as_bytes(), &cuts));
        prop_assert_eq!(report.usage, case.usage);
        prop_assert_eq!(report.has_terminal, case.has_terminal);
        prop_assert_eq!(report.event_count, case.event_count);
        prop_assert!(report.is_at_event_boundary);
    }

    // Spec: monitoring L-18.
    #[test]
    fn nonsense_reads_the_same_however_it_is_cut_and_breaks_nothing(
        dialect in dialect(),
        content_type in prop::sample::select(vec![ContentType::EventStream, ContentType::Json]),
        text in soup(),
        cuts in prop::collection::vec(any::<u16>(), 0..12),
    ) {
        let whole = Report::of_pieces(dialect, content_type, &[&text]);
        let report = Report::of_pieces(dialect, content_type, &cut(&text, &cuts));
        prop_assert_eq!(report, whole);
    }

    // Spec: api A-23.
    #[test]
    fn an_event_behind_nonsense_is_read_once_two_line_feeds_closed_it(text in soup()) {
        let mut meter = Meter::new(Dialect::Messages, ContentType::EventStream);
        meter.push(&text);
        // What the gateway does when it must add an event to a stream that broke off.
        if !meter.is_at_event_boundary() {
            meter.push(b"\n\n");
        }
        prop_assert!(meter.is_at_event_boundary());
        let count = meter.event_count();
        meter.push(b"event: message_delta\ndata: {\"usage\":{\"output_tokens\":77}}\n\n");
        prop_assert_eq!(meter.event_count(), count + 1);
        prop_assert_eq!(meter.usage().output_tokens, Some(77));
    }
}
