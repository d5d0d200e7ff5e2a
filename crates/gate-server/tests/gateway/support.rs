//! A gateway between an in-memory client and an in-memory upstream.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use gate_config::{Sources, load};
use gate_server::{Gateway, RecordSink, RequestRecord, serve_http2_stream, serve_stream};
use gate_testkit::mock::{MockUpstream, Reply};
use gate_testkit::raw::{RawClient, RawHttp2, RawResponse, RawScript, Transcript};
use gate_upstream::{Dialer, MemoryDialer, MemoryListener};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// One provider of each kind with a key, and a second, unlike one of each.
pub(crate) const CONFIG: &str = r#"
    [llm.provider]
    default = "openai.gpt-4"

    [llm.provider.openai]
    api_base = "http://openai.test/v1"
    api_key = "openai-key"
    model = "gpt-4"

    [llm.provider.openai.azure]
    api_base = "http://azure.test/openai/v1?api-version=2024-10-21"
    api_key = "azure-key"
    auth = "api-key"
    headers = { x-team = "a" }
    query = { region = "eu north" }

    [llm.provider.openai.azure.small]
    model = "gpt-4-mini.2"

    [llm.provider.anthropic]
    api_base = "http://anthropic.test"
    api_key = "anthropic-key"
    models = ["claude-1"]
    open = true

    [llm.provider.anthropic.glm]
    api_base = "http://glm.test/api/anthropic"
    api_key = "glm-key"

    [llm.provider.anthropic.glm.glm-5]
    model = "GLM-5"
"#;

/// Keeps every record.
#[derive(Clone, Debug, Default)]
pub(crate) struct Records(Arc<Mutex<Vec<RequestRecord>>>);

impl RecordSink for Records {
    fn record(&self, record: &RequestRecord) {
        self.0.lock().unwrap().push(record.clone());
    }
}

impl Records {
    /// Returns all records so far.
    pub(crate) fn all(&self) -> Vec<RequestRecord> {
        self.0.lock().unwrap().clone()
    }

    /// Waits for the first record; on a paused clock this fails at once if none can come.
    pub(crate) async fn first(&self) -> RequestRecord {
        for _ in 0..10_000 {
            if let Some(record) = self.all().into_iter().next() {
                return record;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("no record was written");
    }
}

/// A gateway with its tasks; dropping it ends them.
pub(crate) struct Rig {
    pub(crate) gateway: Gateway,
    pub(crate) records: Records,
    tasks: JoinSet<()>,
}

impl Rig {
    /// Puts a gateway in front of a mock.
    pub(crate) fn with_mock(
        config: &str,
        replies: impl IntoIterator<Item = Reply>,
    ) -> (Self, Arc<MockUpstream>) {
        let mock = Arc::new(MockUpstream::replying(replies));
        (Self::before(config, &mock), mock)
    }

    /// Puts a gateway in front of this mock.
    pub(crate) fn before(config: &str, mock: &Arc<MockUpstream>) -> Self {
        let (mut rig, mut listener) = Self::new(config);
        let mock = Arc::clone(mock);
        rig.tasks.spawn(async move {
            while let Some(stream) = listener.accept().await {
                mock.serve_stream(stream);
            }
        });
        rig
    }

    /// Puts a gateway in front of an upstream that plays scripts, one for each connection.
    pub(crate) fn with_scripts(
        config: &str,
        scripts: impl IntoIterator<Item = RawScript>,
    ) -> (Self, mpsc::UnboundedReceiver<Transcript>) {
        let (mut rig, mut listener) = Self::new(config);
        let scripts: Vec<_> = scripts.into_iter().collect();
        let (sender, transcripts) = mpsc::unbounded_channel();
        rig.tasks.spawn(async move {
            for script in scripts {
                let Some(stream) = listener.accept().await else { return };
                let _ = sender.send(script.play(stream).await);
            }
            std::future::pending::<()>().await;
        });
        (rig, transcripts)
    }

    /// Makes a gateway whose connections to providers the caller answers.
    pub(crate) fn new(config: &str) -> (Self, MemoryListener) {
        let (dialer, listener) = MemoryDialer::new();
        (Self::dialing(config, Dialer::Memory(dialer)), listener)
    }

    /// Makes a gateway that reaches its providers like this.
    pub(crate) fn dialing(config: &str, dialer: Dialer) -> Self {
        let config = load(&Sources::empty().with_text("test", config)).unwrap().config;
        let records = Records::default();
        let gateway = Gateway::builder(config).dialer(dialer).sink(records.clone()).build().unwrap();
        Self { gateway, records, tasks: JoinSet::new() }
    }

    /// Watches the providers, if the configuration has them probed.
    pub(crate) fn watch(&mut self) {
        let gateway = self.gateway.clone();
        self.tasks.spawn(async move { match gateway.watch_providers().await {} });
    }

    /// Opens a client connection.
    pub(crate) fn connect(&mut self) -> RawClient<DuplexStream> {
        let (client, server) = tokio::io::duplex(64 * 1024);
        let gateway = self.gateway.clone();
        self.tasks.spawn(async move { serve_stream(server, &gateway).await });
        RawClient::new(client)
    }

    /// Opens a client connection of HTTP/2. Its buffers hold whatever a test sends; what stops an answer
    /// there is the room that the client makes.
    pub(crate) fn connect_http2(&mut self) -> RawHttp2<DuplexStream> {
        let (client, server) = tokio::io::duplex(1 << 26);
        let gateway = self.gateway.clone();
        self.tasks.spawn(async move { serve_http2_stream(server, &gateway).await });
        RawHttp2::new(client)
    }

    /// Sends one request on a connection of its own and reads the answer.
    pub(crate) async fn send(&mut self, request: &str) -> RawResponse {
        let mut client = self.connect();
        client.send(request).await.unwrap();
        client.read_response().await.unwrap()
    }

    /// Posts JSON to a path.
    pub(crate) async fn post(&mut self, path: &str, body: &str) -> RawResponse {
        self.send(&post(path, &[], body)).await
    }
}

/// Writes a POST with a JSON body; further headers come as lines.
pub(crate) fn post(path: &str, headers: &[&str], body: &str) -> String {
    let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
}

/// Writes a GET; further headers come as lines.
pub(crate) fn get(path: &str, headers: &[&str]) -> String {
    let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n")
}

/// Returns a header of an answer, or nothing.
pub(crate) fn header<'r>(response: &'r RawResponse, name: &str) -> &'r str {
    response.head.header(name).unwrap_or_default()
}
