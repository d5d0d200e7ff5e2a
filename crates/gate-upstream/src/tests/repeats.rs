//! When a request is sent again, and how its caller learns of that.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use tokio::time::Instant;

use super::support::{OK, Peer, endpoint, exchange, memory, post, text};
use crate::client::Progress;
use crate::exchange::Exchange;
use crate::http1::Message;
use crate::{Endpoint, MemoryListener, RequestBody, Sent, Timings, UpstreamClient, UpstreamErrorKind};

/// Brings an exchange to where its kept connection has been chosen, and then closed by the server.
async fn overtaken(
    client: &UpstreamClient,
    listener: &mut MemoryListener,
    endpoint: &Endpoint,
) -> (Message, Progress) {
    let (response, peer) = exchange(client, listener, endpoint, OK).await;
    text(response.body).await.unwrap();
    let lease = client.take_lease(endpoint);
    let idle = lease.checkout(Instant::now());
    assert!(idle.is_some());
    drop(peer);
    let exchange = Exchange::start(endpoint, endpoint.timeouts().total);
    let request = post("{\"n\":1}").write(endpoint).unwrap();
    (request, Progress { exchange, lease, idle })
}

// Spec: api A-35.
#[tokio::test(start_paused = true)]
async fn a_request_of_which_nothing_was_sent_is_repeated_on_a_new_connection() {
    async fn check(body: RequestBody) {
        let (client, mut listener) = memory();
        let endpoint = endpoint(|_| {});
        let mut timings = Timings::default();
        let (request, progress) = overtaken(&client, &mut listener, &endpoint).await;
        let request = Message { body, ..request };
        let play = async {
            let mut peer = Peer::accept(&mut listener).await;
            peer.serve(OK).await
        };
        let (outcome, seen) = tokio::join!(client.send_on(&endpoint, request, progress, &mut timings), play);
        let timings = outcome.unwrap().timings;
        assert_eq!((timings.reused, timings.retries), (false, 1));
        assert!(seen.ends_with("\r\n\r\n{\"n\":1}"), "{seen}");
        assert_eq!(client.stats()[0].retried, 1);
    }
    check(RequestBody::whole(Bytes::from_static(b"{\"n\":1}"))).await;
    let source = Full::<Bytes>::from(":1}").map_err(|never| match never {});
    check(RequestBody::streamed([Bytes::from_static(b"{\"n\"")], Box::pin(source), Some(3))).await;
}

// Spec: api A-35.
#[tokio::test(start_paused = true)]
async fn a_body_that_another_has_taken_is_not_sent_in_part() {
    let (client, mut listener) = memory();
    let endpoint = endpoint(|_| {});
    let mut timings = Timings::default();
    let (request, progress) = overtaken(&client, &mut listener, &endpoint).await;
    let source = Full::<Bytes>::from(":1}").map_err(|never| match never {});
    let body = RequestBody::streamed([Bytes::from_static(b"{\"n\"")], Box::pin(source), Some(3));
    body.try_clone().unwrap().collect().await.unwrap();
    let outcome = client.send_on(&endpoint, Message { body, ..request }, progress, &mut timings).await;
    let error = outcome.unwrap_err();
    assert_eq!((error.kind(), error.retries()), (UpstreamErrorKind::Closed, 0));
    assert!(listener.try_accept().is_none(), "no second connection");
}

// Spec: api A-35.
#[tokio::test(start_paused = true)]
async fn an_error_tells_whether_the_request_was_a_repeated_one() {
    /// The new connection brings `answer`, or is refused.
    async fn check(answer: Option<&str>, kind: UpstreamErrorKind) {
        let (client, mut listener) = memory();
        let endpoint = endpoint(|_| {});
        let mut timings = Timings::default();
        let (request, progress) = overtaken(&client, &mut listener, &endpoint).await;
        // Without an answer the listener is dropped here.
        let server = answer.zip(Some(listener));
        let play = async {
            if let Some((answer, mut listener)) = server {
                Peer::accept(&mut listener).await.serve(answer).await;
            }
        };
        let (outcome, ()) = tokio::join!(client.send_on(&endpoint, request, progress, &mut timings), play);
        let error = match outcome {
            Ok(response) => text(response.body).await.unwrap_err(),
            Err(error) => error,
        };
        assert_eq!((error.kind(), error.retries()), (kind, 1), "{answer:?}");
    }
    use UpstreamErrorKind::{Closed, ClosedMidBody, Connect, Protocol};
    check(None, Connect).await;
    check(Some(""), Closed).await;
    check(Some("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n"), Protocol).await;
    check(Some("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok"), ClosedMidBody).await;
}

// Spec: api A-35.
#[tokio::test(start_paused = true)]
async fn a_request_of_which_a_byte_was_sent_is_never_repeated() {
    let (client, mut listener) = memory();
    let endpoint = endpoint(|_| {});
    let (response, mut peer) = exchange(&client, &mut listener, &endpoint, OK).await;
    text(response.body).await.unwrap();
    let close_after_reading = async {
        peer.request().await;
        drop(peer);
    };
    let (outcome, ()) = tokio::join!(client.send(&endpoint, post("{}")), close_after_reading);
    let error = outcome.unwrap_err();
    assert_eq!((error.kind(), error.sent()), (UpstreamErrorKind::Closed, Sent::Maybe));
    assert_eq!(error.retries(), 0);
    assert!(listener.try_accept().is_none(), "no second connection");
}
