//! Bodies as clients send them and vendors answer them: shapes and spacing are theirs, the content is
//! made up. Nothing here is computed.
//!
//! Each constant names the source of its shape and the day on which it was compared with it. The
//! texts hold what trips careless scanners: a `model` or `usage` inside a string or a nested object,
//! escapes, characters of two and four bytes, white space after a value.

/// A chat completion without a stream, `model` first as the `openai` Python package 3.54 sends it; a
/// tool's schema has a member `model` too. Source: that package's request types, 2026-11-24.
pub const CHAT_REQUEST: &str = include_str!("../fixtures/chat_request.json");

/// Its answer, indented as the vendor does. Source: OpenAI's API reference and the types of the
/// `openai` Python package 3.54, 2026-11-24.
pub const CHAT_RESPONSE: &str = include_str!("../fixtures/chat_response.json");

/// A chat stream whose client asked for usage: 14 tokens in, 11 out, in a last chunk without choices.
/// Source: as [`CHAT_RESPONSE`].
pub const CHAT_STREAM: &str = include_str!("../fixtures/chat_stream.sse");

/// A request for a streamed response, with the members that the Codex command line 0.169 sends.
/// Source: the request types of the `openai` Python package 3.54, 2026-11-24.
pub const RESPONSES_REQUEST: &str = include_str!("../fixtures/responses_request.json");

/// Its stream, to `response.completed`: 17 tokens in, 6 out. Source: the event types of the `openai`
/// Python package 3.54, 2026-11-24.
pub const RESPONSES_STREAM: &str = include_str!("../fixtures/responses_stream.sse");

/// Two texts to embed, with `model` after `input`. Source: as [`CHAT_REQUEST`].
pub const EMBEDDINGS_REQUEST: &str = include_str!("../fixtures/embeddings_request.json");

/// Their vectors (0.5, 0.75) and (-0.5, -0.75) in base64. Source: as [`CHAT_RESPONSE`].
pub const EMBEDDINGS_RESPONSE: &str = include_str!("../fixtures/embeddings_response.json");

/// The body of a 429. Source: the error schema of OpenAI's API reference, 2026-11-24.
pub const OPENAI_ERROR: &str = include_str!("../fixtures/openai_error.json");

/// A message to be streamed, `model` after `messages` as the `anthropic` Python package 2.12 sends it;
/// a tool has a `model` of its own. Source: that package's request types, 2026-11-24.
pub const MESSAGES_REQUEST: &str = include_str!("../fixtures/messages_request.json");

/// The answer of a message without a stream: 21 tokens in besides 2048 from the cache, 8 out. Source:
/// Anthropic's API reference and the types of the `anthropic` Python package 2.12, 2026-11-24.
pub const MESSAGES_RESPONSE: &str = include_str!("../fixtures/messages_response.json");

/// A message stream: 21 tokens in besides 2048 from the cache, 9 out; the vendor pads events with
/// white space. Source: as [`MESSAGES_RESPONSE`].
pub const MESSAGES_STREAM: &str = include_str!("../fixtures/messages_stream.sse");

/// The body of a 529. Source: the errors page of Anthropic's API reference, 2026-11-24.
pub const ANTHROPIC_ERROR: &str = include_str!("../fixtures/anthropic_error.json");

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn requests_name_the_model_that_a_router_must_find() {
        fn check(text: &str, model: &str) {
            let body: Value = serde_json::from_str(text).unwrap();
            assert_eq!(body["model"], model);
        }
        check(CHAT_REQUEST, "gpt-4o");
        check(RESPONSES_REQUEST, "gpt-5.1");
        check(EMBEDDINGS_REQUEST, "text-embedding-3-small");
        check(MESSAGES_REQUEST, "claude-sonnet-4-5-20250929");
    }

    #[test]
    fn answers_hold_what_their_documentation_says() {
        fn check(text: &str, pointer: &str, expected: impl Into<Value>) {
            let body: Value = serde_json::from_str(text).unwrap();
            assert_eq!(body.pointer(pointer), Some(&expected.into()), "{pointer}");
        }
        check(CHAT_RESPONSE, "/usage/total_tokens", 80);
        check(EMBEDDINGS_RESPONSE, "/data/1/embedding", "AAAAvwAAQL8=");
        check(OPENAI_ERROR, "/error/code", "rate_limit_exceeded");
        check(MESSAGES_RESPONSE, "/usage/output_tokens", 8);
        check(ANTHROPIC_ERROR, "/error/type", "overloaded_error");
    }

    #[test]
    fn streams_are_whole_events_that_end_with_their_usage() {
        /// Checks every event, and the member at `pointer` in the last one that has it.
        fn check(text: &str, last: &str, pointer: &str, tokens: u64) {
            let events: Vec<&str> = text.strip_suffix("\n\n").unwrap().split("\n\n").collect();
            assert_eq!(*events.last().unwrap(), last);
            let mut found = None;
            for event in events {
                let data = event.lines().last().unwrap().strip_prefix("data: ").unwrap();
                if data == "[DONE]" {
                    continue;
                }
                let value: Value = serde_json::from_str(data).unwrap();
                if let Some(name) = event.strip_prefix("event: ") {
                    assert_eq!(name.lines().next(), value["type"].as_str());
                }
                found = value.pointer(pointer).and_then(Value::as_u64).or(found);
            }
            assert_eq!(found, Some(tokens));
        }
        check(CHAT_STREAM, "data: [DONE]", "/usage/completion_tokens", 11);
        let completed = RESPONSES_STREAM.trim_end().rsplit("\n\n").next().unwrap();
        assert!(completed.starts_with("event: response.completed\n"));
        check(RESPONSES_STREAM, completed, "/response/usage/output_tokens", 6);
        let stop = "event: message_stop\ndata: {\"type\":\"message_stop\"           }";
        check(MESSAGES_STREAM, stop, "/usage/output_tokens", 9);
    }
}
