//! Streams that are cut, at any byte: before the first content another provider's stands in and nothing
//! of the first is seen; behind it the stream ends with an error event and uncleanly.

use gate_testkit::fixtures::{CHAT_STREAM, MESSAGES_STREAM, RESPONSES_STREAM};
use gate_testkit::raw::{RawResponse, RawScript};
use gate_upstream::MemoryDialer;
use tokio::task::JoinSet;

use crate::rig::{BACKLOG, Rig, post};

const CONFIG: &str = r#"
    [llm.circuit_breaker]
    enabled = false
    [llm.load_balancing]
    sticky = false
    [llm.provider.openai.east]
    api_base = "http://east.test/v1"
    api_key = "k"
    model = "gpt-4"
    fallback = "west"
    [llm.provider.openai.west]
    api_base = "http://west.test/v1"
    api_key = "k"
    models = ["gpt-4"]
    [llm.provider.anthropic.east]
    api_base = "http://east.test"
    api_key = "k"
    model = "claude-1"
    fallback = "west"
    [llm.provider.anthropic.west]
    api_base = "http://west.test"
    api_key = "k"
    models = ["claude-1"]
"#;

/// A kind of stream.
struct Dialect {
    request: String,
    /// What the first provider would say.
    stream: &'static str,
    /// How many events there are up to the first that has content.
    beginning: usize,
    /// What the second says instead of these words of the first.
    other: (&'static str, &'static str),
    /// How an error event begins.
    error: &'static str,
}

