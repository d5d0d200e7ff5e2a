//! Rows 1 to 9: before a byte of the request can be sent.
//!
//! A lookup that hangs cannot be had here, since it is the system's; `gate-upstream` tests its
//! deadline, and that an older answer stands in for one that fails, with a lookup of its own. That
//! the next address is tried beside a silent one is tested there too.

use gate_testkit::raw::{Flaw, RawScript, RawServer};

use crate::rig::{Ask, Rig, config, real};
use crate::row::{CONNECT_FAILED, Row, TIMEOUT, TLS, Upstream, answer, json, sends};

/// A fatal alert: the server knows no version of TLS that the client offers.
const PROTOCOL_VERSION_ALERT: &[u8] = &[0x15, 3, 1, 0, 2, 2, 70];

/// A hello of a server that wants TLS 1.0.
fn old_hello() -> Vec<u8> {
    let mut hello = vec![0x16, 3, 1, 0, 42, 2, 0, 0, 38, 3, 1];
    hello.extend([7; 32]);
    hello.extend([0, 0xc0, 0x13, 0]);
    hello
}

fn tls(flaw: Flaw, is_trusted: bool) -> Upstream {
    tls_with(flaw, is_trusted, &[])
}

fn tls_with(flaw: Flaw, is_trusted: bool, alpn: &'static [&'static str]) -> Upstream {
    Upstream::Tls { flaw, alpn, is_trusted, script: sends(json(200, "{}")) }
}

/// Reads the beginning of the client's hello, says this, and waits for the client to leave.
fn says(bytes: impl Into<Vec<u8>>) -> Upstream {
    Upstream::NotTls(RawScript::new().expect_bytes(5).send(bytes).stall())
}

pub(crate) fn rows() -> Vec<Row> {
    let connection = "connection = 0.2";
    vec![
        Row::new(1, "a name without an address", Upstream::NoAddress, CONNECT_FAILED),
        Row::story(2, "a name with an address on which nobody listens", dead_address),
        Row::new(
            3,
            "a loopback address is as good as any",
            Upstream::Tcp(sends(json(200, "{}"))),
            answer(200, "{}"),
        ),
        Row::new(4, "nobody listens", Upstream::Refusal, CONNECT_FAILED),
        Row::new(5, "packets vanish", Upstream::BlackHole, TIMEOUT).takes(connection, 200),
        Row::new(5, "nothing is accepted", Upstream::Backlog, TIMEOUT).takes(connection, 200),
        Row::new(7, "a good certificate", tls(Flaw::None, true), answer(200, "{}")),
        Row::new(7, "an unknown authority", tls(Flaw::None, false), TLS),
        Row::new(7, "a certificate for another name", tls(Flaw::OtherName, true), TLS),
        Row::new(7, "an expired certificate", tls(Flaw::Expired, true), TLS),
        Row::new(7, "a certificate that is not yet valid", tls(Flaw::NotYetValid, true), TLS),
        Row::new(8, "a silent handshake", Upstream::SilentTls(RawScript::new().stall()), TIMEOUT)
            .takes(connection, 200),
        Row::new(8, "an alert", says(PROTOCOL_VERSION_ALERT), TLS),
        Row::new(8, "TLS 1.0", says(old_hello()), TLS),
        Row::new(8, "plain HTTP", says("HTTP/1.1 400 Bad Request\r\n\r\n"), TLS),
        Row::new(8, "a reset", Upstream::NotTls(RawScript::new().expect_bytes(5).reset()), TLS),
        Row::new(8, "a close", Upstream::NotTls(RawScript::new().expect_bytes(5).close().stall()), TLS),
        Row::new(
            9,
            "HTTP/2 is preferred",
            tls_with(Flaw::None, true, &["h2", "http/1.1"]),
            answer(200, "{}"),
        ),
        Row::new(9, "HTTP/2 or nothing", tls_with(Flaw::None, true, &["h2"]), TLS),
    ]
}

// Spec: api; security S-19, S-54, S-56.
#[test]
fn faults_before_the_request_is_sent() {
    for row in rows() {
        row.check();
    }
}

/// `localhost` has an address of either family where there is IPv6, and only one is listened on.
fn dead_address() {
    real().block_on(async {
        let server = RawServer::start([sends(json(200, "{}"))]).await.unwrap();
        let mut rig = Rig::new(&config(&format!("http://localhost:{}", server.port()), "", ""));
        assert_eq!(rig.send(&Ask::Chat.request(0)).await.head.status, 200);
        assert_eq!((rig.record().await.attempts, server.connections()), (1, 1));
    });
}
