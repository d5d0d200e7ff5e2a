//! Messages, token counts and models as Anthropic answers them (its API reference, November 2026).

use serde_json::{Value, json};

use super::ask::Ask;
use super::events::Events;
use super::refusal::Refusal;
use super::text::{Answer, Prompt};
use super::wish;
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
    // The second is the name that the shape had in the beta.
    let format = ask.body.pointer("/output_config/format").or(ask.body.get("output_format"));
    let answer = wish::grant(&ask.body, format, &prompt, Some(limit))?;
    if ask.streams() {
        return Ok(stream(ask, &prompt, &answer));
    }
    let mut message = message(ask, &prompt, answer.tokens());
    message["content"] = json!([match &answer.tool {
        // Arguments that the limit cut are none.
        Some(name) => tool_use(ask, name, serde_json::from_str(&answer.text()).unwrap_or_else(|_| json!({}))),
        None => json!({ "type": "text", "text": answer.text() }),
    }]);
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
    events.named(json!({ "type": "message_start", "message": message(ask, prompt, 1) }));
    let block = match &answer.tool {
        Some(name) => tool_use(ask, name, json!({})),
        None => json!({ "type": "text", "text": "" }),
    };
    events.named(json!({ "type": "content_block_start", "index": 0, "content_block": block }));
    events.named(json!({ "type": "ping" }));
    for word in &answer.words {
        events.pause();
        let delta = match &answer.tool {
            Some(_) => json!({ "type": "input_json_delta", "partial_json": word }),
            None => json!({ "type": "text_delta", "text": word }),
        };
        events.named(json!({ "type": "content_block_delta", "index": 0, "delta": delta }));
    }
    events.named(json!({ "type": "content_block_stop", "index": 0 }));
    events.named(json!({
        "type": "message_delta",
        "delta": { "stop_reason": stop_reason(answer), "stop_sequence": null },
        "usage": usage(prompt, answer.tokens()),
    }));
    events.named(json!({ "type": "message_stop" }));
    Reply::Events(events)
}

fn tool_use(ask: &Ask, name: &str, input: Value) -> Value {
    let mut block = json!({ "type": "tool_use", "id": ask.id("toolu_"), "name": name });
    block["input"] = input;
    block
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
    match (answer.is_truncated, &answer.tool) {
        (true, _) => "max_tokens",
        (false, Some(_)) => "tool_use",
        (false, None) => "end_turn",
    }
}
