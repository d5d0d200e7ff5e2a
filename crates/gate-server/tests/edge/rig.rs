//! A gateway between a client of raw bytes and a provider that notes what reaches it.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gate_config::{Sources, load};
use gate_server::{Gateway, RecordSink, RequestRecord, serve, serve_stream};
use gate_testkit::mock::{MockUpstream, Reply};
use gate_testkit::raw::RawClient;
use gate_upstream::{Dialer, MemoryDialer};
use tokio::io::DuplexStream;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::logged;

/// One closed list of models of each kind; clocks that differ from each other.
const CONFIG: &str = r#"
    [llm.limits]
    max_request_size_mb = 1
    header_timeout = 5
    idle_timeout = 20
    body_idle_timeout = 7
    [llm.timeout]
    write = 9
    [llm.provider.openai]
    api_base = "http://openai.test/v1"
    api_key = "openai-canary"
    models = ["gpt-4"]
    [llm.provider.anthropic]
    api_base = "http://anthropic.test"
    api_key = "anthropic-canary"
    models = ["claude-1"]
"#;

/// Longer than any wait of the gateway; on a paused clock it costs nothing.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Keeps every record.
#[derive(Clone, Debug, Default)]
struct Records(Arc<Mutex<Vec<RequestRecord>>>);

impl RecordSink for Records {
    fn record(&self, record: &RequestRecord) {
        self.0.lock().unwrap().push(record.clone());
    }
}

/// A gateway with its tasks; dropping it ends them.
pub(crate) struct Rig {
    pub(crate) gateway: Gateway,
    pub(crate) upstream: Arc<MockUpstream>,
    records: Records,
    tasks: JoinSet<()>,
}

impl Rig {
    /// Makes a gateway whose provider answers every request with an empty object.
    pub(crate) fn new() -> Self {
        Self::answering(|| Reply::json(200, "{}"))
    }

    /// Makes a gateway whose provider answers so.
    pub(crate) fn answering(reply: impl Fn() -> Reply + Send + 'static) -> Self {
        Self::serving(move |stream, upstream| upstream.serve_stream(stream), reply)
    }

    /// Makes a gateway whose provider takes connections, and nothing that is sent on them.
    pub(crate) fn stalling() -> Self {
        let mut taken = Vec::new();
        Self::serving(move |stream, _| taken.push(stream), || Reply::json(200, "{}"))
    }

    fn serving(
        mut serve: impl FnMut(DuplexStream, &MockUpstream) + Send + 'static,
        reply: impl Fn() -> Reply + Send + 'static,
    ) -> Self {
        logged::keep();
        let config = load(&Sources::empty().with_text("test", CONFIG)).unwrap().config;
        let (dialer, mut listener) = MemoryDialer::new();
        let records = Records::default();
        let gateway =
            Gateway::builder(config).dialer(Dialer::Memory(dialer)).sink(records.clone()).build().unwrap();
        let upstream = Arc::new(MockUpstream::answering(move |_| reply()));
        let mut tasks = JoinSet::new();
        let served = Arc::clone(&upstream);
        tasks.spawn(async move {
            while let Some(stream) = listener.accept().await {
                serve(stream, &served);
            }
        });
        Self { gateway, upstream, records, tasks }
    }

    /// Opens a client connection.
    pub(crate) fn connect(&mut self) -> RawClient<DuplexStream> {
        let (client, server) = tokio::io::duplex(64 * 1024);
        let gateway = self.gateway.clone();
        self.tasks.spawn(async move { serve_stream(server, &gateway).await });
        RawClient::new(client).with_patience(PATIENCE)
    }

    /// Opens a client connection through the system's network, which needs a clock that is not paused.
    pub(crate) async fn connect_tcp(&mut self) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let gateway = self.gateway.clone();
        self.tasks.spawn(async move { drop(serve(listener, gateway, std::future::pending()).await) });
        TcpStream::connect(address).await.unwrap()
    }

    /// Returns the records so far.
    pub(crate) fn seen(&self) -> Vec<RequestRecord> {
        self.records.0.lock().unwrap().clone()
    }

    /// Returns the records, once there are so many; fails on one too many.
    pub(crate) async fn records(&self, count: usize) -> Vec<RequestRecord> {
        for _ in 0..1000 {
            if self.records.0.lock().unwrap().len() >= count {
                break;
            }
            // On a paused clock this ends as soon as nothing else can happen.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let records = self.records.0.lock().unwrap().clone();
        assert_eq!(records.len(), count, "{records:?}");
        records
    }
}

/// Runs a test on a clock that moves only when nothing else can happen.
pub(crate) fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(test);
}
