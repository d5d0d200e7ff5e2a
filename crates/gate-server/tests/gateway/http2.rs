//! HTTP/2, frame by frame: what is answered, what is reset, and when a connection ends.

use std::time::Duration;

use gate_testkit::Step;
use gate_testkit::mock::Reply;
use gate_testkit::raw::flag::END_STREAM;
use gate_testkit::raw::{RawFrame, RawHttp2, RawScript, kind};
use tokio::io::DuplexStream;
use tokio::time::Instant;

use crate::support::{CONFIG, Rig};

const PROTOCOL_ERROR: u32 = 1;
const INTERNAL_ERROR: u32 = 2;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

/// Settings that make no room for answers, but by window updates.
const NO_ROOM: &[(u16, u32)] = &[(4, 0)];
const CHAT: &str = r#"{"model":"gpt-4","stream":true}"#;

/// The fields of a request's head, those that HTTP/2 wants and some more.
fn fields<'a>(method: &'a str, path: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut fields =
        vec![(":method", method), (":scheme", "https"), (":authority", "localhost"), (":path", path)];
    fields.extend_from_slice(more);
    fields
}

fn get(stream: u32, path: &str) -> RawFrame {
    RawFrame::headers(stream, END_STREAM, &fields("GET", path, &[]))
}

fn post(stream: u32, path: &str, body: &str) -> [RawFrame; 2] {
    let head = fields("POST", path, &[("content-type", "application/json")]);
    [RawFrame::headers(stream, 0, &head), RawFrame::new(kind::DATA, END_STREAM, stream, body)]
}

fn data(text: &str) -> Step {
    Step::Data(text.to_owned().into())
}

/// Opens a connection and begins it.
async fn begun(rig: &mut Rig, settings: &[(u16, u32)]) -> RawHttp2<DuplexStream> {
    let mut client = rig.connect_http2().with_patience(Duration::from_secs(200));
    client.begin(settings).await.unwrap();
    // The last of what the gateway says first. What it said before binds the client from now on.
    client.read_until(|frame| frame.kind == kind::WINDOW_UPDATE).await.unwrap();
    client
}

/// Waits for the end of a connection, and returns the error that it ended with, if it said one.
async fn goaway(client: &mut RawHttp2<DuplexStream>) -> Option<u32> {
    let mut code = None;
    while let Some(frame) = client.read_until(|frame| frame.kind == kind::GOAWAY).await.unwrap() {
        code = frame.error_code();
    }
    code
}

/// Checks that a gateway answers on a connection of its own.
async fn check_served(rig: &mut Rig) {
    let mut client = begun(rig, &[]).await;
    client.send(&[get(1, "/health")]).await.unwrap();
    assert_eq!(client.read_response(1).await.unwrap().0, 200);
}

// Spec: security S-28; api A-10, A-50.
#[tokio::test(start_paused = true)]
async fn requests_of_one_connection_are_answered_side_by_side() {
    let replies = [Reply::json(200, "{\"slow\":1}").after(Duration::from_secs(9)), Reply::json(418, "{}")];
    let (mut rig, mock) = Rig::with_mock(CONFIG, replies);
    let mut client = begun(&mut rig, &[]).await;
    client.send(&post(1, "/v1/chat/completions", CHAT)).await.unwrap();
    mock.next_request().await;
    client.send(&post(3, "/v1/chat/completions", CHAT)).await.unwrap();
    client.send(&[get(5, "/health"), get(7, "/nothing")]).await.unwrap();
    assert_eq!(client.read_response(3).await.unwrap(), (418, b"{}".to_vec(), None));
    let received = mock.next_request().await;
    assert_eq!(received.text(), CHAT);
    assert_eq!(received.header("host"), Some("openai.test"));
    assert_eq!(received.header("authorization"), Some("Bearer openai-key"));
    client.send(&[get(9, "/v1/models")]).await.unwrap();
    assert_eq!(client.read_response(9).await.unwrap().0, 200);
    assert_eq!(client.read_response(1).await.unwrap(), (200, b"{\"slow\":1}".to_vec(), None));
    assert_eq!(rig.records.all().len(), 5);
}