fn dialects() -> [Dialect; 3] {
    let body = |model: &str| format!(r#"{{"model":"{model}","stream":true,"max_tokens":9,"messages":[]}}"#);
    [
        Dialect {
            request: post("/v1/chat/completions", &body("openai.east")),
            stream: CHAT_STREAM,
            beginning: 2,
            other: ("chatcmpl-CfX2", "chatcmpl-west"),
            error: "data: {\"error\":{\"message\":\"",
        },
        Dialect {
            request: post("/v1/responses", r#"{"model":"openai.east","stream":true,"input":"x"}"#),
            stream: RESPONSES_STREAM,
            beginning: 5,
            other: ("resp_0a1", "resp_west"),
            error: "event: error\ndata: {\"type\":\"error\",\"code\":\"upstream_closed\"",
        },
        Dialect {
            request: post("/v1/messages", &body("anthropic.east")),
            stream: MESSAGES_STREAM,
            beginning: 4,
            other: ("msg_01Ab", "msg_west"),
            error: "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\"",
        },
    ]
}

impl Dialect {
    /// Returns where the first event with content ends.
    fn content(&self) -> usize {
        let (at, blank) = self.stream.match_indices("\n\n").nth(self.beginning - 1).unwrap();
        at + blank.len()
    }

    fn others_stream(&self) -> String {
        self.stream.replace(self.other.0, self.other.1)
    }

    /// Returns places to cut at: all near the end of an event or a line, and some between.
    fn cuts(&self, until: usize) -> impl Iterator<Item = usize> {
        let bytes = self.stream.as_bytes();
        let is_near = move |at: usize| bytes[at.saturating_sub(3)..bytes.len().min(at + 3)].contains(&b'\n');
        (0..=until).filter(move |at| at % 23 == 0 || is_near(*at))
    }
}

/// How the end of a body is told.
#[derive(Clone, Copy, Debug)]
enum Framing {
    Chunked,
    /// With the connection.
    Closing,
}

/// Sends a stream in pieces of so many bytes; it ends as its framing says only if it is `whole`.
fn script(stream: &[u8], framing: Framing, piece: usize, is_whole: bool) -> RawScript {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n";
    let script = RawScript::new().expect_request();
    match framing {
        Framing::Closing => {
            let script = script.send(format!("{head}\r\n"));
            stream.chunks(piece).fold(script, |script, piece| script.send(piece))
        }
        Framing::Chunked => {
            let script = script.send(format!("{head}transfer-encoding: chunked\r\n\r\n"));
            let chunk = |piece: &[u8]| [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
            let script = stream.chunks(piece).fold(script, |script, piece| script.send(chunk(piece)));
            if is_whole { script.send("0\r\n\r\n") } else { script }
        }
    }
}

/// Sends a request to a gateway whose first provider plays this and whose second plays that.
async fn ask(rig: &mut Rig, request: &str, first: RawScript, second: RawScript) -> RawResponse {
    let mut playing = JoinSet::new();
    for (host, script) in [("east.test", first), ("west.test", second)] {
        playing.spawn(play_once(rig.dialer.clone(), host, script));
    }
    tokio::task::yield_now().await;
    rig.send(request).await
}

async fn play_once(dialer: MemoryDialer, host: &'static str, script: RawScript) {
    let mut listener = dialer.listen(host, BACKLOG);
    if let Some(stream) = listener.accept().await {
        script.play(stream).await;
    }
}

/// Checks what follows the part of a stream that came: the rest of a line, and one error event.
fn check_end(dialect: &Dialect, came: &str, text: &str, label: &str) {
    let tail = text.strip_prefix(came).unwrap_or_else(|| panic!("{label}: {text}"));
    let (blank, event) = tail.split_at(if came.ends_with("\n\n") { 0 } else { 2 });
    assert!(blank.bytes().all(|byte| byte == b'\n'), "{label}: {tail:?}");
    assert!(event.starts_with(dialect.error) && event.ends_with("}\n\n"), "{label}: {event:?}");
    assert_eq!(event.matches("data:").count(), 1, "{label}: {event:?}");
    assert!(!event.contains("[DONE]") && !event.contains("message_stop"), "{label}: {event:?}");
}

const PIECES: [usize; 5] = [1, 2, 7, 64, 1 << 20];

// Spec: load-balancing B-6, B-10, B-24, B-46.
#[tokio::test(start_paused = true)]
async fn cut_before_its_first_content_a_stream_is_replaced_byte_for_byte() {
    let mut rig = Rig::new(CONFIG);
    for dialect in dialects() {
        let others = dialect.others_stream();
        assert_ne!(others, dialect.stream);
        for (n, at) in dialect.cuts(dialect.content() - 1).enumerate() {
            for framing in [Framing::Chunked, Framing::Closing] {
                let piece = PIECES[n % PIECES.len()];
                let first = script(&dialect.stream.as_bytes()[..at], framing, piece, false);
                let second = script(others.as_bytes(), Framing::Chunked, 100, true);
                let response = ask(&mut rig, &dialect.request, first, second).await;
                let label = format!("{framing:?} {piece}: {}", &dialect.stream[..at]);
                assert_eq!(response.body.text(), others, "{label}");
                assert!(response.body.is_clean(), "{label}");
                let by = response.head.header("x-gateway-provider").unwrap();
                assert!(by.ends_with(".west"), "{label}: {by}");
            }
        }
    }
}

// Spec: load-balancing B-6, B-10; api A-23, A-24.
#[tokio::test(start_paused = true)]
async fn cut_behind_its_first_content_a_stream_ends_with_an_error_event() {
    let mut rig = Rig::new(CONFIG);
    for dialect in dialects() {
        let content = dialect.content();
        for (n, at) in dialect.cuts(content + 400).filter(|at| *at >= content).enumerate() {
            // A character is not cut, or the text could not be compared.
            let Some(came) = dialect.stream.get(..at) else { continue };
            for framing in [Framing::Chunked, Framing::Closing] {
                let piece = PIECES[n % PIECES.len()];
                let first = script(came.as_bytes(), framing, piece, false);
                let second = script(dialect.others_stream().as_bytes(), Framing::Chunked, 100, true);
                let response = ask(&mut rig, &dialect.request, first, second).await;
                let label = format!("{framing:?} {piece}: {came}");
                check_end(&dialect, came, &response.body.text(), &label);
                assert!(!response.body.is_clean(), "{label}");
                let by = response.head.header("x-gateway-provider").unwrap();
                assert!(by.ends_with(".east"), "{label}: {by}");
            }
        }
    }
}

// Spec: load-balancing B-10.
#[tokio::test(start_paused = true)]
async fn a_stream_that_was_held_is_the_one_that_was_sent() {
    let mut rig = Rig::new(CONFIG);
    for dialect in dialects() {
        for piece in PIECES {
            for framing in [Framing::Chunked, Framing::Closing] {
                let first = script(dialect.stream.as_bytes(), framing, piece, true);
                let response = ask(&mut rig, &dialect.request, first, RawScript::new()).await;
                assert_eq!(response.body.text(), dialect.stream, "{framing:?} {piece}");
                assert!(response.body.is_clean(), "{framing:?} {piece}");
            }
        }
    }
}
