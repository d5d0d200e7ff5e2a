//! What a meter reads from the answers of each vendor, and from answers that break.

mod cases;
mod properties;

use super::*;
use cases::{CASES, Case};

/// The five counts in the order of the struct, so that a row of a table stays one line.
const fn usage([input, output, read, written, reasoning]: [Option<u64>; 5]) -> Usage {
    Usage {
        input_tokens: input,
        output_tokens: output,
        cache_read_tokens: read,
        cache_write_tokens: written,
        reasoning_tokens: reasoning,
    }
}

/// Returns the meter behind an answer that came in these pieces.
fn meter_behind<'a>(
    dialect: Dialect,
    content_type: ContentType,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Meter {
    let mut meter = Meter::new(dialect, content_type);
    for piece in pieces {
        meter.push(piece);
    }
    meter.finish();
    meter
}

fn check(case: &Case) {
    let meter = meter_behind(case.dialect, case.content_type, [case.body.as_bytes()]);
    let Case { name, .. } = case;
    assert_eq!(meter.usage(), case.usage, "{name}: usage");
    assert_eq!(meter.has_terminal(), case.has_terminal, "{name}: terminal");
    assert_eq!(meter.event_count(), case.event_count, "{name}: events");
    assert_eq!(meter.bytes(), u64::try_from(case.body.len()).unwrap(), "{name}: bytes");
    let is_stream = case.content_type == ContentType::EventStream;
    assert_eq!(meter.is_at_event_boundary(), is_stream, "{name}: boundary");
}

// Spec: monitoring L-15, L-16.
#[test]
fn every_dialect_reports_its_usage_and_its_end() {
    CASES.iter().for_each(check);
}

// Spec: monitoring L-17.
#[test]
fn the_source_is_the_provider_or_nobody() {
    let mut meter = Meter::new(Dialect::Embeddings, ContentType::Json);
    assert_eq!(meter.result(), (Usage::default(), UsageSource::None));
    meter.push(b"{\"usage\":{\"prompt_tokens\":0}}");
    let zero = Usage { input_tokens: Some(0), ..Usage::default() };
    assert_eq!(meter.result(), (zero, UsageSource::Provider));
}

// Spec: api A-23.
#[test]
fn a_stream_is_between_events_only_behind_a_blank_line() {
    fn check(stream: &str, expected: bool) {
        let meter = meter_behind(Dialect::ChatCompletions, ContentType::EventStream, [stream.as_bytes()]);
        assert_eq!(meter.is_at_event_boundary(), expected, "{stream:?}");
    }
    check("", true);
    check("\u{feff}", true);
    check("\n", true);
    check("data: x", false);
    check("data: x\n", false);
    check("data: x\n\n", true);
    check("data: x\r\n\r\n", true);
    check("data: x\r\n\r", true);
    check("data: x\r\n", false);
    check("data: x\r\r", true);
    check("da", false);
    check("id: 3\n", false);
    check("retry: 3\n\n", true);
    check(": wait\n", true);
    check(": wai", false);
    check("data: x\n: wait\n", false);
    check("data: x\n\n: wait\n", true);
}

// Spec: monitoring L-15; api A-23, A-24.
#[test]
fn a_stream_that_is_cut_keeps_what_was_reported_and_has_no_end() {
    let start = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":\
                 {\"input_tokens\":7,\"output_tokens\":1}}}\n\n";
    let delta = "event: message_delta\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":5}";
    let mut meter = Meter::new(Dialect::Messages, ContentType::EventStream);
    meter.push(start.as_bytes());
    meter.push(delta.as_bytes());
    assert_eq!(meter.usage(), usage([Some(7), Some(1), None, None, None]), "left half-way");
    meter.finish();
    assert_eq!(meter.usage(), usage([Some(7), Some(1), None, None, None]), "ended within an event");
    assert!(!meter.has_terminal());
    assert!(!meter.is_at_event_boundary(), "an error event would become a part of the open one");
}

