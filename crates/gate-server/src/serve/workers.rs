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

#[cfg(test)]
mod tests {
    use std::thread;

    use tokio::net::TcpListener;
    use tokio::runtime::{Builder, Runtime};
    use tokio::sync::{mpsc, oneshot};

    use super::*;

    fn runtime() -> Runtime {
        Builder::new_current_thread().enable_all().build().unwrap()
    }

    /// Starts a runtime of one thread; it ends with the sender.
    fn worker() -> (Handle, oneshot::Sender<()>) {
        let (life, ended) = oneshot::channel();
        let runtime = runtime();
        let handle = runtime.handle().clone();
        thread::spawn(move || runtime.block_on(ended));
        (handle, life)
    }

    #[test]
    fn a_connection_goes_where_there_are_the_fewest() {
        let ((one, _one_lives), (two, _two_lives)) = (worker(), worker());
        let workers = Workers::new(&[one.clone(), two.clone()]);
        let (here, mut served) = mpsc::unbounded_channel();
        runtime().block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let mut connections = JoinSet::new();
            let mut places = Vec::new();
            for number in 1..=6 {
                let client = TcpStream::connect(address).await.unwrap();
                let (stream, _) = listener.accept().await.unwrap();
                let here = here.clone();
                let serve = |stream: TcpStream| async move {
                    here.send(Handle::current().id()).unwrap();
                    // Until the client closes.
                    stream.readable().await.unwrap();
                };
                workers.spawn(stream, serve, &mut connections);
                places.push((served.recv().await.unwrap(), client));
                if number == 4 {
                    // Both on the second leave, and the next two take their places.
                    places.retain(|(place, _)| *place == one.id());
                    for _ in 0..2 {
                        connections.join_next().await.unwrap().unwrap();
                    }
                }
            }
            let on = |id| places.iter().filter(|(place, _)| *place == id).count();
            assert_eq!((on(one.id()), on(two.id())), (2, 2));
        });
    }
}
