//! The members of a request's top-level object that decide where it goes, as they stand in the body, and
//! which of them make it ambiguous. What their values mean is not judged here.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{decode, invalid_json, scan};
use crate::error::ApiError;
use crate::objects::{self, NamedObjects};

/// The members that matter. Values are slices of the body.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Members<'b> {
    pub(super) model: Option<&'b [u8]>,
    pub(super) stream: Option<&'b [u8]>,
    pub(super) stream_options: Option<&'b [u8]>,
    pub(super) is_stream_options_repeated: bool,
    pub(super) has_prompt: bool,
    pub(super) objects: NamedObjects<'b>,
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

impl<'b> Members<'b> {
    /// Reads a body and checks all of its syntax.
    ///
    /// # Errors
    /// 400 for a body that is not one JSON object in UTF-8.
    pub(super) fn read(body: &'b [u8]) -> Result<Self, ApiError> {
        scan::members(body).map_or_else(|| Self::read_with_serde(body), Ok)
    }

    /// Does the same for any body, and can tell what is wrong with it.
    pub(super) fn read_with_serde(body: &'b [u8]) -> Result<Self, ApiError> {
        let text = decode(body)?;
        let mut json = serde_json::Deserializer::from_str(text);
        let members = json.deserialize_map(MembersVisitor).and_then(|members| json.end().map(|()| members));
        // A key that is read as bytes may hold a control character as it is, which is no JSON. Behind
        // `KeySeed` it looks like an escaped one, which is, so the text is read once more, without values.
        members
            .and_then(|members| serde_json::from_str::<IgnoredAny>(text).map(|_| members))
            .map_err(|error| invalid_json(&error))
    }

    pub(super) const fn is_empty(&self) -> bool {
        !self.has_any
    }

    /// Adds a member with its value as it stands in the body.
    pub(super) fn add(&mut self, key: Key, value: &'b [u8]) {
        self.has_any = true;
        match key {
            Key::Model => {
                self.note_duplicate(self.model.is_some() || self.has_model_twin, "model");
                self.model = Some(value);
            }
            Key::ModelTwin => {
                // Alone it is just an unknown member; beside `model` it is a trap.
                self.note_duplicate(self.model.is_some(), "model");
                self.has_model_twin = true;
            }
            Key::Stream => {
                self.note_duplicate(self.stream.is_some(), "stream");
                self.stream = Some(value);
            }
            Key::StreamOptions => {
                self.is_stream_options_repeated |= self.stream_options.is_some();
                self.stream_options = Some(value);
            }
            // `null` is how some clients leave a member out.
            Key::Prompt => self.has_prompt |= value != b"null",
            Key::Object(at) => self.objects.set(at, text(value)),
            Key::Store => self.store = text(value).parse().ok(),
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

/// Returns a value as text, which it is: both readers have checked it.
fn text(value: &[u8]) -> &str {
    std::str::from_utf8(value).unwrap_or_default()
}

/// What a key means.
#[derive(Clone, Copy)]
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

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Members::default();
        while let Some(key) = map.next_key_seed(KeySeed)? {
            members.add(key, map.next_value::<&RawValue>()?.get().as_bytes());
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
