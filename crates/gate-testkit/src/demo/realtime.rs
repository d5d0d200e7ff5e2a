//! A realtime session as OpenAI has it (its API reference, November 2026): a conversation in text, with
//! tools. Audio is taken and transcribed as so many bytes of audio; none is spoken.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::events::Events;
use super::refusal::Refusal;
use super::text::{Answer, Prompt};
use super::wish;

/// One session.
pub(super) struct Realtime {
    serial: u64,
    word_delay: Duration,
    /// The settings of the session, as the client sees them.
    session: Map<String, Value>,
    conversation: Vec<Value>,
    /// How much of the conversation the last answer has read: the vendor has it in its cache.
    cached_tokens: usize,
    /// The bytes of audio, in base64, that wait to be committed.
    audio_bytes: usize,
    /// Numbers events, items and responses.
    made: u64,
}

impl Realtime {
    pub(super) fn new(model: &str, serial: u64, word_delay: Duration) -> Self {
        let mut session = Map::new();
        for (name, value) in [
            ("type", json!("realtime")),
            ("object", json!("realtime.session")),
            ("id", json!(format!("sess_demo{serial:08}"))),
            ("model", json!(model)),
            ("output_modalities", json!(["text"])),
            ("instructions", json!("")),
            ("tools", json!([])),
            ("tool_choice", json!("auto")),
            ("max_output_tokens", json!("inf")),
            ("audio", json!({ "input": { "transcription": null, "turn_detection": null } })),
        ] {
            session.insert(name.to_owned(), value);
        }
        Self {
            serial,
            word_delay,
            session,
            conversation: Vec::new(),
            cached_tokens: 0,
            audio_bytes: 0,
            made: 0,
        }
    }

    /// Returns the first event of a session.
    pub(super) fn created(&mut self) -> Value {
        let event = json!({ "type": "session.created", "session": self.session });
        self.numbered(event)
    }

    /// Answers one event of the client.
    pub(super) fn answer(&mut self, text: &str) -> Events {
        let mut events = Events::new(self.word_delay);
        let event: Value = serde_json::from_str(text).unwrap_or_default();
        let outcome = match event.get("type").and_then(Value::as_str) {
            Some("session.update") => self.update(&event, &mut events),
            Some("conversation.item.create") => self.create_item(&event, &mut events),
            Some("response.create") => self.respond(event.get("response"), &mut events),
            Some("input_audio_buffer.append") => {
                self.audio_bytes += event.get("audio").and_then(Value::as_str).map_or(0, str::len);
                Ok(())
            }
            Some("input_audio_buffer.commit") => self.commit(&mut events),
            Some("input_audio_buffer.clear") => {
                self.audio_bytes = 0;
                self.send(&mut events, json!({ "type": "input_audio_buffer.cleared" }));
                Ok(())
            }
            Some(other) => Err(Refusal::parameter("type", &format!("the demo does not know `{other}`"))),
            None => Err(Refusal::invalid("the message is no JSON object with a `type`".to_owned())),
        };
        if let Err(refusal) = outcome {
            let (_, mut error) = refusal.openai_error();
            error["event_id"] = event.get("event_id").cloned().unwrap_or_default();
            self.send(&mut events, json!({ "type": "error", "error": error }));
        }
        events
    }

    fn update(&mut self, event: &Value, events: &mut Events) -> Result<(), Refusal> {
        let Some(Value::Object(changes)) = event.get("session") else {
            return Err(Refusal::parameter("session", "must be an object"));
        };
        self.session.extend(changes.clone());
        let event = json!({ "type": "session.updated", "session": self.session });
        self.send(events, event);
        Ok(())
    }

