//! What a request gets that the gateway does not answer otherwise: an error, on a connection that can be used
//! again where all of the request could be read away.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use gate_model_ref::ProviderKind;
use gate_usage::EndReason;
use http::header::{CONNECTION, HeaderValue};
use http::{Method, Response};
use http_body::Body;
use tokio::time::Instant;

use super::list_dialect;
use crate::body::GateBody;
use crate::client_headers::{Field, Present};
use crate::error::{ApiError, ErrorCode};
use crate::exchange::Exchange;
use crate::route::Route;
use crate::upload::ClientBody;
use crate::{answer, receive};

/// What is read of a body that nobody wants, so that its sender gets to read the answer.
const DRAIN_BYTES: usize = 256 * 1024;
/// A refusal does not wait for more than has come: the rest is read away behind the answer.
const DRAIN_TIME: Duration = Duration::from_millis(20);

/// Answers with an error, and reads away what is left of the request, so that its sender gets to read that.
pub(super) async fn turn_away<B>(
    error: &ApiError,
    dialect: ProviderKind,
    mut exchange: Box<Exchange>,
    (mut body, present): (ClientBody<B>, Present),
) -> Response<GateBody>
where
    B: Body<Data = Bytes> + Unpin,
{
    // Reading on would ask a client that waits for permission to send its body, and what a panic left of
    // a body is not to be touched.
    let begin = Instant::now();
    let is_read = error.code != ErrorCode::InternalError
        && (body.is_end_stream()
            || (!present.has(Field::Expect)
                && receive::drain(Pin::new(&mut body), DRAIN_BYTES, DRAIN_TIME).await));
    exchange.wait(begin.elapsed());
    let mut response = refuse(error, dialect, exchange);
    if !is_read {
        // What follows on this connection could be the rest of a body.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Renders an error and settles its account.
fn refuse(error: &ApiError, dialect: ProviderKind, mut exchange: Box<Exchange>) -> Response<GateBody> {
    if let Some(detail) = &error.detail {
        log::warn!("{}: {}: {detail}", exchange.id.as_str(), error.code.as_str());
    }
    let mut response = error.render(dialect, &exchange.id);
    answer::mark(response.headers_mut(), &mut exchange);
    exchange.set_status(response.status());
    exchange.fail(error.code);
    exchange.end(EndReason::GatewayError);
    response.body_mut().settle(exchange);
    response
}

/// Returns the dialect in which a request's sender reads errors. The path decides where it can,
/// the version header of Anthropic's clients elsewhere.
pub(super) fn dialect_of(path: &str, has_version: bool) -> ProviderKind {
    if let Ok(Route::Forward(route)) = Route::parse(&Method::POST, path, has_version) {
        return route.kind;
    }
    let first = path.split('/').nth(1).unwrap_or_default();
    ProviderKind::from_segment(first).unwrap_or(list_dialect(has_version))
}