// Spec: api A-24.
#[test]
fn a_last_event_without_its_blank_line_counts_at_the_end() {
    for stream in
        ["data: {\"usage\":{\"prompt_tokens\":3}}\n\ndata: [DONE]", "data:[DONE]\n", "data: [DONE]\r"]
    {
        let mut meter = Meter::new(Dialect::ChatCompletions, ContentType::EventStream);
        meter.push(stream.as_bytes());
        assert!(!meter.has_terminal(), "{stream:?}");
        meter.finish();
        assert!(meter.has_terminal(), "{stream:?}");
        let count = meter.event_count();
        meter.finish();
        assert_eq!(meter.event_count(), count, "{stream:?} ended twice");
        assert!(!meter.is_at_event_boundary(), "{stream:?}: the end adds no blank line");
    }
}

// Spec: api A-24.
#[test]
fn a_last_event_that_is_cut_is_no_end_whatever_its_name() {
    for stream in [
        "event: response.completed\n",
        "event: response.completed\ndata",
        "event: response.completed\ndata: ",
        "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":3}",
        "data: {\"error\":{}",
        "data: [DON",
    ] {
        let meter = meter_behind(Dialect::Responses, ContentType::EventStream, [stream.as_bytes()]);
        assert!(!meter.has_terminal(), "{stream:?}");
        assert_eq!((meter.usage(), meter.event_count()), (Usage::default(), 0), "{stream:?}");
    }
}

// Spec: api A-24.
#[test]
fn only_the_dialects_own_last_words_end_a_stream() {
    fn check(dialect: Dialect, stream: &str, expected: bool) {
        let meter = meter_behind(dialect, ContentType::EventStream, [stream.as_bytes()]);
        assert_eq!(meter.has_terminal(), expected, "{dialect:?}: {stream:?}");
    }
    check(Dialect::ChatCompletions, "data: [DONE]\n\n", true);
    check(Dialect::ChatCompletions, "data: [DONE] \n\n", true);
    check(Dialect::ChatCompletions, "data: [DON\n\n", false);
    check(Dialect::ChatCompletions, "data: [DON\ndata: E]\n\n", false);
    check(Dialect::ChatCompletions, "data: x[DONE]\n\n", false);
    check(Dialect::ChatCompletions, "data: \"[DONE]\"\n\n", false);
    check(Dialect::ChatCompletions, "event: [DONE]\n\n", false);
    check(Dialect::ChatCompletions, "event: message_stop\ndata: {}\n\n", false);
    check(Dialect::ChatCompletions, "data: {\"error\":\"no\"}\n\n", true);
    check(Dialect::ChatCompletions, "data: {\"x\":{\"error\":\"no\"}}\n\n", false);
    check(Dialect::Messages, "data: [DONE]\n\n", true);
    check(Dialect::Messages, "event: message_stop\ndata: {}\n\n", true);
    check(Dialect::Messages, "data: {\"type\":\"message_stop\"}\n\n", true);
    check(Dialect::Messages, "data: {\"delta\":{\"type\":\"message_stop\"}}\n\n", false);
    check(Dialect::Messages, "event: message_stop\n\n", false);
    check(Dialect::Messages, "event: message_stop\nevent: ping\ndata: {}\n\n", false);
    check(Dialect::Messages, "event: ping\nevent: message_stop\ndata: {}\n\n", true);
    check(Dialect::Messages, "event: message_stops\ndata: {}\n\n", false);
    check(Dialect::Messages, "event: response.completed\ndata: {}\n\n", false);
    check(Dialect::Responses, "event: response.output_item.done\ndata: {}\n\n", false);
    check(Dialect::Audio, "event: speech.audio.done\ndata: {}\n\n", true);
    check(Dialect::Images, "event: image_edit.completed\ndata: {}\n\n", true);
    check(Dialect::Images, "event: image_edit.partial_image\ndata: {}\n\n", false);
    check(Dialect::Other, "event: message_stop\ndata: {}\n\n", true);
}

