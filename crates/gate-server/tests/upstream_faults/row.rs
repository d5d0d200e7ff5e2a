//! One row of the table: what the upstream does, and what comes of it.

use std::io::Write;
use std::sync::LazyLock;
use std::time::Duration;

use gate_server::RequestRecord;
use gate_testkit::raw::{Authority, Flaw, RawResponse, RawScript, RawServer};
use gate_upstream::{Dialer, MemoryDialer};
use socket2::{Domain, Socket, Type};
use tempfile::NamedTempFile;
use tokio::net::TcpStream;

use crate::logged;
use crate::rig::{Ask, Rig, config, paused, real};

/// How much later than its deadline anything may end.
const SLACK: Duration = Duration::from_millis(250);

/// The word in every secret, of the gateway's and of the client's: nothing that is shown has it.
const SECRET: &str = "canary";

/// What there is at the address that the gateway is given.
#[derive(Clone, Debug)]
pub(crate) enum Upstream {
    /// A script in memory, on a paused clock.
    Memory(RawScript),
    /// A script behind a real socket.
    Tcp(RawScript),
    /// A script behind a real socket that the gateway takes for one of TLS; it sends what it likes.
    NotTls(RawScript),
    /// As `NotTls`, where the script never sends a byte: on a paused clock.
    SilentTls(RawScript),
    /// A script behind TLS with such a certificate and these protocols; trusted, or not.
    Tls { flaw: Flaw, alpn: &'static [&'static str], is_trusted: bool, script: RawScript },
    /// A bound port on which nobody listens.
    Refusal,
    /// An address that swallows every packet: on a paused clock.
    BlackHole,
    /// Never accepts, in memory: on a paused clock.
    Backlog,
    /// A name that has no address.
    NoAddress,
}

