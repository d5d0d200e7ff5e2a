//! Messages, token counts and models as Anthropic answers them (its API reference, November 2026).

use serde_json::{Value, json};

use super::ask::Ask;
use super::events::Events;
use super::refusal::Refusal;
use super::text::{Answer, Prompt};
use super::{MESSAGES_MODEL, Reply};

pub(super) fn list() -> Value {
    json!({
        "data": [model_object()], "has_more": false,
        "first_id": MESSAGES_MODEL, "last_id": MESSAGES_MODEL,
    })
}

pub(super) fn model(id: &str) -> Result<Value, Refusal> {
    match id {
        MESSAGES_MODEL => Ok(model_object()),
        _ => Err(Refusal::unknown_model(id)),
    }
}

fn model_object() -> Value {
    json!({
        "type": "model", "id": MESSAGES_MODEL, "display_name": "Claude Demo",
        "created_at": "2025-01-01T00:00:00Z", "lifecycle": "active",
    })
}

pub(super) fn count_tokens(ask: &Ask) -> Result<Reply, Refusal> {
    Ok(Reply::Json(json!({ "input_tokens": prompt(ask)?.tokens })))
}

pub(super) fn messages(ask: &Ask) -> Result<Reply, Refusal> {
    let prompt = prompt(ask)?;
    let limit = ask.count("max_tokens")?.ok_or_else(|| Refusal::parameter("max_tokens", "is required"))?;
    let answer = Answer::to(&prompt, Some(limit));
    if ask.streams() {
        return Ok(stream(ask, &prompt, &answer));
    }
    let mut message = message(ask, &prompt, answer.tokens());
    message["content"] = json!([{ "type": "text", "text": answer.text() }]);
    message["stop_reason"] = json!(stop_reason(&answer));
    Ok(Reply::Json(message))
}

fn prompt(ask: &Ask) -> Result<Prompt, Refusal> {
    Ok(Prompt::from_messages(ask.list("messages")?).with_context(ask.body.get("system")))
}

/// The events from `message_start` to `message_stop`. As with the vendor, the first one counts one
/// output token and the second last one counts all.
fn stream(ask: &Ask, prompt: &Prompt, answer: &Answer) -> Reply {
    let mut events = Events::new(ask.word_delay);
    events.named(&json!({ "type": "message_start", "message": message(ask, prompt, 1) }));
    let block = json!({ "type": "text", "text": "" });
    events.named(&json!({ "type": "content_block_start", "index": 0, "content_block": block }));
    events.named(&json!({ "type": "ping" }));
    for word in &answer.words {
        events.pause();
        let delta = json!({ "type": "text_delta", "text": word });
        events.named(&json!({ "type": "content_block_delta", "index": 0, "delta": delta }));
    }
    events.named(&json!({ "type": "content_block_stop", "index": 0 }));
    events.named(&json!({
        "type": "message_delta",
        "delta": { "stop_reason": stop_reason(answer), "stop_sequence": null },
        "usage": usage(prompt, answer.tokens()),
    }));
    events.named(&json!({ "type": "message_stop" }));
    Reply::Events(events.into_steps())
}

/// A message without content yet.
fn message(ask: &Ask, prompt: &Prompt, output_tokens: usize) -> Value {
    json!({
        "id": ask.id("msg_"), "type": "message", "role": "assistant", "model": ask.model,
        "content": [], "stop_reason": null, "stop_sequence": null,
        "usage": usage(prompt, output_tokens),
    })
}

fn usage(prompt: &Prompt, output_tokens: usize) -> Value {
    json!({
        "input_tokens": prompt.tokens, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
        "output_tokens": output_tokens,
    })
}

fn stop_reason(answer: &Answer) -> &'static str {
    if answer.is_truncated { "max_tokens" } else { "end_turn" }
}