    fn create_item(&mut self, event: &Value, events: &mut Events) -> Result<(), Refusal> {
        let Some(item @ Value::Object(_)) = event.get("item") else {
            return Err(Refusal::parameter("item", "must be an object"));
        };
        let mut item = item.clone();
        if item.get("id").is_none_or(Value::is_null) {
            item["id"] = json!(self.id("item"));
        }
        item["object"] = json!("realtime.item");
        item["status"] = json!("completed");
        self.add_item(item, events);
        Ok(())
    }

    fn add_item(&mut self, item: Value, events: &mut Events) {
        let previous = self.conversation.last().and_then(|last| last.get("id")).cloned().unwrap_or_default();
        for name in ["conversation.item.added", "conversation.item.done"] {
            self.send(events, json!({ "type": name, "previous_item_id": previous, "item": item }));
        }
        self.conversation.push(item);
    }

    /// Makes an item of the audio so far, and its transcript if the session wants one.
    fn commit(&mut self, events: &mut Events) -> Result<(), Refusal> {
        if self.audio_bytes == 0 {
            return Err(Refusal::invalid("the input audio buffer is empty".to_owned()));
        }
        let transcript = format!("{} bytes of audio", self.audio_bytes / 4 * 3);
        self.audio_bytes = 0;
        let id = self.id("item");
        self.send(events, json!({ "type": "input_audio_buffer.committed", "item_id": id }));
        let content = json!([{ "type": "input_audio", "transcript": transcript }]);
        let mut item =
            json!({ "id": id, "object": "realtime.item", "type": "message", "status": "completed" });
        item["role"] = json!("user");
        item["content"] = content;
        self.add_item(item, events);
        let audio = self.session.get("audio").unwrap_or(&Value::Null);
        if audio.pointer("/input/transcription").is_some_and(Value::is_object) {
            let usage = json!({
                "type": "tokens", "input_tokens": 3, "output_tokens": 4, "total_tokens": 7,
                "input_token_details": { "audio_tokens": 3, "text_tokens": 0 },
            });
            self.send(
                events,
                json!({
                    "type": "conversation.item.input_audio_transcription.completed", "item_id": id,
                    "content_index": 0, "transcript": transcript, "usage": usage,
                }),
            );
        }
        Ok(())
    }

    /// Answers the conversation, with what the event changes of the session's settings for this once.
    fn respond(&mut self, changes: Option<&Value>, events: &mut Events) -> Result<(), Refusal> {
        let mut settings = self.session.clone();
        settings.extend(changes.and_then(Value::as_object).cloned().unwrap_or_default());
        let limit = settings.get("max_output_tokens").and_then(Value::as_u64);
        let limit = limit.and_then(|limit| usize::try_from(limit).ok());
        let input = settings.get("input").and_then(Value::as_array).unwrap_or(&self.conversation);
        let prompt = Prompt::from_messages(input).with_context(settings.get("instructions"));
        let answer = wish::grant(&Value::Object(settings), None, &prompt, limit)?;

        let (response_id, item_id) = (self.id("resp"), self.id("item"));
        let started = response(&response_id, "in_progress", json!([]), Value::Null);
        self.send(events, json!({ "type": "response.created", "response": started }));
        let item = item(&item_id, "in_progress", &answer, "");
        let at = json!({ "response_id": response_id, "output_index": 0 });
        self.send_at(events, &at, json!({ "type": "response.output_item.added", "item": item }));
        let at = json!({ "response_id": response_id, "output_index": 0, "item_id": item_id });
        match &answer.tool {
            Some(name) => self.send_call(events, &at, name, &answer),
            None => self.send_text(events, at, &answer),
        }
        let status = if answer.is_truncated { "incomplete" } else { "completed" };
        let item = self::item(&item_id, status, &answer, &answer.text());
        self.add_item(item.clone(), events);
        let at = json!({ "response_id": response_id, "output_index": 0 });
        self.send_at(events, &at, json!({ "type": "response.output_item.done", "item": item }));
        let usage = self.usage(&prompt, &answer);
        let done = response(&response_id, status, json!([item]), usage);
        self.send(events, json!({ "type": "response.done", "response": done }));
        Ok(())
    }

