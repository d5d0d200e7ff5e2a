//! Places connections on runtimes.

use std::future::Future;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

/// Runtimes that share the connections of a server; none means that of the server itself.
pub(super) struct Workers(Vec<Worker>);

struct Worker {
    runtime: Handle,
    /// Shared with each connection that is served there.
    live: Arc<()>,
}

impl Workers {
    pub(super) fn new(runtimes: &[Handle]) -> Self {
        let worker = |runtime: &Handle| Worker { runtime: runtime.clone(), live: Arc::default() };
        Self(runtimes.iter().map(worker).collect())
    }

    /// Serves a connection where there are the fewest. The kernel would place them by chance, and a
    /// stream lasts for minutes.
    pub(super) fn spawn<F>(
        &self,
        stream: TcpStream,
        serve: impl FnOnce(TcpStream) -> F + Send + 'static,
        connections: &mut JoinSet<()>,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let Some(worker) = self.0.iter().min_by_key(|worker| Arc::strong_count(&worker.live)) else {
            connections.spawn(serve(stream));
            return;
        };
        // A socket tells the runtime that it is registered with when there is something to do.
        let stream = match stream.into_std() {
            Ok(stream) => stream,
            Err(error) => return log::warn!("a connection is dropped: {error}"),
        };
        let live = Arc::clone(&worker.live);
        let moved = async move {
            match TcpStream::from_std(stream) {
                Ok(stream) => serve(stream).await,
                Err(error) => log::warn!("a connection is dropped: {error}"),
            }
            drop(live);
        };
        connections.spawn_on(moved, &worker.runtime);
    }
}
