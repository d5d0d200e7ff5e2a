//! The tokens of a session on `/v1/responses`: those of all its answers, read from the events as
//! they pass.

use gate_usage::{ContentType, Dialect, Meter, Usage, UsageSource};

use super::frame::Piece;

/// Adds up what the provider reports. It writes the account at once, so that a session which is
/// dropped has what was reported until then.
#[derive(Debug)]
pub(super) struct SessionMeter<'r> {
    meter: Meter,
    is_inside_event: bool,
    usage: &'r mut Usage,
    source: &'r mut UsageSource,
}

impl<'r> SessionMeter<'r> {
    pub(super) fn new(usage: &'r mut Usage, source: &'r mut UsageSource) -> Self {
        Self { meter: fresh(), is_inside_event: false, usage, source }
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
                if self.meter.has_terminal() {
                    let answer = std::mem::replace(&mut self.meter, fresh());
                    add(self.usage, answer.usage());
                    if !self.usage.is_empty() {
                        *self.source = UsageSource::Provider;
                    }
                }
            }
        }
    }
}

fn fresh() -> Meter {
    Meter::new(Dialect::Responses, ContentType::EventStream)
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

    // Spec: api A-58.
    #[test]
    fn the_tokens_of_all_answers_are_added_up() {
        let completed = |input: u64| {
            format!(
                "{{\"type\":\"response.completed\",\r\n \"response\":{{\"usage\":{{\"input_tokens\":{input},\"output_tokens\":2,\n\
                 \"output_tokens_details\":{{\"reasoning_tokens\":1}}}}}}}}"
            )
        };
        let messages = [
            r#"{"type":"response.output_text.delta","delta":"response.completed usage"}"#.to_owned(),
            completed(3),
            r#"{"type":"response.created","response":{"usage":null}}"#.to_owned(),
            completed(4),
            r#"{"type":"response.failed","response":{"usage":null}}"#.to_owned(),
            String::new(),
        ];
        for step in [1, 5, 1000] {
            let (mut usage, mut source) = (Usage::default(), UsageSource::None);
            let mut meter = SessionMeter::new(&mut usage, &mut source);
            for message in &messages {
                for piece in message.as_bytes().chunks(step) {
                    meter.see(Piece::Text(piece));
                }
                meter.see(Piece::End);
            }
            assert_eq!(
                (usage.input_tokens, usage.output_tokens, usage.reasoning_tokens),
                (Some(7), Some(4), Some(2))
            );
            assert_eq!(source, UsageSource::Provider);
        }
    }
}
