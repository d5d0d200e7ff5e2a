//! How often a provider gets a request: each fault, with a second provider and without one, for a body
//! that the gateway holds and for one that it passes on as it comes.

use std::time::Duration;

use gate_testkit::raw::{RawResponse, RawScript, RawServer, Transcript};
use gate_upstream::{MemoryDialer, MemoryListener};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use crate::rig::{BACKLOG, Rig, pool, post};

/// The last word of each body: who has it has the whole request.
const LAST: &str = "the-last-word";

const ROLE: &str = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
const WORD: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n";
const ERROR: &str = "data: {\"error\":{\"type\":\"server_error\",\"message\":\"no\"}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

/// What a provider does on each of its connections.
#[derive(Clone)]
enum Does {
    Refuse,
    Play(RawScript),
}

fn reads() -> RawScript {
    RawScript::new().expect_request()
}

/// Answers, and closes.
fn answer(status: u16, header: &str) -> RawScript {
    let body = "{}";
    reads().send(format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nconnection: close\r\n{header}content-length: {}\r\n\r\n{body}",
        body.len()
    ))
}

/// Begins a stream with these events.
fn stream(events: &[&str]) -> RawScript {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
    let chunks: String = events.iter().map(|event| format!("{:x}\r\n{event}\r\n", event.len())).collect();
    reads().send(format!("{head}{chunks}"))
}

fn whole(stream: RawScript) -> RawScript {
    stream.send("0\r\n\r\n")
}

