//! Realtime sessions: their tokens, and the keys of clients that can set no header.

use gate_testkit::raw::{RawScript, Transcript};
use gate_usage::{EndReason, UsageSource};

use crate::support::{Rig, header};
use crate::websocket::{AGREED, TEXT, frame, open};

/// A provider with a key, and one without.
const CONFIG: &str = r#"
    [llm.provider.openai.keyed]
    api_base = "http://keyed.test/v1"
    api_key = "ours"
    models = ["gpt-4"]
    websocket = true

    [llm.provider.openai.keyless]
    api_base = "http://keyless.test/v1"
    auth = "api-key"
    websocket = true
"#;

/// Writes a text of a server in one frame.
fn text(message: &str) -> Vec<u8> {
    let mut frame = vec![TEXT];
    match u8::try_from(message.len()) {
        Ok(length @ 0..126) => frame.push(length),
        _ => {
            frame.push(126);
            frame.extend(u16::try_from(message.len()).unwrap().to_be_bytes());
        }
    }
    frame.extend(message.as_bytes());
    frame
}

// Spec: monitoring L-26.
#[tokio::test(start_paused = true)]
async fn the_tokens_of_a_realtime_session_are_in_its_record() {
    let done = r#"{"type":"response.done","response":{"usage":{"total_tokens":8,"input_tokens":5,"output_tokens":3,
        "input_token_details":{"cached_tokens":2}}}}"#;
    let heard = r#"{"type":"conversation.item.input_audio_transcription.completed","usage":{"type":"tokens",
        "total_tokens":11,"input_tokens":10,"output_tokens":1}}"#;
    let events = [text(done), text(heard), text(done), b"\x88\x02\x03\xe8".to_vec()].concat();
    for (sent, total) in [(events.clone(), (Some(20), Some(7), Some(4))), {
        // Cut within the second answer: the first one was paid for.
        let all = text(done).len() + text(heard).len() + 40;
        (events[..all].to_vec(), (Some(15), Some(4), Some(2)))
    }] {
        let script = RawScript::new().expect_head().send([AGREED.as_bytes(), &sent].concat());
        let (mut rig, _transcripts) = Rig::with_scripts(CONFIG, [script.expect_bytes(1)]);
        let mut client = rig.connect();
        client.send(open("/v1/realtime?model=gpt-4", &[])).await.unwrap();
        assert_eq!(client.read_head().await.unwrap().status, 101);
        assert_eq!(client.read_bytes(sent.len()).await.unwrap(), sent, "as they came");
        drop(client);
        let record = rig.records.first().await;
        let usage = record.usage;
        assert_eq!((usage.input_tokens, usage.output_tokens, usage.cache_read_tokens), total);
        assert_eq!(record.usage_source, UsageSource::Provider);
        assert_eq!(record.bytes_out, u64::try_from(sent.len()).unwrap());
    }
}

// Spec: api A-68.
#[tokio::test(start_paused = true)]
async fn no_session_is_compressed() {
    let agreed = AGREED.replace("\r\n\r\n", "\r\nsec-websocket-extensions: permessage-deflate\r\n\r\n");
    let (mut rig, mut transcripts) = Rig::with_scripts(CONFIG, [RawScript::new().expect_head().send(agreed)]);
    let offer = "sec-websocket-extensions: permessage-deflate; client_max_window_bits";
    let response = rig.send(&open("/v1/realtime?model=gpt-4", &[offer])).await;
    assert_eq!((response.head.status, header(&response, "x-gateway-error")), (502, "upstream_protocol"));
    assert!(!transcripts.recv().await.unwrap().text().contains("permessage-deflate"));
    assert_eq!(rig.records.first().await.end, EndReason::GatewayError);
}

/// Opens a session with these headers; returns what the provider saw, if it was asked.
async fn asked(path: &str, headers: &[&str]) -> Result<Transcript, (u16, String)> {
    let script = RawScript::new()
        .expect_head()
        .send(AGREED.replace("\r\n\r\n", "\r\nsec-websocket-protocol: realtime\r\n\r\n"));
    let (mut rig, mut transcripts) = Rig::with_scripts(CONFIG, [script.expect_bytes(1)]);
    let mut client = rig.connect();
    client.send(open(path, headers)).await.unwrap();
    let head = client.read_head().await.unwrap();
    if head.status != 101 {
        return Err((head.status, head.header("x-gateway-error").unwrap_or_default().to_owned()));
    }
    assert_eq!(head.header("sec-websocket-protocol"), Some("realtime"));
    client.send(frame(TEXT, br#"{"type":"response.create","model":"openai.keyless.m"}"#)).await.unwrap();
    let transcript = transcripts.recv().await.unwrap();
    drop(client);
    let shown = format!("{:?}", rig.records.first().await);
    assert!(!shown.contains("canary"), "{shown}");
    Ok(transcript)
}

// Spec: api A-67.
#[tokio::test(start_paused = true)]
async fn a_key_among_the_subprotocols_is_the_clients_own() {
    let offer = "sec-websocket-protocol: realtime, openai-insecure-api-key.canary-1, openai-beta.realtime-v1";
    // To a provider without a key it goes as the header that this one reads, elsewhere nowhere.
    for (path, credential, rest) in [
        ("/v1/realtime?model=openai.keyless.m", "api-key: canary-1", "realtime, openai-beta.realtime-v1"),
        ("/v1/realtime?model=gpt-4", "authorization: Bearer ours", "realtime, openai-beta.realtime-v1"),
        ("/v1/responses", "api-key: canary-1", "realtime"),
    ] {
        let seen = asked(path, &[offer]).await.unwrap().text();
        assert!(seen.contains(&format!("{credential}\r\n")), "{path}: {seen}");
        assert!(seen.contains(&format!("sec-websocket-protocol: {rest}\r\n")), "{path}: {seen}");
        assert!(!seen.contains("insecure"), "{path}: {seen}");
        assert_eq!(
            seen.matches("canary").count(),
            usize::from(credential.contains("canary")),
            "{path}: {seen}"
        );
    }
    // Another credential wins, or says the same.
    let provider = "x-provider-api-key: theirs";
    let seen = asked("/v1/realtime?model=openai.keyless.m", &[offer, provider]).await.unwrap().text();
    assert!(seen.contains("api-key: theirs\r\n") && !seen.contains("canary"), "{seen}");
    let seen = asked("/v1/realtime?model=openai.keyless.m", &[offer, "x-api-key: canary-1"]).await.unwrap();
    assert!(seen.text().contains("x-api-key: canary-1\r\n"), "{}", seen.text());
    for path in ["/v1/realtime?model=openai.keyless.m", "/v1/responses"] {
        let refused = asked(path, &[offer, "authorization: Bearer canary-2"]).await.unwrap_err();
        assert_eq!(refused, (400, "ambiguous_credentials".to_owned()), "{path}");
    }
    let refused = asked("/v1/realtime?model=openai.keyless.m", &["sec-websocket-protocol: realtime"]).await;
    assert_eq!(refused.unwrap_err(), (500, "provider_not_configured".to_owned()));
}
