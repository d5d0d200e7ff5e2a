//! A session on `/v1/responses`, from the agreement with the client to that with the provider: the
//! first message is read, routed, and sent.

use bytes::{Bytes, BytesMut};
use gate_config::ProviderIndex;
use gate_upstream::{RequestBody, Upgrade, UpgradedIo, UpstreamRequest, UpstreamResponse};
use http::Method;
use http::header::{HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS};
use http_body_util::BodyExt as _;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::frame::{FrameTracker, Opcode, frame};
use super::handshake;
use super::message::{Inbound, MessageReader, Unread, Waits};
use super::refusal::Refusal;
use super::tunnel::{Copied, send};
use super::turn::{Turn, Turns};
use crate::attempts::{Handshake, WhoseKey};
use crate::auth::ClientCredentials;
use crate::error::{ApiError, ErrorCode, passed_error_message};
use crate::exchange::Exchange;
use crate::gateway::Gateway;
use crate::shutdown::InFlight;
use crate::{failure, forward};

/// An error that explains itself fits; of a longer one only the status is told.
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// What is kept until the first message says where it goes.
pub(crate) struct Session {
    pub(super) gateway: Gateway,
    pub(super) turns: Turns,
    pub(super) credentials: ClientCredentials,
    /// The headers for the provider.
    pub(super) headers: HeaderMap,
    pub(super) query: Option<String>,
    /// What a server must answer to the client's key, which goes to the provider too.
    pub(super) proof: HeaderValue,
}

/// A session whose provider has agreed.
pub(super) struct Joined {
    pub(super) io: UpgradedIo,
    pub(super) turns: Turns,
    pub(super) provider: ProviderIndex,
    /// The first message, to be sent.
    pub(super) first: Bytes,
}

/// Why a session ends before its provider has agreed.
#[derive(Debug)]
pub(super) enum Stop {
    /// The client is gone.
    Gone,
    /// The client closed the session.
    Closed,
    /// The gateway shuts down.
    Shutdown,
    Refused(Box<Refusal>),
}

impl From<ApiError> for Stop {
    fn from(error: ApiError) -> Self {
        Self::Refused(Box::new(error.into()))
    }
}

impl From<Unread> for Stop {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Gone => Self::Gone,
            Unread::Refused(refusal) => Self::Refused(refusal),
        }
    }
}

/// The client's side of a session.
pub(super) struct Client<'c, R, W> {
    pub(super) read: &'c mut R,
    pub(super) write: &'c mut W,
    /// What was sent to the client.
    pub(super) sent: &'c mut FrameTracker,
    pub(super) reader: &'c mut MessageReader,
}

impl Session {
    /// Reads the first message and asks its provider.
    pub(super) async fn join<R, W>(
        self,
        mut client: Client<'_, R, W>,
        in_flight: &InFlight,
        exchange: &mut Exchange,
    ) -> Result<Joined, Stop>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let turn = tokio::select! {
            turn = self.first_turn(&mut client, exchange) => turn?,
            () = in_flight.ended() => return Err(Stop::Shutdown),
        };
        let Client { read, reader, .. } = client;
        let mut early = 0;
        let joined = {
            let watch = reader.watch(read, &mut early);
            tokio::select! {
                joined = self.ask(turn, exchange) => joined,
                () = watch => Err(Stop::Gone),
                () = in_flight.ended() => Err(Stop::Shutdown),
            }
        };
        exchange.record.bytes_in += early;
        joined
    }

    /// Waits for the first message, and answers pings meanwhile.
    async fn first_turn<R, W>(
        &self,
        client: &mut Client<'_, R, W>,
        exchange: &mut Exchange,
    ) -> Result<Turn, Stop>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let limits = &self.turns.snapshot.server.limits;
        let waits = Waits {
            idle: Some(limits.idle_timeout),
            piece: limits.body_idle_timeout,
            whole: limits.max_request_duration,
        };
        let text = async {
            loop {
                match client.reader.read(client.read, waits, &mut exchange.record.bytes_in).await? {
                    Inbound::Text(text) => return Ok(text),
                    Inbound::Control(Opcode::Close, payload) => {
                        let echo = frame(Opcode::Close, &payload, None);
                        send(client.write, &echo, client.sent, &mut exchange.record.bytes_out, None).await;
                        return Err(Stop::Closed);
                    }
                    Inbound::Control(Opcode::Ping, payload) => {
                        let pong = frame(Opcode::Pong, &payload, None);
                        send(client.write, &pong, client.sent, &mut exchange.record.bytes_out, None).await;
                    }
                    Inbound::Control(..) => {}
                }
            }
        };
        // Pings alone keep no session.
        let text = match timeout(limits.max_request_duration, text).await {
            Ok(text) => text?,
            Err(_) => {
                let message = "no message came; open the connection again when there is one to send";
                return Err(ApiError::new(ErrorCode::RequestTimeout, message).into());
            }
        };
        Ok(self.turns.first(&text, &self.headers).await?)
    }

    /// Asks the provider of the first message for a session.
    async fn ask(self, turn: Turn, exchange: &mut Exchange) -> Result<Joined, Stop> {
        let Self { gateway, turns, credentials, headers, query, proof } = self;
        let Turn { journey, attempt, stop, text } = turn;
        let (provider, key) = (stop.provider, attempt.target().id().key);
        let endpoint = turns.snapshot.endpoint_of(provider, key);
        exchange.record.provider = Some(endpoint.shared_name());
        exchange.record.model = stop.model;
        let settings = turns.snapshot.providers.provider(provider);
        if !settings.websocket {
            let name = endpoint.name();
            let message = format!(
                "provider `{name}` does not speak WebSocket; send the request as POST over plain HTTP"
            );
            return Err(ApiError::new(ErrorCode::UpgradeRequired, message).into());
        }
        let credential = credentials.choose(endpoint)?;
        let whose_key = WhoseKey::of(&credential);
        let request = UpstreamRequest {
            method: Method::GET,
            path: super::RESPONSES.to_owned(),
            query: forward::query_of(query.as_deref(), settings),
            headers: headers.into(),
            credential,
            body: RequestBody::empty(),
        };
        let handshake = Handshake::begin(exchange, (journey, attempt), whose_key, endpoint.shared_name());
        let outcome = gateway.upstream().upgrade(endpoint, request).await;
        handshake.settle(exchange, &outcome);
        let outcome = outcome.map_err(|error| failure::upstream(endpoint.name(), &error))?;
        exchange.record.ttfb = Some(exchange.elapsed());
        match outcome {
            Upgrade::Switched { headers, .. }
                if headers.get(SEC_WEBSOCKET_ACCEPT) != Some(&proof)
                    || headers.contains_key(SEC_WEBSOCKET_EXTENSIONS) =>
            {
                Err(handshake::invalid_answer(endpoint.name()).into())
            }
            Upgrade::Switched { io, .. } => Ok(Joined { io, turns, provider, first: text }),
            Upgrade::Refused(response)
                if whose_key == WhoseKey::Ours && forward::refuses_key(response.status) =>
            {
                let (id, status) = (exchange.id.as_str(), response.status.as_u16());
                forward::log_refused_key(&turns.snapshot, provider, key, id, status);
                let message = "the provider refused the gateway's key; its operator must check it";
                Err(ApiError::new(ErrorCode::UpstreamAuth, message).into())
            }
            Upgrade::Refused(response) => Err(Stop::Refused(Box::new(refused(response).await))),
        }
    }
}

