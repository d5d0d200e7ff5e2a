//! The tokens of a session: those of all its answers, read from the provider's events as they pass.
//! What is no text, or compressed in spite of everything, is not read.

use gate_usage::{ContentType, Dialect, Meter, Usage, UsageSource};

use super::frame::Piece;

/// Adds up what the provider reports. It writes the account at once, so that a session which is
/// dropped has what was reported until then.
#[derive(Debug)]
pub(super) struct SessionMeter<'r> {
    dialect: Dialect,
    meter: Meter,
    is_inside_event: bool,
    usage: &'r mut Usage,
    source: &'r mut UsageSource,
}

impl<'r> SessionMeter<'r> {
    pub(super) fn new(dialect: Dialect, usage: &'r mut Usage, source: &'r mut UsageSource) -> Self {
        Self { dialect, meter: fresh(dialect), is_inside_event: false, usage, source }
    }

    /// Reads a part of a message. Its text is that of the same event in a stream, so it is given to
    /// the meter as one: a line of data, and a blank one.
    pub(super) fn see(&mut self, piece: Piece<'_>) {
        match piece {
            Piece::Text(text) => {
                if !self.is_inside_event {
                    self.meter.push(b"data: ");
                    self.is_inside_event = true;
                }
                // A line break in JSON is white space, and would end the line.
                let mut lines = text.split(|byte| matches!(byte, b'\n' | b'\r'));
                self.meter.push(lines.next().unwrap_or_default());
                for line in lines {
                    self.meter.push(b" ");
                    self.meter.push(line);
                }
            }
            Piece::End => {
                self.meter.push(b"\n\n");
                self.is_inside_event = false;
                // What an event on the way says of tokens is not the last word about them.
                let event = std::mem::replace(&mut self.meter, fresh(self.dialect));
                if event.has_terminal() {
                    add(self.usage, event.usage());
                    if !self.usage.is_empty() {
                        *self.source = UsageSource::Provider;
                    }
                }
            }
        }
    }
}

fn fresh(dialect: Dialect) -> Meter {
    Meter::new(dialect, ContentType::EventStream)
}

/// Adds the tokens of one more answer.
fn add(total: &mut Usage, answer: Usage) {
    let Usage { input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens } =
        answer;
    for (sum, more) in [
        (&mut total.input_tokens, input_tokens),
        (&mut total.output_tokens, output_tokens),
        (&mut total.cache_read_tokens, cache_read_tokens),
        (&mut total.cache_write_tokens, cache_write_tokens),
        (&mut total.reasoning_tokens, reasoning_tokens),
    ] {
        if let Some(more) = more {
            *sum = Some(sum.unwrap_or(0).saturating_add(more));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns what the messages leave in the account, if they pass in pieces of `step` bytes.
    fn account(dialect: Dialect, messages: &[&str], step: usize) -> (Usage, UsageSource) {
        let (mut usage, mut source) = (Usage::default(), UsageSource::None);
        let mut meter = SessionMeter::new(dialect, &mut usage, &mut source);
        for message in messages {
            for piece in message.as_bytes().chunks(step) {
                meter.see(Piece::Text(piece));
            }
            meter.see(Piece::End);
        }
        (usage, source)
    }

    fn check(dialect: Dialect, messages: &[&str], expected: [Option<u64>; 5], source: UsageSource) {
        let [input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens] = expected;
        let expected =
            Usage { input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens };
        for step in [1, 5, 1000] {
            assert_eq!(account(dialect, messages, step), (expected, source), "{step} bytes at once");
        }
    }

    // Spec: api A-58.
    #[test]
    fn the_tokens_of_all_answers_are_added_up() {
        let messages = [
            r#"{"type":"response.output_text.delta","delta":"response.completed usage"}"#,
            "{\"type\":\"response.completed\",\r\n \"response\":{\"usage\":{\"input_tokens\":3,\"output_tokens\":2,\n\
             \"output_tokens_details\":{\"reasoning_tokens\":1}}}}",
            r#"{"type":"response.created","response":{"usage":null}}"#,
            r#"{"type":"response.completed","response":{"usage":{"input_tokens":4,"output_tokens":2,
                "output_tokens_details":{"reasoning_tokens":1}}}}"#,
            r#"{"type":"response.failed","response":{"usage":null}}"#,
            "",
        ];
        let expected = [Some(7), Some(4), None, None, Some(2)];
        check(Dialect::Responses, &messages, expected, UsageSource::Provider);
    }

    // Spec: monitoring L-26.
    #[test]
    fn a_realtime_session_adds_up_its_answers_and_transcripts() {
        let messages = [
            r#"{"type":"session.created","session":{"type":"realtime","model":"gpt-realtime"}}"#,
            r#"{"type":"response.created","response":{"status":"in_progress","usage":null}}"#,
            r#"{"type":"response.output_audio.delta","delta":"\"usage\":{\"input_tokens\":9}"}"#,
            r#"{"type":"response.done","event_id":"e1","response":{"object":"realtime.response","output":[{"content":
                [{"text":"\"usage\""}]}],"usage":{"total_tokens":253,"input_tokens":132,"output_tokens":121,
                "input_token_details":{"text_tokens":119,"audio_tokens":13,"image_tokens":0,"cached_tokens":64,
                "cached_tokens_details":{"text_tokens":64,"audio_tokens":0,"cached_tokens":7}},
                "output_token_details":{"text_tokens":30,"audio_tokens":91}}}}"#,
            // A client may provoke one; it ends nothing.
            r#"{"type":"error","error":{"code":"unknown_event","message":"no"}}"#,
            r#"{"type":"conversation.item.input_audio_transcription.completed","transcript":"hi","usage":{"type":
                "tokens","total_tokens":22,"input_tokens":13,"input_token_details":{"text_tokens":0,"audio_tokens":13},
                "output_tokens":9}}"#,
            r#"{"type":"conversation.item.input_audio_transcription.completed","usage":{"type":"duration","seconds":2}}"#,
            // A client that interrupts is billed for what was said.
            r#"{"type":"response.done","response":{"status":"cancelled","usage":{"input_tokens":5,"output_tokens":1,
                "input_token_details":{"cached_tokens":2}}}}"#,
            r#"{"type":"conversation.item.created","usage":{"input_tokens":1000}}"#,
            r#"{"type":"response.done","response":{"usage":null}}"#,
        ];
        let expected = [Some(150), Some(131), Some(66), None, None];
        check(Dialect::Realtime, &messages, expected, UsageSource::Provider);
        check(Dialect::Realtime, &messages[..3], [None; 5], UsageSource::None);
    }
}