// Spec: security S-28.
#[tokio::test(start_paused = true)]
async fn an_answer_to_head_has_no_body() {
    let (mut rig, _mock) = Rig::with_mock(CONFIG, []);
    let mut client = begun(&mut rig, &[]).await;
    for (stream, path) in [(1, "/"), (3, "/health"), (5, "/v1/models")] {
        client.send(&[RawFrame::headers(stream, END_STREAM, &fields("HEAD", path, &[]))]).await.unwrap();
        let head = client.read_until(|frame| frame.stream == stream).await.unwrap().unwrap();
        assert!(head.kind == kind::HEADERS && head.ends_stream(), "{path}: {head:?}");
    }
}

/// How a doubtful head is answered.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Status(u16),
    Reset(u32),
    /// The connection ends with this error.
    Goaway(u32),
}

async fn answer_to(fields: &[(&str, &str)]) -> Answer {
    let (mut rig, mock) = Rig::with_mock(CONFIG, [Reply::json(200, "{}")]);
    let mut client = begun(&mut rig, &[]).await;
    client.send(&[RawFrame::headers(1, END_STREAM, fields)]).await.unwrap();
    let is_answer = |frame: &RawFrame| {
        matches!(frame.kind, kind::HEADERS | kind::RST_STREAM) || frame.kind == kind::GOAWAY
    };
    let frame = client.read_until(is_answer).await.unwrap().unwrap();
    if frame.status() != Some(200) {
        assert!(mock.requests().is_empty(), "{fields:?}");
    }
    match frame.kind {
        kind::HEADERS => Answer::Status(frame.status().unwrap()),
        kind::RST_STREAM => Answer::Reset(frame.error_code().unwrap()),
        _ => Answer::Goaway(frame.error_code().unwrap()),
    }
}

