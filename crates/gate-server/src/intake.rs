//! Decides how much of a body is read before its request goes on: all of it where a model is looked
//! for in JSON, up to the model in a form, nothing of what is only passed on.

use std::pin::Pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use gate_config::Limits;
use gate_upstream::{BodySource, RequestBody};
use http_body::Body;

use crate::body_memory::Bounds;
use crate::client_headers::ClientHeaders;
use crate::content;
use crate::error::{ApiError, ErrorCode};
use crate::form::{Boundary, FormScanner, Key, RoutingPart};
use crate::head::Scanner;
use crate::pace::Pace;
use crate::receive::{self, Incoming};
use crate::route::Operation;
use crate::upload::{self, ClientBody, Upload, UploadLimits, UploadProgress};

/// A body up to this declared length is read first even where no model is looked for, since
/// what is held can be sent again whatever of it was taken when a kept connection turns out to be closed.
const HELD_OPAQUE_BYTES: u64 = 64 * 1024;
/// A form up to this length, declared or not, is read to its end before any of it is sent, so that what
/// is wrong with it shows before a provider is asked.
const HELD_FORM_BYTES: u64 = 1024 * 1024;

/// A body as far as it was read.
pub(crate) struct Received {
    /// What the held bytes are.
    pub(crate) content: Content,
    pub(crate) held: Bytes,
    /// What is still to come.
    rest: Option<Rest>,
    pub(crate) progress: Arc<UploadProgress>,
}

/// What a body is, as far as routing goes.
#[derive(Debug)]
pub(crate) enum Content {
    /// All of a text that should be JSON, and what has read in it already.
    Json(Option<Box<Scanner>>),
    /// A form with its model, if it has one.
    Form(Option<RoutingPart>),
    /// A form with its session, if it has one.
    Session(Option<RoutingPart>),
    /// No model is looked for.
    Opaque,
}

struct Rest {
    source: BodySource,
    length: Option<u64>,
}

impl Received {
    /// Makes the body to send, as it came.
    pub(crate) fn into_body(self) -> RequestBody {
        match self.rest {
            None => RequestBody::whole(self.held),
            Some(rest) => RequestBody::streamed([self.held], rest.source, rest.length),
        }
    }
}

/// Reads as much of a body as its route needs.
///
/// # Errors
/// 415 for a content type that the route does not read; 413, 408 and 400 for a body that is too
/// large, too slow or broken; 503 for one that finds no room; 400 for a form that is none.
///
/// # Cancel safety
/// Dropping the future loses what was read; the connection is then closed by its owner.
pub(crate) async fn take_in<B>(
    body: &mut ClientBody<B>,
    headers: ClientHeaders<'_>,
    operation: Operation,
    bounds: Bounds<'_>,
) -> Result<Received, ApiError>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    if !body.is_end_stream() {
        if let Some(key) = form_key(operation)
            && let Some(boundary) = content::form_boundary(headers)?
        {
            // Boxed: most bodies are JSON, and would take its room along.
            return Box::pin(take_in_form(body, (&boundary, key), bounds)).await;
        }
        if operation.reads_json() {
            content::require_json(headers)?;
        }
    }
    let is_small = || body.size_hint().exact().is_some_and(|length| length <= HELD_OPAQUE_BYTES);
    if operation.reads_json() || body.is_end_stream() || is_small() {
        // A batch has a reader of its own.
        let has_head = operation.reads_json() && operation != Operation::MessageBatch;
        let mut scanner = None::<Box<Scanner>>;
        let look = |so_far: &[u8]| {
            if has_head {
                scanner.get_or_insert_default().look(so_far);
            }
        };
        let held = receive::receive(Pin::new(body), bounds, look).await?;
        let progress = Arc::<UploadProgress>::default();
        progress.add(held.len());
        progress.set_whole();
        let content = if operation.reads_json() { Content::Json(scanner) } else { Content::Opaque };
        return Ok(Received { content, held, rest: None, progress });
    }
    check_declared(body, bounds.limits)?;
    let progress = Arc::default();
    let rest = rest(body, bounds.limits, None, &progress);
    Ok(Received { content: Content::Opaque, held: Bytes::new(), rest: Some(rest), progress })
}

/// Returns the part of a form that says where the form goes, where forms are read.
const fn form_key(operation: Operation) -> Option<Key> {
    match operation {
        Operation::Form => Some(Key::Model),
        Operation::Call => Some(Key::Session),
        _ => None,
    }
}

/// Reads a form to the part by which it is routed, or to its end if it is small or has none.
async fn take_in_form<B>(
    body: &mut ClientBody<B>,
    (boundary, key): (&Boundary, Key),
    bounds: Bounds<'_>,
) -> Result<Received, ApiError>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    let limits = bounds.limits;
    check_declared(body, limits)?;
    let declared = body.size_hint().exact();
    let mut hold = bounds.enter(declared).await?;
    let mut incoming = Incoming::new(limits);
    let progress = Arc::<UploadProgress>::default();
    let mut form = FormScanner::new(boundary, key);
    let mut held = BytesMut::new();
    let is_whole = loop {
        // One that does not say how long it is may be that small until it has been longer.
        let is_large = declared.unwrap_or_else(|| progress.bytes()) > HELD_FORM_BYTES;
        if form.found().is_some() && is_large && !body.is_over() {
            break false;
        }
        let Some(data) = incoming.next(Pin::new(body)).await? else {
            form.finish().map_err(|error| error.to_api_error().closing())?;
            progress.set_whole();
            break true;
        };
        let total = progress.add(data.len());
        form.push(&data).map_err(|error| error.to_api_error().closing())?;
        if total > limits.max_request_bytes && form.found().is_none() {
            return Err(not_so_far(key, limits.max_request_bytes));
        }
        hold.cover(held.len() + data.len())?;
        held.extend_from_slice(&data);
    };
    let found = form.found().cloned();
    let content = match key {
        Key::Model => Content::Form(found),
        Key::Session => Content::Session(found),
    };
    let rest = (!is_whole).then(|| rest(body, limits, Some(form), &progress));
    Ok(Received { content, held: hold.keep(held.freeze()), rest, progress })
}

/// Refuses what is known to be too large before any of it is read.
fn check_declared(body: &impl Body, limits: &Limits) -> Result<(), ApiError> {
    match limits.max_upload_bytes {
        Some(limit) if body.size_hint().lower() > limit => Err(upload::too_large(limit)),
        _ => Ok(()),
    }
}

/// Makes what passes the rest of a body on.
fn rest<B>(
    body: &ClientBody<B>,
    limits: &Limits,
    form: Option<FormScanner>,
    progress: &Arc<UploadProgress>,
) -> Rest
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    let length = body.size_hint().exact();
    let limits = UploadLimits { bytes: limits.max_upload_bytes, pace: Pace::new(limits) };
    let upload = Upload::new(body.clone(), limits, form, Arc::clone(progress));
    Rest { source: Box::pin(upload), length }
}

fn not_so_far(key: Key, limit: u64) -> ApiError {
    let name = key.name();
    let message = format!(
        "the form has no `{name}` in its first {limit} bytes (`[llm.limits] max_request_size_mb`); send the part \
         `{name}` before the files"
    );
    ApiError::new(ErrorCode::RequestTooLarge, message).closing()
}
