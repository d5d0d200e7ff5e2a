//! The head of a JSON request: the few members that decide where it goes, found without building
//! a value of it. Nested members of the same names are not looked at.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use gate_upstream::RequestBody;
use serde::de::IgnoredAny;

use crate::error::{ApiError, ErrorCode};
use crate::objects::NamedObjects;

mod members;
mod scan;

use members::Members;
pub(crate) use scan::Scanner;

/// What a JSON request says about itself, borrowed from its body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RequestHead<'b> {
    /// The top-level `model`, if there is one.
    pub(crate) model: Option<ModelMember<'b>>,
    /// Whether a `prompt` stands beside it: a stored prompt can bring its own model.
    pub(crate) has_prompt: bool,
    /// The objects that it names.
    pub(crate) objects: NamedObjects<'b>,
    /// Whether the provider is told to keep the answer.
    pub(crate) store: Option<bool>,
    /// Whether a `Model` in other letters is there.
    has_model_twin: bool,
    is_streaming: bool,
    stream_options: StreamOptions<'b>,
    /// The first byte behind the opening brace, and whether the object is empty.
    opening: Opening,
}

/// The value of the top-level `model`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ModelMember<'b> {
    /// The name, with escapes resolved.
    pub(crate) name: Cow<'b, str>,
    /// Where the value stands in the body, quotes included.
    pub(crate) span: Range<usize>,
}

/// The top-level `stream_options`.
#[derive(Debug, PartialEq, Eq)]
enum StreamOptions<'b> {
    Absent,
    /// The value, and where it stands.
    Given(&'b [u8], Range<usize>),
    /// There are two, and readers differ in which one they take.
    Repeated,
}

/// One change of a body: what stands instead of a span, which may be empty.
#[derive(Debug)]
pub(crate) struct Edit {
    span: Range<usize>,
    text: String,
}

#[derive(Debug, PartialEq, Eq)]
struct Opening {
    after_brace: usize,
    is_empty: bool,
}

impl<'b> RequestHead<'b> {
    /// Reads a body in one pass that checks all of its syntax.
    ///
    /// Strings and numbers that are skipped are passed on as they are, whatever they hold.
    ///
    /// # Errors
    /// 400 for a body that is not one JSON object in UTF-8, for a routing member that stands in it
    /// twice (readers differ in which one they take), for one of the wrong type, and for a `Model`
    /// beside `model` (readers that ignore case would take either).
    pub(crate) fn parse(body: &'b [u8]) -> Result<Self, ApiError> {
        Self::parse_on(Scanner::default(), body)
    }

    /// Does the same for a body that a scanner has [looked at](Scanner::look) as it came.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub(crate) fn parse_on(scanner: Scanner, body: &'b [u8]) -> Result<Self, ApiError> {
        let members = scanner.finish(body).map_or_else(|| Members::read_with_serde(body), Ok)?;
        Self::of_members(&members, body)
    }

    fn of_members(members: &Members, body: &'b [u8]) -> Result<Self, ApiError> {
        if let Some(name) = members.duplicate {
            return Err(duplicate(name));
        }
        let at = |span: &Range<usize>| body.get(span.clone()).unwrap_or_default();
        let stream = members.stream.as_ref().map(at);
        check_stream(stream)?;
        let model = members.model.clone().map(|span| ModelMember::parse(at(&span), span)).transpose()?;
        // The object was read, so its brace is the first byte that is not white space.
        let after_brace = memchr::memchr(b'{', body).map_or(0, |at| at + 1);
        let opening = Opening { after_brace, is_empty: members.is_empty() };
        let stream_options = match &members.stream_options {
            _ if members.is_stream_options_repeated => StreamOptions::Repeated,
            Some(span) => StreamOptions::Given(at(span), span.clone()),
            None => StreamOptions::Absent,
        };
        Ok(Self {
            model,
            has_prompt: members.has_prompt,
            // Both readers have checked that it is text.
            objects: NamedObjects::new(&members.objects, |span| str::from_utf8(at(span)).unwrap_or_default()),
            store: members.store,
            has_model_twin: members.has_model_twin,
            is_streaming: stream == Some(b"true"),
            stream_options,
            opening,
        })
    }

    /// Checks that a model can be put into a body that names none.
    ///
    /// # Errors
    /// 400 where a `Model` is there: readers that ignore case would take it instead.
    pub(crate) fn require_no_twin(&self) -> Result<(), ApiError> {
        if self.has_model_twin && self.model.is_none() { Err(duplicate("model")) } else { Ok(()) }
    }

    /// Returns the edit that asks for the usage of a stream, if the client left that open: it said
    /// neither yes nor no. What is no object is left to the provider to refuse.
    pub(crate) fn usage_edit(&self) -> Option<Edit> {
        const ASK: &str = "\"include_usage\":true";
        if !self.is_streaming {
            return None;
        }
        match &self.stream_options {
            StreamOptions::Repeated => None,
            StreamOptions::Absent => {
                let member = format!("\"stream_options\":{{{ASK}}}");
                // Behind the model, whose value is often replaced: then both are one slice. The
                // object is not empty, since it has `stream`.
                Some(match &self.model {
                    Some(model) => Edit::insertion(model.span.end, format!(",{member}")),
                    None => Edit::insertion(self.opening.after_brace, format!("{member},")),
                })
            }
            StreamOptions::Given(b"null", span) => {
                Some(Edit { span: span.clone(), text: format!("{{{ASK}}}") })
            }
            StreamOptions::Given(options, span) => {
                let members: BTreeMap<String, IgnoredAny> = serde_json::from_slice(options).ok()?;
                let separator = if members.is_empty() { "" } else { "," };
                let edit = || Edit::insertion(span.start + 1, format!("{ASK}{separator}"));
                (!members.contains_key("include_usage")).then(edit)
            }
        }
    }

    /// Returns the edit that makes the body name `upstream_model`, unless it does so already.
    fn model_edit(&self, upstream_model: &str) -> Option<Edit> {
        match &self.model {
            Some(member) if member.name == upstream_model => None,
            Some(member) => Some(Edit { span: member.span.clone(), text: quoted(upstream_model) }),
            None => {
                let separator = if self.opening.is_empty { "" } else { "," };
                let member = format!("\"model\":{}{separator}", quoted(upstream_model));
                Some(Edit::insertion(self.opening.after_brace, member))
            }
        }
    }

    /// Returns the body to send so that it names `upstream_model` and has `usage` done to it: the
    /// whole body where nothing changes, else slices around what does. Only what stands between two
    /// changes is copied, and mostly that is nothing.
    pub(crate) fn splice(&self, body: &Bytes, upstream_model: &str, usage: Option<Edit>) -> RequestBody {
        match (self.model_edit(upstream_model), usage) {
            (None, None) => RequestBody::whole(body.clone()),
            (Some(edit), None) | (None, Some(edit)) => edit.splice(body),
            (Some(one), Some(other)) if one.span.start <= other.span.start => {
                one.and(&other, body).splice(body)
            }
            (Some(one), Some(other)) => other.and(&one, body).splice(body),
        }
    }
}