/// A JSON body, which is held.
fn held() -> String {
    post("/v1/chat/completions", &format!(r#"{{"model":"openai.gpt-4","stream":true,"user":"{LAST}"}}"#))
}

/// A form too large to be read before it goes on.
fn streamed() -> String {
    let file = "x".repeat(1100 * 1024);
    let body = format!(
        "--b\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nopenai.gpt-4\r\n\
         --b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n{file}{LAST}\r\n--b--\r\n"
    );
    format!(
        "POST /v1/audio/transcriptions HTTP/1.1\r\nhost: localhost\r\ncontent-type: multipart/form-data; boundary=b\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Plays a script on every connection to a host, until the gateway has gone.
fn provide(dialer: &MemoryDialer, host: &str, does: Does) -> JoinHandle<Vec<Transcript>> {
    let listener = dialer.listen(host, BACKLOG);
    tokio::spawn(async move {
        match does {
            Does::Refuse => Vec::new(),
            Does::Play(script) => play(listener, script).await,
        }
    })
}

async fn play(mut listener: MemoryListener, script: RawScript) -> Vec<Transcript> {
    let mut playing = JoinSet::new();
    while let Some(stream) = listener.accept().await {
        playing.spawn(script.clone().play(stream));
    }
    playing.join_all().await
}

/// Sends one request and tells what came of it: the status, whose answer or which error it is, how it
/// ended, and how often each provider got the whole of the request.
async fn run(east: &Does, has_west: bool, request: &str, more: &str) -> String {
    let names: &[&str] = if has_west { &["east", "west"] } else { &["east"] };
    let timeouts = "[llm.timeout]\nconnection = 1\nfirst_byte = 2\nread = 3";
    let mut rig = Rig::new(&pool(names, &format!("{timeouts}\n{more}")));
    let mut providers = vec![provide(&rig.dialer, "east.test", east.clone())];
    if has_west {
        let good = Does::Play(whole(stream(&[ROLE, WORD, DONE])));
        providers.push(provide(&rig.dialer, "west.test", good));
    }
    tokio::task::yield_now().await;
    let begin = Instant::now();
    let response = rig.send(request).await;
    let took = begin.elapsed();
    assert!(took <= Duration::from_secs(20), "{took:?}");
    drop(rig);
    let mut counts = Vec::new();
    for provider in providers {
        let transcripts = provider.await.unwrap();
        let whole: usize = transcripts.iter().map(|one| one.text().matches(LAST).count()).sum();
        counts.push(whole.to_string());
    }
    format!("{} {}", outcome(&response), counts.join("+"))
}

fn outcome(response: &RawResponse) -> String {
    let head = &response.head;
    let by = head.header("x-gateway-error").or_else(|| head.header("x-gateway-provider")).unwrap();
    let end = match (response.body.is_clean(), response.body.text().contains(ERROR)) {
        (false, _) => " cut",
        (true, true) => " error",
        (true, false) => "",
    };
    format!("{} {}{end}", head.status, by.trim_start_matches("openai."))
}

/// Runs a fault with a second provider and without one, for a held body and for a streamed one.
async fn check(fault: &str, does: Does, expected: [&str; 4]) {
    let (held, streamed) = (held(), streamed());
    let got = [
        run(&does, true, &held, "").await,
        run(&does, false, &held, "").await,
        run(&does, true, &streamed, "").await,
        run(&does, false, &streamed, "").await,
    ];
    assert_eq!(got, expected, "{fault}");
}

// Spec: load-balancing B-6, B-16, B-25; api A-34, A-35.
#[tokio::test(start_paused = true)]
async fn a_request_that_may_have_been_done_is_not_sent_again() {
    let check = async |fault: &str, does: Does, error: &str, [two, one]: [&str; 2]| {
        let [two, one] = [two, one].map(|count| format!("{error} {count}"));
        check(fault, does, [&two, &one, &two, &one]).await;
    };
    let play = Does::Play;
    let closed = "502 upstream_closed";
    // It cannot be known that nothing of what was written was read.
    check("closes unread", play(RawScript::new()), closed, ["0+0", "0"]).await;
    check("reads and closes", play(reads()), closed, ["1+0", "1"]).await;
    check("half a head", play(reads().send("HTTP/1.1 200 OK\r\nx: ")), closed, ["1+0", "1"]).await;
    check("is silent", play(reads().stall()), "504 upstream_timeout", ["1+0", "1"]).await;
    let slow = reads().wait(Duration::from_millis(1900)).send("HTTP/1.1 204 No Content\r\n\r\n").stall();
    check("a slow head", play(slow), "204 east", ["1+0", "1"]).await;
}

// Spec: load-balancing B-6, B-25; api A-35.
#[tokio::test(start_paused = true)]
async fn a_request_of_which_nothing_was_sent_goes_elsewhere() {
    let refused = "502 upstream_connect_failed";
    let one = format!("{refused} 0");
    check("nobody listens", Does::Refuse, ["200 west 0+1", &one, "200 west 0+1", &one]).await;
}

// Spec: load-balancing B-7, B-9, B-16, B-21, B-22, B-25.
#[tokio::test(start_paused = true)]
async fn an_answer_says_whether_another_is_asked() {
    let play = Does::Play;
    // Those that say that the request was not done.
    for status in [429, 502, 503, 529] {
        let [alone, both, once] = ["3", "1+0", "1"].map(|count| format!("{status} east {count}"));
        check("busy", play(answer(status, "")), ["200 west 1+1", &alone, &both, &once]).await;
        // As long as a client waits, and longer.
        let soon = answer(status, "retry-after: 7\r\n");
        check("busy, for a while", play(soon), ["200 west 1+1", &alone, &both, &once]).await;
        let late = answer(status, "retry-after: 60\r\n");
        check("busy, for long", play(late), ["200 west 1+1", &once, &both, &once]).await;
    }
    // Those that do not.
    for status in [400, 404, 500, 504] {
        let [both, once] = ["1+0", "1"].map(|count| format!("{status} east {count}"));
        check("an answer", play(answer(status, "")), [&both, &once, &both, &once]).await;
    }
    // A redirect is no answer, and who gives it gives it again.
    for status in [301, 307] {
        let [both, once] = ["1+0", "1"].map(|count| format!("502 upstream_protocol {count}"));
        let redirect = answer(status, "location: http://west.test/v1/chat/completions\r\n");
        check("a redirect", play(redirect), ["200 west 1+1", &once, &both, &once]).await;
    }
    for status in [401, 403] {
        let [both, once] = ["1+0", "1"].map(|count| format!("{status} upstream_auth {count}"));
        check("our key", play(answer(status, "")), ["200 west 1+1", &once, &both, &once]).await;
    }
}

// Spec: load-balancing B-6, B-10, B-16, B-24.
#[tokio::test(start_paused = true)]
async fn a_stream_is_asked_for_again_only_before_its_content_and_after_an_error() {
    let check = async |fault: &str, stream: RawScript, is_replaced: bool, end: &str| {
        let [two, one] = ["1+0", "1"].map(|count| format!("200 east {end} {count}"));
        let first = if is_replaced { "200 west 1+1" } else { &two };
        check(fault, Does::Play(stream), [first, &one, &two, &one]).await;
    };
    check("an error event first", whole(stream(&[ERROR])), true, "error").await;
    check("an error event before content", whole(stream(&[ROLE, ERROR])), true, "error").await;
    check("an error event behind content", whole(stream(&[ROLE, WORD, ERROR])), false, "error").await;
    check("cut at once", stream(&[]), true, "cut").await;
    check("cut before content", stream(&[ROLE]), true, "cut").await;
    check("silent before content", stream(&[ROLE]).stall(), false, "cut").await;
    check("cut behind content", stream(&[ROLE, WORD]), false, "cut").await;
}

// Spec: load-balancing B-6, B-16; config C-71.
#[tokio::test(start_paused = true)]
async fn what_is_repeated_is_what_the_policy_lists() {
    let check = async |status: u16, more: &str, expected: [&str; 2]| {
        let does = Does::Play(answer(status, ""));
        let got = [run(&does, true, &held(), more).await, run(&does, false, &held(), more).await];
        assert_eq!(got, expected, "{status}, {more}");
    };
    let listed = "[llm.retry]\nretryable_status = [500, 504]";
    check(500, listed, ["200 west 1+1", "500 east 3"]).await;
    check(504, listed, ["200 west 1+1", "504 east 3"]).await;
    check(503, listed, ["503 east 1+0", "503 east 1"]).await;
    check(503, "[llm.retry]\nretryable_status = []", ["503 east 1+0", "503 east 1"]).await;
    check(503, "[llm.retry]\nmax_attempts = 1", ["503 east 1+0", "503 east 1"]).await;
    check(503, "[llm.retry]\nmax_attempts = 5", ["200 west 1+1", "503 east 5"]).await;
    // Without a budget others are asked, and nobody twice.
    check(503, "[llm.retry]\nbudget_percent = 0", ["200 west 1+1", "503 east 1"]).await;
}

// Spec: load-balancing B-6, B-16; api A-34.
#[tokio::test]
async fn a_reset_behind_the_request_is_the_end_of_it() {
    for request in [held(), streamed()] {
        let reset = RawServer::start([reads().reset(), reads().reset()]).await.unwrap();
        let good = RawServer::start([answer(200, "")]).await.unwrap();
        let config = format!(
            "[llm.provider.openai.east]\nmodels = ['gpt-4']\nweight = 1\napi_key = 'e'\napi_base = 'http://127.0.0.1:{}/v1'\n\
             [llm.provider.openai.west]\nmodels = ['gpt-4']\nweight = 1\napi_key = 'w'\napi_base = 'http://127.0.0.1:{}/v1'\n",
            reset.port(),
            good.port()
        );
        let mut rig = Rig::on_tcp(&config);
        assert_eq!(outcome(&rig.send(&request).await), "502 upstream_closed");
        assert_eq!((reset.connections(), good.connections()), (1, 0));
    }
}
