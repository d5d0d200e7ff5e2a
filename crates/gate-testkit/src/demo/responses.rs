//! The Responses operation, as OpenAI answers it (its API reference, November 2026).

use serde_json::{Value, json};

use super::Reply;
use super::ask::Ask;
use super::events::Events;
use super::refusal::Refusal;
use super::text::{Answer, Prompt};

pub(super) fn create(ask: &Ask) -> Result<Reply, Refusal> {
    let prompt = match ask.body.get("input") {
        Some(Value::String(text)) => Prompt::from_text(text),
        Some(Value::Array(items)) => Prompt::from_messages(items),
        Some(_) => return Err(Refusal::parameter("input", "must be a string or an array")),
        None => return Err(Refusal::parameter("input", "is required")),
    };
    let prompt = prompt.with_context(ask.body.get("instructions"));
    let answer = Answer::to(&prompt, ask.count("max_output_tokens")?);
    if ask.streams() {
        return Ok(stream(ask, &prompt, &answer));
    }
    Ok(Reply::Json(finished(ask, &prompt, &answer)))
}

/// The events, each with its number, from `response.created` to `response.completed`.
fn stream(ask: &Ask, prompt: &Prompt, answer: &Answer) -> Reply {
    let mut events = Events::new(ask.word_delay);
    let mut serial = 0_u64;
    let mut send = |events: &mut Events, mut event: Value| {
        event["sequence_number"] = json!(serial);
        serial += 1;
        events.named(&event);
    };
    let item_id = ask.id("msg_");
    let at = json!({ "item_id": item_id, "output_index": 0, "content_index": 0 });
    let started = response(ask, "in_progress", json!([]), Value::Null);
    send(&mut events, json!({ "type": "response.created", "response": started }));
    send(&mut events, json!({ "type": "response.in_progress", "response": started }));
    let item = message(ask, "in_progress", json!([]));
    send(&mut events, json!({ "type": "response.output_item.added", "output_index": 0, "item": item }));
    send(&mut events, joined(&at, json!({ "type": "response.content_part.added", "part": part("") })));
    for word in &answer.words {
        events.pause();
        let event = json!({ "type": "response.output_text.delta", "delta": word, "logprobs": [] });
        send(&mut events, joined(&at, event));
    }
    let text = answer.text();
    let event = json!({ "type": "response.output_text.done", "text": text, "logprobs": [] });
    send(&mut events, joined(&at, event));
    send(&mut events, joined(&at, json!({ "type": "response.content_part.done", "part": part(&text) })));
    let item = message(ask, status(answer), json!([part(&text)]));
    send(&mut events, json!({ "type": "response.output_item.done", "output_index": 0, "item": item }));
    let name = format!("response.{}", status(answer));
    send(&mut events, json!({ "type": name, "response": finished(ask, prompt, answer) }));
    Reply::Events(events.into_steps())
}

fn status(answer: &Answer) -> &'static str {
    if answer.is_truncated { "incomplete" } else { "completed" }
}

fn finished(ask: &Ask, prompt: &Prompt, answer: &Answer) -> Value {
    let output = json!([message(ask, status(answer), json!([part(&answer.text())]))]);
    let usage = json!({
        "input_tokens": prompt.tokens,
        "input_tokens_details": { "cached_tokens": 0, "cache_write_tokens": 0 },
        "output_tokens": answer.tokens(),
        "output_tokens_details": { "reasoning_tokens": 0 },
        "total_tokens": prompt.tokens + answer.tokens(),
    });
    let mut response = response(ask, status(answer), output, usage);
    if answer.is_truncated {
        response["incomplete_details"] = json!({ "reason": "max_output_tokens" });
    }
    response
}

/// The response object, with the defaults that the vendor fills in.
fn response(ask: &Ask, status: &str, output: Value, usage: Value) -> Value {
    let given = |name: &str, default: Value| match ask.body.get(name) {
        Some(value) if !value.is_null() => value.clone(),
        _ => default,
    };
    let mut response = json!({
        "id": ask.id("resp_"), "object": "response", "created_at": ask.created, "status": status,
        "model": ask.model, "error": null, "incomplete_details": null,
        "reasoning": { "effort": null, "summary": null },
        "text": { "format": { "type": "text" } },
    });
    response["output"] = output;
    response["usage"] = usage;
    response["background"] = json!(false);
    response["service_tier"] = json!("default");
    for (name, default) in [
        ("instructions", Value::Null),
        ("max_output_tokens", Value::Null),
        ("metadata", json!({})),
        ("parallel_tool_calls", json!(true)),
        ("previous_response_id", Value::Null),
        ("store", json!(true)),
        ("temperature", json!(1.0)),
        ("tool_choice", json!("auto")),
        ("tools", json!([])),
        ("top_p", json!(1.0)),
        ("truncation", json!("disabled")),
        ("user", Value::Null),
    ] {
        response[name] = given(name, default);
    }
    response
}

fn message(ask: &Ask, status: &str, content: Value) -> Value {
    let mut message =
        json!({ "id": ask.id("msg_"), "type": "message", "status": status, "role": "assistant" });
    message["content"] = content;
    message
}

fn part(text: &str) -> Value {
    json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": [] })
}

/// Adds the members of `at`, which say where in the output an event belongs.
fn joined(at: &Value, mut event: Value) -> Value {
    for (name, value) in at.as_object().into_iter().flatten() {
        event[name.as_str()] = value.clone();
    }
    event
}
