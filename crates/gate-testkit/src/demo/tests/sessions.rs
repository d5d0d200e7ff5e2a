//! WebSocket sessions of the demo, over an in-memory connection.

use super::*;
use tokio::io::DuplexStream;

/// The key of RFC 6455 §1.3; its proof is `s3pPLMBiTxaQ9kYGzzhZRbK+xOo=`.
const UPGRADE: &str = "host: demo\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                       sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// A client in a session.
struct Peer(RawClient<DuplexStream>);

impl Peer {
    async fn send(&mut self, first: u8, payload: &[u8]) {
        let key = [1, 2, 3, 4];
        let length = u16::try_from(payload.len()).unwrap();
        let mut frame = vec![first, 0x80 | 126];
        frame.extend(length.to_be_bytes());
        frame.extend(key);
        frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
        self.0.send(frame).await.unwrap();
    }

    async fn say(&mut self, event: &Value) {
        self.send(0x81, event.to_string().as_bytes()).await;
    }

    async fn read(&mut self) -> (u8, Vec<u8>) {
        let head = self.0.read_bytes(2).await.unwrap();
        let length = match head[1] {
            126 => {
                let length = self.0.read_bytes(2).await.unwrap();
                usize::from(u16::from_be_bytes([length[0], length[1]]))
            }
            length => usize::from(length),
        };
        (head[0], self.0.read_bytes(length).await.unwrap())
    }

    async fn hear(&mut self) -> Value {
        let (first, payload) = self.read().await;
        assert_eq!(first, 0x81);
        serde_json::from_slice(&payload).unwrap()
    }

    /// Reads events up to one of this type.
    async fn hear_until(&mut self, kind: &str) -> Vec<Value> {
        let mut events = vec![self.hear().await];
        while events.last().unwrap()["type"] != kind {
            events.push(self.hear().await);
        }
        events
    }
}

/// Opens a session and runs `talk` in it.
async fn session<F: Future<Output = ()>>(path: &str, talk: impl FnOnce(Peer) -> F) {
    let (client, server) = tokio::io::duplex(64 * 1024);
    let mut client = RawClient::new(client);
    let talking = async {
        client
            .send(format!("GET {path} HTTP/1.1\r\n{UPGRADE}sec-websocket-protocol: a, realtime\r\n\r\n"))
            .await
            .unwrap();
        let head = client.read_head().await.unwrap();
        assert_eq!(head.status, 101);
        assert_eq!(head.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert_eq!(head.header("sec-websocket-protocol"), Some("realtime"));
        talk(Peer(client)).await;
    };
    tokio::join!(talking, Demo::new(Pace::INSTANT).serve_stream(server));
}

fn types(events: &[Value]) -> Vec<&str> {
    let mut types: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    types.dedup();
    types
}

fn user(text: &str) -> Value {
    let content = json!([{ "type": "input_text", "text": text }]);
    json!({ "type": "conversation.item.create", "item": { "type": "message", "role": "user", "content": content } })
}

#[tokio::test]
async fn a_realtime_session_answers_turn_by_turn_and_counts() {
    session("/v1/realtime?a=b&model=gpt-demo", |mut peer| async move {
        let created = peer.hear().await;
        assert_eq!(
            (&created["type"], &created["session"]["model"]),
            (&json!("session.created"), &json!("gpt-demo"))
        );
        peer.say(&json!({ "type": "session.update", "session": { "instructions": "be kind" } })).await;
        assert_eq!(peer.hear().await["session"]["instructions"], "be kind");
        peer.say(&user("hi there")).await;
        assert_eq!(
            types(&peer.hear_until("conversation.item.done").await),
            ["conversation.item.added", "conversation.item.done"]
        );
        peer.say(&json!({ "type": "response.create" })).await;
        let events = peer.hear_until("response.done").await;
        assert_eq!(
            types(&events),
            [
                "response.created",
                "response.output_item.added",
                "response.content_part.added",
                "response.output_text.delta",
                "response.output_text.done",
                "response.content_part.done",
                "conversation.item.added",
                "conversation.item.done",
                "response.output_item.done",
                "response.done",
            ]
        );
        let text: String = events.iter().filter_map(|event| event["delta"].as_str()).collect();
        assert_eq!(text, "Hello from emx-gate's demo provider. You said: hi there");
        let done = &events.last().unwrap()["response"];
        assert_eq!(
            (&done["status"], &done["output"][0]["content"][0]["text"]),
            (&json!("completed"), &json!(text))
        );
        let usage = &done["usage"];
        assert_eq!(
            (&usage["input_tokens"], &usage["output_tokens"], &usage["total_tokens"]),
            (&json!(4), &json!(9), &json!(13))
        );
        assert_eq!(usage["input_token_details"]["cached_tokens"], 0);

        peer.say(&user("again")).await;
        peer.say(&json!({ "type": "response.create", "response": { "max_output_tokens": 1 } })).await;
        let events = peer.hear_until("response.done").await;
        let done = &events.last().unwrap()["response"];
        assert_eq!((&done["status"], &done["usage"]["input_tokens"]), (&json!("incomplete"), &json!(14)));
        assert_eq!(done["usage"]["input_token_details"]["cached_tokens"], 4);
        let mut ids: Vec<_> = events.iter().map(|event| event["event_id"].to_string()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), events.len());
        peer.send(0x88, b"\x03\xe8").await;
        assert_eq!(peer.read().await, (0x88, b"\x03\xe8".to_vec()));
    })
    .await;
}

