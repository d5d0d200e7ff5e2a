//! Accepting connections and owning their tasks. It knows no HTTP.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// How long to leave a listener alone whose `accept` failed: long enough for a file descriptor to
/// become free, short enough that nobody notices.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Runs `serve` for every connection of the listener, until the returned future is dropped; that
/// ends the connections too.
pub(crate) async fn each_tcp<F>(listener: TcpListener, serve: impl Fn(TcpStream) -> F) -> Infallible
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    // Without it small frames wait for the peer's delayed acknowledgement. A
                    // socket that refuses the option still works.
                    let _ = stream.set_nodelay(true);
                    connections.spawn(serve(stream));
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Runs `serve` for every stream that arrives in the channel; returns when the channel is closed and
/// the last connection has ended.
pub(crate) async fn each_incoming<S, F>(mut incoming: mpsc::Receiver<S>, serve: impl Fn(S) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(stream) = incoming.recv() => {
                connections.spawn(serve(stream));
            }
            Some(_) = connections.join_next() => {}
            else => return,
        }
    }
}