/// Makes a refusal of a provider's answer. What it says in `error` goes to the client as it came,
/// since clients read it.
async fn refused(response: UpstreamResponse) -> Refusal {
    #[derive(Deserialize)]
    struct Answer<'b> {
        #[serde(borrow)]
        error: &'b RawValue,
    }
    let status = response.status;
    if !status.is_client_error() && !status.is_server_error() {
        return Refusal::from(failure::unexpected_status(status));
    }
    let message = format!("the provider refused the session with the status {}", status.as_u16());
    let mut refusal = Refusal::from(ApiError::new(ErrorCode::UpstreamProtocol, message));
    let mut body = response.body;
    let mut whole = BytesMut::new();
    while let Some(Ok(frame)) = body.frame().await {
        let data = frame.into_data().unwrap_or_default();
        if whole.len() + data.len() > MAX_ERROR_BYTES {
            return refusal;
        }
        whole.extend_from_slice(&data);
    }
    if let Ok(Answer { error }) = serde_json::from_slice(&whole) {
        refusal.event = Some(passed_error_message(status, error));
    }
    refusal
}

/// Carries the client's messages to the provider, each that asks for an answer routed again.
pub(super) async fn carry<R, W>(
    joined: Turned<'_>,
    reader: &mut MessageReader,
    from: &mut R,
    to: &mut W,
    bytes: &mut u64,
) -> Copied
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let Turned { turns, provider, first } = joined;
    let server = &turns.snapshot.server;
    let waits = Waits {
        // The provider may be at work for long, and the user at thought.
        idle: None,
        piece: server.limits.body_idle_timeout,
        whole: server.limits.max_request_duration,
    };
    let mut sent = FrameTracker::default();
    let mut next = Ok(Inbound::Text(first));
    let mut is_routed = true;
    loop {
        let (opcode, payload) = match next {
            Ok(Inbound::Text(text)) if is_routed => (Opcode::Text, text),
            Ok(Inbound::Text(text)) => match turns.later(text, provider).await {
                Ok(text) => (Opcode::Text, text),
                Err(error) => return Copied::Refused(Box::new(error.into())),
            },
            Ok(Inbound::Control(opcode, payload)) => (opcode, payload),
            Err(Unread::Gone) => return Copied::Ended,
            Err(Unread::Refused(refusal)) => return Copied::Refused(refusal),
        };
        is_routed = false;
        let Ok(key) = masking_key() else { return Copied::Lost };
        let frame = frame(opcode, &payload, Some(key));
        if !send(to, &frame, &mut sent, &mut 0, server.timeouts.write).await {
            return Copied::Lost;
        }
        if opcode == Opcode::Close {
            return Copied::Closed;
        }
        next = reader.read(from, waits, bytes).await;
    }
}

/// What carrying needs of a [`Joined`] whose connection is in use.
pub(super) struct Turned<'j> {
    pub(super) turns: &'j Turns,
    pub(super) provider: ProviderIndex,
    pub(super) first: Bytes,
}

/// Draws a key that nobody can foresee (RFC 6455 §5.3).
fn masking_key() -> Result<[u8; 4], aws_lc_rs::error::Unspecified> {
    let mut key = [0; 4];
    aws_lc_rs::rand::fill(&mut key)?;
    Ok(key)
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("turns", &self.turns.scope).finish_non_exhaustive()
    }
}