/// What the client gets.
#[derive(Clone, Debug)]
pub(crate) enum Sees {
    /// An error of the gateway.
    Error { status: u16, code: &'static str, may_retry: bool },
    /// The provider's answer, and it is whole. `code` is in `x-gateway-error`, where it is blamed.
    Answer { status: u16, body: String, code: Option<&'static str> },
    /// As much as came, an error event where it is a stream, and an end that shows the break.
    Break { body: String, code: &'static str },
}

pub(crate) const CONNECT_FAILED: Sees =
    Sees::Error { status: 502, code: "upstream_connect_failed", may_retry: true };
pub(crate) const CLOSED: Sees = Sees::Error { status: 502, code: "upstream_closed", may_retry: true };
pub(crate) const TLS: Sees = Sees::Error { status: 502, code: "upstream_tls", may_retry: false };
pub(crate) const PROTOCOL: Sees = Sees::Error { status: 502, code: "upstream_protocol", may_retry: false };
pub(crate) const TIMEOUT: Sees = Sees::Error { status: 504, code: "upstream_timeout", may_retry: true };

/// Makes the sight of a whole answer.
pub(crate) fn answer(status: u16, body: impl Into<String>) -> Sees {
    Sees::Answer { status, body: body.into(), code: None }
}

/// Makes the sight of a broken answer.
pub(crate) fn breaks(body: impl Into<String>, code: &'static str) -> Sees {
    Sees::Break { body: body.into(), code }
}

/// Writes a script that reads a request, sends this, and closes.
pub(crate) fn sends(bytes: impl Into<Vec<u8>>) -> RawScript {
    RawScript::new().expect_request().send(bytes)
}

/// Writes an answer of JSON with its length.
pub(crate) fn json(status: u16, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
}

/// The head of an event stream in chunks.
pub(crate) const CHUNKED_STREAM: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

/// The head of an event stream that ends with its connection.
pub(crate) const CLOSING_STREAM: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";

/// Writes one chunk.
pub(crate) fn chunk(data: &str) -> String {
    format!("{:x}\r\n{data}\r\n", data.len())
}

/// What is done with a row.
#[derive(Clone, Debug)]
enum Act {
    Table(Box<Table>),
    /// Something that one request and its answer cannot show.
    Story(fn()),
}

#[derive(Clone, Debug)]
struct Table {
    upstream: Upstream,
    asks: &'static [Ask],
    timeouts: &'static str,
    padding: usize,
    sees: Sees,
    end: &'static str,
    headers: Vec<(&'static str, Option<&'static str>)>,
    connections: usize,
    takes: Option<Duration>,
}

/// A fault.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) number: u8,
    name: &'static str,
    act: Act,
}

impl Row {
    /// Makes a row that every kind of request goes through, on one connection to the upstream.
    pub(crate) fn new(number: u8, name: &'static str, upstream: Upstream, sees: Sees) -> Self {
        let end = match &sees {
            Sees::Error { .. } => "gateway_error",
            Sees::Answer { .. } => "complete",
            Sees::Break { code: "upstream_timeout", .. } => "upstream_timeout",
            Sees::Break { .. } => "upstream_closed",
        };
        let connections = match upstream {
            Upstream::Refusal | Upstream::BlackHole | Upstream::Backlog | Upstream::NoAddress => 0,
            _ => 1,
        };
        let table = Table {
            upstream,
            asks: Ask::ALL,
            timeouts: "",
            padding: 0,
            sees,
            end,
            headers: Vec::new(),
            connections,
            takes: None,
        };
        Self { number, name, act: Act::Table(Box::new(table)) }
    }

    /// Makes a row that is told by a function.
    pub(crate) fn story(number: u8, name: &'static str, story: fn()) -> Self {
        Self { number, name, act: Act::Story(story) }
    }

    /// Only these requests.
    pub(crate) fn asks(self, asks: &'static [Ask]) -> Self {
        self.with(|table| table.asks = asks)
    }

    /// Another end in the record than what the client sees would suggest.
    pub(crate) fn end(self, end: &'static str) -> Self {
        self.with(|table| table.end = end)
    }

    /// With this text in the request, in bytes.
    pub(crate) fn padding(self, padding: usize) -> Self {
        self.with(|table| table.padding = padding)
    }

    /// The client's answer has this header, once, or has it not.
    pub(crate) fn header(self, name: &'static str, value: Option<&'static str>) -> Self {
        self.with(|table| table.headers.push((name, value)))
    }

    /// With these lines in `[llm.timeout]`, and over after `millis`, not sooner and hardly later.
    pub(crate) fn takes(self, timeouts: &'static str, millis: u64) -> Self {
        self.with(|table| (table.timeouts, table.takes) = (timeouts, Some(Duration::from_millis(millis))))
    }

    fn with(mut self, change: impl FnOnce(&mut Table)) -> Self {
        if let Act::Table(table) = &mut self.act {
            change(table);
        }
        self
    }

    /// Runs the row.
    pub(crate) fn check(&self) {
        let label = format!("row {}, {}", self.number, self.name);
        match &self.act {
            Act::Story(story) => story(),
            Act::Table(table) => {
                for ask in table.asks {
                    let label = format!("{label}, {ask:?}");
                    let (response, record, connections) = table.upstream.run(table, *ask);
                    table.compare(*ask, &response, &record, &label);
                    assert_eq!(connections, table.connections, "{label}: connections");
                }
            }
        }
    }
}

static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| Authority::try_new().unwrap());

/// Writes a PEM file that a `ca_file` can name.
pub(crate) fn ca_file(authority: &Authority) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(authority.pem().as_bytes()).unwrap();
    file
}