// Spec: security S-3, S-35; api A-9.
#[tokio::test(start_paused = true)]
async fn a_doubtful_head_is_refused_or_reset_and_never_passed_on() {
    let with = |more: &[(&'static str, &'static str)]| fields("GET", "/v1/files", more);
    let without =
        |name: &str| with(&[]).into_iter().filter(|(field, _)| *field != name).collect::<Vec<(&str, &str)>>();
    let instead = |name: &'static str, value: &'static str| {
        with(&[]).into_iter().map(|field| if field.0 == name { (name, value) } else { field }).collect()
    };
    let lone_host = [without(":authority"), vec![("host", "localhost")]].concat();
    let rows: Vec<(Vec<(&str, &str)>, Answer)> = vec![
        (with(&[]), Answer::Status(200)),
        (with(&[("host", "LOCALHOST")]), Answer::Status(200)),
        (with(&[("te", "trailers"), ("cookie", "a=1"), ("cookie", "b=2")]), Answer::Status(200)),
        (lone_host, Answer::Status(200)),
        (with(&[("host", "localhost:1")]), Answer::Status(400)),
        (with(&[("host", "localhost"), ("host", "localhost")]), Answer::Status(400)),
        (without(":authority"), Answer::Status(400)),
        (instead(":authority", "u:p@localhost"), Answer::Status(400)),
        (instead(":authority", "evil.example"), Answer::Status(421)),
        (instead(":method", "TRACE"), Answer::Status(405)),
        (vec![(":method", "CONNECT"), (":authority", "localhost:80")], Answer::Status(405)),
        (with(&[("expect", "tea")]), Answer::Status(417)),
        (with(&[("content_length", "2")]), Answer::Status(400)),
        (without(":path"), Answer::Reset(PROTOCOL_ERROR)),
        (with(&[(":path", "/v1/other")]), Answer::Reset(PROTOCOL_ERROR)),
        // What is no field at all ends the connection.
        (with(&[("Authorization", "Bearer x")]), Answer::Goaway(PROTOCOL_ERROR)),
        (with(&[("connection", "close")]), Answer::Reset(PROTOCOL_ERROR)),
        (with(&[("keep-alive", "1")]), Answer::Reset(PROTOCOL_ERROR)),
        (with(&[("upgrade", "websocket")]), Answer::Reset(PROTOCOL_ERROR)),
        (with(&[("transfer-encoding", "chunked")]), Answer::Reset(PROTOCOL_ERROR)),
        (with(&[("te", "gzip")]), Answer::Reset(PROTOCOL_ERROR)),
        (with(&[("x-a", "1\r\nx-b: 2")]), Answer::Goaway(PROTOCOL_ERROR)),
        (with(&[(":protocol", "websocket")]), Answer::Reset(PROTOCOL_ERROR)),
        (with(&[("content-length", "5")]), Answer::Reset(PROTOCOL_ERROR)),
    ];
    let mut wrong = Vec::new();
    for (fields, expected) in rows {
        let answer = answer_to(&fields).await;
        if answer != expected {
            wrong.push(format!("{fields:?}: {answer:?}, not {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

// Spec: security S-35.
#[tokio::test(start_paused = true)]
async fn a_body_that_is_not_as_long_as_it_says_is_reset() {
    for body in ["{}", "{\"model\":\"gpt-4\"}   "] {
        let (mut rig, mock) = Rig::with_mock(CONFIG, [Reply::json(200, "{}")]);
        let mut client = begun(&mut rig, &[]).await;
        let more = [("content-type", "application/json"), ("content-length", "17")];
        let head = RawFrame::headers(1, 0, &fields("POST", "/v1/chat/completions", &more));
        client.send(&[head, RawFrame::new(kind::DATA, END_STREAM, 1, body)]).await.unwrap();
        let end = client.read_until(|frame| frame.stream == 1).await.unwrap().unwrap();
        assert_eq!((end.kind, end.error_code()), (kind::RST_STREAM, Some(PROTOCOL_ERROR)), "{body}");
        assert!(mock.requests().is_empty());
    }
}

// Spec: security S-28; api A-23.
#[tokio::test(start_paused = true)]
async fn an_answer_that_breaks_ends_in_its_error_event_and_a_reset() {
    let reply =
        Reply::steps(200, [data("data: 1\n\n"), Step::Abort]).header("content-type", "text/event-stream");
    let (mut rig, _mock) = Rig::with_mock(CONFIG, [reply]);
    let mut client = begun(&mut rig, &[]).await;
    client.send(&post(1, "/v1/chat/completions", CHAT)).await.unwrap();
    let (status, body, error) = client.read_response(1).await.unwrap();
    let body = String::from_utf8(body).unwrap();
    assert_eq!((status, error), (200, Some(INTERNAL_ERROR)));
    assert!(body.starts_with("data: 1\n\ndata: {\"error\":") && body.ends_with("\n\n"), "{body}");
    client.send(&[get(3, "/health")]).await.unwrap();
    assert_eq!(client.read_response(3).await.unwrap().0, 200);
}

// Spec: security S-28; api A-23.
#[tokio::test(start_paused = true)]
async fn a_reset_waits_until_what_explains_it_is_written() {
    let reply =
        Reply::steps(200, [data("data: 1\n\n"), Step::Abort]).header("content-type", "text/event-stream");
    let (mut rig, _mock) = Rig::with_mock(CONFIG, [reply]);
    let mut client = begun(&mut rig, NO_ROOM).await;
    client.send(&post(1, "/v1/chat/completions", CHAT)).await.unwrap();
    // Room for the data and one byte of the event: it is handed over, and most of it waits.
    client.send(&[RawFrame::window_update(1, 10)]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    client.send(&[RawFrame::window_update(1, 10_000)]).await.unwrap();
    let (_, body, error) = client.read_response(1).await.unwrap();
    let body = String::from_utf8(body).unwrap();
    assert_eq!(error, Some(INTERNAL_ERROR));
    assert!(body.starts_with("data: 1\n\ndata: {\"error\":") && body.ends_with("\n\n"), "{body}");
}

// Spec: api A-31.
#[tokio::test(start_paused = true)]
async fn a_request_that_its_client_resets_is_cancelled_alone() {
    let stalled =
        Reply::steps(200, [data("data: 1\n\n"), Step::Stall]).header("content-type", "text/event-stream");
    let (mut rig, mock) = Rig::with_mock(CONFIG, [stalled, Reply::status(200).never()]);
    let mut client = begun(&mut rig, &[]).await;
    client.send(&post(1, "/v1/chat/completions", CHAT)).await.unwrap();
    client.read_until(|frame| frame.kind == kind::DATA).await.unwrap();
    client.send(&post(3, "/v1/chat/completions", CHAT)).await.unwrap();
    mock.wait_until("both are asked", |counts| counts.requests == 2).await;
    let left = Instant::now();
    for stream in [1, 3] {
        let reset = RawFrame::new(kind::RST_STREAM, 0, stream, CANCEL.to_be_bytes());
        client.send(&[reset]).await.unwrap();
    }
    mock.wait_until("both are cancelled", |counts| counts.closed == 2).await;
    assert!(left.elapsed() < Duration::from_secs(1));
    client.send(&[get(5, "/health")]).await.unwrap();
    assert_eq!(client.read_response(5).await.unwrap().0, 200);
    let gone = rig.records.all().iter().filter(|record| record.end.as_str() == "client_gone").count();
    assert_eq!(gone, 2);
}

// Spec: security S-10, S-38.
#[tokio::test(start_paused = true)]
async fn a_stream_that_its_client_does_not_read_is_reset_and_hurts_no_other() {
    let long = "x".repeat(300_000);
    let (steps, live) = Reply::live();
    let replies = [Reply::text(200, long), live.header("content-type", "text/event-stream")];
    let (mut rig, mock) = Rig::with_mock(CONFIG, replies);
    let mut client = begun(&mut rig, NO_ROOM).await;
    client.send(&post(1, "/v1/chat/completions", CHAT)).await.unwrap();
    mock.next_request().await;
    client.send(&post(3, "/v1/chat/completions", CHAT)).await.unwrap();
    let begin = Instant::now();
    client.send(&[RawFrame::window_update(3, 1000)]).await.unwrap();
    for _ in 0..5 {
        steps.send(data("data: 1\n\n")).await.unwrap();
        let piece = client.read_until(|frame| frame.kind == kind::DATA).await.unwrap().unwrap();
        assert_eq!((piece.stream, piece.payload), (3, b"data: 1\n\n".to_vec()));
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    let reset = client.read_until(|frame| frame.kind == kind::RST_STREAM).await.unwrap().unwrap();
    assert_eq!((reset.stream, reset.error_code()), (1, Some(CANCEL)));
    assert_eq!(begin.elapsed().as_secs(), 60);
    assert_eq!(rig.records.first().await.end.as_str(), "client_gone");
    steps.send(data("data: [DONE]\n\n")).await.unwrap();
    drop(steps);
    assert_eq!(client.read_response(3).await.unwrap().2, None);
}

// Spec: security S-38.
#[tokio::test(start_paused = true)]
async fn a_client_that_makes_room_slowly_is_served_to_the_end() {
    let (mut rig, _mock) = Rig::with_mock(CONFIG, [Reply::text(200, "x".repeat(200_000))]);
    let mut client = begun(&mut rig, NO_ROOM).await;
    client.send(&post(1, "/v1/chat/completions", CHAT)).await.unwrap();
    client.send(&[RawFrame::window_update(0, 1 << 20)]).await.unwrap();
    let mut length = 0;
    loop {
        let more = client.read_until(|frame| frame.stream == 1);
        match tokio::time::timeout(Duration::from_secs(12), more).await {
            // All of the room is used up.
            Err(_) => client.send(&[RawFrame::window_update(1, 4 * 1024)]).await.unwrap(),
            Ok(frame) => {
                let frame = frame.unwrap().unwrap();
                assert_ne!(frame.kind, kind::RST_STREAM, "after {length} bytes");
                length += if frame.kind == kind::DATA { frame.payload.len() } else { 0 };
                if frame.ends_stream() {
                    break;
                }
            }
        }
    }
    assert_eq!(length, 200_000);
}

// Spec: security S-38.
#[tokio::test(start_paused = true)]
async fn an_end_that_nobody_makes_room_for_ends_the_connection() {
    let (mut rig, _mock) = Rig::with_mock(CONFIG, [Reply::text(200, "x".repeat(1000))]);
    let mut client = begun(&mut rig, NO_ROOM).await;
    client.send(&post(1, "/v1/chat/completions", CHAT)).await.unwrap();
    // One byte, and hyper takes the answer for sent.
    client.send(&[RawFrame::window_update(1, 1)]).await.unwrap();
    client.read_until(|frame| frame.kind == kind::DATA).await.unwrap().unwrap();
    let begin = Instant::now();
    goaway(&mut client).await;
    assert_eq!(begin.elapsed().as_secs(), 60);
}

// Spec: security S-38.
#[tokio::test(start_paused = true)]
async fn an_upload_that_nobody_reads_leaves_room_for_another() {
    const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
    let (mut rig, mut listener) = Rig::new(CONFIG);
    let mut client = begun(&mut rig, &[]).await;
    let head = |stream| {
        RawFrame::headers(stream, 0, &fields("POST", "/v1/files", &[("content-type", "text/plain")]))
    };
    // Windows full of what the provider does not take.
    let mut providers = Vec::new();
    for stream in (1..40).step_by(2) {
        client.send(&[head(stream)]).await.unwrap();
        let mut room = 128 * 1024;
        while room > 0 {
            let piece = vec![b'x'; room.min(16 * 1024)];
            room -= piece.len();
            client.send(&[RawFrame::new(kind::DATA, 0, stream, piece)]).await.unwrap();
            if room == 0 {
                let more =
                    client.read_until(|frame| frame.kind == kind::WINDOW_UPDATE && frame.stream == stream);
                let more = tokio::time::timeout(Duration::from_millis(10), more).await;
                room = more.map_or(0, |frame| frame.unwrap().unwrap().window().unwrap());
            }
        }
        providers.push(listener.accept().await.unwrap());
    }
    let body = format!("{{\"model\":\"gpt-4\",\"x\":\"{}\"}}", "y".repeat(16_000));
    client.send(&post(101, "/v1/chat/completions", &body)).await.unwrap();
    let script = RawScript::new().expect_head().expect_bytes(body.len()).send(ANSWER);
    let provider = listener.accept().await.unwrap();
    let (_, answer) = tokio::join!(script.play(provider), client.read_response(101));
    assert_eq!(answer.unwrap(), (200, b"{}".to_vec(), None));
}

// Spec: security S-9, S-36.
#[tokio::test(start_paused = true)]
async fn a_silent_connection_ends_in_its_time() {
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let settings = RawFrame::settings(&[]).to_bytes();
    let head = RawFrame::new(kind::HEADERS, 0, 1, [0u8; 4]).to_bytes();
    let more = |count: usize| RawFrame::new(kind::CONTINUATION, 0, 1, [0u8; 4]).to_bytes().repeat(count);
    let cases: [(&str, Vec<u8>, u64); 7] = [
        ("nothing", Vec::new(), 10),
        ("part of the preface", preface[..20].to_vec(), 10),
        ("the preface", preface.to_vec(), 10),
        ("half a frame", [preface, &settings[..5]].concat(), 10),
        ("a connection without a request", [preface, settings.as_slice()].concat(), 75),
        ("part of a head", [preface, settings.as_slice(), &head[..11]].concat(), 10),
        ("a head without its end", [preface.to_vec(), settings.clone(), head.clone(), more(3)].concat(), 10),
    ];
    for (what, bytes, seconds) in cases {
        let (mut rig, _mock) = Rig::with_mock(CONFIG, []);
        let mut client = rig.connect_http2().with_patience(Duration::from_secs(200));
        let begin = Instant::now();
        client.send_bytes(&bytes).await.unwrap();
        // What has begun answers pings; anything else would be more than the case says.
        while seconds == 10 && client.read().await.unwrap().is_some() {}
        goaway(&mut client).await;
        assert_eq!(begin.elapsed().as_secs(), seconds, "{what}");
    }
}

// Spec: security S-36.
#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_told_before_it_ends() {
    let (mut rig, _mock) = Rig::with_mock(CONFIG, []);
    let mut client = begun(&mut rig, &[]).await;
    client.send(&[get(1, "/health")]).await.unwrap();
    client.read_response(1).await.unwrap();
    let answered = Instant::now();
    let told = client.read_until(|frame| frame.kind == kind::GOAWAY).await.unwrap().unwrap();
    assert_eq!((told.error_code(), answered.elapsed().as_secs()), (Some(0), 75));
    assert_eq!(goaway(&mut client).await, Some(0));
}

// Spec: security S-36.
#[tokio::test(start_paused = true)]
async fn a_client_that_answers_no_ping_is_gone() {
    let (mut rig, mock) = Rig::with_mock(CONFIG, [Reply::status(200).never()]);
    let mut client = begun(&mut rig, &[]).await;
    client.send(&post(1, "/v1/chat/completions", CHAT)).await.unwrap();
    let begin = Instant::now();
    while client.read().await.unwrap().is_some() {}
    assert!((30..=51).contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
    mock.wait_until("the request is cancelled", |counts| counts.closed == 1).await;
}

// Spec: security S-34.
#[tokio::test(start_paused = true)]
async fn more_requests_at_once_than_are_allowed_are_refused_unseen() {
    let config = format!("{CONFIG}\n[llm.limits]\nmax_streams_per_connection = 2\n");
    let (mut rig, mock) = Rig::with_mock(&config, [Reply::status(200).never(), Reply::status(200).never()]);
    let mut client = begun(&mut rig, &[]).await;
    for stream in [1, 3, 5] {
        client.send(&post(stream, "/v1/chat/completions", CHAT)).await.unwrap();
    }
    let refused = client.read_until(|frame| frame.kind == kind::RST_STREAM).await.unwrap().unwrap();
    assert_eq!((refused.stream, refused.error_code()), (5, Some(REFUSED_STREAM)));
    assert_eq!(mock.counts().requests, 2);
}

/// Sends a flood in pieces until the connection takes no more, and returns the error that it ended with.
async fn flood(pieces: impl IntoIterator<Item = Vec<RawFrame>>) -> Option<u32> {
    let (mut rig, _mock) = Rig::with_mock(CONFIG, (0..3000).map(|_| Reply::status(200).never()));
    let mut client = begun(&mut rig, &[]).await;
    for piece in pieces {
        if client.send(&piece).await.is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    check_served(&mut rig).await;
    let begin = Instant::now();
    let code = goaway(&mut client).await;
    assert!(begin.elapsed() < Duration::from_secs(1), "the flood itself ended it, and no clock");
    check_served(&mut rig).await;
    code
}

// Spec: security S-37.
#[tokio::test(start_paused = true)]
async fn floods_end_their_connection_and_no_other() {
    let reset = |stream| RawFrame::new(kind::RST_STREAM, 0, stream, CANCEL.to_be_bytes());
    let head = |stream| RawFrame::headers(stream, 0, &fields("POST", "/v1/files", &[]));
    let streams = || (0..2000).map(|n| 2 * n + 1);

    // Requests that are reset at once, many in one piece, and one by one after they have begun.
    let pieces = streams().collect::<Vec<u32>>();
    let rapid =
        pieces.chunks(100).map(|some| some.iter().flat_map(|&s| [get(s, "/health"), reset(s)]).collect());
    assert_eq!(flood(rapid).await, Some(ENHANCE_YOUR_CALM), "rapid reset");
    let begun = streams().flat_map(|s| [post(s, "/v1/chat/completions", CHAT).to_vec(), vec![reset(s)]]);
    flood(begun).await;

    // Frames that make the gateway reset its streams: a window that outgrows itself.
    let made = streams().map(|s| vec![head(s), RawFrame::window_update(s, 0x7fff_ffff)]);
    assert_eq!(flood(made).await, Some(ENHANCE_YOUR_CALM), "made you reset");

    let more = std::iter::once(vec![RawFrame::new(kind::HEADERS, 0, 1, [])])
        .chain((0..3000).map(|_| vec![RawFrame::new(kind::CONTINUATION, 0, 1, []); 10]));
    flood(more).await;
    let empty = std::iter::once(vec![head(1)])
        .chain((0..3000).map(|_| vec![RawFrame::new(kind::DATA, 0, 1, []); 10]));
    flood(empty).await;
    for frame in [
        RawFrame::settings(&[]),
        RawFrame::settings(&[(4, 70_000)]),
        RawFrame::new(kind::PING, 0, 0, [0; 8]),
        RawFrame::window_update(0, 1),
        RawFrame::new(0x2, 0, 1, [0; 5]),
        RawFrame::new(0xbe, 0, 0, []),
    ] {
        flood((0..3000).map(|_| vec![frame.clone(); 10])).await;
    }
}

// Spec: security S-37.
#[tokio::test(start_paused = true)]
async fn a_client_that_makes_room_in_small_steps_is_no_flood() {
    const LENGTH: usize = 40 << 20;
    let (mut rig, _mock) = Rig::with_mock(CONFIG, [Reply::text(200, vec![b'x'; LENGTH])]);
    let mut client = begun(&mut rig, &[]).await;
    client.send(&post(1, "/v1/chat/completions", CHAT)).await.unwrap();
    let (mut length, mut updates) = (0, 0);
    while length < LENGTH {
        let frame = client.read_until(|frame| frame.kind == kind::DATA).await.unwrap();
        let mut left = frame.expect("the connection goes on").payload.len();
        length += left;
        while left > 0 {
            let step = left.min(4096);
            left -= step;
            let bytes = u32::try_from(step).unwrap();
            client.send(&[0, 1].map(|stream| RawFrame::window_update(stream, bytes))).await.unwrap();
            updates += 2;
        }
    }
    assert!(updates > 20_000, "more than may come at once: {updates}");
}

// Spec: security S-13, S-37.
#[tokio::test(start_paused = true)]
async fn a_head_that_grows_without_end_is_refused() {
    let (mut rig, mock) = Rig::with_mock(CONFIG, []);
    let mut client = begun(&mut rig, &[]).await;
    // One field that is remembered, then named again and again: little to send, much to hold.
    let mut block = vec![0x40, 1, b'a', 0x7f, 0x81, 0x1e];
    block.extend_from_slice(&[b'v'; 4000]);
    block.extend_from_slice(&[0xbe; 4000]);
    let mut frame = RawFrame::headers(1, END_STREAM, &fields("GET", "/health", &[]));
    frame.payload.extend_from_slice(&block);
    client.send(&[frame]).await.unwrap();
    let is_end = |frame: &RawFrame| frame.stream == 1 || frame.kind == kind::GOAWAY;
    let end = client.read_until(is_end).await.unwrap().unwrap();
    assert!(end.status() == Some(431) || end.error_code().is_some(), "{end:?}");
    assert!(mock.requests().is_empty());
    check_served(&mut rig).await;
}
