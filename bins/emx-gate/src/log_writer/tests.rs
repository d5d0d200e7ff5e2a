//! Order, bounds and loss.

use std::time::SystemTime;

use gate_server::{RecordSink, RequestRecord};
use http::Method;
use log::LevelFilter;

use super::*;
use crate::access_log::AccessLog;

/// An output that blocks while the test holds `open`.
#[derive(Clone, Default)]
struct Gate {
    open: Arc<Mutex<()>>,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Gate {
    fn text(&self) -> String {
        String::from_utf8(self.written.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _open = self.open.lock().unwrap();
        self.written.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn record(path: &str) -> RequestRecord {
    RequestRecord::new("req-1".into(), Method::POST, path.into(), SystemTime::UNIX_EPOCH)
}

/// Adds up the reports of lost lines.
fn lost(written: &str) -> usize {
    let counts = written.lines().filter_map(|line| {
        line.split_once(" WARN  ")?.1.strip_suffix(" lines lost: the log is written too slowly")
    });
    counts.map(|count| count.parse::<usize>().unwrap()).sum()
}

// Spec: monitoring L-11.
#[test]
fn lines_of_both_kinds_keep_their_order() {
    let gate = Gate::default();
    let mut log = LogWriter::start(LogFormat::Text, gate.clone()).unwrap();
    log.write_all(b"first\n").unwrap();
    AccessLog::new(LevelFilter::Info, LogFormat::Text, log.clone()).record(&record("/second"));
    log.write_all(b"third\n").unwrap();
    assert!(log.wait_until_written());
    let written = gate.text();
    let lines: Vec<&str> = written.lines().collect();
    assert!(lines.len() == 3 && lines[0] == "first" && lines[2] == "third", "{written}");
    assert!(lines[1].contains(" req-1 POST /second - "), "{written}");
}

// Spec: monitoring L-11.
#[test]
fn lines_that_find_no_room_are_counted_and_never_waited_for() {
    // Many small lines meet the first bound, some large ones the second.
    for (count, line) in [(3 * MAX_LINES, "x".to_owned()), (3 * MAX_BYTES / 16_384, "x".repeat(16_384))] {
        let gate = Gate::default();
        let mut log = LogWriter::start(LogFormat::Text, gate.clone()).unwrap();
        let closed = gate.open.lock().unwrap();
        for _ in 0..count {
            log.write_all(format!("{line}\n").as_bytes()).unwrap();
        }
        assert!(log.0.lock().lines <= MAX_LINES && log.0.lock().bytes <= MAX_BYTES);
        drop(closed);
        assert!(log.wait_until_written());
        let written = gate.text();
        let kept = written.lines().filter(|written| *written == line).count();
        assert!(kept > count / 4 && lost(&written) > 0, "{kept} of {count}");
        assert_eq!(kept + lost(&written), count);
        assert_eq!(log.0.lock().bytes, 0);
        assert_eq!(log.0.lock().lines, 0);
    }
}

// Spec: mvp M-11; monitoring L-11.
#[test]
fn an_output_that_takes_nothing_does_not_keep_the_program_from_ending() {
    let gate = Gate::default();
    let mut log = LogWriter::start(LogFormat::Text, gate.clone()).unwrap();
    let closed = gate.open.lock().unwrap();
    log.write_all(b"line\n").unwrap();
    assert!(!log.wait_until_written());
    drop(closed);
    assert!(log.wait_until_written());
}

// Spec: monitoring L-11.
#[test]
fn lines_that_the_output_refuses_count_as_lost() {
    /// Refuses the first write.
    struct Refusing(Gate, bool);
    impl Write for Refusing {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if std::mem::replace(&mut self.1, false) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.0.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let gate = Gate::default();
    let mut log = LogWriter::start(LogFormat::Text, Refusing(gate.clone(), true)).unwrap();
    for line in [&b"refused\n"[..], b"taken\n"] {
        log.write_all(line).unwrap();
        assert!(log.wait_until_written());
    }
    let written = gate.text();
    assert!(written.starts_with("taken\n") && lost(&written) == 1, "{written}");
}

// Spec: monitoring L-2.
#[test]
fn requests_below_the_level_are_not_written() {
    let gate = Gate::default();
    let log = LogWriter::start(LogFormat::Text, gate.clone()).unwrap();
    let sink = AccessLog::new(LevelFilter::Warn, LogFormat::Text, log.clone());
    sink.record(&record("/fine"));
    sink.record(&RequestRecord { status: Some(502), ..record("/broken") });
    assert!(log.wait_until_written());
    let written = gate.text();
    assert_eq!(written.lines().count(), 1);
    assert!(written.contains(" WARN  req-1 POST /broken 502 "), "{written}");
}
