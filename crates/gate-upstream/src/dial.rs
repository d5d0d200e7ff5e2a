//! Makes connections: name lookup, TCP and TLS, or one end of a pipe in memory. The caller sets the
//! deadline and learns which step it cut short.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::pki_types::ServerName;
use tokio::io::{DuplexStream, duplex};
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use crate::error::{Fault, UpstreamErrorKind};
use crate::eyeballs;
use crate::pool::Identity;
use crate::resolver::Resolver;
use crate::response::Timings;
use crate::tls::TlsSetup;
use crate::transport::Transport;

/// Room of a connection in memory, each way.
const PIPE_BYTES: usize = 64 * 1024;

/// Connections in memory that may wait to be accepted.
const BACKLOG: usize = 128;

/// What connections are made of.
#[derive(Clone, Debug)]
pub enum Dialer {
    /// The operating system's resolver and TCP, and TLS where the endpoint wants it.
    System,
    /// Pipes in memory, whatever the endpoint's host and scheme: for tests and demonstrations.
    Memory(MemoryDialer),
}

/// Makes connections in memory, see [`MemoryDialer::new`].
#[derive(Clone, Debug)]
pub struct MemoryDialer {
    accepts: mpsc::Sender<DuplexStream>,
    /// Hosts that have a listener of their own.
    hosts: Arc<RwLock<HashMap<String, mpsc::Sender<DuplexStream>>>>,
}

/// The other end of a [`MemoryDialer`]: whoever holds it plays the provider.
#[derive(Debug)]
pub struct MemoryListener {
    connections: mpsc::Receiver<DuplexStream>,
}

impl MemoryDialer {
    /// Makes a dialer and the listener that gets the other ends.
    ///
    /// ```
    /// use gate_upstream::{Dialer, MemoryDialer, UpstreamClient};
    ///
    /// let (dialer, listener) = MemoryDialer::new();
    /// let client = UpstreamClient::new(Dialer::Memory(dialer));
    /// # drop((client, listener));
    /// ```
    pub fn new() -> (Self, MemoryListener) {
        Self::with_backlog(BACKLOG)
    }

    /// Makes a dialer whose connects wait once `backlog` connections are not accepted yet, as with
    /// a host that drops packets. At least 1 is assumed.
    pub fn with_backlog(backlog: usize) -> (Self, MemoryListener) {
        let (accepts, connections) = mpsc::channel(backlog.max(1));
        (Self { accepts, hosts: Arc::default() }, MemoryListener { connections })
    }

    /// Makes a listener that from now on gets the connections to one host, whatever the port, in place
    /// of the one that had them. Once it is dropped, that host refuses connections until there is a
    /// new one: an outage, and its end. Clones of the dialer see the same hosts.
    pub fn listen(&self, host: &str, backlog: usize) -> MemoryListener {
        let (accepts, connections) = mpsc::channel(backlog.max(1));
        // A panic elsewhere leaves no entry half made.
        self.hosts.write().unwrap_or_else(PoisonError::into_inner).insert(host.to_owned(), accepts);
        MemoryListener { connections }
    }

    async fn dial(&self, host: &str) -> Result<Transport, Fault> {
        let own = self.hosts.read().unwrap_or_else(PoisonError::into_inner).get(host).cloned();
        let (near, far) = duplex(PIPE_BYTES);
        let sent = own.as_ref().unwrap_or(&self.accepts).send(far).await;
        sent.map_err(|_| Fault::connect(io::ErrorKind::ConnectionRefused.into()))?;
        Ok(Transport::Memory(near))
    }
}

impl MemoryListener {
    /// Waits for the next connection; `None` once every dialer is gone.
    ///
    /// # Cancel safety
    /// No connection is lost when the future is dropped.
    pub async fn accept(&mut self) -> Option<DuplexStream> {
        self.connections.recv().await
    }

    /// Returns a connection that waits already, if one does.
    pub fn try_accept(&mut self) -> Option<DuplexStream> {
        self.connections.try_recv().ok()
    }
}

/// The step that a dial is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Step {
    #[default]
    Dns,
    Connect,
    Tls,
}

