//! The Anthropic operations of the demo.

use super::*;

const TEXT: &str = "Hello from emx-gate's demo provider. You said: hi there";
const VERSION: &str = "anthropic-version: 2023-06-01\r\n";

fn body(max_tokens: usize) -> Value {
    json!({
        "model": "any.model", "max_tokens": max_tokens, "system": [{ "type": "text", "text": "be kind" }],
        "messages": [{ "role": "user", "content": "hi there" }],
    })
}

#[tokio::test]
async fn messages_echo_the_last_user_message() {
    let reply = ok("/v1/messages", &body(100)).await;
    assert_eq!((&reply["type"], &reply["role"]), (&json!("message"), &json!("assistant")));
    assert_eq!((&reply["id"], &reply["model"]), (&json!("msg_demo00000001"), &json!("any.model")));
    assert_eq!(reply["content"], json!([{ "type": "text", "text": TEXT }]));
    assert_eq!(reply["stop_reason"], "end_turn");
    assert_eq!((&reply["usage"]["input_tokens"], &reply["usage"]["output_tokens"]), (&json!(4), &json!(9)));

    let reply = ok("/v1/messages", &body(2)).await;
    assert_eq!(
        (&reply["content"][0]["text"], &reply["stop_reason"]),
        (&json!("Hello from "), &json!("max_tokens"))
    );
}

#[tokio::test]
async fn a_message_stream_has_every_event_in_order() {
    let mut body = body(100);
    body["stream"] = json!(true);
    let events = named(&events("/v1/messages", &body).await);
    let mut names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    names.dedup();
    assert_eq!(
        names,
        [
            "message_start",
            "content_block_start",
            "ping",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop",
        ]
    );
    let start = &events[0].1["message"];
    assert_eq!((&start["content"], &start["stop_reason"]), (&json!([]), &json!(null)));
    assert_eq!((&start["usage"]["input_tokens"], &start["usage"]["output_tokens"]), (&json!(4), &json!(1)));
    let text: String = events.iter().filter_map(|(_, event)| event["delta"]["text"].as_str()).collect();
    assert_eq!(text, TEXT);
    let delta = &events[events.len() - 2].1;
    assert_eq!(
        (&delta["delta"]["stop_reason"], &delta["usage"]["output_tokens"]),
        (&json!("end_turn"), &json!(9))
    );
}

#[tokio::test]
async fn tokens_are_counted_as_a_message_would() {
    let mut body = body(1);
    body.as_object_mut().unwrap().remove("max_tokens");
    assert_eq!(ok("/v1/messages/count_tokens", &body).await, json!({ "input_tokens": 4 }));
}

#[tokio::test]
async fn models_take_this_shape_when_the_version_is_sent() {
    let list = json_of(&ask("GET", "/v1/models?limit=1000", VERSION, "").await);
    assert_eq!(list["data"][0]["id"], "claude-demo");
    assert_eq!(
        (&list["has_more"], &list["first_id"], &list["last_id"]),
        (&json!(false), &json!("claude-demo"), &json!("claude-demo"))
    );
    let model = json_of(&ask("GET", "/v1/models/claude-demo", VERSION, "").await);
    assert_eq!(model, list["data"][0]);
    let missing = ask("GET", "/v1/models/gpt-demo", VERSION, "").await;
    assert_eq!(missing.head.status, 404);
    assert_eq!(json_of(&missing)["error"]["type"], "not_found_error");
}

#[tokio::test]
async fn an_unknown_path_answers_in_this_dialect_when_the_version_is_sent() {
    let response = ask("POST", "/v1/nothing", VERSION, "{}").await;
    assert_eq!(response.head.status, 404);
    assert_eq!(json_of(&response)["error"]["type"], "not_found_error");
}
