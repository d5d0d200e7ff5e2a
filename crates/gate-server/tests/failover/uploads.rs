//! Bodies that pass only once: they go elsewhere, whole, until a provider may have had a byte of them, and
//! then to nobody else.

use std::sync::Arc;
use std::time::Duration;

use gate_testkit::mock::{MockUpstream, Reply};
use gate_testkit::raw::{RawResponse, RawScript, Transcript};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::rig::{BACKLOG, Provider, Rig, chat, ok_after};

/// Two providers that share the requests, and a third that is asked after them, with a model of its own.
const CONFIG: &str = "
    [llm.provider.openai]
    fallback = 'north'
    [llm.provider.openai.east]
    api_base = 'http://east.test/v1'
    api_key = 'e'
    weight = 1
    [llm.provider.openai.west]
    api_base = 'http://west.test/v1'
    api_key = 'w'
    weight = 1
    [llm.provider.openai.north]
    api_base = 'http://north.test/v1'
    api_key = 'n'
    model = 'the-ears-of-the-north'
";

/// Serves a host with one answer for all.
fn serve(rig: &Rig, host: &str, status: u16, after: Duration) -> Arc<MockUpstream> {
    let mock = Arc::new(MockUpstream::answering(move |_| Reply::json(status, "{}").after(after)));
    let (serving, mut listener) = (Arc::clone(&mock), rig.dialer.listen(host, BACKLOG));
    tokio::spawn(async move {
        while let Some(stream) = listener.accept().await {
            serving.serve_stream(stream);
        }
    });
    mock
}

/// Plays a script on the first connection to a host.
fn play(rig: &Rig, host: &str, script: RawScript) -> JoinHandle<Transcript> {
    let mut listener = rig.dialer.listen(host, BACKLOG);
    tokio::spawn(async move { script.play(listener.accept().await.unwrap()).await })
}

/// A body of which each piece is another.
fn file() -> String {
    (0..200_000).map(|n| format!("{n:x},")).collect()
}

/// A form with a part that says where it goes in front of a file.
fn form(name: &str, value: &str) -> String {
    format!(
        "--b\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n\
         --b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n{}\r\n--b--\r\n",
        file()
    )
}

/// Writes an upload with its length, or in chunks.
fn upload(path: &str, media_type: &str, body: &str, is_chunked: bool) -> String {
    let head = format!("POST /v1{path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {media_type}\r\n");
    if !is_chunked {
        return format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    }
    let (first, second) = body.split_at(body.len() / 3);
    let chunks = [first, second].map(|chunk| format!("{:x}\r\n{chunk}\r\n", chunk.len())).concat();
    format!("{head}transfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n")
}

const FORM: &str = "multipart/form-data; boundary=b";

/// An upload for the pool.
fn recording() -> String {
    upload("/audio/transcriptions", FORM, &form("model", "openai.gpt-4"), false)
}

/// Returns the status, and who was tried with what outcome, or `1` for the one that answered at once.
fn told(response: &RawResponse) -> (u16, String) {
    let attempts = response.head.header("x-gateway-attempts").unwrap_or_default();
    let tried = attempts.split(' ').filter(|word| word.contains('='));
    let tried: Vec<_> = tried.map(|tried| tried.trim_start_matches("openai.")).collect();
    (response.head.status, if tried.is_empty() { attempts.to_owned() } else { tried.join(" ") })
}

// Spec: load-balancing B-6, B-25; api.
#[tokio::test(start_paused = true)]
async fn an_upload_that_nobody_took_goes_whole_to_who_takes_it() {
    const NORTH: &str = "the-ears-of-the-north";
    let session = |model: &str| form("session", &format!("{{\"model\":\"{model}\"}}"));
    let rows = [
        // Each has a model of another length, in the middle of what is sent.
        ("/audio/transcriptions", FORM, form("model", "openai.gpt-4"), form("model", NORTH)),
        ("/realtime/calls", FORM, session("openai.gpt-4"), session(NORTH)),
        ("/realtime/calls?model=openai.gpt-4", "application/sdp", file(), file()),
    ];
    for (path, media_type, sent, expected) in &rows {
        for is_chunked in [false, true] {
            let mut rig = Rig::new(CONFIG);
            let mock = serve(&rig, "north.test", 200, Duration::ZERO);
            let response = rig.send(&upload(path, media_type, sent, is_chunked)).await;
            assert_eq!(told(&response), (200, "east=connect west=connect north=200".to_owned()), "{path}");
            let seen = mock.requests();
            assert_eq!(seen.len(), 1, "{path}");
            assert!(seen[0].is_complete && seen[0].body == expected, "{path}");
            let length = (!is_chunked).then(|| expected.len().to_string());
            assert_eq!(seen[0].header("content-length"), length.as_deref(), "{path}");
            assert_eq!(seen[0].target.ends_with(NORTH), path.contains('?'), "{}", seen[0].target);
        }
    }
}

