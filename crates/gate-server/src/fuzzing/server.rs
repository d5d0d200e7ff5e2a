//! What holds for any bytes of a client, and for any bytes of a provider.

use super::http1::{End, Message};
use super::pieces::{pieces, settings_and_bytes};
use super::rig::{Outcome, Script, play};

/// Codes of our own with which a body can be refused that is passed on while it comes.
const CODES_OF_A_PASSING_BODY: [&str; 3] = ["bad_request", "request_timeout", "request_too_large"];

/// Checks a client and its providers: the gateway ends, sends no request twice, sends nothing of what
/// it refuses, and writes one record for each answer.
///
/// The input is a line of settings, what the client sends, and what providers answer, each behind a
/// line `%%`. The settings are the sizes of all pieces; one that begins with `h` makes the providers
/// hasty.
pub fn server(input: &[u8]) {
    let (settings, bytes) = settings_and_bytes(input);
    let mut parts = split(bytes, b"\n%%\n").into_iter();
    let client = pieces(parts.next().unwrap_or_default(), settings);
    let answers = parts.map(|answer| pieces(answer, settings)).collect();
    let outcome = play(&Script { client, answers, is_hasty: settings.starts_with(b"h") });

    let attempts: u32 = outcome.records.iter().map(|record| record.attempts).sum();
    let sent: usize = outcome.upstream.iter().map(|received| count_requests(received)).sum();
    assert!(sent <= usize::try_from(attempts).unwrap_or(usize::MAX), "{sent} sent: {outcome:?}");
    let asked = outcome.records.iter().filter(|record| record.attempts > 0).count();
    assert!(sent <= asked, "{sent} sent of {asked}: {outcome:?}");
    for record in &outcome.records {
        assert!(record.error_code.is_none() || record.end.as_str() != "complete", "{record:?}");
        let (Some(code), Some(400..=499)) = (record.error_code, record.status) else { continue };
        assert!(
            record.attempts == 0 || code.starts_with("upstream_") || CODES_OF_A_PASSING_BODY.contains(&code),
            "refused, and sent: {record:?}"
        );
    }
}

/// Counts the requests on one connection of a provider. What follows an upgrade is none.
fn count_requests(mut received: &[u8]) -> usize {
    let mut count = 0;
    while let Some(message) = Message::read(received) {
        count += 1;
        match message.end {
            End::Framed(size) if message.all("upgrade").next().is_none() => received = &received[size..],
            _ => break,
        }
    }
    count
}

fn split<'b>(mut bytes: &'b [u8], separator: &[u8]) -> Vec<&'b [u8]> {
    let mut parts = Vec::new();
    while let Some(at) = bytes.windows(separator.len()).position(|window| window == separator) {
        parts.push(&bytes[..at]);
        bytes = &bytes[at + separator.len()..];
    }
    parts.push(bytes);
    parts
}

const ASK: &[u8] = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
                     content-type: application/json\r\ncontent-length: 17\r\n\r\n{\"model\":\"gpt-4\"}";

/// Checks a provider's answer to one good request: it reaches the client byte for byte, and where it
/// was cut, the client is not told that it is whole.
///
/// The input is a line of settings, the sizes of the pieces, then all bytes that the provider sends
/// before it closes.
pub fn answer(input: &[u8]) {
    let (settings, bytes) = settings_and_bytes(input);
    let outcome = play(&Script { client: vec![ASK], answers: vec![pieces(bytes, settings)], is_hasty: true });
    let Some(got) = Message::read(&outcome.client) else {
        unreachable!("no answer at all: {outcome:?}");
    };
    assert!((200..=599).contains(&got.status()) || got.status() > 599, "{got:?}");
    assert_eq!(outcome.records.len(), 1, "{outcome:?}");
    // A refusal of our key that cannot be searched for it is ours, and 502.
    let is_own = got.all("x-gateway-error").any(|code| code != "upstream_auth" || got.status() == 502);
    if is_own {
        return assert!(matches!(got.end, End::Framed(_)), "an error of ours is whole: {got:?}");
    }
    let Some(sent) = final_message(bytes) else {
        unreachable!("made up: {outcome:?}");
    };
    check_relayed(&got, &sent, &outcome);
}

fn check_relayed(got: &Message, sent: &Message, outcome: &Outcome) {
    assert_eq!(got.status(), sent.status());
    let is_clean = matches!(got.end, End::Framed(size) if size == outcome.client.len());
    let is_stream =
        got.all("content-type").any(|kind| kind.to_ascii_lowercase().starts_with("text/event-stream"));
    let is_complete = outcome.records.iter().all(|record| record.error_code.is_none());
    assert_eq!(is_clean, is_complete || got.all("x-gateway-error").next().is_some(), "{outcome:?}");
    if !is_clean {
        // A stream says by an event of its own that it has failed.
        assert!(is_stream || sent.body.starts_with(&got.body), "{outcome:?}");
        return;
    }
    assert_ne!(sent.end, End::Cut, "a cut answer that ends cleanly: {outcome:?}");
    if sent.end == End::Close && !is_stream && is_json(got) {
        // What is no JSON for another reason can be whole.
        let is_half = serde_json::from_slice::<serde::de::IgnoredAny>(&sent.body).is_err_and(|e| e.is_eof());
        let is_started = sent.body.trim_ascii().starts_with(b"{");
        assert!(!is_half || !is_started, "half of an object that ends cleanly: {outcome:?}");
    }
    // Of a refused key the answer is masked.
    if sent.end != End::Unknown && !matches!(sent.status(), 401 | 403) {
        assert_eq!(String::from_utf8_lossy(&got.body), String::from_utf8_lossy(&sent.body));
    }
}

fn is_json(message: &Message) -> bool {
    let has_coding = message.all("content-encoding").next().is_some();
    !has_coding && message.all("content-type").any(|kind| kind == "application/json")
}

/// Skips interim answers.
fn final_message(mut bytes: &[u8]) -> Option<Message> {
    loop {
        let message = Message::read(bytes)?;
        match (message.status(), message.end) {
            (100..=199, End::Framed(size)) => bytes = &bytes[size..],
            _ => return Some(message),
        }
    }
}
