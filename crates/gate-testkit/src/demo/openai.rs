//! Chat completions, completions and models as OpenAI answers them (its API reference, November 2026).

use serde_json::{Value, json};

use super::ask::Ask;
use super::events::Events;
use super::refusal::Refusal;
use super::text::{Answer, Prompt};
use super::wish;
use super::{CHAT_MODEL, EMBEDDING_MODEL, Reply};

/// When the demo's models were made, in seconds since 1970. Fixed, so that lists compare equal.
const MODEL_CREATED: u64 = 1_735_689_600;

pub(super) fn list() -> Value {
    json!({ "object": "list", "data": [model_object(CHAT_MODEL), model_object(EMBEDDING_MODEL)] })
}

pub(super) fn model(id: &str) -> Result<Value, Refusal> {
    match id {
        CHAT_MODEL | EMBEDDING_MODEL => Ok(model_object(id)),
        _ => Err(Refusal::unknown_model(id)),
    }
}

fn model_object(id: &str) -> Value {
    json!({ "id": id, "object": "model", "created": MODEL_CREATED, "owned_by": "demo" })
}

pub(super) fn chat(ask: &Ask) -> Result<Reply, Refusal> {
    let prompt = Prompt::from_messages(ask.list("messages")?);
    let limit = ask.count("max_completion_tokens")?.or(ask.count("max_tokens")?);
    let answer = wish::grant(&ask.body, ask.body.get("response_format"), &prompt, limit)?;
    let usage = usage(&prompt, &answer);
    let reason = finish_reason(&answer);
    let call = |name: &str, arguments: &str| {
        let function = json!({ "name": name, "arguments": arguments });
        json!({ "id": ask.id("call_"), "type": "function", "function": function })
    };
    if !ask.streams() {
        let mut message = json!({ "role": "assistant", "refusal": null, "annotations": [] });
        match &answer.tool {
            Some(name) => message["tool_calls"] = json!([call(name, &answer.text())]),
            None => message["content"] = json!(answer.text()),
        }
        // Null beside a call, and there all the same.
        message["content"] = message["content"].take();
        let mut reply = envelope(ask, "chatcmpl-", "chat.completion");
        reply["choices"] =
            json!([{ "index": 0, "message": message, "logprobs": null, "finish_reason": reason }]);
        reply["usage"] = usage;
        return Ok(Reply::Json(reply));
    }
    let chunk = |delta: Value, reason: Option<&str>| {
        let mut chunk = envelope(ask, "chatcmpl-", "chat.completion.chunk");
        chunk["choices"] = json!([{ "index": 0, "delta": delta, "logprobs": null, "finish_reason": reason }]);
        chunk
    };
    let mut first = json!({ "role": "assistant", "content": "", "refusal": null });
    if let Some(name) = &answer.tool {
        first["content"] = Value::Null;
        first["tool_calls"] = json!([at_index(call(name, ""))]);
    }
    let more = |word: &String| match answer.tool {
        Some(_) => json!({ "tool_calls": [at_index(json!({ "function": { "arguments": word } }))] }),
        None => json!({ "content": word }),
    };
    let mut chunks = vec![chunk(first, None)];
    chunks.extend(answer.words.iter().map(|word| chunk(more(word), None)));
    chunks.push(chunk(json!({}), Some(reason)));
    let last = envelope(ask, "chatcmpl-", "chat.completion.chunk");
    Ok(stream(ask, chunks, last, usage))
}

/// Says which call of a message a part of a stream belongs to: there is one.
fn at_index(mut call: Value) -> Value {
    call["index"] = json!(0);
    call
}

pub(super) fn completions(ask: &Ask) -> Result<Reply, Refusal> {
    let prompt = match ask.body.get("prompt") {
        Some(Value::String(text)) => Prompt::from_text(text),
        Some(Value::Array(texts)) => Prompt::from_text(texts.first().and_then(Value::as_str).unwrap_or("")),
        Some(_) => return Err(Refusal::parameter("prompt", "must be a string or an array")),
        None => return Err(Refusal::parameter("prompt", "is required")),
    };
    let answer = Answer::to(&prompt, ask.count("max_tokens")?);
    let usage = usage(&prompt, &answer);
    let part = |text: &str, reason: Option<&str>| {
        let mut part = envelope(ask, "cmpl-", "text_completion");
        part["choices"] = json!([{ "index": 0, "text": text, "logprobs": null, "finish_reason": reason }]);
        part
    };
    if !ask.streams() {
        let mut reply = part(&answer.text(), Some(finish_reason(&answer)));
        reply["usage"] = usage;
        return Ok(Reply::Json(reply));
    }
    // Null until the last part, as the vendor sends it; the SDK's own type leaves that case out.
    let mut parts: Vec<Value> = answer.words.iter().map(|word| part(word, None)).collect();
    parts.push(part("", Some(finish_reason(&answer))));
    let last = envelope(ask, "cmpl-", "text_completion");
    Ok(stream(ask, parts, last, usage))
}

/// Makes the stream of the chunks. Usage comes only where it was asked for: in a last chunk without
/// choices, and as null in all others.
fn stream(ask: &Ask, chunks: Vec<Value>, mut last: Value, usage: Value) -> Reply {
    let includes_usage =
        ask.body.pointer("/stream_options/include_usage").and_then(Value::as_bool).unwrap_or(false);
    let mut events = Events::new(ask.word_delay);
    for mut chunk in chunks {
        if includes_usage {
            chunk["usage"] = Value::Null;
        }
        events.pause();
        events.data(chunk);
    }
    if includes_usage {
        last["choices"] = json!([]);
        last["usage"] = usage;
        events.data(last);
    }
    events.done();
    Reply::Events(events)
}

/// The members that every answer and every chunk of these operations has.
fn envelope(ask: &Ask, prefix: &str, object: &str) -> Value {
    json!({
        "id": ask.id(prefix), "object": object, "created": ask.created, "model": ask.model,
        "system_fingerprint": "fp_demo",
    })
}

fn usage(prompt: &Prompt, answer: &Answer) -> Value {
    json!({
        "prompt_tokens": prompt.tokens,
        "completion_tokens": answer.tokens(),
        "total_tokens": prompt.tokens + answer.tokens(),
        "prompt_tokens_details": { "cached_tokens": 0, "audio_tokens": 0 },
        "completion_tokens_details": {
            "reasoning_tokens": 0, "audio_tokens": 0,
            "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0,
        },
    })
}

fn finish_reason(answer: &Answer) -> &'static str {
    match (answer.is_truncated, &answer.tool) {
        (true, _) => "length",
        (false, Some(_)) => "tool_calls",
        (false, None) => "stop",
    }
}
