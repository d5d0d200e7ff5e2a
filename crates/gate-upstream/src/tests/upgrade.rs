//! Leaving HTTP on a connection.

use std::time::Duration;

use http::{HeaderMap, Method};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::{OK, Peer, endpoint, exchange, memory, post, text};
use crate::{PoolSettings, RequestBody, Timeouts, Upgrade, UpstreamErrorKind, UpstreamRequest};

const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\nconnection: upgrade\r\nsec-websocket-accept: x\r\n\r\n";

fn wish() -> UpstreamRequest {
    let mut headers = HeaderMap::new();
    headers.insert("sec-websocket-key", "k".parse().unwrap());
    UpstreamRequest {
        method: Method::GET,
        path: "/realtime".to_owned(),
        headers: headers.into(),
        body: RequestBody::empty(),
        ..post("")
    }
}

// Spec: api A-43.
#[tokio::test(start_paused = true)]
async fn an_agreed_upgrade_yields_the_bare_connection() {
    let (client, mut listener) = memory();
    // One place: the session holds it, and gives it back.
    let pool = PoolSettings { max_connections: 1, ..PoolSettings::default() };
    let endpoint = endpoint(|config| config.pool = pool);
    // A kept connection is not used for it.
    let (response, _kept) = exchange(&client, &mut listener, &endpoint, OK).await;
    text(response.body).await.unwrap();
    let play = async {
        let mut peer = Peer::accept(&mut listener).await;
        let seen = peer.serve(&format!("{SWITCH}early")).await;
        (peer, seen)
    };
    let (outcome, (mut peer, seen)) = tokio::join!(client.upgrade(&endpoint, wish()), play);
    let Ok(Upgrade::Switched { headers, mut io, timings }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(headers["sec-websocket-accept"], "x");
    assert!(!timings.reused);
    let mut lines: Vec<_> = seen.trim_end().split("\r\n").collect();
    lines[1..].sort_unstable();
    let expected = [
        "GET /v1/realtime HTTP/1.1",
        "connection: Upgrade",
        "host: api.test",
        "sec-websocket-key: k",
        "upgrade: websocket",
    ];
    assert_eq!(lines, expected);

    let mut early = [0; 5];
    io.read_exact(&mut early).await.unwrap();
    io.write_all(b"up").await.unwrap();
    peer.write("down").await;
    let (mut up, mut down) = ([0; 2], [0; 4]);
    peer.stream.read_exact(&mut up).await.unwrap();
    io.read_exact(&mut down).await.unwrap();
    assert_eq!((&early, &up, &down), (b"early", b"up", b"down"));

    let full = client.send(&endpoint, post("{}")).await.unwrap_err();
    assert_eq!(full.kind(), UpstreamErrorKind::PoolFull);
    drop(io);
    assert_eq!(client.stats()[0].in_use, 0);
    assert!(peer.closed().await.is_empty());
}

// Spec: api A-43.
#[tokio::test(start_paused = true)]
async fn any_other_answer_is_a_response() {
    for (answer, status, body) in [
        ("HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\nno", 401, "no"),
        (OK, 200, "ok"),
        ("HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n", 101, ""),
    ] {
        let (client, mut listener) = memory();
        let endpoint = endpoint(|_| {});
        let play = async {
            let mut peer = Peer::accept(&mut listener).await;
            peer.serve(answer).await;
            peer
        };
        let (outcome, _peer) = tokio::join!(client.upgrade(&endpoint, wish()), play);
        let Ok(Upgrade::Refused(response)) = outcome else { panic!("{outcome:?}") };
        assert_eq!(response.status, status);
        assert_eq!(text(response.body).await.unwrap(), body);
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_provider_is_given_up() {
    let (client, mut listener) = memory();
    let first_byte = Some(Duration::from_secs(7));
    let endpoint = endpoint(|config| config.timeouts = Timeouts { first_byte, ..Timeouts::default() });
    let play = async {
        let mut peer = Peer::accept(&mut listener).await;
        peer.request().await;
        peer
    };
    let (outcome, _peer) = tokio::join!(client.upgrade(&endpoint, wish()), play);
    assert_eq!(outcome.unwrap_err().kind(), UpstreamErrorKind::FirstByteTimeout);
}
