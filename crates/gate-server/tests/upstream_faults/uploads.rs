//! Rows 38 to 40: one side is faster than the other.

use std::time::Duration;

use gate_testkit::raw::{Latch, RawScript};

use crate::rig::{Ask, Rig, config, paused};
use crate::row::{CHUNKED_STREAM, Row, TIMEOUT, Upstream, answer, json};

/// Reads 64 KiB each 150 ms until it has 15 times as much, then the rest.
fn reads_slowly() -> RawScript {
    let slowly = (0..15)
        .fold(RawScript::new(), |script, _| script.wait(Duration::from_millis(150)).expect_bytes(64 * 1024));
    slowly.expect_bytes(1_000_000 - 15 * 64 * 1024).send(json(200, "{}"))
}

pub(crate) fn rows() -> Vec<Row> {
    let early = RawScript::new().expect_head().expect_bytes(1000).send(json(413, "{\"large\":1}"));
    let never_reads = RawScript::new().hold(&Latch::new());
    vec![
        Row::new(
            38,
            "an answer before the end of the request",
            Upstream::Tcp(early),
            answer(413, "{\"large\":1}"),
        )
        .padding(8_000_000),
        Row::new(39, "a provider that does not read", Upstream::Memory(never_reads), TIMEOUT)
            .padding(1_000_000)
            .takes("write = 0.2", 200),
        Row::new(39, "a provider that reads slowly", Upstream::Memory(reads_slowly()), answer(200, "{}"))
            .padding(1_000_000)
            .takes("write = 0.2", 15 * 150),
        Row::story(40, "a client that does not read", slow_client),
    ]
}

// Spec: api.
#[test]
fn sides_that_are_slower_than_the_other() {
    for row in rows() {
        row.check();
    }
}

/// A provider that could send for ever is held up as soon as the client stops to read: what it has
/// got rid of by then is in the buffers on the way, and no more than that.
fn slow_client() {
    const MIB: usize = 1024 * 1024;
    paused().block_on(async {
        let event = "data: {\"a\":1}\n\n".repeat(1024);
        let chunks = format!("{:x}\r\n{event}\r\n", event.len()).repeat(64 * MIB / event.len());
        let script = RawScript::new().expect_request().send(CHUNKED_STREAM).send(chunks);
        let text = config("http://upstream.test", "write = 5", "");
        let (mut rig, mut upstream) = Rig::in_memory(&text, [script]);
        let mut client = rig.connect();
        client.send(Ask::ChatStream.request(0)).await.unwrap();
        client.read_head().await.unwrap();
        // Nothing is read from here on, until the gateway gives the client up.
        let transcript = upstream.transcript().await;
        assert!(transcript.error.is_some() && transcript.sent < MIB, "{} bytes were taken", transcript.sent);
        let record = rig.record().await;
        assert_eq!(record.end.as_str(), "client_gone");
        assert!(record.duration >= Duration::from_secs(5), "{:?}", record.duration);
    });
}