// Spec: load-balancing B-7, B-25.
#[tokio::test(start_paused = true)]
async fn an_upload_for_one_provider_alone_is_tried_there_as_any_request_is() {
    let mut rig = Rig::new(CONFIG);
    let request = upload("/files", FORM, &file(), false).replace("/v1", "/openai/north/v1");
    let (status, tried) = told(&rig.send(&request).await);
    assert_eq!((status, &*tried), (502, "north=connect north=connect north=connect"));
}

// Spec: load-balancing B-6, B-16, B-22, B-25.
#[tokio::test(start_paused = true)]
async fn an_upload_of_which_a_byte_was_taken_goes_to_nobody_else() {
    let begun = || RawScript::new().expect_head().expect_bytes(1);
    let whole = || RawScript::new().expect_request();
    let busy = "HTTP/1.1 503 X\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
    let refused = "HTTP/1.1 401 X\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
    let error = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n\
                 data: {\"error\":{\"type\":\"server_error\",\"message\":\"no\"}}\n\n";
    for (what, script, status, outcome) in [
        ("ends in the middle", begun(), 502, "closed"),
        ("ends behind it", whole(), 502, "closed"),
        ("has no room from the first byte", begun().send(busy).stall(), 503, "503"),
        ("has no room", whole().send(busy), 503, "503"),
        ("refuses our key", whole().send(refused), 401, "401"),
        ("fails in its stream", whole().send(error), 200, "200"),
    ] {
        let mut rig = Rig::new(CONFIG);
        let west = play(&rig, "west.test", script);
        let north = serve(&rig, "north.test", 200, Duration::ZERO);
        let begin = Instant::now();
        let response = rig.send(&recording()).await;
        assert_eq!(told(&response), (status, format!("east=connect west={outcome}")), "{what}");
        // Nobody waits for an attempt that cannot be.
        assert_eq!(begin.elapsed(), Duration::ZERO, "{what}");
        drop(rig);
        assert!(!west.await.unwrap().received.is_empty(), "{what}");
        assert_eq!(north.requests().len(), 0, "{what}");
    }
}

// Spec: load-balancing B-21, B-25.
#[tokio::test(start_paused = true)]
async fn an_upload_that_was_taken_is_not_repeated_where_it_was_taken() {
    let mut rig = Rig::new(CONFIG);
    let north = serve(&rig, "north.test", 503, Duration::ZERO);
    let request = upload("/files", FORM, &file(), false).replace("/v1", "/openai/north/v1");
    let begin = Instant::now();
    assert_eq!(told(&rig.send(&request).await), (503, "1".to_owned()));
    assert_eq!((begin.elapsed(), north.requests().len()), (Duration::ZERO, 1));
}

// Spec: load-balancing B-13, B-25.
#[tokio::test(start_paused = true)]
async fn nobody_is_asked_beside_an_upload_that_is_late() {
    let pool = CONFIG.replacen("fallback", "hedge_after_ms = 100\n    fallback", 1);
    let mut rig = Rig::new(&format!("[llm.timeout]\nconnection = 1\n{pool}"));
    let mut providers = ["east.test", "west.test"].map(|host| Provider::up(&rig, host, |_| ok_after(0)));
    // These pay for requests beside others.
    let quick = chat().replace("content-type", "session-id: one\r\ncontent-type");
    let home = rig.send(&quick).await.head.header("x-gateway-provider").unwrap().to_owned();
    for _ in 0..60 {
        assert_eq!(told(&rig.send(&quick).await), (200, "1".to_owned()));
    }
    let (home, other, at) = if home == "openai.east" { ("east", "west", 0) } else { ("west", "east", 1) };
    providers[at].stop().await;
    // One connection waits there to be accepted, and a further one for its place. The first request comes
    // that far, and shows that what is held is raced.
    let _nobody_accepts = rig.dialer.listen(&format!("{home}.test"), 1);
    let response = rig.send(&quick).await;
    assert_eq!(told(&response), (200, format!("{home}=given_up {other}=200")));
    let upload = recording().replace("content-type: multi", "session-id: one\r\ncontent-type: multi");
    let begin = Instant::now();
    let response = rig.send(&upload).await;
    assert_eq!(told(&response), (200, format!("{home}=connect_timeout {other}=200")));
    assert_eq!(begin.elapsed(), Duration::from_secs(1));
}
