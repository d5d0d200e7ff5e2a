//! The gateway as a value: one request in, one answer out, and never an error in between.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use gate_balance::Registry;
use gate_config::GateConfig;
use gate_model_ref::ProviderKind;
use gate_upstream::{Dialer, UpstreamClient};
use gate_usage::RecordSink;
use http::request::Parts;
use http::{Request, Response};
use http_body::Body;
use hyper::service::Service;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::Instant;

use crate::answer::Answer;
use crate::auth::ClientCredentials;
use crate::body::GateBody;
use crate::body_memory::BodyMemory;
use crate::client_headers::{ClientHeaders, Field, Present};
use crate::client_io::ClientClocks;
use crate::drains::Drains;
use crate::error::{ApiError, ErrorCode};
use crate::exchange::{Exchange, Sinks};
use crate::hops::Instance;
use crate::makers::Makers;
use crate::route::Route;
use crate::serve::{Bounds, Peers, Place, TlsAcceptor, TooMany};
use crate::shutdown::{InFlight, Shutdown};
use crate::snapshot::{BuildError, Snapshot};
use crate::upload::ClientBody;
use crate::{edge, failure, forward, health, own, panics, websocket};

mod refusal;

use refusal::{dialect_of, turn_away};

/// An LLM gateway: routes each request by the model that its body names.
///
/// A clone is the same gateway. It is a hyper service; [`serve`](crate::serve) runs it on a
/// listener, and [`Gateway::handle`] answers single requests inside any other server.
#[derive(Clone)]
pub struct Gateway(Arc<Shared>);

struct Shared {
    snapshot: ArcSwap<Snapshot>,
    upstream: UpstreamClient,
    /// What is known of each target. It outlives configurations.
    registry: Registry,
    /// Wakes whoever works on behalf of a configuration when there is another.
    reloaded: Notify,
    sinks: Sinks,
    instance: Instance,
    shutdown: Arc<Shutdown>,
    makers: Arc<Makers>,
    drains: Arc<Drains>,
    body_memory: Arc<BodyMemory>,
    peers: Peers,
}

/// Collects what a [`Gateway`] is made of.
pub struct GatewayBuilder {
    config: GateConfig,
    dialer: Dialer,
    sinks: Vec<Box<dyn RecordSink>>,
}

impl GatewayBuilder {
    /// Adds a receiver of records: it gets one for each request, on the request's own thread, so
    /// it must not block.
    #[must_use]
    pub fn sink(mut self, sink: impl RecordSink + 'static) -> Self {
        self.sinks.push(Box::new(sink));
        self
    }

    /// Sets how connections to providers are made.
    #[must_use]
    pub fn dialer(mut self, dialer: Dialer) -> Self {
        self.dialer = dialer;
        self
    }

    /// Makes the gateway.
    ///
    /// # Errors
    /// A provider's settings make no endpoint, such as a CA file that cannot be read, or the listener's
    /// certificate cannot be used.
    pub fn build(self) -> Result<Gateway, BuildError> {
        let upstream = UpstreamClient::new(self.dialer);
        let registry = Registry::telling(health::log_change);
        Ok(Gateway(Arc::new(Shared {
            snapshot: ArcSwap::from_pointee(Snapshot::try_new(self.config, &upstream, &registry)?),
            upstream,
            registry,
            reloaded: Notify::new(),
            sinks: self.sinks.into(),
            instance: Instance::random(),
            shutdown: Arc::default(),
            makers: Arc::default(),
            drains: Arc::default(),
            body_memory: Arc::default(),
            peers: Peers::default(),
        })))
    }
}

impl Gateway {
    /// Starts a gateway of a configuration, with connections made by the system and no sink.
    pub fn builder(config: GateConfig) -> GatewayBuilder {
        GatewayBuilder { config, dialer: Dialer::System, sinks: Vec::new() }
    }

