//! Guesses tokens from the length of the text in a request or an answer, for providers that report
//! none: four bytes of text make a token. It is rough, and never mixed with what a provider said.
//!
//! The text is what stands in the strings of the members that carry it, `content` for example,
//! wherever they are. Names, ids and pictures are not counted.

use memchr::memchr3;

use crate::dialect::Dialect;
use crate::meter::ContentType;
use crate::usage::Usage;
use crate::word::Word;

/// Bytes of text for a token: what English text in the usual vocabularies comes to.
const BYTES_PER_TOKEN: u64 = 4;

/// The members whose strings are text, in requests and in whole answers.
const TEXT_KEYS: &[&[u8]] = &[
    b"content",
    b"text",
    b"prompt",
    b"input",
    b"system",
    b"instructions",
    b"arguments",
    b"partial_json",
    b"thinking",
    b"reasoning",
    b"reasoning_content",
    b"refusal",
];

/// The same in a stream of responses, whose later events repeat all that the deltas said.
const DELTA_KEYS: &[&[u8]] = &[b"delta"];

/// The guess at what one request uses.
///
/// It holds no heap memory and keeps no text, and gives the same numbers however the answer is cut.
#[derive(Clone, Debug)]
pub struct Estimate {
    input_tokens: u64,
    /// `None` where the operation makes no text.
    output: Option<Estimator>,
}

impl Estimate {
    /// Reads a request, whose answer is still to come; nothing where the answer cannot be read, or
    /// the operation is not one whose tokens are those of its text.
    ///
    /// ```
    /// use gate_usage::{ContentType, Dialect, Estimate};
    ///
    /// let request = br#"{"model":"m","messages":[{"role":"user","content":"Good morning"}]}"#;
    /// let mut estimate =
    ///     Estimate::begin(Dialect::ChatCompletions, ContentType::EventStream, request).unwrap();
    /// estimate.push(b"data: {\"choices\":[{\"delta\":{\"content\":\"Hello\"}}]}\n\n");
    /// assert_eq!(estimate.usage().input_tokens, Some(3));
    /// assert_eq!(estimate.usage().output_tokens, Some(2));
    /// ```
    pub fn begin(dialect: Dialect, content_type: ContentType, request: &[u8]) -> Option<Self> {
        let output = match (dialect, content_type) {
            (Dialect::Embeddings, ContentType::Json) => None,
            _ => Some(Estimator::of_answer(dialect, content_type)?),
        };
        let mut input = Estimator::of_request();
        input.push(request);
        Some(Self { input_tokens: input.tokens(), output })
    }

    /// Reads the next bytes of the answer.
    pub fn push(&mut self, bytes: &[u8]) {
        if let Some(output) = &mut self.output {
            output.push(bytes);
        }
    }

    /// Returns what the request and the answer so far come to.
    pub fn usage(&self) -> Usage {
        Usage {
            input_tokens: Some(self.input_tokens),
            output_tokens: self.output.as_ref().map(Estimator::tokens),
            ..Usage::default()
        }
    }
}

/// Measures the text in one JSON body or one event stream while it passes.
#[derive(Clone, Debug)]
struct Estimator {
    keys: &'static [&'static [u8]],
    place: Place,
    /// The beginning of the current or last string, which may be a key.
    word: Word,
    /// The length of the current string, or of the last while it is not known what it is.
    length: u64,
    /// Whether the last key was one of `keys`.
    is_text: bool,
    text_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Outside,
    /// Behind a string: a colon makes it a key.
    Behind,
    Inside,
    /// Behind a backslash in a string.
    Escape,
}

impl Estimator {
    /// Makes the estimator of a request's body.
    const fn of_request() -> Self {
        Self::new(TEXT_KEYS)
    }

    /// Makes the estimator of an answer; none where the operation makes no text, or the answer
    /// cannot be read.
    const fn of_answer(dialect: Dialect, content_type: ContentType) -> Option<Self> {
        match (dialect, content_type) {
            (_, ContentType::Other) => None,
            (Dialect::Responses, ContentType::EventStream) => Some(Self::new(DELTA_KEYS)),
            (
                Dialect::ChatCompletions | Dialect::Completions | Dialect::Responses | Dialect::Messages,
                ContentType::EventStream | ContentType::Json,
            ) => Some(Self::new(TEXT_KEYS)),
            _ => None,
        }
    }

