//! Measures what clients notice when one of two providers goes away for a while and comes back.
//!
//! ```console
//! $ cargo run --release --example outage -p gate-server -- [SECONDS]
//! ```
//!
//! The load is open: requests come at their rate whether earlier ones were answered or not. For each
//! kind of outage it runs for SECONDS (20); the provider is away for the second quarter of them and a
//! bit more. Clients, gateway and providers share this process and talk over loopback TCP.

#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::error::Error;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gate_config::{Sources, load};
use gate_server::{Gateway, serve};
use gate_testkit::mock::{MockUpstream, Reply};
use gate_testkit::raw::RawClient;
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

/// Requests a second, and how long a provider takes for each.
const RATE: u32 = 500;
const LATENCY: Duration = Duration::from_millis(20);
/// How long the gateway tries to connect.
const CONNECTION: Duration = Duration::from_secs(1);

/// How a provider goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outage {
    None,
    /// It answers what it has, and refuses connections then.
    Stops,
    /// It answers 503.
    IsBusy,
    /// Its connections are reset, whatever is under way, and new ones refused.
    Crashes,
    /// Packets to it get lost.
    Vanishes,
}

impl Outage {
    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Stops => "stops",
            Self::IsBusy => "answers 503",
            Self::Crashes => "crashes",
            Self::Vanishes => "vanishes",
        }
    }
}

/// What it does besides being there.
#[derive(Debug, Default)]
struct Mood {
    is_busy: AtomicBool,
    is_stopping: AtomicBool,
    asked: AtomicUsize,
}

/// A provider that can go away.
struct Provider {
    address: SocketAddr,
    mood: Arc<Mood>,
    running: Option<(Arc<MockUpstream>, JoinSet<()>)>,
}

impl Provider {
    async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let mut provider = Self { address: listener.local_addr()?, mood: Arc::default(), running: None };
        provider.serve(listener);
        Ok(provider)
    }

    fn serve(&mut self, listener: TcpListener) {
        let mood = Arc::clone(&self.mood);
        let mock = Arc::new(MockUpstream::answering(move |_| {
            mood.asked.fetch_add(1, Relaxed);
            if mood.is_busy.load(Relaxed) {
                return Reply::json(503, "{}");
            }
            let reply = Reply::json(200, r#"{"choices":[]}"#).after(LATENCY);
            if mood.is_stopping.load(Relaxed) { reply.header("connection", "close") } else { reply }
        }));
        let (serving, mut accepting) = (Arc::clone(&mock), JoinSet::new());
        accepting.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serving.serve_stream(stream);
            }
        });
        self.running = Some((mock, accepting));
    }

    /// Goes away; what is returned is to be kept until it comes back.
    async fn leave(&mut self, outage: Outage) -> io::Result<Option<(Socket, TcpStream)>> {
        if matches!(outage, Outage::None | Outage::IsBusy) {
            self.mood.is_busy.store(outage == Outage::IsBusy, Relaxed);
            return Ok(None);
        }
        let Some((mock, mut accepting)) = self.running.take() else { return Ok(None) };
        accepting.shutdown().await;
        if outage != Outage::Crashes {
            self.mood.is_stopping.store(true, Relaxed);
            let all_closed =
                mock.wait_until("every connection's end", |counts| counts.opened == counts.closed);
            all_closed.await;
        }
        drop(mock);
        if outage != Outage::Vanishes {
            return Ok(None);
        }
        // With room for none to wait, the kernel keeps one connection and drops what follows.
        let hole = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        hole.set_reuse_address(true)?;
        hole.bind(&self.address.into())?;
        hole.listen(0)?;
        let kept = TcpStream::connect(self.address).await?;
        Ok(Some((hole, kept)))
    }

    async fn come_back(&mut self) -> io::Result<()> {
        self.mood.is_busy.store(false, Relaxed);
        self.mood.is_stopping.store(false, Relaxed);
        if self.running.is_none() {
            let listener = TcpListener::bind(self.address).await?;
            self.serve(listener);
        }
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let seconds: u32 = std::env::args().nth(1).map_or(Ok(20), |text| text.parse())?;
    println!(
        "{} requests at {RATE} a second, {LATENCY:?} each; away from {:?} to {:?}; connection = {CONNECTION:?}\n",
        RATE * seconds,
        away(seconds).start,
        away(seconds).end,
    );
    println!(
        "| one of two providers | strategy | failed | p50, p99, longest ms | it was asked meanwhile | and in the last quarter |"
    );
    println!("|---|---|---|---|---|---|");
    let runs = [
        (Outage::None, "weighted"),
        (Outage::Stops, "weighted"),
        (Outage::IsBusy, "weighted"),
        (Outage::Crashes, "weighted"),
        (Outage::Vanishes, "weighted"),
        (Outage::Vanishes, "least_requests"),
    ];
    for (outage, strategy) in runs {
        run(outage, strategy, seconds).await?;
    }
    Ok(())
}

