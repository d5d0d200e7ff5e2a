//! Calls of tools and JSON of a schema, in every dialect, whole and as a stream.

use super::*;

fn schema() -> Value {
    json!({ "type": "object", "required": ["city"], "properties": { "city": { "type": "string" } } })
}

const ARGUMENTS: &str = r#"{"city":"demo"}"#;

fn chat(messages: &Value) -> Value {
    let tool = json!({ "type": "function", "function": { "name": "weather", "parameters": schema() } });
    json!({ "model": "m", "messages": messages, "tools": [tool] })
}

#[tokio::test]
async fn chat_calls_a_tool_and_repeats_what_it_said() {
    let ask = json!({ "role": "user", "content": "call weather" });
    let reply = ok("/v1/chat/completions", &chat(&json!([ask]))).await;
    let choice = &reply["choices"][0];
    assert_eq!(
        (&choice["finish_reason"], &choice["message"]["content"]),
        (&json!("tool_calls"), &json!(null))
    );
    assert!(choice["message"].as_object().unwrap().contains_key("content"));
    let call = &choice["message"]["tool_calls"][0];
    assert_eq!((&call["type"], &call["id"]), (&json!("function"), &json!("call_demo00000001")));
    assert_eq!(call["function"], json!({ "name": "weather", "arguments": ARGUMENTS }));
    assert_eq!(reply["usage"]["completion_tokens"], 2);

    let result = json!({ "role": "tool", "tool_call_id": call["id"], "content": "sunny" });
    let reply = ok("/v1/chat/completions", &chat(&json!([ask, choice["message"], result]))).await;
    let text = reply["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(text.ends_with("The tool said: sunny"), "{text}");
    assert_eq!(reply["choices"][0]["finish_reason"], "stop");

    let mut body = chat(&json!([ask]));
    body["stream"] = json!(true);
    let events = events("/v1/chat/completions", &body).await;
    let chunks = events[..events.len() - 1].iter().map(|(_, data)| serde_json::from_str(data).unwrap());
    let chunks: Vec<Value> = chunks.collect();
    let calls: Vec<&Value> =
        chunks.iter().filter_map(|chunk| chunk.pointer("/choices/0/delta/tool_calls/0")).collect();
    assert!(calls.iter().all(|call| call["index"] == 0));
    assert_eq!((&calls[0]["function"]["name"], &calls[0]["type"]), (&json!("weather"), &json!("function")));
    let arguments: String =
        calls.iter().map(|call| call["function"]["arguments"].as_str().unwrap()).collect();
    assert_eq!((arguments.as_str(), calls.len()), (ARGUMENTS, 3));
    assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "tool_calls");
}

#[tokio::test]
async fn a_response_calls_a_tool_and_repeats_what_it_said() {
    let tool = json!({ "type": "function", "name": "weather", "parameters": schema() });
    let mut body = json!({ "model": "m", "input": "hi", "tools": [tool], "tool_choice": "required" });
    let reply = ok("/v1/responses", &body).await;
    let call = &reply["output"][0];
    assert_eq!(
        (&call["type"], &call["name"], &call["arguments"]),
        (&json!("function_call"), &json!("weather"), &json!(ARGUMENTS))
    );
    assert_eq!((&call["status"], &reply["tools"]), (&json!("completed"), &body["tools"]));

    body["stream"] = json!(true);
    let events = named(&events("/v1/responses", &body).await);
    let mut names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    names.dedup();
    assert_eq!(
        names,
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.function_call_arguments.delta",
            "response.function_call_arguments.done",
            "response.output_item.done",
            "response.completed",
        ]
    );
    let deltas: String = events.iter().filter_map(|(_, event)| event["delta"].as_str()).collect();
    let done = events.iter().find(|(name, _)| name.ends_with("arguments.done")).unwrap();
    assert_eq!((deltas.as_str(), &done.1["arguments"]), (ARGUMENTS, &json!(ARGUMENTS)));
    assert_eq!(events.last().unwrap().1["response"]["output"][0]["name"], "weather");

    let result = json!({ "type": "function_call_output", "call_id": call["call_id"], "output": "sunny" });
    body["stream"] = json!(false);
    body["input"] = json!([{ "role": "user", "content": "hi" }, call, result]);
    let reply = ok("/v1/responses", &body).await;
    let text = reply["output"][0]["content"][0]["text"].as_str().unwrap();
    assert!(text.ends_with("The tool said: sunny"), "{text}");
}

