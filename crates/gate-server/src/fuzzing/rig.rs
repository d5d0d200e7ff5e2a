//! A gateway between a client and providers that are all in memory and on a paused clock: whatever
//! waits is over at once, and nothing leaves the process.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use gate_config::{GateConfig, Sources, load};
use gate_upstream::{Dialer, MemoryDialer, MemoryListener};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, split};
use tokio::task::{JoinSet, yield_now};
use tokio::time::timeout;

use super::http1::{End, Message};
use crate::{Gateway, RecordSink, RequestRecord, serve_stream};

/// Beyond every wait of the configuration, on the paused clock.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);
/// The room of a connection: small, so that peers wait for each other.
const PIPE_BYTES: usize = 4 * 1024;

const CONFIG: &str = r#"
    [llm.limits]
    max_request_size_mb = 1

    [llm.timeout]
    total = 1000

    [llm.provider.openai]
    api_base = "http://openai.test/v1"
    api_key = "openai-key"
    model = "gpt-4"
    websocket = true

    [llm.provider.anthropic]
    api_base = "http://anthropic.test"
    api_key = "anthropic-key"
    models = ["claude-1"]
    open = true
"#;

static CONFIGURED: LazyLock<Option<GateConfig>> = LazyLock::new(|| {
    let loaded = load(&Sources::empty().with_text("fuzz", CONFIG));
    assert!(loaded.is_ok(), "{}", loaded.map(|_| String::new()).unwrap_or_else(|error| error.to_string()));
    loaded.ok().map(|loaded| loaded.config)
});

/// What a client and the providers do.
pub(super) struct Script<'s> {
    /// What the client sends.
    pub(super) client: Vec<&'s [u8]>,
    /// What the providers answer, one to a request, in pieces.
    pub(super) answers: Vec<Vec<&'s [u8]>>,
    /// Whether providers answer once they have the head, and close behind their last answer.
    pub(super) is_hasty: bool,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// What the client got until the gateway closed.
    pub(super) client: Vec<u8>,
    /// What each connection to a provider got.
    pub(super) upstream: Vec<Vec<u8>>,
    pub(super) records: Vec<RequestRecord>,
}

#[derive(Clone, Default)]
struct Records(Arc<Mutex<Vec<RequestRecord>>>);

impl RecordSink for Records {
    fn record(&self, record: &RequestRecord) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(record.clone());
    }
}

/// Plays a script until the gateway has closed the client's connection.
///
/// # Panics
/// It does not close within [`PATIENCE`], but for a session, which only its peers end; or a request is still counted afterwards.
pub(super) fn play(script: &Script<'_>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let (Ok(runtime), Some(config)) = (runtime, CONFIGURED.clone()) else { return Outcome::default() };
    runtime.block_on(async {
        let (dialer, listener) = MemoryDialer::new();
        let records = Records::default();
        let builder = Gateway::builder(config).dialer(Dialer::Memory(dialer)).sink(records.clone());
        let Ok(gateway) = builder.build() else { return Outcome::default() };
        let upstream = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let mut providers = JoinSet::new();
        providers.spawn(provide(
            listener,
            script.answers.iter().map(|answer| answer.iter().map(|piece| piece.to_vec()).collect()).collect(),
            script.is_hasty,
            Arc::clone(&upstream),
        ));
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        let both = async { tokio::join!(serve_stream(far, &gateway), ask(near, &script.client)).1 };
        let client = timeout(2 * PATIENCE, both).await;
        assert!(client.is_ok(), "the gateway keeps a connection for ever");
        drop(providers);
        assert_eq!(gateway.in_flight(), 0, "a request is still counted");
        let upstream = std::mem::take(&mut *upstream.lock().unwrap_or_else(PoisonError::into_inner));
        let records = std::mem::take(&mut *records.0.lock().unwrap_or_else(PoisonError::into_inner));
        Outcome { client: client.unwrap_or_default(), upstream, records }
    })
}

/// Sends everything and reads until the gateway closes, or a session has been silent for long.
async fn ask(stream: DuplexStream, pieces: &[&[u8]]) -> Vec<u8> {
    let (mut reader, mut writer) = split(stream);
    let mut answer = Vec::new();
    let send = async {
        for piece in pieces {
            if writer.write_all(piece).await.is_err() {
                return;
            }
            yield_now().await;
        }
    };
    // An end of the gateway's side is an end, whatever is left to be sent.
    let receive = async {
        let mut buffer = [0; 1024];
        while let Ok(count @ 1..) = reader.read(&mut buffer).await {
            answer.extend_from_slice(&buffer[..count]);
        }
    };
    let is_over = async {
        tokio::pin!(receive);
        tokio::select! {
            () = &mut receive => true,
            () = send => timeout(PATIENCE, receive).await.is_ok(),
        }
    };
    let is_over = is_over.await;
    let is_session = || Message::read(&answer).is_some_and(|message| message.status() == 101);
    assert!(is_over || is_session(), "the gateway keeps a connection for ever");
    answer
}

/// Plays all providers: each connection in a task of its own, the answers in the order of requests.
async fn provide(
    mut listener: MemoryListener,
    answers: Vec<Vec<Vec<u8>>>,
    is_hasty: bool,
    upstream: Arc<Mutex<Vec<Vec<u8>>>>,
) {
    let answers = Arc::new(Mutex::new(answers.into_iter()));
    let mut connections = JoinSet::new();
    while let Some(mut stream) = listener.accept().await {
        let (answers, upstream) = (Arc::clone(&answers), Arc::clone(&upstream));
        let index = {
            let mut all = upstream.lock().unwrap_or_else(PoisonError::into_inner);
            all.push(Vec::new());
            all.len() - 1
        };
        connections.spawn(async move {
            let (mut buffer, mut request) = ([0; 1024], Vec::new());
            while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                request.extend_from_slice(&buffer[..count]);
                if let Some(received) = upstream.lock().unwrap_or_else(PoisonError::into_inner).get_mut(index)
                {
                    received.extend_from_slice(&buffer[..count]);
                }
                while let Some(message) = Message::read(&request) {
                    match message.end {
                        End::Framed(size) => drop(request.drain(..size)),
                        _ if is_hasty => request.clear(),
                        _ => break,
                    }
                    let answer = answers.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some(answer) = answer else { return };
                    for piece in answer {
                        if stream.write_all(&piece).await.is_err() {
                            return;
                        }
                        yield_now().await;
                    }
                    let is_last = answers.lock().unwrap_or_else(PoisonError::into_inner).len() == 0;
                    if is_hasty && is_last {
                        return;
                    }
                }
            }
        });
    }
}
