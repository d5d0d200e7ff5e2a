//! The demo providers: one server that answers in both dialects, so that the gateway can be tried
//! without a key or a network. It understands no language, checks no credential and keeps no state
//! but a counter for ids.
//!
//! The answer to any prompt is `Hello from emx-gate's demo provider. You said: …` with the last user
//! message, cut to [`ECHO_CHARS`]. One token is one word, that is, a run of characters without white
//! space; `max_tokens` and its siblings cut the answer by that count.
//!
//! Where the client offers a tool, and `tool_choice` forces one or the message says `call NAME`, the answer
//! is a call of it, with arguments made from its schema; what the tool then says is repeated like the user's
//! words. Where JSON of a schema is asked for, the answer is such JSON, always the same.
//!
//! Some model names ask for a fault, in the dialect of the route:
//!
//! | model                                  | what happens                                  |
//! |----------------------------------------|-----------------------------------------------|
//! | `error-400`, `error-401`, `error-500`  | that status                                   |
//! | `error-429`                            | 429 with `retry-after: 1`                     |
//! | `error-529`                            | 529, overloaded                               |
//! | `slow`                                 | the answer starts after [`Pace::slow`]        |
//! | `cut`                                  | the body breaks off, a stream between events  |
//!
//! `/v1/realtime` and `/v1/responses` are there as WebSocket sessions too, in text. The models of faults do
//! there what they do in a stream.
//!
//! ```no_run
//! # async fn run() -> std::io::Result<()> {
//! use gate_testkit::demo::{Demo, Pace, config_toml};
//!
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let config = config_toml(listener.local_addr()?);
//! tokio::select! {
//!     _ = Demo::new(Pace::default()).serve(listener) => {}
//!     () = async { println!("{config}") } => {}
//! }
//! # Ok(())
//! # }
//! ```

mod anthropic;
mod ask;
mod embeddings;
mod events;
mod openai;
mod realtime;
mod refusal;
mod responses;
mod schema;
mod session;
mod text;
mod websocket;
mod wish;

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body;
use http_body_util::{BodyExt as _, Limited};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;

use self::ask::{Ask, Operation};
use self::events::Events;
use self::refusal::{Dialect, Fault, Refusal};
use self::session::Session;
use self::websocket::Socket;
use crate::PATIENCE;
use crate::body::{ScriptBody, Step};

/// The chat model that the configuration of the demo lists under `openai.demo`.
pub const CHAT_MODEL: &str = "gpt-demo";
/// The embedding model that the configuration of the demo lists under `openai.demo`.
pub const EMBEDDING_MODEL: &str = "text-embedding-demo";
/// The model that the configuration of the demo lists under `anthropic.demo`.
pub const MESSAGES_MODEL: &str = "claude-demo";
/// How many characters of the last user message an answer repeats.
pub const ECHO_CHARS: usize = 200;

/// The largest request that the demo reads, in bytes; both vendors have such a limit.
const MAX_REQUEST_BYTES: usize = 32 << 20;

/// Returns the TOML of a gateway configuration with both demo providers at this address.
///
/// Both lists are open, so that `openai.demo.error-429` and its like reach the demo too. Their failures are
/// wanted, so they are neither tried again nor held against the demo.
pub fn config_toml(addr: SocketAddr) -> String {
    format!(
        r#"[llm.retry]
max_attempts = 1

[llm.circuit_breaker]
enabled = false

[llm.provider.openai.demo]
api_base = "http://{addr}/v1"
api_key = "demo"
models = ["{CHAT_MODEL}", "{EMBEDDING_MODEL}"]
open = true
websocket = true

[llm.provider.anthropic.demo]
api_base = "http://{addr}"
api_key = "demo"
models = ["{MESSAGES_MODEL}"]
open = true
"#
    )
}

/// How fast the demo answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The pause before each word of a stream.
    pub word: Duration,
    /// The pause before an answer of the model `slow`.
    pub slow: Duration,
}

impl Pace {
    /// No pause between words, and the usual one for `slow`: for tests.
    pub const INSTANT: Self = Self { word: Duration::ZERO, slow: Duration::from_secs(2) };
}

impl Default for Pace {
    fn default() -> Self {
        Self { word: Duration::from_millis(20), ..Self::INSTANT }
    }
}

/// The demo's server. Clones share the counter that numbers the answers.
#[derive(Clone, Debug)]
pub struct Demo {
    pace: Pace,
    answered: Arc<AtomicU64>,
}

impl Demo {
    /// Makes a demo that answers at this pace.
    pub fn new(pace: Pace) -> Self {
        Self { pace, answered: Arc::default() }
    }

    /// Serves every connection of the listener.
    ///
    /// # Cancel safety
    ///
    /// Runs until it is dropped, which closes the listener and every connection.
    pub async fn serve(self, listener: TcpListener) -> Infallible {
        crate::serve::each_tcp(listener, move |stream| self.clone().serve_stream(stream)).await
    }