    /// Answers one request. It never fails: whatever goes wrong becomes an answer in the dialect
    /// of the route.
    ///
    /// An answer with status 101 begins a WebSocket session, which it carries: see
    /// [`GateBody::take_tunnel`]. There is none unless the server let hyper offer the upgrade.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the request at its provider; the record says that the client
    /// left.
    ///
    /// The body may be passed on as it comes, and then lives as long as the answer may need it.
    pub fn handle<B>(&self, request: Request<B>) -> impl Future<Output = Response<GateBody>> + Send + use<B>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
    {
        let gateway = self.clone();
        // Taken apart here: an async function would keep room for the whole beside that for the parts.
        let (mut parts, body) = request.into_parts();
        let mut body = ClientBody::new(body);
        async move {
            let sinks = Arc::clone(&gateway.0.sinks);
            let mut exchange = Exchange::begin(&parts.method, parts.uri.path(), sinks);
            let mut in_flight = gateway.0.shutdown.enter();
            let present = Present::of(&parts.headers);
            let id = exchange.id.clone();
            let outcome = {
                let of_request = (&mut parts, present, &mut body);
                // Boxed: hyper moves this future about before it is first polled.
                let mut answer = Box::pin(gateway.answer(of_request, &mut in_flight, &mut exchange));
                panics::caught(&id, answer.as_mut()).await
            };
            match outcome.unwrap_or_else(|_| Err(panics::internal_error())) {
                Ok(answer) => answer.into_response(in_flight, exchange),
                Err(error) => {
                    in_flight.give_place();
                    let dialect = dialect_of(parts.uri.path(), present.has(Field::AnthropicVersion));
                    Box::pin(turn_away(&error, dialect, exchange, (body, present))).await
                }
            }
        }
    }

    /// The inner function of [`handle`](Self::handle), which may use `?`.
    async fn answer<B>(
        &self,
        (parts, present, body): (&mut Parts, Present, &mut ClientBody<B>),
        in_flight: &mut InFlight,
        exchange: &mut Exchange,
    ) -> Result<Box<Answer>, ApiError>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
    {
        let snapshot = self.snapshot();
        let uri = parts.uri.clone();
        let (route, mut credentials) = look_at_head(&snapshot, (parts, uri.path()), present, exchange)?;
        let mut route = match route {
            Route::Own(own) => {
                let dialect = list_dialect(present.has(Field::AnthropicVersion));
                return own::answer(self, &snapshot, own, uri.query(), dialect).map(Box::new);
            }
            Route::Forward(route) => route,
        };
        let most = snapshot.server.limits.max_in_flight;
        if !in_flight.admit(most) {
            return Err(failure::too_many_requests(most));
        }
        let (request, way) = ((parts, present, body), (&mut route, &mut credentials));
        forward::forward(self, &snapshot, request, way, in_flight, exchange).await
    }

    /// Replaces the configuration. Requests in flight end with the one they began with, and
    /// connections to providers are kept. The address and `max_connections` belong to whoever
    /// serves, and stay as they were when that began; a connection of a client keeps the certificate
    /// and the bounds that it began with.
    ///
    /// # Errors
    /// As [`GatewayBuilder::build`]; the old configuration stays.
    pub fn reload(&self, config: GateConfig) -> Result<(), BuildError> {
        let Shared { snapshot, upstream, registry, reloaded, .. } = &*self.0;
        snapshot.store(Arc::new(Snapshot::try_new(config, upstream, registry)?));
        // What requests in flight still use is forgotten with the next one, or when somebody looks.
        registry.forget_unused();
        reloaded.notify_waiters();
        Ok(())
    }

    /// Makes `/ready` answer 503 from now on.
    pub fn start_draining(&self) {
        self.0.shutdown.start_draining();
    }

    /// Tells whether the gateway is shutting down.
    pub fn is_draining(&self) -> bool {
        self.0.shutdown.is_draining()
    }

    /// Returns how many requests are being answered, streams included.
    pub fn in_flight(&self) -> usize {
        self.0.shutdown.in_flight()
    }

    /// Returns how many answers are read on whose clients have left, and how many were cancelled
    /// instead because those were too many.
    pub fn left_answers(&self) -> (usize, u64) {
        (self.0.drains.running(), self.0.drains.refused())
    }

    /// Returns how many connections were closed because their address had too many.
    pub fn refused_connections(&self) -> u64 {
        self.0.peers.refused()
    }

    /// Ends the reading of answers whose clients have left; each is recorded with the usage that it
    /// had shown by then.
    ///
    /// # Cancel safety
    /// They end also if the future is dropped.
    pub async fn end_left_answers(&self) {
        self.0.drains.end().await;
    }