impl Edit {
    fn insertion(at: usize, text: String) -> Self {
        Self { span: at..at, text }
    }

    /// Makes one edit of two, of which `later` stands behind this one.
    fn and(self, later: &Self, body: &Bytes) -> Self {
        // The body was read as text, and both ends are those of values in it.
        let between = body.get(self.span.end..later.span.start).unwrap_or_default();
        let between = String::from_utf8_lossy(between);
        Self { span: self.span.start..later.span.end, text: self.text + &between + &later.text }
    }

    fn splice(self, body: &Bytes) -> RequestBody {
        let Range { start, end } = self.span;
        RequestBody::spliced([body.slice(..start), self.text.into(), body.slice(end..)])
    }
}

impl<'b> ModelMember<'b> {
    fn parse(raw: &'b [u8], span: Range<usize>) -> Result<Self, ApiError> {
        let Some(text) = raw.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")) else {
            return Err(ApiError::new(
                ErrorCode::BadRequest,
                format!("`model` must be a string, not {}", type_of(raw)),
            ));
        };
        // The syntax has been checked, so that nothing is to be resolved in it but escapes.
        if !text.contains(&b'\\')
            && let Ok(name) = str::from_utf8(text)
        {
            return Ok(Self { name: Cow::Borrowed(name), span });
        }
        let Name(name) = serde_json::from_slice(raw).map_err(|error| invalid_json(&error))?;
        Ok(Self { name, span })
    }
}

/// Returns where a value stands in the body that it is a slice of.
fn span_of(raw: &[u8], body: &[u8]) -> Range<usize> {
    // The difference of the addresses is its place.
    let start = raw.as_ptr().addr() - body.as_ptr().addr();
    start..start + raw.len()
}

/// A string that is borrowed where it holds no escape.
#[derive(serde::Deserialize)]
struct Name<'b>(#[serde(borrow)] Cow<'b, str>);

/// Returns `name` as a JSON string.
pub(crate) fn quoted(name: &str) -> String {
    let is_plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
    if name.bytes().all(is_plain) {
        let mut text = String::with_capacity(name.len() + 2);
        text.push('"');
        text.push_str(name);
        text.push('"');
        return text;
    }
    // Text always serializes.
    serde_json::to_string(name).unwrap_or_default()
}

/// Returns the body as text.
pub(crate) fn decode(body: &[u8]) -> Result<&str, ApiError> {
    let fail = |message| Err(ApiError::new(ErrorCode::InvalidJson, message));
    if body.starts_with(b"\xef\xbb\xbf") {
        return fail("the body starts with a byte order mark; send JSON in UTF-8 without one");
    }
    let Ok(text) = std::str::from_utf8(body) else {
        return fail("the body is not UTF-8; send JSON in UTF-8");
    };
    match text.trim_ascii_start().bytes().next() {
        Some(b'{') => Ok(text),
        None => fail("the body is empty; send a JSON object"),
        Some(_) => fail("the body is not a JSON object: it must start with `{`"),
    }
}

/// Refuses a `stream` that one reader may take for true and another for false.
fn check_stream(stream: Option<&[u8]>) -> Result<(), ApiError> {
    match stream {
        None | Some(b"true" | b"false" | b"null") => Ok(()),
        Some(other) => Err(ApiError::new(
            ErrorCode::BadRequest,
            format!("`stream` must be true or false, not {}", type_of(other)),
        )),
    }
}

fn duplicate(name: &str) -> ApiError {
    ApiError::new(
        ErrorCode::DuplicateKey,
        format!("`{name}` stands in the body more than once (in any case of letters); send it once"),
    )
}

pub(crate) fn invalid_json(error: &serde_json::Error) -> ApiError {
    ApiError::new(ErrorCode::InvalidJson, format!("the body is not valid JSON: {error}"))
}

/// Names the type of a JSON value by its first byte.
fn type_of(raw: &[u8]) -> &'static str {
    match raw.first() {
        Some(b'"') => "a string",
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

#[cfg(any(test, fuzzing))]
pub(crate) mod property;
#[cfg(test)]
mod tests;
