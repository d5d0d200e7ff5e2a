//! What a message on `/v1/responses` asks for. Every `response.create` names its model, at the top
//! or in `response`, and is routed and spliced like the body of a POST; any other event passes.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Bytes, BytesMut};
use gate_balance::Attempt;
use gate_config::{ProviderIndex, Scope};
use gate_model_ref::ProviderKind;
use gate_upstream::RequestBody;
use http::HeaderMap;
use http_body_util::BodyExt as _;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::births::Births;
use crate::balance::{Stop, Way};
use crate::error::{ApiError, ErrorCode};
use crate::head::RequestHead;
use crate::journey::Journey;
use crate::makers::{self, Makers};
use crate::plan::{self, Choice};
use crate::route::{Forward, Operation, Pin};
use crate::scope::Scopes;
use crate::snapshot::Snapshot;

/// Where the messages of one session go: all to the provider of the first one.
#[derive(Debug)]
pub(super) struct Turns {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) kind: ProviderKind,
    pub(super) scope: Scope,
    pub(super) makers: Arc<Makers>,
    /// Whether the answer to the latest message can be named by a later request.
    pub(super) makes_object: AtomicBool,
    /// Whether the client brings the provider's key.
    pub(super) is_for_provider: bool,
}

/// A message that asks for an answer.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) journey: Journey,
    pub(super) attempt: Attempt,
    pub(super) stop: Stop,
    /// The message to send.
    pub(super) text: Bytes,
}

/// The part of an event that says what it is.
#[derive(Deserialize)]
struct Envelope<'b> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'b, str>>,
    #[serde(borrow)]
    response: Option<&'b RawValue>,
}

impl Turns {
    /// Returns what notes the responses that `provider` makes in this session, where that matters.
    pub(super) fn births(&self, provider: ProviderIndex) -> Option<Births> {
        let maker = || self.snapshot.endpoint(provider).shared_name();
        makers::matters(&self.snapshot.providers, provider)
            .then(|| Births::new(Arc::clone(&self.makers), maker()))
    }

    /// Tells whether a response that now begins can be named later.
    pub(super) fn makes_object(&self) -> bool {
        self.makes_object.load(Ordering::Relaxed)
    }

    /// Routes the first message; `headers` may tell its session.
    ///
    /// # Errors
    /// As for a POST, and for an event that asks for nothing.
    pub(super) async fn first(&self, text: &Bytes, headers: &HeaderMap) -> Result<Turn, ApiError> {
        let choice = if self.is_for_provider { Choice::First } else { Choice::WebSocket(headers) };
        let mut begun = None;
        let pick = |way: Way, object: &Bytes| {
            let (journey, attempt) = plan::begin(&self.snapshot, way, choice, Some(object))?;
            let stop = journey.stop(&attempt).clone();
            begun = Some((journey, attempt));
            Ok(stop)
        };
        let routed = self.route(text, choice, pick).await?;
        let (Some((stop, text)), Some((journey, attempt))) = (routed, begun) else {
            let message = "the first message must be a `response.create` that names its `model`";
            return Err(ApiError::new(ErrorCode::BadRequest, message));
        };
        Ok(Turn { journey, attempt, stop, text })
    }

    /// Routes a later message, and returns what to send to `provider`.
    ///
    /// # Errors
    /// As for a POST, and for a model or an object of another provider.
    pub(super) async fn later(&self, text: Bytes, provider: ProviderIndex) -> Result<Bytes, ApiError> {
        let no_session = HeaderMap::new();
        let choice = if self.is_for_provider { Choice::First } else { Choice::WebSocket(&no_session) };
        let pick = |way: Way, _: &Bytes| {
            let mut stops = way.stops().iter();
            if let Some(stop) = stops.clone().find(|stop| stop.provider == provider) {
                return Ok(stop.clone());
            }
            let other = stops.next().map_or(provider, |stop| stop.provider);
            Err(ApiError::new(
                ErrorCode::BadRequest,
                format!(
                    "this session is with provider `{}`, and this message belongs to `{}`: open another one for it",
                    self.snapshot.endpoint(provider).name(),
                    self.snapshot.endpoint(other).name(),
                ),
            ))
        };
        Ok(self.route(&text, choice, pick).await?.map_or(text, |(_, spliced)| spliced))
    }

    /// Finds where a message goes, which `pick` decides of those that may have it, and what is sent;
    /// nothing for a message that asks for no answer.
    async fn route(
        &self,
        text: &Bytes,
        choice: Choice<'_>,
        pick: impl FnOnce(Way, &Bytes) -> Result<Stop, ApiError>,
    ) -> Result<Option<(Stop, Bytes)>, ApiError> {
        // The same strict reading as of a body, whatever the event is.
        let head = RequestHead::parse(text)?;
        let envelope: Envelope<'_> = serde_json::from_slice(text).map_err(|error| {
            ApiError::new(ErrorCode::BadRequest, format!("the event cannot be told: {error}"))
        })?;
        if envelope.kind.as_deref() != Some("response.create") {
            return Ok(None);
        }
        let nested = envelope.response.map(RawValue::get).filter(|response| response.starts_with('{'));
        let Some(nested) = nested else { return self.plan(text, choice, pick).await.map(Some) };
        let start = nested.as_ptr().addr() - text.as_ptr().addr();
        let end = start + nested.len();
        let nested = text.slice(start..end);
        if head.model.is_some() {
            if RequestHead::parse(&nested)?.model.is_some() {
                let message = "`model` stands both in the event and in its `response`; send it once";
                return Err(ApiError::new(ErrorCode::DuplicateKey, message));
            }
            return self.plan(text, choice, pick).await.map(Some);
        }
        let (stop, spliced) = self.plan(&nested, choice, pick).await?;
        let mut whole = BytesMut::with_capacity(text.len() + spliced.len());
        whole.extend_from_slice(&text.slice(..start));
        whole.extend_from_slice(&spliced);
        whole.extend_from_slice(&text.slice(end..));
        Ok(Some((stop, whole.freeze())))
    }

    async fn plan(
        &self,
        object: &Bytes,
        choice: Choice<'_>,
        pick: impl FnOnce(Way, &Bytes) -> Result<Stop, ApiError>,
    ) -> Result<(Stop, Bytes), ApiError> {
        let route = Forward {
            // The scope says what the path pinned.
            pin: Pin::None,
            kind: self.kind,
            tail: super::RESPONSES,
            operation: Operation::Responses,
        };
        let scopes = Scopes { named: self.scope, unnamed: self.scope, makers: &self.makers };
        let (way, makes_object) = plan::plan_message(&self.snapshot, &route, scopes, object, choice)?;
        let stop = pick(way, object)?;
        self.makes_object.store(makes_object, Ordering::Relaxed);
        let body = plan::splice_message(&self.snapshot, &route, object, &stop)?;
        Ok((stop, whole(body).await))
    }
}

/// Joins the slices of a body.
async fn whole(body: RequestBody) -> Bytes {
    // What was planned from slices in memory has no source that could fail.
    body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default()
}