    /// Ends every running answer: a stream with an error event, anything else uncleanly.
    pub fn end_answers(&self) {
        self.0.shutdown.end_answers();
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.0.snapshot.load_full()
    }

    pub(crate) fn upstream(&self) -> &UpstreamClient {
        &self.0.upstream
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.0.registry
    }

    /// Is woken by the next reload.
    pub(crate) fn reloaded(&self) -> Notified<'_> {
        self.0.reloaded.notified()
    }

    pub(crate) fn body_memory(&self) -> &Arc<BodyMemory> {
        &self.0.body_memory
    }

    pub(crate) fn makers(&self) -> &Arc<Makers> {
        &self.0.makers
    }

    pub(crate) fn sinks(&self) -> &Sinks {
        &self.0.sinks
    }

    pub(crate) fn drains(&self) -> Arc<Drains> {
        Arc::clone(&self.0.drains)
    }

    pub(crate) fn instance(&self) -> &Instance {
        &self.0.instance
    }

    pub(crate) fn max_connections(&self) -> usize {
        self.0.snapshot.load().server.limits.max_connections
    }

    /// Counts a client's connection; refuses one that is too many for its address.
    pub(crate) fn enter(&self, address: IpAddr) -> Result<Place, TooMany> {
        self.0.peers.enter(address, self.0.snapshot.load().server.limits.max_connections_per_ip)
    }

    pub(crate) fn tls(&self) -> Option<TlsAcceptor> {
        self.0.snapshot.load().tls.clone()
    }

    pub(crate) fn bounds(&self) -> Bounds {
        let snapshot = self.0.snapshot.load();
        let limits = &snapshot.server.limits;
        Bounds {
            clocks: ClientClocks::new(&snapshot.server),
            streams: limits.max_streams_per_connection,
            ping_interval: limits.ping_interval,
            ping_timeout: limits.ping_timeout,
        }
    }

    pub(crate) fn drain_limit(&self) -> Duration {
        self.0.snapshot.load().server.timeouts.drain
    }

    pub(crate) fn drain_delay(&self) -> Duration {
        self.0.snapshot.load().server.timeouts.drain_delay
    }

    /// Closes connections to providers that were idle for too long.
    pub(crate) fn sweep(&self) {
        self.0.upstream.sweep();
    }
}

/// Finds what the head of a request asks for and who asks, and refuses what no provider must see.
fn look_at_head<'p>(
    snapshot: &Snapshot,
    (parts, path): (&Parts, &'p str),
    present: Present,
    exchange: &mut Exchange,
) -> Result<(Route<'p>, ClientCredentials), ApiError> {
    let headers = ClientHeaders { map: &parts.headers, present };
    let host = edge::check(parts, headers)?;
    // The version tells clients of Anthropic from those of OpenAI.
    let route = Route::parse(&parts.method, path, present.has(Field::AnthropicVersion));
    // A wrong method outranks a wrong host, which outranks two keys, which outrank a wrong path.
    let route = match route {
        Err(error) if error.code == ErrorCode::MethodNotAllowed => return Err(error),
        route => route,
    };
    snapshot.host_guard.check(host)?;
    edge::check_rest(parts, headers, &snapshot.host_guard)?;
    let begin = Instant::now();
    let credentials = ClientCredentials::parse(headers)?;
    exchange.record.steps.auth = Some(begin.elapsed());
    let route = route?;
    websocket::check_route(&route, parts, headers)?;
    Ok((route, credentials))
}

/// Returns the shape of lists that a request's sender reads.
fn list_dialect(has_version: bool) -> ProviderKind {
    if has_version { ProviderKind::Anthropic } else { ProviderKind::OpenAi }
}

impl<B> Service<Request<B>> for Gateway
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    type Response = Response<GateBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<B>) -> Self::Future {
        let gateway = self.clone();
        // One box a request: the future is larger than hyper likes to move.
        Box::pin(async move { Ok(gateway.handle(request).await) })
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("in_flight", &self.in_flight()).finish_non_exhaustive()
    }
}

impl fmt::Debug for GatewayBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewayBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}
