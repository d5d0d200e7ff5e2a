//! The Responses operation, as OpenAI answers it (its API reference, November 2026).

use serde_json::{Value, json};

use super::Reply;
use super::ask::Ask;
use super::events::Events;
use super::refusal::Refusal;
use super::text::{Answer, Prompt};
use super::wish;

pub(super) fn create(ask: &Ask) -> Result<Reply, Refusal> {
    if ask.streams() {
        return events(ask).map(Reply::Events);
    }
    let (prompt, answer) = answer(ask)?;
    Ok(Reply::Json(finished(ask, &prompt, &answer)))
}

/// Returns the events, each with its number, from `response.created` to `response.completed`.
pub(super) fn events(ask: &Ask) -> Result<Events, Refusal> {
    let (prompt, answer) = answer(ask)?;
    let mut events = Numbered { events: Events::new(ask.word_delay), next: 0 };
    let started = response(ask, "in_progress", json!([]), Value::Null);
    events.send(json!({ "type": "response.created", "response": started }));
    events.send(json!({ "type": "response.in_progress", "response": started }));
    match &answer.tool {
        Some(name) => call_events(&mut events, ask, &answer, name),
        None => text_events(&mut events, ask, &answer),
    }
    let item = item(ask, &answer);
    events.send(json!({ "type": "response.output_item.done", "output_index": 0, "item": item }));
    let name = format!("response.{}", status(&answer));
    events.send(json!({ "type": name, "response": finished(ask, &prompt, &answer) }));
    Ok(events.events)
}

/// Events that count themselves.
struct Numbered {
    events: Events,
    next: u64,
}

impl Numbered {
    fn send(&mut self, mut event: Value) {
        event["sequence_number"] = json!(self.next);
        self.next += 1;
        self.events.named(event);
    }
}

fn answer(ask: &Ask) -> Result<(Prompt, Answer), Refusal> {
    let prompt = match ask.body.get("input") {
        Some(Value::String(text)) => Prompt::from_text(text),
        Some(Value::Array(items)) => Prompt::from_messages(items),
        Some(_) => return Err(Refusal::parameter("input", "must be a string or an array")),
        None => return Err(Refusal::parameter("input", "is required")),
    };
    let prompt = prompt.with_context(ask.body.get("instructions"));
    let format = ask.body.pointer("/text/format");
    let answer = wish::grant(&ask.body, format, &prompt, ask.count("max_output_tokens")?)?;
    Ok((prompt, answer))
}

/// The events of a message, but for the last of its item.
fn text_events(events: &mut Numbered, ask: &Ask, answer: &Answer) {
    let at = json!({ "item_id": ask.id("msg_"), "output_index": 0, "content_index": 0 });
    let item = message(ask, "in_progress", json!([]));
    events.send(json!({ "type": "response.output_item.added", "output_index": 0, "item": item }));
    events.send(joined(&at, json!({ "type": "response.content_part.added", "part": part("") })));
    for word in &answer.words {
        events.events.pause();
        let event = json!({ "type": "response.output_text.delta", "delta": word, "logprobs": [] });
        events.send(joined(&at, event));
    }
    let text = answer.text();
    let event = json!({ "type": "response.output_text.done", "text": text, "logprobs": [] });
    events.send(joined(&at, event));
    events.send(joined(&at, json!({ "type": "response.content_part.done", "part": part(&text) })));
}

/// The events of the call of a tool, but for the last of its item.
fn call_events(events: &mut Numbered, ask: &Ask, answer: &Answer, name: &str) {
    let at = json!({ "item_id": ask.id("fc_"), "output_index": 0 });
    let item = call(ask, "in_progress", name, "");
    events.send(json!({ "type": "response.output_item.added", "output_index": 0, "item": item }));
    for word in &answer.words {
        events.events.pause();
        events.send(joined(&at, json!({ "type": "response.function_call_arguments.delta", "delta": word })));
    }
    let event = json!({
        "type": "response.function_call_arguments.done", "name": name, "arguments": answer.text(),
    });
    events.send(joined(&at, event));
}

fn status(answer: &Answer) -> &'static str {
    if answer.is_truncated { "incomplete" } else { "completed" }
}

fn finished(ask: &Ask, prompt: &Prompt, answer: &Answer) -> Value {
    let output = json!([item(ask, answer)]);
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
        ("text", json!({ "format": { "type": "text" } })),
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

/// The one item of the output.
fn item(ask: &Ask, answer: &Answer) -> Value {
    match &answer.tool {
        Some(name) => call(ask, status(answer), name, &answer.text()),
        None => message(ask, status(answer), json!([part(&answer.text())])),
    }
}

fn call(ask: &Ask, status: &str, name: &str, arguments: &str) -> Value {
    json!({
        "id": ask.id("fc_"), "type": "function_call", "status": status, "call_id": ask.id("call_"),
        "name": name, "arguments": arguments,
    })
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
