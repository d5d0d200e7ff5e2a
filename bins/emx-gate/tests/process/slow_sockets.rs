//! Clients that connect and say nothing, or next to nothing, while others want to be served. For the
//! figures with many of them: `EMX_GATE_SLOW_SOCKETS=10000 cargo test --release -p emx-gate slow_sockets -- --nocapture`.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::support::*;

const HEADER_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a byte of a head drips in.
const DRIP: Duration = Duration::from_millis(250);
const GOOD: &str = "GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n";
/// So many connect at once: more would overflow the system's queue, which is not what is tested.
const BURST: usize = 500;

/// What a slow client does.
#[derive(Clone, Copy)]
enum Slow {
    Silent,
    Dripping,
}

/// Connects, is slow, and returns how long it took to be closed.
async fn be_slow(address: SocketAddr, how: Slow) -> Duration {
    let begin = Instant::now();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut head = GOOD.bytes();
    let mut rest = [0; 256];
    loop {
        match tokio::time::timeout(DRIP, stream.read(&mut rest)).await {
            Ok(Ok(1..)) => {}
            Ok(_) => return begin.elapsed(),
            Err(_) => {
                if let (Slow::Dripping, Some(byte)) = (how, head.next())
                    && stream.write_all(&[byte]).await.is_err()
                {
                    return begin.elapsed();
                }
            }
        }
    }
}

/// Returns the memory that a process holds, where the system tells.
fn resident_kib(process: &Process) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

// Spec: security S-9, S-40.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_sockets_are_closed_in_time_while_others_are_served() {
    let asked = std::env::var("EMX_GATE_SLOW_SOCKETS").ok().and_then(|count| count.parse().ok());
    let count: usize = asked.unwrap_or(500);
    let home = TempDir::new().unwrap();
    let limits = format!(
        "[llm.limits]\nmax_connections = {}\nheader_timeout = {}\n",
        count + 100,
        HEADER_TIMEOUT.as_secs()
    );
    let process = Process::with_config(&home, &limits, &["--log-format", "json"]);
    let before = resident_kib(&process);
    let mut slow = JoinSet::new();
    for at in 0..count {
        let how = if at % 2 == 0 { Slow::Silent } else { Slow::Dripping };
        slow.spawn(be_slow(process.address, how));
        if at % BURST == 0 {
            // One that is served was accepted behind those before it, so the queue is empty.
            assert_eq!(process.send(GOOD).await.head.status, 200);
        }
    }
    let (mut served, mut slowest, mut during) = (0, Duration::ZERO, None);
    let mut closed = Vec::with_capacity(count);
    while closed.len() < count {
        let begin = Instant::now();
        let response = tokio::time::timeout(PATIENCE, process.send(GOOD)).await;
        assert_eq!(response.unwrap().head.status, 200);
        slowest = slowest.max(begin.elapsed());
        served += 1;
        during = during.max(resident_kib(&process));
        while let Some(took) = slow.try_join_next() {
            closed.push(took.unwrap());
        }
        // No faster than a client that polls; what is measured is its wait.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (first, last) = (closed.iter().min().unwrap(), closed.iter().max().unwrap());
    println!(
        "{count} slow sockets closed after {first:.2?} to {last:.2?} (header_timeout {HEADER_TIMEOUT:?}); {served} requests \
         served meanwhile, the slowest in {slowest:.2?}; resident memory {before:?} KiB before, {during:?} KiB at most"
    );
    assert!(*first >= HEADER_TIMEOUT - DRIP, "{first:?}");
    // On a machine that does much else besides, a test is no place for exact times; in a measurement it is.
    let late = if asked.is_some() { Duration::from_secs(1) } else { PATIENCE };
    assert!(*last <= HEADER_TIMEOUT + late, "{last:?}");
}
