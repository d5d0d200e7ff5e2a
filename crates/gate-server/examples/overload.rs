//! Measures what the gateway does with more requests than it may answer: how many it still answers,
//! how fast it refuses the others, and whether its own endpoints keep answering.
//!
//! ```console
//! $ cargo run --release --example overload -p gate-server -- [SECONDS]
//! ```
//!
//! The load is open: requests come at their rate whether earlier ones were answered or not, as those
//! of many clients do. Client, gateway and provider share this process and talk over loopback TCP, so
//! what is measured is a lower bound. Each rate runs for SECONDS (5).

#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::error::Error;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gate_config::{Sources, load};
use gate_server::{Gateway, serve};
use gate_testkit::mock::{MockUpstream, Reply};
use gate_testkit::raw::RawClient;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// What the gateway answers at once, and how long the provider takes for each: the capacity.
const MAX_IN_FLIGHT: usize = 64;
const LATENCY: Duration = Duration::from_millis(100);
/// Offered load as multiples of the capacity.
const LOADS: [f64; 5] = [0.5, 0.9, 1.0, 2.0, 5.0];
/// How often the gateway is asked for its health meanwhile.
const HEALTH_INTERVAL: Duration = Duration::from_millis(20);

/// How long the answers of one sort took.
#[derive(Default)]
struct Latencies(Mutex<Vec<Duration>>);

impl Latencies {
    fn add(&self, time: Duration) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(time);
    }

    fn sorted(&self) -> Vec<Duration> {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        times.sort_unstable();
        times
    }
}

/// What came of the requests at one rate.
#[derive(Default)]
struct Outcome {
    answered: Latencies,
    refused: Latencies,
    health: Latencies,
    /// Neither answered nor refused: there should be none.
    failed: Latencies,
}

/// Connections to the gateway that wait for their next request.
type Idle = Mutex<Vec<RawClient<TcpStream>>>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let seconds = std::env::args().nth(1).map_or(Ok(5), |text| text.parse())?;
    let gateway = start().await?;
    let capacity = MAX_IN_FLIGHT as f64 / LATENCY.as_secs_f64();
    println!("capacity: {MAX_IN_FLIGHT} at once, {LATENCY:?} each: {capacity:.0} a second\n");
    println!(
        "| offered/s | answered/s | refused/s | failed | answered p50, p99 ms | refused p50, p99 ms | /health p50, p99 ms |"
    );
    println!("|---|---|---|---|---|---|---|");
    let warm_up = Duration::from_secs(1);
    run(gateway, capacity, warm_up).await?;
    for load in LOADS {
        let time = Duration::from_secs(seconds);
        let outcome = run(gateway, load * capacity, time).await?;
        let rate = |times: &Latencies| times.sorted().len() as f64 / time.as_secs_f64();
        println!(
            "| {:.0} | {:.0} | {:.0} | {} | {} | {} | {} |",
            load * capacity,
            rate(&outcome.answered),
            rate(&outcome.refused),
            outcome.failed.sorted().len(),
            percentiles(&outcome.answered),
            percentiles(&outcome.refused),
            percentiles(&outcome.health),
        );
    }
    Ok(())
}

/// Starts a provider and the gateway in front of it, and returns the gateway's address.
async fn start() -> io::Result<SocketAddr> {
    let mock = MockUpstream::answering(|_| Reply::json(200, r#"{"choices":[]}"#).after(LATENCY));
    let upstream = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let config = format!(
        "[llm.limits]\nmax_in_flight = {MAX_IN_FLIGHT}\n\
         [llm.provider.openai]\napi_base = 'http://{}/v1'\napi_key = 'none'\nmodel = 'gpt-4'\n",
        upstream.local_addr()?
    );
    mock.serve_listener(upstream);
    let loaded = load(&Sources::empty().with_text("example", &config)).map_err(io::Error::other)?;
    let gateway = Gateway::builder(loaded.config).build().map_err(io::Error::other)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        // The provider ends when it is dropped.
        let _mock = mock;
        serve(listener, gateway, std::future::pending()).await
    });
    Ok(address)
}

/// Offers so many requests a second for a time, and waits until all are answered.
async fn run(gateway: SocketAddr, rate: f64, time: Duration) -> io::Result<Outcome> {
    let outcome = Arc::new(Outcome::default());
    let idle = Arc::new(Idle::default());
    let health = tokio::spawn(ask_for_health(gateway, Arc::clone(&outcome)));
    let mut requests = JoinSet::new();
    let mut ticks = interval(Duration::from_secs_f64(1.0 / rate));
    // A tick that comes late is made up for, or the load would follow the gateway.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let begin = Instant::now();
    while begin.elapsed() < time {
        let due = ticks.tick().await;
        let (idle, outcome) = (Arc::clone(&idle), Arc::clone(&outcome));
        requests.spawn(async move {
            let answer = ask(gateway, &idle).await;
            let times = match answer {
                Ok(200) => &outcome.answered,
                Ok(503) => &outcome.refused,
                Ok(_) | Err(_) => &outcome.failed,
            };
            // From when it should have been sent: a client that is kept waiting counts.
            times.add(due.elapsed());
        });
        while requests.try_join_next().is_some() {}
    }
    requests.join_all().await;
    health.abort();
    // The task is gone for good, and with it its share.
    let _ = health.await;
    Arc::into_inner(outcome).ok_or_else(|| io::Error::other("a request outlived its run"))
}

/// Sends one request on a connection that is free, and returns its status.
async fn ask(gateway: SocketAddr, idle: &Idle) -> io::Result<u16> {
    const BODY: &str = r#"{"model":"gpt-4","messages":[{"role":"user","content":"Say this is a test"}]}"#;
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

async fn ask_for_health(gateway: SocketAddr, outcome: Arc<Outcome>) -> io::Result<()> {
    let mut client = RawClient::new(TcpStream::connect(gateway).await?);
    let mut ticks = interval(HEALTH_INTERVAL);
    loop {
        let due = ticks.tick().await;
        client.send("GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").await?;
        if client.read_response().await?.head.status == 200 {
            outcome.health.add(due.elapsed());
        }
    }
}

/// Writes the median and the 99th percentile in milliseconds.
fn percentiles(times: &Latencies) -> String {
    let times = times.sorted();
    let at = |percent: usize| times.get((times.len() * percent / 100).min(times.len().saturating_sub(1)));
    match (at(50), at(99)) {
        (Some(median), Some(high)) => {
            format!("{:.1}, {:.1}", median.as_secs_f64() * 1e3, high.as_secs_f64() * 1e3)
        }
        _ => "–".to_owned(),
    }
}