impl Upstream {
    /// Sends one request through a gateway before this upstream; returns the answer, the record and
    /// how many connections the upstream saw.
    fn run(&self, table: &Table, ask: Ask) -> (RawResponse, RequestRecord, usize) {
        let request = ask.request(table.padding);
        let talk = async |rig: &mut Rig| (rig.send(&request).await, rig.record().await);
        let at = |base: String, settings: &str| Rig::new(&config(&base, table.timeouts, settings));
        let tcp = async |script: &RawScript, base: &str| {
            let server = RawServer::start([script.clone()]).await.unwrap();
            let (response, record) = talk(&mut at(format!("{base}:{}", server.port()), "")).await;
            (response, record, server.connections())
        };
        let nobody = |(response, record)| (response, record, 0);
        match self {
            Self::Memory(script) => paused().block_on(async {
                let text = config("http://upstream.test", table.timeouts, "");
                let (mut rig, upstream) = Rig::in_memory(&text, [script.clone()]);
                let (response, record) = talk(&mut rig).await;
                (response, record, upstream.connections())
            }),
            Self::Tcp(script) => real().block_on(tcp(script, "http://127.0.0.1")),
            Self::NotTls(script) => real().block_on(tcp(script, "https://127.0.0.1")),
            Self::SilentTls(script) => paused().block_on(tcp(script, "https://127.0.0.1")),
            Self::Tls { flaw, alpn, is_trusted, script } => real().block_on(async {
                let acceptor = AUTHORITY.acceptor(*flaw, alpn).unwrap();
                let server = RawServer::start_tls(acceptor, [script.clone()]).await.unwrap();
                let stranger = (!is_trusted).then(|| Authority::try_new().unwrap());
                let file = ca_file(stranger.as_ref().unwrap_or(&AUTHORITY));
                let settings = format!("ca_file = \"{}\"", file.path().display());
                let base = format!("https://127.0.0.1:{}", server.port());
                let (response, record) = talk(&mut at(base, &settings)).await;
                (response, record, server.connections())
            }),
            Self::Refusal => real().block_on(async {
                // Bound and not listening: the kernel refuses, and nobody else can take the port.
                let (_socket, port) = bound();
                nobody(talk(&mut at(format!("http://127.0.0.1:{port}"), "")).await)
            }),
            Self::BlackHole => paused().block_on(async {
                let (hole, port) = bound();
                // With room for none to wait, the kernel keeps one connection and drops what follows.
                hole.listen(0).unwrap();
                let _kept = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                nobody(talk(&mut at(format!("http://127.0.0.1:{port}"), "")).await)
            }),
            Self::Backlog => paused().block_on(async {
                let (dialer, _listener) = MemoryDialer::with_backlog(1);
                let text = config("http://upstream.test", table.timeouts, "");
                let mut rig = Rig::with_dialer(&text, Dialer::Memory(dialer));
                // The one place in the backlog is taken by a request that nobody answers.
                let mut first = rig.connect();
                first.send(&request).await.unwrap();
                let (response, _) = (rig.send(&request).await, drop(first));
                nobody((response, rig.record().await))
            }),
            Self::NoAddress => real().block_on(async {
                // A label has at most 63 bytes (RFC 1035 §2.3.4), so no resolver is ever asked.
                nobody(talk(&mut at(format!("http://{}.test", "x".repeat(64)), "")).await)
            }),
        }
    }
}

fn bound() -> (Socket, u16) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let port = socket.local_addr().unwrap().as_socket().unwrap().port();
    (socket, port)
}

