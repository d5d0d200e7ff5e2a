//! What is sent of a request to one provider, and what is kept of it for another.

use std::ops::Range;

use bytes::Bytes;
use gate_upstream::RequestBody;

use crate::balance::Stop;
use crate::extra_frame::ExtraFrame;
use crate::head::{self, RequestHead};
use crate::query::ModelQuery;
use crate::route::{Forward, Operation};
use crate::snapshot::Snapshot;

/// What one attempt sends.
pub(crate) struct Cargo {
    pub(crate) body: RequestBody,
    /// The query, where it names the model and that is replaced in it.
    pub(crate) query: Option<String>,
    /// What is not the client's own of the answer, because the gateway asked for it.
    pub(crate) extra_frame: Option<ExtraFrame>,
}

/// What is kept of a request, so that it can be sent again.
pub(crate) enum Kept {
    /// Nothing: it has passed, and passes only once.
    Nothing,
    /// The same for whoever gets it.
    Same { body: RequestBody, query: Option<String>, has_extra_frame: bool },
    /// JSON whose model is another at each provider.
    Json(Bytes),
    /// A form whose model is, and where that is spelled in the body.
    Form { body: RequestBody, span: Range<usize>, spelling: Spelling },
    /// A query whose model is.
    Query { query: String, body: RequestBody },
}

impl Cargo {
    pub(super) fn plain(body: RequestBody) -> Self {
        Self { body, query: None, extra_frame: None }
    }

    /// Returns what is kept of this for targets that all get the same.
    pub(super) fn kept(&self) -> Kept {
        match self.body.try_clone() {
            None => Kept::Nothing,
            Some(body) => {
                Kept::Same { body, query: self.query.clone(), has_extra_frame: self.extra_frame.is_some() }
            }
        }
    }
}

impl Kept {
    /// Makes what another attempt sends; `None` where this [is spent](Self::is_spent).
    pub(crate) fn cargo(&self, snapshot: &Snapshot, route: &Forward<'_>, stop: &Stop) -> Option<Cargo> {
        let model = stop.model.as_deref().unwrap_or_default();
        match self {
            Self::Nothing => None,
            Self::Same { body, query, has_extra_frame } => Some(Cargo {
                body: body.try_clone()?,
                query: query.clone(),
                extra_frame: has_extra_frame.then(ExtraFrame::default),
            }),
            Self::Json(body) => {
                Some(json_cargo(snapshot, route, &RequestHead::parse(body).ok()?, body, stop))
            }
            Self::Form { body, span, spelling } => {
                Some(Cargo::plain(body.try_clone()?.replacing(span.clone(), spelling.of(model))))
            }
            Self::Query { query, body } => Some(Cargo {
                query: Some(ModelQuery::parse(query).ok()?.splice(query, model)),
                ..Cargo::plain(body.try_clone()?)
            }),
        }
    }

    /// Tells whether there is nothing left to send: the body passes only once, and a provider may have had
    /// some of it.
    pub(crate) fn is_spent(&self) -> bool {
        match self {
            Self::Nothing => true,
            Self::Json(_) => false,
            Self::Same { body, .. } | Self::Form { body, .. } | Self::Query { body, .. } => body.is_spent(),
        }
    }
}

/// How a form spells its model.
#[derive(Clone, Copy)]
pub(crate) enum Spelling {
    /// As it is.
    Plain,
    /// As a JSON string.
    Json,
}

impl Spelling {
    pub(super) fn of(self, model: &str) -> Bytes {
        match self {
            Self::Plain => Bytes::copy_from_slice(model.as_bytes()),
            Self::Json => Bytes::from(head::quoted(model)),
        }
    }
}

/// Makes what is sent of a JSON body to one stop.
pub(super) fn json_cargo(
    snapshot: &Snapshot,
    route: &Forward<'_>,
    head: &RequestHead<'_>,
    body: &Bytes,
    stop: &Stop,
) -> Cargo {
    let Some(model) = &stop.model else { return Cargo::plain(RequestBody::whole(body.clone())) };
    let may_ask = snapshot.providers.provider(stop.provider).inject_stream_usage
        && matches!(route.operation, Operation::ChatCompletions | Operation::Completions);
    let usage = if may_ask { head.usage_edit() } else { None };
    Cargo {
        extra_frame: usage.as_ref().map(|_| ExtraFrame::default()),
        body: head.splice(body, model, usage),
        query: None,
    }
}