// Spec: monitoring L-6.
#[test]
fn an_error_event_of_the_provider_is_told_from_other_ends() {
    fn check(dialect: Dialect, stream: &str, expected: bool) {
        let meter = meter_behind(dialect, ContentType::EventStream, [stream.as_bytes()]);
        assert_eq!(meter.has_error(), expected, "{dialect:?}: {stream:?}");
    }
    check(Dialect::ChatCompletions, "data: {\"error\":{\"code\":1}}\n\n", true);
    check(Dialect::ChatCompletions, "data: {\"error\":{\"code\":1}}\n\ndata: [DONE]\n\n", true);
    check(Dialect::ChatCompletions, "data: {\"error\":null}\n\ndata: [DONE]\n\n", false);
    check(Dialect::ChatCompletions, "event: error\ndata: {}\n\n", false);
    check(Dialect::ChatCompletions, "data: {\"error\":{\"code\":1}\n\n", true);
    check(Dialect::Messages, "event: error\ndata: {}\n\n", true);
    check(Dialect::Messages, "data: {\"type\":\"error\"}\n\n", true);
    check(Dialect::Messages, "event: error\n\n", false);
    check(Dialect::Messages, "event: message_stop\ndata: {}\n\n", false);
    check(Dialect::Messages, "event: response.failed\ndata: {}\n\n", false);
    check(Dialect::Responses, "event: response.failed\ndata: {}\n\n", true);
    check(Dialect::Responses, "event: response.incomplete\ndata: {}\n\n", false);
    check(Dialect::Images, "event: error\ndata: {}\n\n", true);
    check(Dialect::Audio, "event: error\ndata: {}\n\n", true);
    check(Dialect::Other, "data: {\"type\":\"response.failed\"}\n\n", true);

    let body = meter_behind(Dialect::ChatCompletions, ContentType::Json, [b"{\"error\":{}}".as_slice()]);
    assert!(!body.has_error(), "the status of a body says so");
}

#[test]
fn a_body_has_ended_with_its_last_bracket() {
    fn check(body: &str, expected: bool) {
        let meter = meter_behind(Dialect::ChatCompletions, ContentType::Json, [body.as_bytes()]);
        assert_eq!(meter.has_terminal(), expected, "{body:?}");
    }
    check("", false);
    check("{", false);
    check("{}", true);
    check("[{}, \"]\"]\n", true);
    check("{\"a\":\"}", false);
    check("{\"a\":[1,{\"b\":2}]", false);
    check("{\"a\":[1,{\"b\":2}]}", true);
    check("{}}", false);
    check("<html>", false);
}

#[test]
fn what_is_neither_stream_nor_json_is_counted_and_not_read() {
    let meter =
        meter_behind(Dialect::Other, ContentType::Other, [b"{\"usage\":{\"prompt_tokens\":1}}".as_slice()]);
    assert_eq!(meter.result(), (Usage::default(), UsageSource::None));
    assert_eq!((meter.bytes(), meter.event_count()), (29, 0));
    assert!(!meter.has_terminal() && !meter.is_at_event_boundary());
}

// Spec: monitoring L-18.
#[test]
fn an_event_of_four_megabytes_is_read_like_a_small_one() {
    let text = "\\\"usage\\\":{\\\"input_tokens\\\":1} \\\\ né ".repeat(110_000);
    let event = format!(
        "event: response.completed\ndata: {{\"type\":\"response.completed\",\"response\":{{\"output\":[\
         {{\"content\":[{{\"text\":\"{text}\"}}]}}],\"usage\":{{\"input_tokens\":6,\"output_tokens\":70000}}}}}}\n\n"
    );
    assert!(event.len() > 4_000_000, "{}", event.len());
    let meter =
        meter_behind(Dialect::Responses, ContentType::EventStream, event.as_bytes().chunks(16 * 1024 + 1));
    assert_eq!(meter.usage(), usage([Some(6), Some(70_000), None, None, None]));
    assert!(meter.has_terminal());
}