impl Step {
    /// Returns the error of a deadline that passes in this step.
    pub(crate) const fn timeout(self) -> UpstreamErrorKind {
        match self {
            Self::Dns => UpstreamErrorKind::DnsTimeout,
            Self::Connect => UpstreamErrorKind::ConnectTimeout,
            Self::Tls => UpstreamErrorKind::TlsTimeout,
        }
    }
}

/// One attempt to make a connection. It is kept up to date, so that it is right even if the work on
/// it is dropped half-way.
#[derive(Debug)]
pub(crate) struct Dial<'d> {
    pub(crate) identity: &'d Identity,
    step: Step,
    /// When the step was begun that has not ended.
    begun: Option<Instant>,
    timings: &'d mut Timings,
}

impl<'d> Dial<'d> {
    pub(crate) fn new(identity: &'d Identity, timings: &'d mut Timings) -> Self {
        Self { identity, step: Step::default(), begun: None, timings }
    }

    pub(crate) fn step(&self) -> Step {
        self.step
    }

    fn begin(&mut self, step: Step) {
        self.step = step;
        self.begun = Some(Instant::now());
    }

    /// Notes how long the current step has taken, whatever came of it. A second call does nothing.
    pub(crate) fn end_step(&mut self) {
        let Some(begun) = self.begun.take() else { return };
        let time = match self.step {
            Step::Dns => &mut self.timings.dns,
            Step::Connect => &mut self.timings.connect,
            Step::Tls => &mut self.timings.tls,
        };
        *time = Some(begun.elapsed());
    }

    /// Makes a pipe in memory.
    pub(crate) async fn memory(&mut self, dialer: &MemoryDialer) -> Result<Transport, Fault> {
        self.begin(Step::Connect);
        let transport = dialer.dial(&self.identity.host).await?;
        // A pipe takes no time, unless nobody takes its other end.
        self.begun = None;
        Ok(transport)
    }

    /// Makes a TCP connection, with TLS over it where there is a setup.
    ///
    /// # Errors
    /// A [`Fault`] of the step that failed.
    pub(crate) async fn system(
        &mut self,
        resolver: &Resolver,
        tls: Option<&TlsSetup>,
    ) -> Result<Transport, Fault> {
        let Some(setup) = tls else {
            return self.tcp(resolver).await.map(Transport::Tcp);
        };
        let name = ServerName::try_from(self.identity.host.clone())
            .map_err(|error| Fault::tls(rustls::Error::General(error.to_string())))?;
        loop {
            let stream = self.tcp(resolver).await?;
            self.begin(Step::Tls);
            let config = setup.config();
            let outcome = TlsConnector::from(Arc::clone(config)).connect(name.clone(), stream).await;
            self.end_step();
            match outcome {
                Ok(stream) => return Ok(Transport::Tls(Box::new(stream))),
                // Only ever true for the configuration without the system's authorities, so once.
                Err(error) if setup.extends(config, &error).await => {}
                Err(error) => return Err(Fault::handshake(error)),
            }
        }
    }

    async fn tcp(&mut self, resolver: &Resolver) -> Result<TcpStream, Fault> {
        let (host, port) = (self.identity.host.as_str(), self.identity.port);
        self.begin(Step::Dns);
        let lookup = async { lookup_host((host, port)).await.map(Iterator::collect) };
        let addresses = resolver.resolve(host, port, lookup).await.map_err(Fault::dns)?;
        self.end_step();

        self.begin(Step::Connect);
        let stream = eyeballs::connect(addresses).await.map_err(|error| {
            resolver.forget(host, port);
            Fault::connect(error)
        })?;
        self.end_step();
        Ok(stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_host_with_a_listener_of_its_own_comes_and_goes() {
        let (dialer, mut others) = MemoryDialer::new();
        let mut own = dialer.listen("own.test", 1);
        let clone = dialer.clone();
        let _connections = (clone.dial("own.test").await.unwrap(), clone.dial("else.test").await.unwrap());
        assert!(own.try_accept().is_some() && others.try_accept().is_some());
        assert!(own.try_accept().is_none() && others.try_accept().is_none());
        drop(own);
        let refused = clone.dial("own.test").await.unwrap_err();
        assert_eq!(refused.kind, UpstreamErrorKind::Connect);
        assert!(others.try_accept().is_none());
        let mut again = dialer.listen("own.test", 1);
        let _connection = clone.dial("own.test").await.unwrap();
        assert!(again.try_accept().is_some());
    }
}
