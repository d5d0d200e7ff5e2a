//! The events of one answer, in order: as server-sent events or as messages. It knows no dialect.

use std::time::Duration;

use serde_json::Value;

use crate::body::Step;

/// The events of one stream, in order.
pub(super) struct Events {
    events: Vec<Event>,
    word_delay: Duration,
}

enum Event {
    /// The pause that comes before a word.
    Pause,
    /// One without a name, as OpenAI's older streams have it.
    Data(Value),
    /// One that is named by the `type` of its data.
    Named(Value),
    /// The end mark of OpenAI's older streams.
    Done,
}

impl Events {
    pub(super) fn new(word_delay: Duration) -> Self {
        Self { events: Vec::new(), word_delay }
    }

    /// Adds an event without a name.
    pub(super) fn data(&mut self, data: Value) {
        self.events.push(Event::Data(data));
    }

    /// Adds an event that is named by the `type` of its data.
    pub(super) fn named(&mut self, data: Value) {
        self.events.push(Event::Named(data));
    }

    /// Adds the pause that comes before a word.
    pub(super) fn pause(&mut self) {
        self.events.push(Event::Pause);
    }

    /// Adds the end mark of OpenAI's older streams.
    pub(super) fn done(&mut self) {
        self.events.push(Event::Done);
    }

    /// Returns the steps of a body of server-sent events.
    pub(super) fn into_steps(self) -> Vec<Step> {
        self.steps(|event| match event {
            Event::Data(data) => format!("data: {data}\n\n"),
            Event::Named(data) => {
                let name = data.get("type").and_then(Value::as_str).unwrap_or_default();
                format!("event: {name}\ndata: {data}\n\n")
            }
            Event::Pause => String::new(),
            Event::Done => "data: [DONE]\n\n".to_owned(),
        })
    }

    /// Returns the steps of a session, one for each message.
    pub(super) fn into_messages(self) -> Vec<Step> {
        self.steps(|event| match event {
            Event::Data(data) | Event::Named(data) => data.to_string(),
            Event::Pause | Event::Done => String::new(),
        })
    }

    fn steps(self, text: impl Fn(Event) -> String) -> Vec<Step> {
        let wait = Step::Wait(self.word_delay);
        let steps = self.events.into_iter().map(|event| match event {
            Event::Pause => wait.clone(),
            event => Step::Data(text(event).into()),
        });
        steps.collect()
    }
}
