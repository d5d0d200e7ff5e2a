//! What holds for any JSON body: it is read as another reader reads it, and only its model changes.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::{BufMut as _, Bytes};
use gate_upstream::RequestBody;
use http_body::Body as _;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::members::Members as OurMembers;
use super::{RequestHead, Scanner};
use crate::fuzzing::pieces::settings_and_bytes;

/// Checks one body. The first line of the input is the upstream model, the rest the body.
pub fn request_head(input: &[u8]) {
    let (upstream, body) = settings_and_bytes(input);
    let Ok(upstream) = std::str::from_utf8(upstream) else { return };
    readers_agree(body);
    let body = Bytes::copy_from_slice(body);
    // It refuses less than we do: half of a surrogate pair, depth and large numbers aside.
    let naive = serde_json::from_slice::<Members>(&body).ok();
    match (RequestHead::parse(&body), naive) {
        (Ok(head), naive) => {
            if let Some(members) = &naive {
                check_reading(&head, members);
            }
            for usage in [None, head.usage_edit()] {
                let has_usage = usage.is_some();
                let spliced = bytes_of(head.splice(&body, upstream, usage));
                if head.require_no_twin().is_ok() {
                    check_splice(naive.as_ref(), &spliced, upstream, has_usage);
                }
            }
        }
        (Err(error), Some(members)) => assert!(members.are_doubtful(), "{} for {members:?}", error.message),
        (Err(_), None) => {}
    }
}

/// The quick reader reads a body as the thorough one does, or is not sure of it; and it is sure of what
/// is right and plain. In pieces it reads the same.
pub(super) fn readers_agree(body: &[u8]) {
    let is_plain = !body.iter().any(|byte| byte.is_ascii_control() || *byte == b'\\')
        && body.iter().filter(|byte| matches!(byte, b'{' | b'[')).count() < 60;
    let thorough = OurMembers::read_with_serde(body).ok();
    let quick = Scanner::default().finish(body);
    let mut in_pieces = Scanner::default();
    (0..body.len()).step_by(body.len() / 50 + 1).for_each(|end| in_pieces.read_on(&body[..end]));
    assert_eq!(in_pieces.finish(body), quick, "{}", String::from_utf8_lossy(body));
    if quick.is_some() || is_plain {
        assert_eq!(quick, thorough, "{}", String::from_utf8_lossy(body));
        // The heads have places in the body as well.
        let head = |members: &_| RequestHead::of_members(members, body).ok();
        assert_eq!(quick.as_ref().and_then(head), thorough.as_ref().and_then(head));
    }
}

fn check_reading(head: &RequestHead<'_>, members: &Members) {
    assert!(!members.are_doubtful(), "not refused: {members:?}");
    let model = members.all("model").next().and_then(Value::as_str);
    assert_eq!(head.model.as_ref().map(|model| &*model.name), model);
    assert_eq!(head.is_streaming, members.all("stream").next() == Some(&Value::Bool(true)));
    assert_eq!(head.has_prompt, members.all("prompt").any(|prompt| !prompt.is_null()));
}

/// What is sent is what came, but for the model and the wish for usage.
fn check_splice(before: Option<&Members>, spliced: &[u8], upstream: &str, has_usage: bool) {
    let sent = RequestHead::parse(spliced);
    let sent_model = sent.ok().and_then(|head| head.model).map(|model| model.name.into_owned());
    assert_eq!(sent_model.as_deref(), Some(upstream));
    let Some(before) = before else { return };
    let after = serde_json::from_slice::<Members>(spliced);
    assert!(after.is_ok(), "what is sent is no JSON: {:?}", String::from_utf8_lossy(spliced));
    let rest = |members: &Members| {
        let is_ours = |key: &str| key == "model" || has_usage && key == "stream_options";
        members.0.iter().filter(|(key, _)| !is_ours(key)).cloned().collect::<Vec<_>>()
    };
    let after = after.unwrap_or_default();
    assert_eq!(rest(&after), rest(before));
    assert_eq!(after.all("model").collect::<Vec<_>>(), [&Value::from(upstream)]);
    if has_usage {
        let mut wanted = before.all("stream_options").next().cloned().unwrap_or_default();
        if wanted.is_null() {
            wanted = Value::Object(serde_json::Map::new());
        }
        if let Some(options) = wanted.as_object_mut() {
            options.insert("include_usage".to_owned(), Value::Bool(true));
        }
        assert_eq!(after.all("stream_options").collect::<Vec<_>>(), [&wanted]);
    }
}

/// The members of an object as they stand in it, those that stand there twice included.
#[derive(Debug, Default)]
struct Members(Vec<(String, Value)>);

impl Members {
    fn all<'m>(&'m self, name: &'m str) -> impl Iterator<Item = &'m Value> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value)
    }

    /// Tells whether two readers could differ on where the request goes or what it costs.
    fn are_doubtful(&self) -> bool {
        let is_twice = |name| self.all(name).count() > 1;
        let model_count = self.0.iter().filter(|(key, _)| key.eq_ignore_ascii_case("model")).count();
        is_twice("stream")
            || ["max_tokens", "max_completion_tokens", "max_output_tokens"].into_iter().any(is_twice)
            || self.all("model").count() > 0 && model_count > 1
            || self.all("model").any(|model| !model.is_string())
            || self.all("stream").any(|stream| !stream.is_boolean() && !stream.is_null())
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// Reads a body that never has to wait.
fn bytes_of(mut body: RequestBody) -> Vec<u8> {
    let mut cx = Context::from_waker(Waker::noop());
    let mut bytes = Vec::new();
    while let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut body).poll_frame(&mut cx) {
        if let Ok(data) = frame.into_data() {
            bytes.put(data);
        }
    }
    assert!(body.is_end_stream());
    bytes
}