    /// Serves one connection until either side closes it.
    pub async fn serve_stream(self, io: impl AsyncRead + AsyncWrite + Unpin) {
        let opened = Mutex::new(None);
        let service = service_fn(|request| {
            let (demo, opened) = (&self, &opened);
            async move { Ok::<_, Infallible>(demo.answer(request, opened).await) }
        });
        // The timer lets hyper give up a silent connection. A client that leaves, and the break of
        // the model `cut`, come out as errors here; there is nobody to tell.
        let connection =
            http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(io), service);
        let Ok(parts) = connection.without_shutdown().await else { return };
        let mut io = parts.io.into_inner();
        let session = opened.lock().unwrap_or_else(PoisonError::into_inner).take();
        match session {
            Some(session) => session.run(&self, Socket::new(io, &parts.read_buf)).await,
            None => {
                let _ = io.shutdown().await;
            }
        }
    }

    /// Numbers an answer.
    fn next_serial(&self) -> u64 {
        self.answered.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Answers one request, whatever it is. A session that it opens is left in `opened`.
    async fn answer<B>(&self, request: Request<B>, opened: &Mutex<Option<Session>>) -> Response<ScriptBody>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let serial = self.next_serial();
        let (head, body) = request.into_parts();
        let is_anthropic = head.headers.contains_key("anthropic-version");
        let operation = Operation::parse(head.uri.path(), is_anthropic);
        let dialect = operation.dialect(is_anthropic);
        let answer = match Session::parse(&head, serial) {
            Ok(None) => self.try_answer(&head.method, head.uri.path(), operation, body, serial).await,
            Ok(Some(session)) => websocket::agree(&head.headers).inspect(|_| {
                *opened.lock().unwrap_or_else(PoisonError::into_inner) = Some(session);
            }),
            Err(refusal) => Err(refusal),
        };
        let answer = answer.unwrap_or_else(|refusal| refusal.into_response(dialect, serial));
        with_vendor_headers(answer, dialect, serial)
    }

    async fn try_answer<B>(
        &self,
        method: &Method,
        path: &str,
        operation: Operation<'_>,
        body: B,
        serial: u64,
    ) -> Result<Response<ScriptBody>, Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if let Operation::Unknown = operation {
            let message = format!("the demo does not know the URL ({method} {path})");
            return Err(Refusal::new(StatusCode::NOT_FOUND, message));
        }
        if *method != operation.method() {
            let message = format!("{path} takes {}, not {method}", operation.method());
            return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, message));
        }
        match operation {
            Operation::ListOpenAiModels => return Ok(json_response(&openai::list())),
            Operation::ListAnthropicModels => return Ok(json_response(&anthropic::list())),
            Operation::OpenAiModel(id) => return openai::model(id).map(|model| json_response(&model)),
            Operation::AnthropicModel(id) => return anthropic::model(id).map(|model| json_response(&model)),
            _ => {}
        }
        let body = tokio::time::timeout(PATIENCE, Limited::new(body, MAX_REQUEST_BYTES).collect())
            .await
            .map_err(|_| Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body took too long".to_owned()))?
            // A body that breaks off leaves nobody to answer, so every failure is told as too large.
            .map_err(|_| Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is over 32 MiB".to_owned()))?;
        let ask = Ask::parse(&body.to_bytes(), serial, self.pace.word)?;
        let fault = Fault::of(&ask.model);
        match fault {
            Some(Fault::Status(status)) => return Err(Refusal::on_demand(status)),
            Some(Fault::Slow) => tokio::time::sleep(self.pace.slow).await,
            Some(Fault::Cut) | None => {}
        }
        let reply = match operation {
            Operation::Chat => openai::chat(&ask),
            Operation::Completions => openai::completions(&ask),
            Operation::Responses => responses::create(&ask),
            Operation::Embeddings => embeddings::create(&ask),
            Operation::Messages => anthropic::messages(&ask),
            _ => anthropic::count_tokens(&ask),
        }?;
        Ok(reply.into_response(fault))
    }
}

/// What a successful operation answers with.
enum Reply {
    Json(serde_json::Value),
    Events(Events),
}

impl Reply {
    fn into_response(self, fault: Option<Fault>) -> Response<ScriptBody> {
        match self {
            Self::Json(value) if fault == Some(Fault::Cut) => {
                let mut response = json_response(&value);
                let text = Bytes::from(value.to_string());
                let half = text.slice(..text.len() / 2);
                *response.body_mut() = ScriptBody::chunked([Step::Data(half), Step::Abort]);
                response
            }
            Self::Json(value) => json_response(&value),
            Self::Events(events) => {
                let steps = events.into_steps();
                let steps = if fault == Some(Fault::Cut) { cut(steps) } else { steps };
                let mut response = Response::new(ScriptBody::chunked(steps));
                let headers = response.headers_mut();
                headers.insert(
                    header::CONTENT_TYPE,
                    HeaderValue::from_static("text/event-stream; charset=utf-8"),
                );
                headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
                response
            }
        }
    }
}

/// Keeps the first half of the events and then breaks: between two events, where streams mostly
/// break, so that a client can read an error event of whoever relays it.
fn cut(mut events: Vec<Step>) -> Vec<Step> {
    events.truncate(events.len() / 2);
    events.push(Step::Abort);
    events
}

fn json_response(value: &serde_json::Value) -> Response<ScriptBody> {
    let mut response = Response::new(ScriptBody::sized(value.to_string()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Adds the headers by which the SDKs find the request's id.
fn with_vendor_headers(
    mut response: Response<ScriptBody>,
    dialect: Dialect,
    serial: u64,
) -> Response<ScriptBody> {
    if let Ok(id) = HeaderValue::from_str(&refusal::request_id(serial)) {
        let name = match dialect {
            Dialect::OpenAi => "x-request-id",
            Dialect::Anthropic => "request-id",
        };
        response.headers_mut().insert(name, id);
    }
    response
}