#[tokio::test]
async fn a_message_calls_a_tool_and_repeats_what_it_said() {
    let ask = json!({ "role": "user", "content": "call weather" });
    let tools = json!([{ "name": "weather", "input_schema": schema() }]);
    let mut body = json!({ "model": "m", "max_tokens": 99, "messages": [ask], "tools": tools });
    let reply = ok("/v1/messages", &body).await;
    let block = &reply["content"][0];
    assert_eq!((&block["type"], &block["name"]), (&json!("tool_use"), &json!("weather")));
    assert_eq!((&block["input"], &reply["stop_reason"]), (&json!({ "city": "demo" }), &json!("tool_use")));

    body["stream"] = json!(true);
    let events = named(&events("/v1/messages", &body).await);
    let start = events.iter().find(|(name, _)| name == "content_block_start").unwrap();
    assert_eq!(
        (&start.1["content_block"]["name"], &start.1["content_block"]["input"]),
        (&json!("weather"), &json!({}))
    );
    let input: String =
        events.iter().filter_map(|(_, event)| event["delta"]["partial_json"].as_str()).collect();
    assert_eq!(input, ARGUMENTS);
    assert_eq!(events[events.len() - 2].1["delta"]["stop_reason"], "tool_use");

    body["stream"] = json!(false);
    body["max_tokens"] = json!(1);
    let reply = ok("/v1/messages", &body).await;
    assert_eq!((&reply["content"][0]["input"], &reply["stop_reason"]), (&json!({}), &json!("max_tokens")));
    let result = json!({ "type": "tool_result", "tool_use_id": block["id"], "content": "sunny" });
    body["max_tokens"] = json!(99);
    body["messages"] =
        json!([ask, { "role": "assistant", "content": [block] }, { "role": "user", "content": [result] }]);
    let text = ok("/v1/messages", &body).await["content"][0]["text"].as_str().unwrap().to_owned();
    assert!(text.ends_with("The tool said: sunny"), "{text}");
}

#[tokio::test]
async fn a_tool_that_is_not_there_cannot_be_forced() {
    let mut body = chat(&json!([{ "role": "user", "content": "hi" }]));
    body["tool_choice"] = json!({ "type": "function", "function": { "name": "other" } });
    let response = post("/v1/chat/completions", &body).await;
    assert_eq!(response.head.status, 400);
    assert_eq!(json_of(&response)["error"]["message"], "tool_choice: names no tool of `tools`");
}

#[tokio::test]
async fn structured_output_has_the_shape_of_its_schema() {
    let expected: Value = json!({ "city": "demo" });
    let messages = json!([{ "role": "user", "content": "hi" }]);
    let inner = json!({ "type": "json_schema", "schema": schema() });
    let chat = json!({ "type": "json_schema", "json_schema": { "name": "a", "schema": schema() } });
    for (path, body, pointer) in [
        (
            "/v1/chat/completions",
            json!({ "model": "m", "messages": messages, "response_format": chat }),
            "/choices/0/message/content",
        ),
        (
            "/v1/responses",
            json!({ "model": "m", "input": "hi", "text": { "format": inner } }),
            "/output/0/content/0/text",
        ),
        (
            "/v1/messages",
            json!({ "model": "m", "max_tokens": 99, "messages": messages, "output_config": { "format": inner } }),
            "/content/0/text",
        ),
        (
            "/v1/messages",
            json!({ "model": "m", "max_tokens": 99, "messages": messages, "output_format": inner }),
            "/content/0/text",
        ),
    ] {
        let reply = ok(path, &body).await;
        let text = reply.pointer(pointer).unwrap().as_str().unwrap();
        assert_eq!(serde_json::from_str::<Value>(text).unwrap(), expected, "{path}");
    }
}
