//! The objects of a provider that a JSON request names in its body, and whether its answer may be one
//! that a later request names. It reads ids and judges none of them.

use serde::Deserialize;

use crate::head::RequestHead;
use crate::route::{Forward, Operation};

/// The top-level members that name an object: by a string, or by an object that holds the id.
pub(crate) const KEYS: [&str; 7] = [
    "previous_response_id",
    "conversation",
    "thread",
    "container",
    "input_file_id",
    "assistant_id",
    "training_file",
];

/// The values of the members of [`KEYS`], borrowed from the body as they stand there. Of a member
/// that is repeated it is the last, as most readers have it: the id only chooses among providers
/// that the client may use anyway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NamedObjects<'b>([Option<&'b str>; KEYS.len()]);

impl<'b> NamedObjects<'b> {
    /// Takes the values from where they stand, in the order of [`KEYS`].
    pub(crate) fn new<S>(spans: &[Option<S>; KEYS.len()], value: impl Fn(&S) -> &'b str) -> Self {
        Self(spans.each_ref().map(|span| span.as_ref().map(&value)))
    }

    /// Returns the ids, in the order of [`KEYS`].
    pub(crate) fn ids(&self) -> impl Iterator<Item = &'b str> {
        KEYS.iter().zip(self.0).filter_map(|(key, value)| id_of(key, value?))
    }

    /// Tells whether the request is one of a thread of messages, of which the next names its answer.
    fn is_of_thread(&self) -> bool {
        KEYS.iter().zip(&self.0).any(|(key, value)| *key == "thread" && value.is_some_and(|v| v != "null"))
    }
}

/// Returns the id in a member. One with an escape in it is none that a provider gave.
fn id_of<'b>(key: &str, value: &'b str) -> Option<&'b str> {
    #[derive(Deserialize)]
    struct Holder<'b> {
        #[serde(borrow)]
        id: Option<&'b str>,
        #[serde(borrow)]
        previous_message_id: Option<&'b str>,
    }
    match value.as_bytes().first()? {
        b'"' => serde_json::from_str(value).ok(),
        b'{' => {
            let holder: Holder<'_> = serde_json::from_str(value).ok()?;
            if key == "thread" { holder.previous_message_id } else { holder.id }
        }
        _ => None,
    }
}

/// Tells whether the answer to a JSON request may be an object that later requests name.
pub(crate) fn makes_object(route: &Forward<'_>, head: &RequestHead<'_>) -> bool {
    match route.operation {
        // Kept by the provider only where the client asks for it, or does not decline.
        Operation::ChatCompletions => head.store == Some(true),
        Operation::Responses => head.store != Some(false),
        Operation::Messages => head.objects.is_of_thread(),
        Operation::Completions | Operation::Embeddings | Operation::CountTokens => false,
        Operation::MessageBatch
        | Operation::OtherJson
        | Operation::Form
        | Operation::Call
        | Operation::Opaque => {
            !matches!(route.tail, "/complete" | "/moderations" | "/responses/input_tokens")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Spec: api A-61.
    #[test]
    fn ids_are_read_where_they_stand() {
        fn check(body: &str, expected: &[&str]) {
            let head = RequestHead::parse(body.as_bytes()).unwrap();
            assert_eq!(head.objects.ids().collect::<Vec<_>>(), expected, "{body}");
        }
        check(r#"{"model":"m"}"#, &[]);
        check(r#"{"previous_response_id":"resp_1"}"#, &["resp_1"]);
        check(r#"{"previous_respons\u0065_id":"resp_1"}"#, &["resp_1"]);
        check(r#"{"previous_response_id":null}"#, &[]);
        check(r#"{"previous_response_id":["resp_1"]}"#, &[]);
        check(r#"{"previous_response_id":"resp\u005f1"}"#, &[]);
        check(r#"{"previous_response_id":"a","previous_response_id":"b"}"#, &["b"]);
        check(r#"{"conversation":"conv_1"}"#, &["conv_1"]);
        check(r#"{"conversation":{"x":{"id":"no"},"id":"conv_1"}}"#, &["conv_1"]);
        check(r#"{"conversation":{"id":7}}"#, &[]);
        check(
            r#"{"container":"c_1","thread":{"type":"continue","previous_message_id":"msg_1"}}"#,
            &["msg_1", "c_1"],
        );
        check(r#"{"thread":{"id":"th_1","previous_message_id":"msg_1"}}"#, &["msg_1"]);
        check(r#"{"conversation":{"id":"conv_1","previous_message_id":"no"}}"#, &["conv_1"]);
        check(r#"{"container":{"skills":[{"id":"no"}]}}"#, &[]);
        check(r#"{"thread":{"messages":[{"id":"no"}]}}"#, &[]);
        check(r#"{"input_file_id":"f1","assistant_id":"a1","training_file":"f2"}"#, &["f1", "a1", "f2"]);
        check(r#"{"input":{"previous_response_id":"no"}}"#, &[]);
    }

    // Spec: api A-62.
    #[test]
    fn only_answers_that_can_be_named_later_are_objects() {
        fn check(path: &str, body: &str, expected: bool) {
            let parsed = crate::route::Route::parse(&http::Method::POST, path, false).unwrap();
            let crate::route::Route::Forward(route) = parsed else { panic!("{path}") };
            let head = RequestHead::parse(body.as_bytes()).unwrap();
            assert_eq!(makes_object(&route, &head), expected, "{path} {body}");
        }
        check("/v1/chat/completions", "{}", false);
        check("/v1/chat/completions", r#"{"store":false}"#, false);
        check("/v1/chat/completions", r#"{"store":true}"#, true);
        check("/v1/responses", "{}", true);
        check("/v1/responses", r#"{"store":null}"#, true);
        check("/v1/responses", r#"{"store":false}"#, false);
        check("/v1/messages", "{}", false);
        check("/v1/messages", r#"{"thread":null}"#, false);
        check("/v1/messages", r#"{"thread":{"type":"new"}}"#, true);
        check("/v1/messages/batches", "{}", true);
        check("/v1/embeddings", r#"{"store":true}"#, false);
        check("/v1/moderations", "{}", false);
        check("/v1/fine_tuning/jobs", "{}", true);
    }
}
