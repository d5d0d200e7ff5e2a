//! Row 6: a process that has no file descriptor left. It needs a process of its own, since the limit
//! holds for all tests in one; so the test runs itself once more, under a small limit.

use std::fs::File;
use std::process::Command;

use gate_testkit::raw::RawServer;

use crate::rig::{Ask, Rig, config, real};
use crate::row::{json, sends};

/// Says that this is the process with the small limit.
const MARK: &str = "GATE_TEST_FEW_DESCRIPTORS";

// Spec: api A-74; monitoring L-14.
#[cfg(target_os = "linux")]
#[test]
fn a_process_without_descriptors_sheds_and_recovers() {
    if std::env::var_os(MARK).is_some() {
        return real().block_on(without_descriptors());
    }
    let program = std::env::current_exe().unwrap();
    let output = Command::new("sh")
        .args(["-c", "ulimit -n 64 && exec \"$0\" \"$@\""])
        .arg(program)
        .args(["--exact", "descriptors::a_process_without_descriptors_sheds_and_recovers"])
        .env(MARK, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

async fn without_descriptors() {
    let server = RawServer::start([sends(json(200, "{}"))]).await.unwrap();
    let mut rig = Rig::new(&config(&format!("http://127.0.0.1:{}", server.port()), "", ""));
    for ask in Ask::ALL {
        let taken: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
        assert!(taken.len() < 64, "the limit does not hold");
        let response = rig.send(&ask.request(0)).await;
        let header = |name| response.head.header(name);
        assert_eq!((response.head.status, header("x-gateway-error")), (503, Some("overloaded")), "{ask:?}");
        assert_eq!((header("retry-after"), header("x-should-retry")), (Some("1"), Some("true")), "{ask:?}");
        let record = rig.record().await;
        assert_eq!((record.end.as_str(), record.error_code), ("gateway_error", Some("overloaded")));
        drop(taken);
    }
    assert_eq!(server.connections(), 0);
    assert_eq!(rig.send(&Ask::Chat.request(0)).await.head.status, 200, "it recovers at once");
    assert_eq!(server.connections(), 1);
}
