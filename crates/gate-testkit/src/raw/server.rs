//! A server on loopback that plays a script on each connection, in the clear or over TLS.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{RawPeer, RawScript, Transcript, within};
use crate::PATIENCE;
use crate::serve::each_tcp;

/// A server of scripts. Dropping it closes the listener and all connections.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use gate_testkit::raw::{RawScript, RawServer};
///
/// let resets = RawScript::new().expect_request().reset();
/// let answers = RawScript::new().expect_request().send("HTTP/1.1 204 No Content\r\n\r\n");
/// let server = RawServer::start([resets, answers]).await?;
/// assert_eq!(server.connections(), 0);
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct RawServer {
    port: u16,
    connections: Arc<AtomicUsize>,
    transcripts: mpsc::UnboundedReceiver<Transcript>,
    /// Held for the sake of its end.
    _tasks: JoinSet<Infallible>,
}

impl RawServer {
    /// Starts a server on a free port of `127.0.0.1`. The first connection gets the first script, and
    /// so on; those beyond the last are closed at once.
    ///
    /// # Errors
    ///
    /// When no port is free.
    pub async fn start(scripts: impl IntoIterator<Item = RawScript>) -> io::Result<Self> {
        Self::after(scripts, |stream| async { Ok(stream) }).await
    }

    /// As [`start`](Self::start), and the scripts begin behind a TLS handshake. One that fails uses
    /// its script up.
    ///
    /// # Errors
    ///
    /// When no port is free.
    #[cfg(feature = "tls")]
    pub async fn start_tls(
        acceptor: tokio_rustls::TlsAcceptor,
        scripts: impl IntoIterator<Item = RawScript>,
    ) -> io::Result<Self> {
        Self::after(scripts, move |stream| {
            let acceptor = acceptor.clone();
            async move { acceptor.accept(stream).await }
        })
        .await
    }

    async fn after<P, F>(
        scripts: impl IntoIterator<Item = RawScript>,
        prepare: impl Fn(TcpStream) -> F + Send + 'static,
    ) -> io::Result<Self>
    where
        P: RawPeer + 'static,
        F: Future<Output = io::Result<P>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let connections = Arc::new(AtomicUsize::new(0));
        let (sender, transcripts) = mpsc::unbounded_channel();
        let scripts: Vec<RawScript> = scripts.into_iter().collect();
        let count = Arc::clone(&connections);
        let mut tasks = JoinSet::new();
        tasks.spawn(each_tcp(listener, move |stream| {
            let script = scripts.get(count.fetch_add(1, Relaxed)).cloned();
            let (prepared, sender) = (prepare(stream), sender.clone());
            async move {
                let Some(script) = script else { return };
                let transcript = match prepared.await {
                    Ok(peer) => script.play(peer).await,
                    Err(error) => Transcript { received: Vec::new(), sent: 0, error: Some(error) },
                };
                // Nobody may be there to read it.
                let _ = sender.send(transcript);
            }
        }));
        Ok(Self { port, connections, transcripts, _tasks: tasks })
    }

    /// Returns the port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns how many connections there were so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Relaxed)
    }

    /// Waits for the next script to end and returns what it saw.
    ///
    /// # Errors
    ///
    /// When none ends within [`PATIENCE`](crate::PATIENCE).
    pub async fn transcript(&mut self) -> io::Result<Transcript> {
        within(PATIENCE, "see a script end", async {
            self.transcripts.recv().await.ok_or_else(|| io::ErrorKind::BrokenPipe.into())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn each_connection_gets_the_next_script_and_those_beyond_are_closed() {
        let scripts = ["one", "two"].map(|text| RawScript::new().expect_bytes(1).send(text).close());
        let mut server = RawServer::start(scripts).await.unwrap();
        let mut seen = Vec::new();
        for _ in 0..3 {
            let mut client = TcpStream::connect(("127.0.0.1", server.port())).await.unwrap();
            let _ = client.write_all(b"?").await;
            let mut text = String::new();
            let _ = client.read_to_string(&mut text).await;
            seen.push(text);
        }
        assert_eq!((seen, server.connections()), (vec!["one".into(), "two".into(), String::new()], 3));
        assert_eq!(server.transcript().await.unwrap().text(), "?");
    }

    #[tokio::test]
    async fn a_dropped_server_refuses() {
        let server = RawServer::start([]).await.unwrap();
        let port = server.port();
        drop(server);
        // The task is ended at its next turn.
        tokio::task::yield_now().await;
        let error = TcpStream::connect(("127.0.0.1", port)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
