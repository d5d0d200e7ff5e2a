//! The OpenAI operations of the demo.

use super::*;

const TEXT: &str = "Hello from emx-gate's demo provider. You said: hi there";

fn messages() -> Value {
    json!([{ "role": "system", "content": "be kind" }, { "role": "user", "content": "hi there" }])
}

#[tokio::test]
async fn chat_echoes_the_last_user_message() {
    let reply = ok("/v1/chat/completions", &json!({ "model": "any.model", "messages": messages() })).await;
    assert_eq!(reply["object"], "chat.completion");
    assert_eq!(reply["id"], "chatcmpl-demo00000001");
    assert_eq!(reply["model"], "any.model");
    assert_eq!(reply["choices"][0]["message"]["content"], TEXT);
    assert_eq!(reply["choices"][0]["finish_reason"], "stop");
    assert_eq!(reply["usage"]["prompt_tokens"], 4);
    assert_eq!(reply["usage"]["completion_tokens"], 9);
    assert_eq!(reply["usage"]["total_tokens"], 13);
}

#[tokio::test]
async fn chat_stops_at_the_limit() {
    for name in ["max_tokens", "max_completion_tokens"] {
        let mut body = json!({ "model": "m", "messages": messages() });
        body[name] = json!(2);
        let reply = ok("/v1/chat/completions", &body).await;
        assert_eq!(reply["choices"][0]["message"]["content"], "Hello from ");
        assert_eq!(reply["choices"][0]["finish_reason"], "length");
        assert_eq!(reply["usage"]["completion_tokens"], 2);
    }
}

#[tokio::test]
async fn a_chat_stream_has_usage_only_when_asked() {
    for (options, is_asked) in [
        (json!(null), false),
        (json!({ "include_usage": false }), false),
        (json!({ "include_usage": true }), true),
    ] {
        let body = json!({ "model": "m", "messages": messages(), "stream": true, "stream_options": options });
        let mut events = events("/v1/chat/completions", &body).await;
        assert!(events.iter().all(|(name, _)| name.is_none()));
        assert_eq!(events.pop().unwrap().1, "[DONE]");
        let mut chunks: Vec<Value> =
            events.iter().map(|(_, data)| serde_json::from_str(data).unwrap()).collect();
        assert!(
            chunks.iter().all(|chunk| chunk["object"] == "chat.completion.chunk" && chunk["model"] == "m")
        );
        if is_asked {
            let last = chunks.pop().unwrap();
            assert_eq!((&last["choices"], &last["usage"]["total_tokens"]), (&json!([]), &json!(13)));
        }
        // With usage asked for, every chunk says null; without, none has the member.
        assert!(chunks.iter().all(|chunk| chunk.get("usage").is_some() == is_asked));
        assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
        let text: String =
            chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
        assert_eq!(text, TEXT);
        let reasons: Vec<&Value> = chunks.iter().map(|chunk| &chunk["choices"][0]["finish_reason"]).collect();
        assert!(reasons[..reasons.len() - 1].iter().all(|reason| reason.is_null()));
        assert_eq!(reasons[reasons.len() - 1], "stop");
    }
}

