//! Server-sent events as steps of a body. It knows no dialect.

use std::time::Duration;

use serde_json::Value;

use crate::body::Step;

/// The events of one stream, in order.
pub(super) struct Events {
    steps: Vec<Step>,
    word_delay: Duration,
}

impl Events {
    pub(super) fn new(word_delay: Duration) -> Self {
        Self { steps: Vec::new(), word_delay }
    }

    /// Adds an event without a name, as OpenAI's older streams have it.
    pub(super) fn data(&mut self, data: &Value) {
        self.push(format!("data: {data}\n\n"));
    }

    /// Adds an event that is named by the `type` of its data.
    pub(super) fn named(&mut self, data: &Value) {
        let name = data.get("type").and_then(Value::as_str).unwrap_or_default();
        self.push(format!("event: {name}\ndata: {data}\n\n"));
    }

    /// Adds the pause that comes before a word.
    pub(super) fn pause(&mut self) {
        self.steps.push(Step::Wait(self.word_delay));
    }

    /// Adds the end mark of OpenAI's older streams.
    pub(super) fn done(&mut self) {
        self.push("data: [DONE]\n\n".to_owned());
    }

    pub(super) fn into_steps(self) -> Vec<Step> {
        self.steps
    }

    fn push(&mut self, event: String) {
        self.steps.push(Step::Data(event.into()));
    }
}
