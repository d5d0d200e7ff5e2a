//! A gateway between an in-memory client and an upstream that plays scripts.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use gate_config::{Sources, load};
use gate_server::{Gateway, RecordSink, RequestRecord, serve_stream};
use gate_testkit::PATIENCE;
use gate_testkit::raw::{RawClient, RawResponse, RawScript, Transcript};
use gate_upstream::{Dialer, MemoryDialer};
use tokio::io::DuplexStream;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::logged;

/// What the client sends that is nobody's to see: neither the provider's, whose own key is set, nor the
/// log's.
const SECRETS: &str = "authorization: Bearer client-canary\r\ncookie: session=cookie-canary\r\nproxy-authorization: Basic canary\r\n";

/// A kind of request: a route, and whether it asks for a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Chat,
    ChatStream,
    ResponsesStream,
    Messages,
    MessagesStream,
}

impl Ask {
    pub(crate) const ALL: &'static [Self] =
        &[Self::Chat, Self::ChatStream, Self::ResponsesStream, Self::Messages, Self::MessagesStream];
    pub(crate) const WHOLE: &'static [Self] = &[Self::Chat, Self::Messages];
    pub(crate) const STREAMS: &'static [Self] =
        &[Self::ChatStream, Self::ResponsesStream, Self::MessagesStream];

    pub(crate) fn is_openai(self) -> bool {
        !matches!(self, Self::Messages | Self::MessagesStream)
    }

    /// Writes the request, with `padding` bytes of text in it.
    pub(crate) fn request(self, padding: usize) -> String {
        let (path, model) = match self {
            Self::Chat | Self::ChatStream => ("/v1/chat/completions", "gpt-4"),
            Self::ResponsesStream => ("/v1/responses", "gpt-4"),
            Self::Messages | Self::MessagesStream => ("/v1/messages", "claude-1"),
        };
        let stream = !matches!(self, Self::Chat | Self::Messages);
        let body = format!(
            r#"{{"model":"{model}","stream":{stream},"max_tokens":9,"messages":[{{"role":"user","content":"{}"}}]}}"#,
            "x".repeat(padding)
        );
        format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\n{SECRETS}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    }
}

/// Writes a configuration with one provider of each kind at `base`. `timeouts` and `settings` are
/// lines of `[llm.timeout]` and of each provider.
pub(crate) fn config(base: &str, timeouts: &str, settings: &str) -> String {
    format!(
        r#"
        [llm.retry]
        max_attempts = 1
        [llm.timeout]
        {timeouts}
        [llm.provider.openai]
        api_base = "{base}/v1"
        api_key = "openai-canary"
        model = "gpt-4"
        {settings}
        [llm.provider.anthropic]
        api_base = "{base}"
        api_key = "anthropic-canary"
        models = ["claude-1"]
        {settings}
        "#
    )
}

#[derive(Debug)]
struct Records(mpsc::UnboundedSender<RequestRecord>);

impl RecordSink for Records {
    fn record(&self, record: &RequestRecord) {
        // The test may have seen enough.
        let _ = self.0.send(record.clone());
    }
}

/// A gateway with its tasks; dropping it ends them.
pub(crate) struct Rig {
    pub(crate) gateway: Gateway,
    records: mpsc::UnboundedReceiver<RequestRecord>,
    tasks: JoinSet<()>,
}

impl Rig {
    /// Makes a gateway that dials by the system's means.
    pub(crate) fn new(config: &str) -> Self {
        Self::with_dialer(config, Dialer::System)
    }

    pub(crate) fn with_dialer(config: &str, dialer: Dialer) -> Self {
        logged::keep();
        let config = load(&Sources::empty().with_text("test", config)).unwrap().config;
        let (sender, records) = mpsc::unbounded_channel();
        let gateway = Gateway::builder(config).dialer(dialer).sink(Records(sender)).build().unwrap();
        Self { gateway, records, tasks: JoinSet::new() }
    }

    /// Makes a gateway before an upstream in memory, whose connections play the scripts at the same
    /// time; those beyond the last are closed at once.
    pub(crate) fn in_memory(
        config: &str,
        scripts: impl IntoIterator<Item = RawScript>,
    ) -> (Self, MemoryUpstream) {
        let (dialer, mut listener) = MemoryDialer::new();
        let mut rig = Self::with_dialer(config, Dialer::Memory(dialer));
        let scripts: Vec<_> = scripts.into_iter().collect();
        let (sender, transcripts) = mpsc::unbounded_channel();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        rig.tasks.spawn(async move {
            let mut playing = JoinSet::new();
            while let Some(stream) = listener.accept().await {
                let Some(script) = scripts.get(count.fetch_add(1, Relaxed)).cloned() else { continue };
                let sender = sender.clone();
                playing.spawn(async move {
                    let _ = sender.send(script.play(stream).await);
                });
            }
        });
        (rig, MemoryUpstream { connections, transcripts })
    }

    /// Opens a client connection.
    pub(crate) fn connect(&mut self) -> RawClient<DuplexStream> {
        let (client, server) = tokio::io::duplex(64 * 1024);
        let gateway = self.gateway.clone();
        self.tasks.spawn(async move { serve_stream(server, &gateway).await });
        RawClient::new(client)
    }

    /// Sends one request on a connection of its own and reads the answer.
    pub(crate) async fn send(&mut self, request: &str) -> RawResponse {
        let mut client = self.connect();
        client.send(request).await.unwrap();
        client.read_response().await.unwrap()
    }

    /// Waits for the next record.
    pub(crate) async fn record(&mut self) -> RequestRecord {
        timeout(PATIENCE, self.records.recv()).await.unwrap().unwrap()
    }
}

/// The far end of [`Rig::in_memory`].
pub(crate) struct MemoryUpstream {
    connections: Arc<AtomicUsize>,
    transcripts: mpsc::UnboundedReceiver<Transcript>,
}

impl MemoryUpstream {
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Relaxed)
    }

    pub(crate) async fn transcript(&mut self) -> Transcript {
        timeout(PATIENCE, self.transcripts.recv()).await.unwrap().unwrap()
    }
}

/// Returns a runtime whose clock moves only when nothing else can happen.
pub(crate) fn paused() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

/// Returns a runtime with the real clock.
pub(crate) fn real() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}