impl Table {
    fn compare(&self, ask: Ask, response: &RawResponse, record: &RequestRecord, label: &str) {
        let head = &response.head;
        let text = response.body.text();
        let head_text = String::from_utf8_lossy(&head.bytes);
        for shown in [&text, &*head_text, &format!("{record:?}"), &logged::lines()] {
            let at = shown.find(SECRET);
            assert_eq!(at.map(|at| &shown[at.saturating_sub(80)..]), None, "{label} shows a secret");
        }
        for (name, value) in &self.headers {
            assert_eq!((head.header(name), head.header_count(name) > 1), (*value, false), "{label}: {name}");
        }
        let status = match &self.sees {
            Sees::Error { status, code, may_retry } => {
                assert_eq!(
                    (head.status, head.header("x-gateway-error")),
                    (*status, Some(*code)),
                    "{label}: {text}"
                );
                let advice = if *may_retry { None } else { Some("false") };
                assert_eq!(head.header("x-should-retry"), advice, "{label}");
                assert!(response.body.is_clean(), "{label}");
                check_error(ask, *status, code, &text, label);
                *status
            }
            Sees::Answer { status, body, code } => {
                assert_eq!(
                    (head.status, head.header("x-gateway-error")),
                    (*status, *code),
                    "{label}: {text}"
                );
                assert_eq!(text, *body, "{label}");
                assert!(response.body.is_clean(), "{label}: {:?}", response.body.end);
                *status
            }
            Sees::Break { body, code } => {
                assert_eq!(head.header("x-gateway-error"), None, "{label}");
                assert!(!response.body.is_clean(), "{label}: {text}");
                let tail = text.strip_prefix(body.as_str()).unwrap_or_else(|| panic!("{label}: {text}"));
                let is_stream = head.header("content-type") == Some("text/event-stream");
                check_tail(ask, is_stream, body, tail, code, label);
                head.status
            }
        };
        let code = match &self.sees {
            Sees::Error { code, .. } | Sees::Break { code, .. } => Some(*code),
            Sees::Answer { code, .. } => *code,
        };
        let settled = (record.end.as_str(), record.error_code, record.status, record.attempts);
        assert_eq!(settled, (self.end, code, Some(status), 1), "{label}: the record");
        if let Some(deadline) = self.takes {
            let late = record.duration.checked_sub(deadline);
            assert!(late.is_some_and(|late| late <= SLACK), "{label}: took {:?}", record.duration);
        }
    }
}

/// Checks an error of the gateway in the dialect of its route.
pub(crate) fn check_error(ask: Ask, status: u16, code: &str, text: &str, label: &str) {
    let fields = if ask.is_openai() {
        vec![
            r#"{"error":{"message":""#.to_owned(),
            format!(r#""type":"server_error","param":null,"code":"{code}"}}}}"#),
        ]
    } else {
        let kind = anthropic_type(status);
        vec![
            format!(r#"{{"type":"error","error":{{"type":"{kind}","message":""#),
            r#""request_id":"req-"#.to_owned(),
        ]
    };
    for field in fields {
        assert!(text.contains(&field), "{label}: no {field} in {text}");
    }
    assert!(!text.contains("upstream.test") && !text.contains("127.0.0.1"), "{label}: {text}");
}

fn anthropic_type(status: u16) -> &'static str {
    match status {
        503 => "overloaded_error",
        504 => "timeout_error",
        _ => "api_error",
    }
}

/// Checks what follows the part of a broken answer that came: one error event, or nothing at all.
fn check_tail(ask: Ask, is_stream: bool, body: &str, tail: &str, code: &str, label: &str) {
    if !is_stream {
        assert_eq!(tail, "", "{label}");
        return;
    }
    let is_between_events = body.is_empty() || body.ends_with("\n\n") || body.ends_with("\r\n\r\n");
    let (blank, event) = tail.split_at(if is_between_events { 0 } else { 2 });
    assert!(blank.bytes().all(|byte| byte == b'\n'), "{label}: {tail:?}");
    let kind = if code == "upstream_timeout" { "timeout_error" } else { "api_error" };
    let begin = match ask {
        Ask::Chat | Ask::ChatStream => "data: {\"error\":{\"message\":\"".to_owned(),
        Ask::ResponsesStream => format!("event: error\ndata: {{\"type\":\"error\",\"code\":\"{code}\""),
        Ask::Messages | Ask::MessagesStream => {
            format!("event: error\ndata: {{\"type\":\"error\",\"error\":{{\"type\":\"{kind}\"")
        }
    };
    assert!(event.starts_with(&begin) && event.ends_with("}\n\n"), "{label}: {event:?}");
    assert!(!ask.is_openai() || event.contains(code), "{label}: {event:?}");
    assert_eq!(event.matches("data:").count(), 1, "{label}: one event: {event:?}");
    assert!(!event.contains("[DONE]") && !event.contains("message_stop"), "{label}: {event:?}");
}