/// When the provider is away.
fn away(seconds: u32) -> std::ops::Range<Duration> {
    let quarter = Duration::from_secs(seconds.into()) / 4;
    // Not at the very moment of a request.
    quarter + Duration::from_micros(500)..quarter * 2
}

/// How long each request took, and how many had no answer that is one.
#[derive(Debug, Default)]
struct Tally {
    times: Mutex<Vec<Duration>>,
    failed: AtomicUsize,
}

/// Connections to the gateway that wait for their next request.
type Idle = Mutex<Vec<RawClient<TcpStream>>>;

async fn run(outage: Outage, strategy: &str, seconds: u32) -> io::Result<()> {
    let (mut first, second) = (Provider::start().await?, Provider::start().await?);
    let mood = Arc::clone(&first.mood);
    let gateway = start(&[first.address, second.address], strategy).await?;
    let tally = Arc::new(Tally::default());
    let away = away(seconds);
    let begin = Instant::now();
    let events = async {
        sleep_until(begin + away.start).await;
        let kept = first.leave(outage).await?;
        let before = mood.asked.load(Relaxed);
        sleep_until(begin + away.end).await;
        let meanwhile = mood.asked.load(Relaxed) - before;
        drop(kept);
        first.come_back().await?;
        sleep_until(begin + Duration::from_secs(seconds.into()) * 3 / 4).await;
        io::Result::Ok((meanwhile, mood.asked.load(Relaxed)))
    };
    let (events, ()) = tokio::join!(events, offer(gateway, seconds, &tally));
    let (meanwhile, before) = events?;
    let mut times = tally.times.lock().unwrap_or_else(PoisonError::into_inner).clone();
    times.sort_unstable();
    let at = |per_mille: usize| {
        let time = times.get(times.len().saturating_sub(1) * per_mille / 1000).copied().unwrap_or_default();
        time.as_secs_f64() * 1e3
    };
    println!(
        "| {} | {strategy} | {} | {:.1}, {:.1}, {:.1} | {meanwhile} | {} |",
        outage.name(),
        tally.failed.load(Relaxed),
        at(500),
        at(990),
        at(1000),
        mood.asked.load(Relaxed) - before,
    );
    Ok(())
}

/// Starts a gateway in front of two providers, and returns its address.
async fn start(providers: &[SocketAddr], strategy: &str) -> io::Result<SocketAddr> {
    let pool: String = providers
        .iter()
        .enumerate()
        .map(|(n, address)| {
            format!(
                "[llm.provider.openai.p{n}]\napi_base = 'http://{address}/v1'\napi_key = 'none'\nweight = 1\n"
            )
        })
        .collect();
    let config = format!(
        "[llm.load_balancing]\nstrategy = '{strategy}'\n[llm.timeout]\nconnection = {}\n\
         [llm.circuit_breaker]\nrecovery_timeout = 2\n{pool}",
        CONNECTION.as_secs_f64()
    );
    let loaded = load(&Sources::empty().with_text("example", &config)).map_err(io::Error::other)?;
    let gateway = Gateway::builder(loaded.config).build().map_err(io::Error::other)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(serve(listener, gateway, std::future::pending()));
    Ok(address)
}

/// Offers requests at their rate for a time, and waits until all are answered.
async fn offer(gateway: SocketAddr, seconds: u32, tally: &Arc<Tally>) {
    let idle = Arc::new(Idle::default());
    let mut requests = JoinSet::new();
    let mut ticks = interval(Duration::from_secs(1) / RATE);
    // A tick that comes late is made up for, or the load would follow the gateway.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for _ in 0..RATE * seconds {
        let due = ticks.tick().await;
        let (idle, tally) = (Arc::clone(&idle), Arc::clone(tally));
        requests.spawn(async move {
            let answer = ask(gateway, &idle).await;
            if !matches!(answer, Ok(200)) {
                tally.failed.fetch_add(1, Relaxed);
            }
            // From when it should have been sent: a client that is kept waiting counts.
            tally.times.lock().unwrap_or_else(PoisonError::into_inner).push(due.elapsed());
        });
        while requests.try_join_next().is_some() {}
    }
    requests.join_all().await;
}

/// Sends one request on a connection that is free, and returns its status.
async fn ask(gateway: SocketAddr, idle: &Idle) -> io::Result<u16> {
    const BODY: &str =
        r#"{"model":"openai.gpt-4","messages":[{"role":"user","content":"Say this is a test"}]}"#;
    let free = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let mut client = match free {
        Some(client) => client,
        None => RawClient::new(TcpStream::connect(gateway).await?),
    };
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    client.send(format!("{head}content-length: {}\r\n\r\n{BODY}", BODY.len())).await?;
    let status = client.read_response().await?.head.status;
    idle.lock().unwrap_or_else(PoisonError::into_inner).push(client);
    Ok(status)
}