#[tokio::test]
async fn a_realtime_session_calls_tools_and_transcribes() {
    session("/v1/realtime?model=m", |mut peer| async move {
        let tool = json!({ "type": "function", "name": "now", "parameters": { "type": "object", "properties": {} } });
        let audio = json!({ "input": { "transcription": { "model": "whisper" } } });
        peer.say(&json!({ "type": "session.update", "session": { "tools": [tool], "audio": audio } })).await;
        peer.say(&json!({ "type": "response.create", "response": { "tool_choice": "required" } })).await;
        let events = peer.hear_until("response.done").await;
        let call = &events.last().unwrap()["response"]["output"][0];
        assert_eq!((&call["type"], &call["name"], &call["arguments"]), (&json!("function_call"), &json!("now"), &json!("{}")));
        let output = json!({ "type": "function_call_output", "call_id": call["call_id"], "output": "noon" });
        peer.say(&json!({ "type": "conversation.item.create", "item": output })).await;
        peer.say(&json!({ "type": "response.create" })).await;
        let events = peer.hear_until("response.done").await;
        let text = events.last().unwrap()["response"]["output"][0]["content"][0]["text"].as_str().unwrap();
        assert!(text.ends_with("The tool said: noon"), "{text}");

        peer.say(&json!({ "type": "input_audio_buffer.commit" })).await;
        assert_eq!(peer.hear().await["error"]["message"], "the input audio buffer is empty");
        peer.say(&json!({ "type": "input_audio_buffer.append", "audio": "AAAAAAAA" })).await;
        peer.say(&json!({ "type": "input_audio_buffer.commit" })).await;
        let events = peer.hear_until("conversation.item.input_audio_transcription.completed").await;
        assert_eq!(events[0]["type"], "input_audio_buffer.committed");
        let last = events.last().unwrap();
        assert_eq!((&last["transcript"], &last["usage"]["input_tokens"]), (&json!("6 bytes of audio"), &json!(3)));

        for (event, message) in [
            (json!({ "type": "x", "event_id": "e" }), "type: the demo does not know `x`"),
            (json!({ "type": "session.update" }), "session: must be an object"),
            (json!([]), "the message is no JSON object with a `type`"),
        ] {
            peer.say(&event).await;
            let error = peer.hear().await;
            assert_eq!((&error["type"], &error["error"]["message"]), (&json!("error"), &json!(message)));
            assert_eq!(error["error"]["event_id"], event.get("event_id").cloned().unwrap_or_default());
        }
    })
    .await;
}

#[tokio::test]
async fn a_responses_session_sends_the_events_of_the_stream() {
    session("/v1/responses", |mut peer| async move {
        for body in [
            json!({ "type": "response.create", "model": "m", "input": "hi" }),
            json!({ "type": "response.create", "response": { "model": "m", "input": "hi" } }),
        ] {
            peer.say(&body).await;
            let events = peer.hear_until("response.completed").await;
            assert_eq!(
                (&events[0]["type"], &events[0]["sequence_number"]),
                (&json!("response.created"), &json!(0))
            );
            assert_eq!(events.last().unwrap()["response"]["usage"]["total_tokens"], 9);
        }
        for (event, status) in [
            (json!({ "type": "response.create", "model": "error-429", "input": "hi" }), 429),
            (json!({ "type": "response.create", "model": "m" }), 400),
            (json!({ "type": "session.update" }), 400),
        ] {
            peer.say(&event).await;
            let error = peer.hear().await;
            assert_eq!((&error["type"], &error["status"]), (&json!("error"), &json!(status)), "{event}");
        }
        // In parts, with a ping between them.
        let (start, end) = br#"{"type":"response.create","model":"cut","input":"hi"}"#.split_at(9);
        peer.send(0x01, start).await;
        peer.send(0x89, b"p").await;
        peer.send(0x80, end).await;
        assert_eq!(peer.read().await, (0x8a, b"p".to_vec()));
        let (rest, _) = peer.0.read_to_close().await.unwrap();
        let text = String::from_utf8_lossy(&rest);
        assert!(text.contains("response.created") && !text.contains("response.completed"), "{text}");
    })
    .await;
}

#[tokio::test]
async fn what_breaks_the_protocol_ends_the_session() {
    for (bytes, code) in [
        (&b"\x81\x02hi"[..], 1002),
        (b"\xc1\x80\0\0\0\0", 1002),
        (b"\x80\x80\0\0\0\0", 1002),
        (b"\x82\x80\0\0\0\0", 1003),
        (b"\x81\x81\0\0\0\0\xff", 1007),
        (b"\x81\xff\0\0\0\0\xff\xff\xff\xff\0\0\0\0", 1009),
        (b"\x88\x80\0\0\0\0", 1000),
    ] {
        session("/v1/responses", |mut peer| async move {
            peer.0.send(bytes).await.unwrap();
            let (first, payload) = peer.read().await;
            assert_eq!((first, u16::from_be_bytes([payload[0], payload[1]])), (0x88, code), "{bytes:x?}");
        })
        .await;
    }
}

#[tokio::test]
async fn a_session_that_cannot_be_opened_is_refused() {
    for (path, headers, status) in [
        ("/v1/realtime?model=error-429", UPGRADE, 429),
        ("/v1/realtime", UPGRADE, 400),
        ("/v1/files", UPGRADE, 404),
        ("/v1/responses", "connection: upgrade\r\nupgrade: websocket\r\n", 400),
        ("/v1/responses", "", 405),
    ] {
        let headers = headers.replace("host: demo\r\n", "").replace("connection: Upgrade\r\n", "");
        assert_eq!(ask("GET", path, &headers, "").await.head.status, status, "{path}");
    }
}
