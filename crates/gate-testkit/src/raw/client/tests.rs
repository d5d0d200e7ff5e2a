//! What the client makes of byte sequences, whole and cut.

use super::*;
use tokio::io::DuplexStream;

/// A client whose peer has sent these bytes and left.
async fn client(bytes: &str) -> RawClient<DuplexStream> {
    let (client, mut server) = tokio::io::duplex(64 * 1024);
    server.write_all(bytes.as_bytes()).await.unwrap();
    RawClient::new(client)
}

#[tokio::test]
async fn bodies_end_as_their_framing_says() {
    async fn check(bytes: &str, body: &str, chunks: &[&str], end: BodyEnd) {
        let response = client(bytes).await.read_response().await.unwrap();
        assert_eq!(response.body.text(), body, "{bytes:?}");
        assert_eq!(response.body.chunks, chunks.iter().map(|c| c.as_bytes().to_vec()).collect::<Vec<_>>());
        assert_eq!(response.body.end, end, "{bytes:?}");
    }
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    check("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi more", "hi", &[], BodyEnd::Complete).await;
    check("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "", &[], BodyEnd::Complete).await;
    check("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi", "hi", &[], BodyEnd::Cut).await;
    check("HTTP/1.1 204 No Content\r\n\r\nleft", "", &[], BodyEnd::Complete).await;
    check("HTTP/1.1 200 OK\r\n\r\nall of it", "all of it", &[], BodyEnd::Closed).await;
    check(&format!("{CHUNKED}2\r\nhi\r\n1;x=y\r\n!\r\n0\r\n\r\n"), "hi!", &["hi", "!"], BodyEnd::Complete)
        .await;
    check(
        &format!("{CHUNKED}A\r\n0123456789\r\n0\r\nt: v\r\n\r\n"),
        "0123456789",
        &["0123456789"],
        BodyEnd::Complete,
    )
    .await;
    check(&format!("{CHUNKED}0\r\n\r\n"), "", &[], BodyEnd::Complete).await;
    check(&format!("{CHUNKED}2\r\nhi\r\n"), "hi", &["hi"], BodyEnd::Cut).await;
    check(&format!("{CHUNKED}2\r\nhi\r\n5\r\nab"), "hiab", &["hi"], BodyEnd::Cut).await;
    check(&format!("{CHUNKED}2\r\nhi\r\n5"), "hi", &["hi"], BodyEnd::Cut).await;
    check(&format!("{CHUNKED}2\r\nhi\r"), "hi", &[], BodyEnd::Cut).await;
    check(&format!("{CHUNKED}2\r\nhi\r\n0\r\n"), "hi", &["hi"], BodyEnd::Cut).await;
}

#[tokio::test]
async fn a_head_keeps_spelling_order_and_repeats() {
    let bytes = "HTTP/1.1 429 Slow down\r\nX-B: 1\r\nx-a: two words\r\nx-b:2\r\n\r\n";
    let head = client(bytes).await.read_head().await.unwrap();
    assert_eq!(head.status, 429);
    assert_eq!(head.headers[0], ("X-B".to_owned(), "1".to_owned()));
    assert_eq!((head.header("x-b"), head.header_count("X-b"), head.header("none")), (Some("1"), 2, None));
    assert_eq!(head.bytes, bytes.as_bytes());
}

#[tokio::test]
async fn responses_on_one_connection_are_told_apart() {
    let mut client = client(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\naHTTP/1.1 404 Not Found\r\ncontent-length: 1\r\n\r\nb",
    )
    .await;
    for (status, body) in [(100, ""), (200, "a"), (404, "b")] {
        let response = client.read_response().await.unwrap();
        assert_eq!((response.head.status, response.body.text().as_str()), (status, body));
    }
    assert_eq!(client.read_to_close().await.unwrap(), (Vec::new(), BodyEnd::Closed));
}

#[tokio::test]
async fn malformed_bytes_are_errors_that_say_so() {
    async fn check(bytes: &str, message: &str) {
        let error = client(bytes).await.read_response().await.unwrap_err();
        assert_eq!(error.to_string(), message, "{bytes:?}");
    }
    check("SSH-2.0\r\n\r\n", "no status line: \"SSH-2.0\"").await;
    check("HTTP/1.1 200 OK\r\nnonsense\r\n\r\n", "no header line: \"nonsense\"").await;
    check("HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n", "content-length: x").await;
    check("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", "no size of a chunk: \"zz\\r\\n\"")
        .await;
    check(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc",
        "a chunk does not end with a line break",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_given_up() {
    let (client, _server) = tokio::io::duplex(64);
    let mut client = RawClient::new(client).with_patience(Duration::from_secs(700));
    let error = client.read_head().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(error.to_string(), "waited 700s in vain to read");
}

#[tokio::test]
async fn the_sending_side_can_be_closed_alone() {
    let (client, mut server) = tokio::io::duplex(64);
    let mut client = RawClient::new(client);
    client.send("ping").await.unwrap();
    client.close_sending().await.unwrap();
    let mut seen = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut server, &mut seen).await.unwrap();
    assert_eq!(seen, b"ping");
    server.write_all(b"pong").await.unwrap();
    drop(server);
    assert_eq!(client.read_to_close().await.unwrap(), (b"pong".to_vec(), BodyEnd::Closed));
}
