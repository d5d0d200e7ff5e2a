//! Sends requests: finds or makes a connection, waits for the head, and repeats a request in the one
//! case in which nobody can have seen it.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::timeout_at;

use crate::body::UpstreamBody;
use crate::connection::Connection;
use crate::deadline::{after, earlier};
use crate::dial::{Dial, Dialer};
use crate::endpoint::{Endpoint, EndpointError};
use crate::error::{Fault, Sent, UpstreamError, UpstreamErrorKind};
use crate::exchange::Exchange;
use crate::http1::{Head, Message};
use crate::pool::{HashedBefore, Identity, Lease, Pool, PoolStats, Turn};
use crate::request::UpstreamRequest;
use crate::resolver::Resolver;
use crate::response::{Timings, UpstreamResponse};
use crate::tls::{self, TlsSetups};
use crate::transport::Transport;

/// Sends requests and owns all connections. Clones share them.
///
/// A client outlives configurations: a new [`Endpoint`] with the same host and settings finds the
/// connections and TLS sessions of the old one.
#[derive(Clone, Debug)]
pub struct UpstreamClient {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    dialer: Dialer,
    resolver: Resolver,
    tls: TlsSetups,
    pools: RwLock<HashMap<Identity, Arc<Pool>, BuildHasherDefault<HashedBefore>>>,
}

impl UpstreamClient {
    /// Makes a client without connections.
    pub fn new(dialer: Dialer) -> Self {
        Self::with_native_roots(dialer, tls::native_roots)
    }

