//! What a message on `/v1/responses` asks for. Every `response.create` names its model, at the top
//! or in `response`, and is routed and spliced like the body of a POST; any other event passes.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Bytes, BytesMut};
use gate_config::{ProviderIndex, Scope};
use gate_model_ref::ProviderKind;
use gate_upstream::RequestBody;
use http_body_util::BodyExt as _;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::births::Births;
use crate::error::{ApiError, ErrorCode};
use crate::head::RequestHead;
use crate::makers::{self, Makers};
use crate::plan::{self, Plan};
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
}

/// A message that asks for an answer.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) provider: ProviderIndex,
    pub(super) model: Option<Box<str>>,
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

    /// Routes the first message.
    ///
    /// # Errors
    /// As for a POST, and for an event that asks for nothing.
    pub(super) async fn first(&self, text: &Bytes) -> Result<Turn, ApiError> {
        self.route(text).await?.ok_or_else(|| {
            let message = "the first message must be a `response.create` that names its `model`";
            ApiError::new(ErrorCode::BadRequest, message)
        })
    }

    /// Routes a later message, and returns what to send to `provider`.
    ///
    /// # Errors
    /// As for a POST, and for a model or an object of another provider.
    pub(super) async fn later(&self, text: Bytes, provider: ProviderIndex) -> Result<Bytes, ApiError> {
        match self.route(&text).await? {
            None => Ok(text),
            Some(turn) if turn.provider == provider => Ok(turn.text),
            Some(turn) => Err(ApiError::new(
                ErrorCode::BadRequest,
                format!(
                    "this session is with provider `{}`, and this message belongs to `{}`: open another one for it",
                    self.snapshot.endpoint(provider).name(),
                    self.snapshot.endpoint(turn.provider).name(),
                ),
            )),
        }
    }

    async fn route(&self, text: &Bytes) -> Result<Option<Turn>, ApiError> {
        // The same strict reading as of a body, whatever the event is.
        let head = RequestHead::parse(text)?;
        let envelope: Envelope<'_> = serde_json::from_slice(text).map_err(|error| {
            ApiError::new(ErrorCode::BadRequest, format!("the event cannot be told: {error}"))
        })?;
        if envelope.kind.as_deref() != Some("response.create") {
            return Ok(None);
        }
        let nested = envelope.response.map(RawValue::get).filter(|response| response.starts_with('{'));
        let Some(nested) = nested else { return self.plan(text.clone()).await.map(Some) };
        let start = nested.as_ptr().addr() - text.as_ptr().addr();
        let end = start + nested.len();
        let nested = text.slice(start..end);
        if head.model.is_some() {
            if RequestHead::parse(&nested)?.model.is_some() {
                let message = "`model` stands both in the event and in its `response`; send it once";
                return Err(ApiError::new(ErrorCode::DuplicateKey, message));
            }
            return self.plan(text.clone()).await.map(Some);
        }
        let turn = self.plan(nested).await?;
        let mut whole = BytesMut::with_capacity(text.len() + turn.text.len());
        whole.extend_from_slice(&text.slice(..start));
        whole.extend_from_slice(&turn.text);
        whole.extend_from_slice(&text.slice(end..));
        Ok(Some(Turn { text: whole.freeze(), ..turn }))
    }

    async fn plan(&self, object: Bytes) -> Result<Turn, ApiError> {
        let route = Forward {
            // The scope says what the path pinned.
            pin: Pin::None,
            kind: self.kind,
            tail: super::RESPONSES,
            operation: Operation::Responses,
        };
        let scopes = Scopes { named: self.scope, unnamed: self.scope, makers: &self.makers };
        let Plan { provider, body, model, makes_object, .. } =
            plan::plan_message(&self.snapshot, &route, scopes, &object)?;
        self.makes_object.store(makes_object, Ordering::Relaxed);
        Ok(Turn { provider, model, text: whole(body).await })
    }
}

/// Joins the slices of a body.
async fn whole(body: RequestBody) -> Bytes {
    // What was planned from slices in memory has no source that could fail.
    body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default()
}
