//! The demo's language model: what was said, what is answered, and how many tokens that is.

use serde_json::Value;

use super::ECHO_CHARS;

/// Joins the text of a `content`: a string, or an array of parts of which only those with `text` count.
pub(super) fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts: Vec<&str> =
                parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str)).collect();
            texts.join(" ")
        }
        _ => String::new(),
    }
}

/// Counts tokens by the demo's rule: one for each run of characters without white space.
pub(super) fn tokens(text: &str) -> usize {
    text.split_whitespace().count()
}

/// What a request says: its last user message, and the length of all of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Prompt {
    pub(super) said: String,
    pub(super) tokens: usize,
}

impl Prompt {
    pub(super) fn from_text(text: &str) -> Self {
        Self { said: text.to_owned(), tokens: tokens(text) }
    }

    /// Reads messages of any dialect: objects with `role` and `content`.
    pub(super) fn from_messages(messages: &[Value]) -> Self {
        let mut prompt = Self::default();
        for message in messages {
            let text = message.get("content").map(text_of).unwrap_or_default();
            prompt.tokens += tokens(&text);
            if message.get("role").and_then(Value::as_str) == Some("user") {
                prompt.said = text;
            }
        }
        prompt
    }

    /// Adds a text that counts but was not said by the user, such as a system prompt.
    pub(super) fn with_context(mut self, context: Option<&Value>) -> Self {
        self.tokens += context.map(|value| tokens(&text_of(value))).unwrap_or_default();
        self
    }
}

/// The answer, word by word. Every word keeps the white space after it, so that they join to the text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) words: Vec<String>,
    /// Whether the limit of tokens cut it.
    pub(super) is_truncated: bool,
}

impl Answer {
    pub(super) fn to(prompt: &Prompt, max_tokens: Option<usize>) -> Self {
        let text = format!("Hello from emx-gate's demo provider. You said: {}", shorten(&prompt.said));
        let mut words: Vec<String> = Vec::new();
        for piece in text.split_inclusive(char::is_whitespace) {
            match words.last_mut() {
                // White space of its own belongs to the word before it.
                Some(last) if piece.trim().is_empty() => last.push_str(piece),
                _ => words.push(piece.to_owned()),
            }
        }
        let limit = max_tokens.unwrap_or(usize::MAX);
        let is_truncated = words.len() > limit;
        words.truncate(limit);
        Self { words, is_truncated }
    }

    pub(super) fn text(&self) -> String {
        self.words.concat()
    }

    pub(super) fn tokens(&self) -> usize {
        self.words.len()
    }
}

/// Cuts a text to [`ECHO_CHARS`] characters; an ellipsis shows that more was there.
fn shorten(text: &str) -> String {
    match text.char_indices().nth(ECHO_CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_last_user_message_is_what_was_said() {
        fn check(messages: &Value, said: &str, tokens: usize) {
            let prompt = Prompt::from_messages(messages.as_array().unwrap());
            assert_eq!(prompt, Prompt { said: said.to_owned(), tokens }, "{messages}");
        }
        check(&json!([{"role": "user", "content": "one two"}]), "one two", 2);
        check(
            &json!([
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": "first"},
                {"role": "assistant", "content": "ok"},
                {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}]},
            ]),
            "a b",
            6,
        );
        check(&json!([{"role": "assistant", "content": "only me"}]), "", 2);
        check(&json!([{"role": "user"}, "no object"]), "", 0);
    }

    #[test]
    fn an_answer_joins_to_its_text_and_obeys_the_limit() {
        fn check(said: &str, max_tokens: Option<usize>, text: &str, tokens: usize, is_truncated: bool) {
            let answer = Answer::to(&Prompt::from_text(said), max_tokens);
            assert_eq!((answer.text().as_str(), answer.tokens()), (text, tokens), "{said:?}");
            assert_eq!(answer.is_truncated, is_truncated, "{said:?}");
        }
        check("hi", None, "Hello from emx-gate's demo provider. You said: hi", 8, false);
        check("hi", Some(8), "Hello from emx-gate's demo provider. You said: hi", 8, false);
        check("hi", Some(2), "Hello from ", 2, true);
        check("a  b\n", None, "Hello from emx-gate's demo provider. You said: a  b\n", 9, false);
        check("", None, "Hello from emx-gate's demo provider. You said: ", 7, false);
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        assert_eq!(shorten(&"é".repeat(ECHO_CHARS)), "é".repeat(ECHO_CHARS));
        assert_eq!(shorten(&"é".repeat(ECHO_CHARS + 1)), format!("{}…", "é".repeat(ECHO_CHARS)));
    }
}
