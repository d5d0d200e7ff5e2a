//! The models of a batch of messages: `requests[].params.model`, found without building a value of
//! anything else.

use std::fmt;

use bytes::Bytes;
use gate_upstream::RequestBody;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::error::{ApiError, ErrorCode};
use crate::head::{self, RequestHead};
use crate::objects::NamedObjects;

/// The name that one request of a batch gives its model.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BatchModel<'b> {
    pub(crate) name: String,
    /// The objects that the request names beside it.
    pub(crate) objects: NamedObjects<'b>,
    /// Where the value stands in the body, quotes included.
    span: std::ops::Range<usize>,
}

/// Reads the models of a batch, in the order of its requests.
///
/// # Errors
/// As [`RequestHead::parse`], for the batch and for the `params` of each of its requests; and 400
/// `missing_model` for one that names none. The message says which request it is.
pub(crate) fn models(body: &[u8]) -> Result<Vec<BatchModel<'_>>, ApiError> {
    let text = head::decode(body)?;
    let Some(requests) = member(text, "requests")? else { return Ok(Vec::new()) };
    let requests: Vec<&RawValue> = serde_json::from_str(requests.get())
        .map_err(|_| ApiError::new(ErrorCode::BadRequest, "`requests` must be an array of objects"))?;
    requests.iter().enumerate().map(|(at, request)| model(text, at, request.get())).collect()
}

/// Returns the body with these names for its models, or as it is where nothing differs.
pub(crate) fn splice<'m>(
    body: &Bytes,
    models: &[BatchModel<'_>],
    upstream_models: impl IntoIterator<Item = &'m str>,
) -> RequestBody {
    let mut pieces = Vec::new();
    let mut done = 0;
    for (model, upstream_model) in models.iter().zip(upstream_models) {
        if model.name != upstream_model {
            pieces.push(body.slice(done..model.span.start));
            pieces.push(head::quoted(upstream_model).into());
            done = model.span.end;
        }
    }
    if pieces.is_empty() {
        return RequestBody::whole(body.clone());
    }
    pieces.push(body.slice(done..));
    RequestBody::pieces(pieces)
}

fn model<'b>(body: &'b str, at: usize, request: &'b str) -> Result<BatchModel<'b>, ApiError> {
    let name_it =
        |error: ApiError| ApiError { message: format!("requests[{at}]: {}", error.message).into(), ..error };
    let missing = || ApiError::new(ErrorCode::MissingModel, "`params` names no `model`");
    if !request.starts_with('{') {
        return Err(name_it(ApiError::new(ErrorCode::BadRequest, "it must be an object")));
    }
    let params = member(request, "params").and_then(|params| params.ok_or_else(missing)).map_err(name_it)?;
    let head = RequestHead::parse(params.get().as_bytes()).map_err(name_it)?;
    let model = head.model.filter(|model| !model.name.is_empty()).ok_or_else(missing).map_err(name_it)?;
    // Each raw value is a slice of the body, so the difference of the addresses is its place.
    let start = params.get().as_ptr().addr() - body.as_ptr().addr();
    let span = start + model.span.start..start + model.span.end;
    Ok(BatchModel { name: model.name.into_owned(), objects: head.objects, span })
}

/// Finds the one member of an object that has the name.
fn member<'b>(object: &'b str, name: &'static str) -> Result<Option<&'b RawValue>, ApiError> {
    let mut json = serde_json::Deserializer::from_str(object);
    let found = json.deserialize_map(MemberVisitor(name)).and_then(|found| json.end().map(|()| found));
    match found.map_err(|error| head::invalid_json(&error))? {
        Found::None => Ok(None),
        Found::One(value) => Ok(Some(value)),
        Found::Several => Err(ApiError::new(
            ErrorCode::DuplicateKey,
            format!("`{name}` stands in one object more than once; send it once"),
        )),
    }
}

enum Found<'b> {
    None,
    One(&'b RawValue),
    Several,
}

struct MemberVisitor(&'static str);

impl<'de> Visitor<'de> for MemberVisitor {
    type Value = Found<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found<'de>, A::Error> {
        let mut found = Found::None;
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            if key != self.0 {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let value = map.next_value()?;
            found = if matches!(found, Found::None) { Found::One(value) } else { Found::Several };
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests;
