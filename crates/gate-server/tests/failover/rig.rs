//! A gateway before hosts in memory, each of which can be up or down, and clients that come at a rate.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use gate_config::{Sources, load};
use gate_server::{Gateway, serve_stream};
use gate_testkit::mock::{MockUpstream, Reply};
use gate_testkit::raw::{RawClient, RawResponse};
use gate_upstream::{Dialer, MemoryDialer};
use tokio::io::DuplexStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// Connections that a host lets wait.
pub(crate) const BACKLOG: usize = 1024;

/// A gateway with its tasks; dropping it ends them.
pub(crate) struct Rig {
    gateway: Gateway,
    pub(crate) dialer: MemoryDialer,
    tasks: JoinSet<()>,
    /// Connections to the gateway that wait for their next request.
    idle: Arc<Mutex<Vec<RawClient<DuplexStream>>>>,
}

/// What one client got.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// When it asked, from the beginning of the load.
    pub(crate) at: Duration,
    pub(crate) took: Duration,
    /// `None` where the connection ended without an answer.
    pub(crate) response: Option<RawResponse>,
}

impl Seen {
    pub(crate) fn is_good(&self) -> bool {
        self.response.as_ref().is_some_and(|response| response.head.status == 200 && response.body.is_clean())
    }

    /// Tells whether an attempt went to this provider.
    pub(crate) fn tried(&self, provider: &str) -> bool {
        let attempts = self.response.as_ref().and_then(|response| response.head.header("x-gateway-attempts"));
        attempts.is_some_and(|attempts| attempts.contains(&format!("{provider}=")))
    }
}

impl Rig {
    pub(crate) fn new(config: &str) -> Self {
        // Hosts without a listener of their own refuse, for the general one is dropped.
        let (dialer, _) = MemoryDialer::new();
        Self::dialing(config, Dialer::Memory(dialer.clone()), dialer)
    }

    /// Makes a gateway that reaches its providers over TCP.
    pub(crate) fn on_tcp(config: &str) -> Self {
        Self::dialing(config, Dialer::System, MemoryDialer::new().0)
    }

    fn dialing(config: &str, by: Dialer, dialer: MemoryDialer) -> Self {
        let config = load(&Sources::empty().with_text("test", config)).unwrap().config;
        let gateway = Gateway::builder(config).dialer(by).build().unwrap();
        Self { gateway, dialer, tasks: JoinSet::new(), idle: Arc::default() }
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

    /// Sends one request on a connection that is free, or on a new one.
    async fn ask(&mut self, requests: &mut JoinSet<Seen>, request: &str, at: Duration) {
        let free = self.idle.lock().unwrap().pop();
        let mut client = free.unwrap_or_else(|| self.connect());
        let (request, idle) = (request.to_owned(), Arc::clone(&self.idle));
        requests.spawn(async move {
            let begin = Instant::now();
            client.send(request).await.unwrap();
            let response = client.read_response().await.ok();
            if response.as_ref().is_some_and(|response| response.body.is_clean()) {
                idle.lock().unwrap().push(client);
            }
            Seen { at, took: begin.elapsed(), response }
        });
    }

    /// Sends a request every `gap`, whether earlier ones were answered or not, as many clients do, and
    /// does `events` beside it; returns what each client got, in the order in which they asked.
    pub(crate) async fn load(
        &mut self,
        request: &str,
        count: u32,
        gap: Duration,
        events: impl Future<Output = ()>,
    ) -> Vec<Seen> {
        let begin = Instant::now();
        let mut requests = JoinSet::new();
        let asking = async {
            for n in 0..count {
                sleep_until(begin + gap * n).await;
                self.ask(&mut requests, request, gap * n).await;
            }
        };
        tokio::join!(asking, events);
        let mut seen = requests.join_all().await;
        seen.sort_by_key(|seen| seen.at);
        seen
    }
}

type Answers = Arc<Mutex<dyn FnMut(Duration) -> Reply + Send>>;

/// A host that answers, or refuses.
pub(crate) struct Provider {
    dialer: MemoryDialer,
    host: &'static str,
    begin: Instant,
    answers: Answers,
    /// When each request came.
    asked: Arc<Mutex<Vec<Duration>>>,
    running: Option<(Arc<MockUpstream>, JoinSet<()>)>,
}

impl Provider {
    /// Makes a host that is up and answers as `answers` says, which is told the time since now.
    pub(crate) fn up(
        rig: &Rig,
        host: &'static str,
        answers: impl FnMut(Duration) -> Reply + Send + 'static,
    ) -> Self {
        let mut provider = Self {
            dialer: rig.dialer.clone(),
            host,
            begin: Instant::now(),
            answers: Arc::new(Mutex::new(answers)),
            asked: Arc::default(),
            running: None,
        };
        provider.start();
        provider
    }

    pub(crate) fn start(&mut self) {
        let (answers, asked, begin) = (Arc::clone(&self.answers), Arc::clone(&self.asked), self.begin);
        let mock = Arc::new(MockUpstream::answering(move |_| {
            asked.lock().unwrap().push(begin.elapsed());
            answers.lock().unwrap()(begin.elapsed())
        }));
        let mut listener = self.dialer.listen(self.host, BACKLOG);
        let (serving, mut accepting) = (Arc::clone(&mock), JoinSet::new());
        accepting.spawn(async move {
            while let Some(stream) = listener.accept().await {
                serving.serve_stream(stream);
            }
        });
        self.running = Some((mock, accepting));
    }

    /// Ends all connections and refuses new ones.
    pub(crate) async fn stop(&mut self) {
        let Some((mock, mut accepting)) = self.running.take() else { return };
        accepting.shutdown().await;
        let mock = Arc::into_inner(mock).unwrap();
        drop(mock);
        // Its connections are dropped when their tasks have their next turn.
        tokio::task::yield_now().await;
    }

    /// Returns how many requests came in a span of seconds.
    pub(crate) fn asked(&self, seconds: std::ops::Range<u64>) -> usize {
        let span = Duration::from_secs(seconds.start)..Duration::from_secs(seconds.end);
        self.asked.lock().unwrap().iter().filter(|at| span.contains(*at)).count()
    }
}

/// Writes a configuration of hosts `NAME.test` that share the requests for `gpt-4`, with further text.
pub(crate) fn pool(names: &[&str], more: &str) -> String {
    let provider = |name: &&str| {
        format!(
            "[llm.provider.openai.{name}]\napi_base = 'http://{name}.test/v1'\napi_key = '{name}-key'\n\
             models = ['gpt-4']\nweight = 1\n"
        )
    };
    // A client that was idle for long would find its connection closed, and would have to ask again.
    let limits = "[llm.limits]\nidle_timeout = 3600\n";
    format!("{limits}{more}\n{}", names.iter().map(provider).collect::<String>())
}

/// Writes a POST of JSON.
pub(crate) fn post(path: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A chat request for the pool.
pub(crate) fn chat() -> String {
    post("/v1/chat/completions", r#"{"model":"openai.gpt-4","messages":[]}"#)
}

/// An answer after so many milliseconds.
pub(crate) fn ok_after(millis: u64) -> Reply {
    Reply::json(200, r#"{"choices":[]}"#).after(Duration::from_millis(millis))
}