    pub(crate) fn with_native_roots(dialer: Dialer, load_native: tls::LoadNative) -> Self {
        let shared = Shared {
            dialer,
            resolver: Resolver::default(),
            tls: TlsSetups::new(load_native),
            pools: RwLock::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Reads the certificates and keys of an endpoint, so that a bad file shows now and not with the
    /// first request. What is read is kept.
    ///
    /// # Errors
    /// [`EndpointError::Tls`] names the file and what is wrong with it.
    pub fn prepare(&self, endpoint: &Endpoint) -> Result<(), EndpointError> {
        let Some(settings) = &endpoint.identity().tls else { return Ok(()) };
        self.shared.tls.setup(settings).map(drop).map_err(|error| EndpointError::Tls {
            endpoint: endpoint.name().to_owned(),
            message: error.to_string(),
        })
    }

    /// Sends a request and returns the response once its head is there.
    ///
    /// A request whose kept connection turns out to be closed before it took a single byte is sent
    /// again, once, on a new connection. Had it taken one, the request could have reached the
    /// provider and be at work there. A POST to a model costs money each time, so that decision is
    /// the caller's, who is told by [`UpstreamError::sent`]. (Proxies for cheap requests repeat these
    /// too, in a bet that the server closed before it read.)
    ///
    /// # Errors
    /// [`UpstreamError`] for everything before the response head. Any status is a response.
    ///
    /// # Cancel safety
    /// Dropping the future, or the body later, closes the connection at once.
    pub fn send(
        &self,
        endpoint: &Endpoint,
        request: UpstreamRequest,
    ) -> impl Future<Output = Result<UpstreamResponse, UpstreamError>> {
        self.send_in(endpoint, request, endpoint.timeouts().total)
    }

    /// Does the same, but the whole, the response body included, must be over within `limit`, if the
    /// endpoint's own limits do not end it before.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    ///
    /// # Cancel safety
    /// As [`send`](Self::send).
    pub fn send_within(
        &self,
        endpoint: &Endpoint,
        request: UpstreamRequest,
        limit: Duration,
    ) -> impl Future<Output = Result<UpstreamResponse, UpstreamError>> {
        let total = endpoint.timeouts().total.map_or(limit, |total| total.min(limit));
        self.send_in(endpoint, request, Some(total))
    }

    fn send_in(
        &self,
        endpoint: &Endpoint,
        request: UpstreamRequest,
        total: Option<Duration>,
    ) -> impl Future<Output = Result<UpstreamResponse, UpstreamError>> {
        let mut exchange = Exchange::start(endpoint, total);
        // Written now, so that the future carries it in one form.
        let message = request.write(endpoint);
        async move {
            let message = message.map_err(|fault| exchange.error(Sent::Nothing, fault))?;
            let mut timings = Timings::default();
            let lease = self.lease(endpoint, &mut exchange, &mut timings).await;
            let lease = lease.map_err(|error| error.after(timings))?;
            let idle = lease.checkout(exchange.since);
            let progress = Progress { exchange, lease, idle };
            let outcome = self.send_on(endpoint, message, progress, &mut timings).await;
            outcome.map_err(|error| error.after(timings))
        }
    }

    /// Waits for the right to one connection.
    pub(crate) async fn lease(
        &self,
        endpoint: &Endpoint,
        exchange: &mut Exchange,
        timings: &mut Timings,
    ) -> Result<Lease, UpstreamError> {
        let pool = self.pool(endpoint.identity());
        if let Some(lease) = pool.try_lease() {
            return Ok(lease);
        }
        let lease = Box::pin(pool.lease(exchange.total)).await;
        timings.pool_wait = exchange.end_step();
        lease.map_err(|fault| exchange.error(Sent::Nothing, fault))
    }

    /// Closes every connection that serves no request.
    pub fn close_idle(&self) {
        for pool in self.pools() {
            pool.close_idle();
        }
    }

    /// Closes connections that have been idle too long, and forgets servers without any.
    ///
    /// Requests do this for the servers they use. Calling it every second or so does it for those
    /// that get no more requests.
    pub fn sweep(&self) {
        for pool in self.pools() {
            pool.sweep();
        }
        let mut pools = self.shared.pools.write().unwrap_or_else(PoisonError::into_inner);
        // Every exchange under way holds its pool.
        pools.retain(|_, pool| Arc::strong_count(pool) > 1 || !pool.is_idle_empty());
    }

    /// Returns numbers about each server that has or had connections lately, in no order.
    pub fn stats(&self) -> Vec<PoolStats> {
        self.pools().iter().map(|pool| pool.stats()).collect()
    }

    fn pools(&self) -> Vec<Arc<Pool>> {
        let pools = self.shared.pools.read().unwrap_or_else(PoisonError::into_inner);
        pools.values().map(Arc::clone).collect()
    }

    pub(crate) fn pool(&self, identity: &Identity) -> Arc<Pool> {
        let pools = self.shared.pools.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = pools.get(identity) {
            return Arc::clone(pool);
        }
        drop(pools);
        let mut pools = self.shared.pools.write().unwrap_or_else(PoisonError::into_inner);
        let pool = pools.entry(identity.clone()).or_insert_with_key(|key| Arc::new(Pool::new(key.clone())));
        Arc::clone(pool)
    }

    /// Sends the request on the idle connection if there is one, else, or if that was closed, on a
    /// new one.
    pub(crate) fn send_on(
        &self,
        endpoint: &Endpoint,
        mut message: Message,
        progress: Progress,
        timings: &mut Timings,
    ) -> impl Future<Output = Result<UpstreamResponse, UpstreamError>> {
        let Progress { mut exchange, lease, mut idle } = progress;
        async move {
            loop {
                let (mut connection, is_kept) = match idle.take() {
                    Some(connection) => {
                        timings.reused = true;
                        (connection, true)
                    }
                    // Boxed: it is rare, and would be half of every request's future.
                    None => Box::pin(self.connect(endpoint, &lease, &mut exchange, timings)).await?,
                };
                connection.machine.begin(message);
                let outcome = exchange.head(&mut connection).await;
                timings.first_byte = Some(exchange.end_step());
                let error = match outcome {
                    Ok(head) => return Ok(respond(head, (connection, lease, exchange), timings)),
                    Err(error) => error,
                };
                if !is_kept || !is_stale(&error) {
                    return Err(error);
                }
                let Some(second) = connection.machine.take_back() else { return Err(error) };
                lease.pool().count_retried();
                exchange.retries += 1;
                timings.retries = exchange.retries;
                timings.first_byte = None;
                message = second;
            }
        }
    }

    /// Makes a connection when it is its turn, or takes one that has come free before; tells whether
    /// it did that.
    async fn connect(
        &self,
        endpoint: &Endpoint,
        lease: &Lease,
        exchange: &mut Exchange,
        timings: &mut Timings,
    ) -> Result<(Box<Connection>, bool), UpstreamError> {
        let turn = lease.turn(exchange.total).await;
        timings.pool_wait += exchange.end_step();
        let (turn, has_waited) = turn.map_err(|fault| exchange.error(Sent::Nothing, fault))?;
        let idle = if has_waited { lease.checkout(exchange.since) } else { None };
        timings.reused = idle.is_some();
        match idle {
            Some(connection) => Ok((connection, true)),
            None => Ok((self.dial(endpoint, (lease, turn), exchange, timings).await?, false)),
        }
    }

    /// Makes a connection.
    pub(crate) async fn dial(
        &self,
        endpoint: &Endpoint,
        (lease, _turn): (&Lease, Turn),
        exchange: &mut Exchange,
        timings: &mut Timings,
    ) -> Result<Box<Connection>, UpstreamError> {
        let (unsent, total) = (|fault| exchange.error(Sent::Nothing, fault), exchange.total);
        let mut dial = Dial::new(endpoint.identity(), timings);
        let dialing = self.transport(&mut dial);
        let deadline = earlier(after(exchange.since, exchange.timeouts().connection), total);
        let transport = match deadline {
            None => dialing.await,
            Some(deadline) => timeout_at(deadline, dialing).await.unwrap_or_else(|_| {
                let is_total = total.is_some_and(|total| total <= deadline);
                Err(if is_total { UpstreamErrorKind::TotalTimeout } else { dial.step().timeout() }.into())
            }),
        };
        let transport = transport.inspect_err(|_| dial.end_step()).map_err(unsent)?;
        let pool = lease.pool();
        pool.count_opened();
        let connection = Connection::new(transport, pool.retirement());
        exchange.end_step();
        Ok(Box::new(connection))
    }

    async fn transport(&self, dial: &mut Dial<'_>) -> Result<Transport, Fault> {
        match &self.shared.dialer {
            Dialer::Memory(dialer) => dial.memory(dialer).await,
            Dialer::System => {
                let setup = dial.identity.tls.as_ref().map(|settings| self.shared.tls.setup(settings));
                let setup = setup.transpose();
                let setup = setup.map_err(|error| Fault::tls(rustls::Error::General(error.to_string())))?;
                dial.system(&self.shared.resolver, setup.as_deref()).await
            }
        }
    }
}

/// What [`UpstreamClient::send`] has got hold of before it sends.
pub(crate) struct Progress {
    pub(crate) exchange: Exchange,
    pub(crate) lease: Lease,
    pub(crate) idle: Option<Box<Connection>>,
}

/// Makes a response of its head and of what its body comes over.
pub(crate) fn respond(
    head: Head,
    (connection, lease, exchange): (Box<Connection>, Lease, Exchange),
    timings: &Timings,
) -> UpstreamResponse {
    UpstreamResponse {
        status: head.status,
        version: head.version,
        headers: head.headers,
        body: UpstreamBody::new(connection, lease, exchange),
        timings: *timings,
        is_close_delimited: head.is_close_delimited,
    }
}

fn is_stale(error: &UpstreamError) -> bool {
    error.sent() == Sent::Nothing && error.kind() == UpstreamErrorKind::Closed
}

#[cfg(test)]
impl UpstreamClient {
    /// Takes the right to one connection without sending anything.
    pub(crate) fn take_lease(&self, endpoint: &Endpoint) -> Lease {
        self.pool(endpoint.identity()).try_lease().unwrap()
    }

    /// Returns the memory of names.
    pub(crate) fn resolver(&self) -> &Resolver {
        &self.shared.resolver
    }
}
