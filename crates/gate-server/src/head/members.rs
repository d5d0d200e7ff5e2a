//! The members of a request's top-level object that decide where it goes, as they stand in the body, and
//! which of them make it ambiguous. What their values mean is not judged here.

use std::fmt;
use std::ops::Range;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{decode, invalid_json, span_of};
use crate::error::ApiError;
use crate::objects;

/// The members that matter, most of them by where their values stand in the body.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Members {
    pub(super) model: Option<Range<usize>>,
    pub(super) stream: Option<Range<usize>>,
    pub(super) stream_options: Option<Range<usize>>,
    pub(super) is_stream_options_repeated: bool,
    pub(super) has_prompt: bool,
    /// Those of [`objects::KEYS`].
    pub(super) objects: [Option<Range<usize>>; objects::KEYS.len()],
    pub(super) store: Option<bool>,
    pub(super) has_model_twin: bool,
    /// The first that stands there twice although it must not.
    pub(super) duplicate: Option<&'static str>,
    /// Which of the bounds on tokens were seen.
    has_max_tokens: [bool; MAX_TOKENS_KEYS.len()],
    has_any: bool,
}

/// The members that bound an answer's length: two different values could be billed differently.
pub(super) const MAX_TOKENS_KEYS: [&str; 3] = ["max_tokens", "max_completion_tokens", "max_output_tokens"];

impl Members {
    /// Reads a body and checks all of its syntax, as the scanner does, and can tell what is wrong with it.
    ///
    /// # Errors
    /// 400 for a body that is not one JSON object in UTF-8.
    pub(super) fn read_with_serde(body: &[u8]) -> Result<Self, ApiError> {
        let text = decode(body)?;
        let mut json = serde_json::Deserializer::from_str(text);
        let members = json.deserialize_map(MembersVisitor(text)).and_then(|found| json.end().map(|()| found));
        // A key that is read as bytes may hold a control character as it is, which is no JSON. Behind
        // `KeySeed` it looks like an escaped one, which is, so the text is read once more, without values.
        members
            .and_then(|members| serde_json::from_str::<IgnoredAny>(text).map(|_| members))
            .map_err(|error| invalid_json(&error))
    }

    pub(super) const fn is_empty(&self) -> bool {
        !self.has_any
    }

    /// Adds a member whose value stands in this span of the body.
    pub(super) fn add(&mut self, key: Key, span: Range<usize>, body: &[u8]) {
        self.has_any = true;
        let value = body.get(span.clone()).unwrap_or_default();
        match key {
            Key::Model => {
                self.note_duplicate(self.model.is_some() || self.has_model_twin, "model");
                self.model = Some(span);
            }
            Key::ModelTwin => {
                // Alone it is just an unknown member; beside `model` it is a trap.
                self.note_duplicate(self.model.is_some(), "model");
                self.has_model_twin = true;
            }
            Key::Stream => {
                self.note_duplicate(self.stream.is_some(), "stream");
                self.stream = Some(span);
            }
            Key::StreamOptions => {
                self.is_stream_options_repeated |= self.stream_options.is_some();
                self.stream_options = Some(span);
            }
            // `null` is how some clients leave a member out.
            Key::Prompt => self.has_prompt |= value != b"null",
            Key::Object(at) => {
                if let Some(place) = self.objects.get_mut(at) {
                    *place = Some(span);
                }
            }
            Key::Store => {
                self.store = match value {
                    b"true" => Some(true),
                    b"false" => Some(false),
                    _ => None,
                }
            }
            Key::MaxTokens(at) => {
                if let Some((seen, name)) = self.has_max_tokens.get_mut(at).zip(MAX_TOKENS_KEYS.get(at)) {
                    let was_seen = std::mem::replace(seen, true);
                    self.note_duplicate(was_seen, name);
                }
            }
            Key::Other => {}
        }
    }

    fn note_duplicate(&mut self, is_one: bool, name: &'static str) {
        self.duplicate = self.duplicate.or(is_one.then_some(name));
    }
}

/// What a key means.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Key {
    Model,
    /// `model` in other letters, such as `Model`.
    ModelTwin,
    Stream,
    StreamOptions,
    Prompt,
    /// One of [`objects::KEYS`].
    Object(usize),
    Store,
    /// One of [`MAX_TOKENS_KEYS`].
    MaxTokens(usize),
    #[default]
    Other,
}

impl Key {
    /// Tells a key by its text, with escapes resolved.
    pub(super) fn new(key: &[u8]) -> Self {
        match key {
            b"model" => Self::Model,
            b"stream" => Self::Stream,
            b"stream_options" => Self::StreamOptions,
            b"prompt" => Self::Prompt,
            b"store" => Self::Store,
            _ if key.eq_ignore_ascii_case(b"model") => Self::ModelTwin,
            _ => {
                let place = |names: &[&str]| names.iter().position(|name| name.as_bytes() == key);
                let bound = place(&MAX_TOKENS_KEYS).map(Self::MaxTokens);
                bound.or_else(|| place(&objects::KEYS).map(Self::Object)).unwrap_or(Self::Other)
            }
        }
    }
}

/// Reads the members of this text.
struct MembersVisitor<'b>(&'b str);

impl<'de> Visitor<'de> for MembersVisitor<'_> {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Members::default();
        while let Some(key) = map.next_key_seed(KeySeed)? {
            let value = map.next_value::<&RawValue>()?.get().as_bytes();
            members.add(key, span_of(value, self.0.as_bytes()), self.0.as_bytes());
        }
        Ok(members)
    }
}

/// Reads a key with its escapes resolved (`"mod\u0065l"` is `model`) and without keeping it.
struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Key;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        // As bytes, since a key may hold half of a surrogate pair, which is no text: it is not ours
        // to refuse.
        deserializer.deserialize_bytes(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_bytes<E>(self, key: &[u8]) -> Result<Key, E> {
        Ok(Key::new(key))
    }
}
