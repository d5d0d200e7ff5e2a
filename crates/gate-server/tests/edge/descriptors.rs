//! Row 62: a listener in a process that has no file descriptor left. It needs a process of its own, since
//! the limit holds for all tests in one; so the test runs itself once more, under a small limit.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::Command;
use std::time::{Duration, Instant};

use gate_config::{Sources, load};
use gate_server::{Gateway, serve};
use log::{LevelFilter, Log, Metadata, Record};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Says that this is the process with the small limit.
const MARK: &str = "GATE_TEST_FEW_DESCRIPTORS";

/// The pause after a failed `accept`; the server's own.
const PAUSE: Duration = Duration::from_millis(50);

/// Counts the warnings of failed `accept`s.
#[derive(Debug)]
struct Failures(watch::Sender<u32>);

impl Log for Failures {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        if record.args().to_string().starts_with("accept failed") {
            self.0.send_modify(|count| *count += 1);
        }
    }

    fn flush(&self) {}
}

// Spec: security S-11.
#[cfg(target_os = "linux")]
#[test]
fn accepting_without_descriptors_pauses_and_recovers() {
    if std::env::var_os(MARK).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(without_descriptors());
    }
    let program = std::env::current_exe().unwrap();
    let output = Command::new("sh")
        .args(["-c", "ulimit -n 64 && exec \"$0\" \"$@\""])
        .arg(program)
        .args(["--exact", "descriptors::accepting_without_descriptors_pauses_and_recovers"])
        .env(MARK, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

async fn without_descriptors() {
    let (failures, mut failed) = watch::channel(0);
    log::set_logger(Box::leak(Box::new(Failures(failures)))).unwrap();
    log::set_max_level(LevelFilter::Warn);
    let gateway = Gateway::builder(load(&Sources::empty()).unwrap().config).build().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // The one thread of this runtime is not given away until the last descriptor is taken, so nothing is
    // accepted before that.
    let server = tokio::spawn(serve(listener, gateway, std::future::pending()));
    let mut client = std::net::TcpStream::connect(address).unwrap();
    let taken: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    assert!(taken.len() < 64, "the limit does not hold");
    let begin = Instant::now();
    failed.wait_for(|count| *count >= 4).await.unwrap();
    // Three pauses lie between four failures: it does not spin.
    assert!(begin.elapsed() >= 3 * PAUSE, "{:?}", begin.elapsed());
    drop(taken);
    let answer = tokio::task::spawn_blocking(move || {
        client.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        answer
    });
    assert!(answer.await.unwrap().starts_with("HTTP/1.1 200 OK\r\n"));
    server.abort();
}