    fn send_text(&mut self, events: &mut Events, mut at: Value, answer: &Answer) {
        at["content_index"] = json!(0);
        let part = |text: &str| json!({ "type": "text", "text": text });
        self.send_at(events, &at, json!({ "type": "response.content_part.added", "part": part("") }));
        for word in &answer.words {
            events.pause();
            self.send_at(events, &at, json!({ "type": "response.output_text.delta", "delta": word }));
        }
        let text = answer.text();
        self.send_at(events, &at, json!({ "type": "response.output_text.done", "text": text }));
        self.send_at(events, &at, json!({ "type": "response.content_part.done", "part": part(&text) }));
    }

    fn send_call(&mut self, events: &mut Events, at: &Value, name: &str, answer: &Answer) {
        for word in &answer.words {
            events.pause();
            let event = json!({ "type": "response.function_call_arguments.delta", "delta": word });
            self.send_at(events, at, event);
        }
        let mut event = json!({ "type": "response.function_call_arguments.done", "name": name });
        event["arguments"] = json!(answer.text());
        self.send_at(events, at, event);
    }

    /// Counts an answer. What the one before had read comes from the cache.
    fn usage(&mut self, prompt: &Prompt, answer: &Answer) -> Value {
        let cached = self.cached_tokens.min(prompt.tokens);
        self.cached_tokens = prompt.tokens;
        json!({
            "total_tokens": prompt.tokens + answer.tokens(),
            "input_tokens": prompt.tokens,
            "output_tokens": answer.tokens(),
            "input_token_details": {
                "text_tokens": prompt.tokens, "audio_tokens": 0, "image_tokens": 0, "cached_tokens": cached,
                "cached_tokens_details": { "text_tokens": cached, "audio_tokens": 0, "image_tokens": 0 },
            },
            "output_token_details": { "text_tokens": answer.tokens(), "audio_tokens": 0 },
        })
    }

    /// Makes an id such as `item_demo00000001_3`.
    fn id(&mut self, prefix: &str) -> String {
        self.made += 1;
        format!("{prefix}_demo{:08}_{}", self.serial, self.made)
    }

    fn numbered(&mut self, mut event: Value) -> Value {
        event["event_id"] = json!(self.id("event"));
        event
    }

    fn send(&mut self, events: &mut Events, event: Value) {
        let event = self.numbered(event);
        events.named(event);
    }

    /// Sends an event with the members of `at`, which say where in the output it belongs.
    fn send_at(&mut self, events: &mut Events, at: &Value, mut event: Value) {
        for (name, value) in at.as_object().into_iter().flatten() {
            event[name.as_str()] = value.clone();
        }
        self.send(events, event);
    }
}

fn response(id: &str, status: &str, output: Value, usage: Value) -> Value {
    let mut response = json!({
        "object": "realtime.response", "id": id, "status": status, "status_details": null,
        "output_modalities": ["text"], "max_output_tokens": "inf", "metadata": null,
    });
    if status == "incomplete" {
        response["status_details"] = json!({ "type": "incomplete", "reason": "max_output_tokens" });
    }
    response["output"] = output;
    response["usage"] = usage;
    response
}

/// The one item of an answer, with as much of its text as there is.
fn item(id: &str, status: &str, answer: &Answer, text: &str) -> Value {
    let mut item = json!({ "id": id, "object": "realtime.item", "status": status });
    match &answer.tool {
        Some(name) => {
            item["type"] = json!("function_call");
            item["call_id"] = json!(id.replacen("item", "call", 1));
            item["name"] = json!(name);
            item["arguments"] = json!(text);
        }
        None => {
            item["type"] = json!("message");
            item["role"] = json!("assistant");
            let is_begun = status != "in_progress";
            item["content"] =
                if is_begun { json!([{ "type": "output_text", "text": text }]) } else { json!([]) };
        }
    }
    item
}
