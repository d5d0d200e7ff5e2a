//! The responses that a session makes: their ids are in the events that announce them.

use std::sync::Arc;

use memchr::memmem;

use super::frame::Piece;
use crate::makers::{Birth, Makers};

/// How much of an event is looked at for its type, which vendors put first.
const TYPE_BYTES: usize = 128;
const CREATED: &[u8] = b"\"response.created\"";

/// Looks through a provider's events for new responses.
#[derive(Debug)]
pub(super) struct Births {
    makers: Arc<Makers>,
    maker: Arc<str>,
    event: Event,
    /// The beginning of an event; kept, so that events are not one allocation each.
    begin: Vec<u8>,
}

/// What is known of the event that passes.
#[derive(Debug)]
enum Event {
    Begins,
    Announces(Birth),
    Other,
}

impl Births {
    pub(super) fn new(makers: Arc<Makers>, maker: Arc<str>) -> Self {
        Self { makers, maker, event: Event::Begins, begin: Vec::with_capacity(TYPE_BYTES) }
    }

    /// Reads a part of a message.
    pub(super) fn see(&mut self, piece: Piece<'_>) {
        match (piece, &mut self.event) {
            (Piece::Text(text), Event::Begins) => {
                let room = (TYPE_BYTES - self.begin.len()).min(text.len());
                let (more, rest) = text.split_at(room);
                self.begin.extend_from_slice(more);
                if self.begin.len() == TYPE_BYTES {
                    self.decide(rest);
                }
            }
            (Piece::Text(text), Event::Announces(birth)) => birth.look(text),
            (Piece::Text(_), Event::Other) => {}
            (Piece::End, event) => {
                if matches!(event, Event::Begins) {
                    self.decide(b"");
                }
                self.begin.clear();
                self.event = Event::Begins;
            }
        }
    }

    /// Decides by its beginning what an event is, and looks at the beginning and at what follows.
    fn decide(&mut self, rest: &[u8]) {
        self.event = Event::Other;
        if memmem::find(&self.begin, CREATED).is_some() {
            let mut birth = Birth::new(Arc::clone(&self.makers), Arc::clone(&self.maker));
            birth.look(&self.begin);
            birth.look(rest);
            self.event = Event::Announces(birth);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Spec: api A-64.
    #[test]
    fn the_ids_of_announced_responses_are_noted_however_they_are_cut() {
        let filler = "x".repeat(200);
        let messages = [
            r#"{"type":"response.output_item.added","item":{"id":"msg_not_this"}}"#.to_owned(),
            r#"{"type":"response.created","sequence_number":0,"response":{"id":"resp_first","object":"response"}}"#
                .to_owned(),
            format!(r#"{{"type":"response.created","event_id":"{filler}","response":{{"id":"resp_second"}}}}"#),
            format!(r#"{{"type":"x","delta":"{filler}\"response.created\"","id":"resp_not_this"}}"#),
            String::new(),
        ];
        for step in [1, 7, 1000] {
            let makers = Arc::new(Makers::default());
            let mut births = Births::new(Arc::clone(&makers), "openai.a".into());
            for message in &messages {
                message.as_bytes().chunks(step).for_each(|piece| births.see(Piece::Text(piece)));
                births.see(Piece::End);
            }
            for (id, is_known) in [
                ("resp_first", true),
                ("resp_second", true),
                ("resp_not_this", false),
                ("msg_not_this", false),
            ] {
                assert_eq!(makers.find_any([id].into_iter()).is_some(), is_known, "{id} by {step}");
            }
        }
    }
}