#[tokio::test]
async fn completions_answer_whole_and_as_a_stream() {
    for prompt in [json!("hi there"), json!(["hi there", "unread"])] {
        let reply = ok("/v1/completions", &json!({ "model": "m", "prompt": prompt })).await;
        assert_eq!(
            (&reply["object"], &reply["choices"][0]["text"]),
            (&json!("text_completion"), &json!(TEXT))
        );
        assert_eq!(reply["usage"]["total_tokens"], 11);
    }
    let body = json!({ "model": "m", "prompt": "hi there", "stream": true });
    let mut events = events("/v1/completions", &body).await;
    assert_eq!(events.pop().unwrap().1, "[DONE]");
    let text: String = events
        .iter()
        .map(|(_, data)| {
            serde_json::from_str::<Value>(data).unwrap()["choices"][0]["text"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(text, TEXT);
}

#[tokio::test]
async fn responses_read_both_forms_of_input() {
    for input in [
        json!("hi there"),
        json!([{ "role": "user", "content": [{ "type": "input_text", "text": "hi there" }] }]),
    ] {
        let body =
            json!({ "model": "m", "input": input, "instructions": "be kind", "metadata": { "a": "b" } });
        let reply = ok("/v1/responses", &body).await;
        assert_eq!((&reply["object"], &reply["status"]), (&json!("response"), &json!("completed")));
        assert_eq!(reply["output"][0]["content"][0]["text"], TEXT);
        assert_eq!((&reply["metadata"], &reply["instructions"]), (&body["metadata"], &body["instructions"]));
        assert_eq!(
            (&reply["usage"]["input_tokens"], &reply["usage"]["output_tokens"]),
            (&json!(4), &json!(9))
        );
        assert_eq!(reply["incomplete_details"], json!(null));
    }
}

#[tokio::test]
async fn a_responses_stream_has_every_event_in_order() {
    let events =
        named(&events("/v1/responses", &json!({ "model": "m", "input": "hi there", "stream": true })).await);
    let mut names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    names.dedup();
    assert_eq!(
        names,
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
    );
    for (serial, (_, event)) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], serial);
    }
    assert_eq!(events[0].1["response"]["usage"], json!(null));
    let text: String = events.iter().filter_map(|(_, event)| event["delta"].as_str()).collect();
    assert_eq!(text, TEXT);
    let last = &events.last().unwrap().1["response"];
    assert_eq!(
        (&last["usage"]["total_tokens"], &last["output"][0]["content"][0]["text"]),
        (&json!(11), &json!(TEXT))
    );
}

#[tokio::test]
async fn a_response_over_its_limit_is_incomplete() {
    let body = json!({ "model": "m", "input": "hi", "max_output_tokens": 1, "stream": true });
    let events = named(&events("/v1/responses", &body).await);
    let (name, last) = events.last().unwrap();
    assert_eq!(name, "response.incomplete");
    assert_eq!(last["response"]["incomplete_details"]["reason"], "max_output_tokens");
    assert_eq!(last["response"]["output"][0]["content"][0]["text"], "Hello ");
}

#[tokio::test]
async fn embeddings_are_the_same_numbers_in_both_encodings() {
    let floats = ok("/v1/embeddings", &json!({ "model": "m", "input": ["a", "b c"], "dimensions": 3 })).await;
    assert_eq!(floats["data"][1]["index"], 1);
    assert_eq!(floats["usage"], json!({ "prompt_tokens": 3, "total_tokens": 3 }));
    let vector = floats["data"][0]["embedding"].as_array().unwrap();
    assert_eq!(vector.len(), 3);

    let body = json!({ "model": "m", "input": "a", "dimensions": 3, "encoding_format": "base64" });
    let encoded = ok("/v1/embeddings", &body).await;
    // Twelve bytes make sixteen digits and no padding.
    let text = encoded["data"][0]["embedding"].as_str().unwrap();
    assert_eq!(
        decode(text),
        vector.iter().flat_map(|x| (x.as_f64().unwrap() as f32).to_le_bytes()).collect::<Vec<_>>()
    );

    let plain = ok("/v1/embeddings", &json!({ "model": "m", "input": "a" })).await;
    assert_eq!(plain["data"][0]["embedding"].as_array().unwrap().len(), 8);
}

/// Decodes base64 without padding, independently of the encoder.
fn decode(text: &str) -> Vec<u8> {
    const DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: String = text.chars().map(|c| format!("{:06b}", DIGITS.find(c).unwrap())).collect();
    bits.as_bytes()
        .chunks(8)
        .map(|byte| u8::from_str_radix(std::str::from_utf8(byte).unwrap(), 2).unwrap())
        .collect()
}

#[tokio::test]
async fn models_are_listed_and_found() {
    let response = ask("GET", "/v1/models", "", "").await;
    let list = json_of(&response);
    assert_eq!(list["object"], "list");
    let ids: Vec<&Value> = list["data"].as_array().unwrap().iter().map(|model| &model["id"]).collect();
    assert_eq!(ids, ["gpt-demo", "text-embedding-demo"]);
    let model = json_of(&ask("GET", "/v1/models/gpt-demo", "", "").await);
    assert_eq!(model, list["data"][0]);
    let missing = ask("GET", "/v1/models/gpt-9", "", "").await;
    assert_eq!(missing.head.status, 404);
    assert_eq!(json_of(&missing)["error"]["code"], "model_not_found");
    let unknown = post("/v1/nothing", &json!({})).await;
    assert_eq!((unknown.head.status, &json_of(&unknown)["error"]["code"]), (404, &json!(null)));
}