    const fn new(keys: &'static [&'static [u8]]) -> Self {
        Self { keys, place: Place::Outside, word: Word::new(), length: 0, is_text: false, text_bytes: 0 }
    }

    /// Reads the next bytes.
    fn push(&mut self, mut bytes: &[u8]) {
        while let Some((&byte, tail)) = bytes.split_first() {
            bytes = match self.place {
                Place::Outside => self.outside(bytes),
                Place::Behind => self.behind(byte, bytes),
                Place::Inside => self.inside(bytes),
                Place::Escape => {
                    self.length += 1;
                    self.place = Place::Inside;
                    tail
                }
            };
        }
    }

    /// Returns the tokens that the text so far may have.
    fn tokens(&self) -> u64 {
        // A string that is not closed is that of a stream that was left.
        let is_open = self.is_text && self.place != Place::Outside;
        let open = if is_open { self.length } else { 0 };
        self.text_bytes.saturating_add(open).div_ceil(BYTES_PER_TOKEN)
    }

    fn outside<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let Some(at) = memchr::memchr(b'"', bytes) else { return &[] };
        self.word.clear();
        self.length = 0;
        self.place = Place::Inside;
        bytes.get(at + 1..).unwrap_or_default()
    }

    fn inside<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let end = memchr3(b'"', b'\\', b'\n', bytes).unwrap_or(bytes.len());
        let (part, rest) = bytes.split_at(end);
        self.word.push(part);
        self.length = self.length.saturating_add(u64::try_from(part.len()).unwrap_or(u64::MAX));
        let Some((&delimiter, tail)) = rest.split_first() else { return rest };
        self.place = match delimiter {
            b'"' => Place::Behind,
            b'\\' => {
                self.word.spoil();
                Place::Escape
            }
            // No string of JSON holds one: what looked like a string was none, in a comment say.
            _ => Place::Outside,
        };
        tail
    }

    /// Decides what the last string was by the first byte behind it that is not white space.
    fn behind<'b>(&mut self, byte: u8, bytes: &'b [u8]) -> &'b [u8] {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => return bytes.get(1..).unwrap_or_default(),
            b':' => self.is_text = self.keys.contains(&self.word.as_bytes()),
            _ if self.is_text => self.text_bytes = self.text_bytes.saturating_add(self.length),
            _ => {}
        }
        self.place = Place::Outside;
        bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tokens<'p>(mut estimator: Estimator, pieces: impl IntoIterator<Item = &'p [u8]>) -> u64 {
        pieces.into_iter().for_each(|piece| estimator.push(piece));
        estimator.tokens()
    }

    fn answer(dialect: Dialect, content_type: ContentType) -> Estimator {
        Estimator::of_answer(dialect, content_type).unwrap()
    }

    #[track_caller]
    fn check(estimator: &Estimator, body: &str, expected: u64) {
        assert_eq!(tokens(estimator.clone(), [body.as_bytes()]), expected, "{body:?}");
        let bytes = body.as_bytes().chunks(1);
        assert_eq!(tokens(estimator.clone(), bytes), expected, "in bytes: {body:?}");
    }

    // Spec: monitoring L-25.
    #[test]
    fn four_bytes_of_text_make_a_token() {
        let request = Estimator::of_request();
        check(&request, "", 0);
        check(&request, r#"{"model":"a-long-name","user":"somebody"}"#, 0);
        check(&request, r#"{"messages":[{"role":"user","content":"12345678"}]}"#, 2);
        check(&request, r#"{"content":"123456789"}"#, 3);
        check(&request, r#"{"content":"\n\"\\\u00e9"}"#, 2);
        check(&request, r#"{"content" : "1234" , "role":"5678"}"#, 1);
        check(
            &request,
            r#"{"content":[{"type":"text","text":"1234"},{"type":"image_url","url":"data:,x"}]}"#,
            1,
        );
        check(&request, r#"{"input":["1234","5678"],"encoding_format":"float"}"#, 2);
        check(&request, r#"{"system":"1234","prompt":"1234","instructions":"1234","input":"1234"}"#, 4);
        check(&request, r#"{"cont\u0065nt":"1234"}"#, 0);
        check(&request, r#"{"content":1,"x":"1234"}"#, 0);
    }

    // Spec: monitoring L-25.
    #[test]
    fn the_text_of_a_stream_is_that_of_its_deltas() {
        let chat = answer(Dialect::ChatCompletions, ContentType::EventStream);
        let events = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"1234\"}}]}\n\n\
                      : isn't \"it\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"5678\"}}]}\n\ndata: [DONE]\n\n";
        check(&chat, events, 2);
        check(&chat, "data: {\"choices\":[{\"delta\":{\"content\":\"12345", 2);
        check(&chat, "data: {\"choices\":[{\"delta\":{\"content\":\"1234\"", 1);
        let responses = answer(Dialect::Responses, ContentType::EventStream);
        let events = "data: {\"type\":\"response.output_text.delta\",\"delta\":\"1234\"}\n\n\
                      data: {\"type\":\"response.output_text.done\",\"text\":\"1234\"}\n\n";
        check(&responses, events, 1);
        let messages = answer(Dialect::Messages, ContentType::EventStream);
        let events = "data: {\"delta\":{\"type\":\"text_delta\",\"text\":\"1234\"}}\n\n\
                      data: {\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{\\\"a\"}}\n\n";
        check(&messages, events, 2);
    }

    // Spec: monitoring L-25.
    #[test]
    fn only_operations_on_text_are_estimated() {
        let usage =
            |input, output| Usage { input_tokens: Some(input), output_tokens: output, ..Usage::default() };
        let request = br#"{"input":"12345678"}"#;
        let embeddings = Estimate::begin(Dialect::Embeddings, ContentType::Json, request).unwrap();
        assert_eq!(embeddings.usage(), usage(2, None));
        let chat = Estimate::begin(Dialect::ChatCompletions, ContentType::Json, request).unwrap();
        assert_eq!(chat.usage(), usage(2, Some(0)));
        for (dialect, content_type, expected) in [
            (Dialect::ChatCompletions, ContentType::Json, true),
            (Dialect::Completions, ContentType::EventStream, true),
            (Dialect::Messages, ContentType::Other, false),
            (Dialect::Embeddings, ContentType::Json, true),
            (Dialect::Embeddings, ContentType::Other, false),
            (Dialect::CountTokens, ContentType::Json, false),
            (Dialect::Images, ContentType::EventStream, false),
            (Dialect::Other, ContentType::Json, false),
        ] {
            let estimate = Estimate::begin(dialect, content_type, request);
            assert_eq!(estimate.is_some(), expected, "{dialect:?} {content_type:?}");
        }
    }

    proptest! {
        // Spec: monitoring L-18, L-25.
        #[test]
        fn the_cut_does_not_matter(body in "[a-z\"\\\\:,{}\n ]{0,80}", size in 1_usize..20) {
            let body = format!("{{\"content\":\"{body}");
            let whole = tokens(Estimator::of_request(), [body.as_bytes()]);
            prop_assert_eq!(tokens(Estimator::of_request(), body.as_bytes().chunks(size)), whole);
        }
    }
}
