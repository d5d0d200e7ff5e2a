//! The demo's language model: what was said, what is answered, and how many tokens that is.

use serde_json::Value;

use super::ECHO_CHARS;

/// How many characters of JSON are one token, and one piece of a stream.
const JSON_CHARS: usize = 8;

/// Joins the text of a `content`: a string, or an array of parts of which only those with `text` or a
/// `transcript`, or with a `content` of their own, count.
pub(super) fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts = parts.iter().filter_map(|part| match part.get("text").or(part.get("transcript")) {
                Some(text) => text.as_str().map(str::to_owned),
                // What a tool said, in Anthropic's dialect.
                None => part.get("content").map(text_of),
            });
            texts.collect::<Vec<_>>().join(" ")
        }
        _ => String::new(),
    }
}

/// Counts tokens by the demo's rule: one for each run of characters without white space.
pub(super) fn tokens(text: &str) -> usize {
    text.split_whitespace().count()
}

/// What a request says: its last word, of the user or of a tool, and the length of all of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Prompt {
    pub(super) said: String,
    /// Whether a tool said it, which the user's program ran.
    pub(super) is_from_tool: bool,
    pub(super) tokens: usize,
}

impl Prompt {
    pub(super) fn from_text(text: &str) -> Self {
        Self { said: text.to_owned(), is_from_tool: false, tokens: tokens(text) }
    }

    /// Reads messages of any dialect: objects with `role` and `content`, and what tools put out.
    pub(super) fn from_messages(messages: &[Value]) -> Self {
        let mut prompt = Self::default();
        for message in messages {
            let text = message.get("content").or(message.get("output")).map(text_of).unwrap_or_default();
            prompt.tokens += tokens(&text);
            let is_from_tool = is_from_tool(message);
            if is_from_tool || message.get("role").and_then(Value::as_str) == Some("user") {
                prompt.said = text;
                prompt.is_from_tool = is_from_tool;
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

/// Tells whether a message is what a tool put out: a role of chat, a type of responses, or a part of a
/// message of Anthropic's user.
fn is_from_tool(message: &Value) -> bool {
    let says =
        |object: &Value, name: &str, word: &str| object.get(name).and_then(Value::as_str) == Some(word);
    let parts = message.get("content").and_then(Value::as_array);
    says(message, "role", "tool")
        || says(message, "type", "function_call_output")
        || parts.is_some_and(|parts| parts.iter().any(|part| says(part, "type", "tool_result")))
}

/// The answer, word by word. Every word keeps the white space after it, so that they join to the text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) words: Vec<String>,
    /// Whether the limit of tokens cut it.
    pub(super) is_truncated: bool,
    /// The tool that is called; the words are its arguments then.
    pub(super) tool: Option<String>,
}

impl Answer {
    /// Repeats what was said.
    pub(super) fn to(prompt: &Prompt, max_tokens: Option<usize>) -> Self {
        let speaker = if prompt.is_from_tool { "The tool" } else { "You" };
        let text = format!("Hello from emx-gate's demo provider. {speaker} said: {}", shorten(&prompt.said));
        let mut words: Vec<String> = Vec::new();
        for piece in text.split_inclusive(char::is_whitespace) {
            match words.last_mut() {
                // White space of its own belongs to the word before it.
                Some(last) if piece.trim().is_empty() => last.push_str(piece),
                _ => words.push(piece.to_owned()),
            }
        }
        Self::cut(words, max_tokens)
    }

    /// Answers with JSON, in pieces, since it may be one long word.
    pub(super) fn json(value: &Value, max_tokens: Option<usize>) -> Self {
        let text: Vec<char> = value.to_string().chars().collect();
        Self::cut(text.chunks(JSON_CHARS).map(|piece| piece.iter().collect()).collect(), max_tokens)
    }

    fn cut(mut words: Vec<String>, max_tokens: Option<usize>) -> Self {
        let limit = max_tokens.unwrap_or(usize::MAX);
        let is_truncated = words.len() > limit;
        words.truncate(limit);
        Self { words, is_truncated, tool: None }
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
            let expected = Prompt { said: said.to_owned(), is_from_tool: false, tokens };
            assert_eq!(prompt, expected, "{messages}");
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
    fn what_a_tool_said_is_told_from_what_the_user_said() {
        fn check(last: &Value, said: &str, is_from_tool: bool) {
            let ask = json!({ "role": "user", "content": "call it" });
            let prompt = Prompt::from_messages(&[ask, last.clone()]);
            assert_eq!((prompt.said.as_str(), prompt.is_from_tool), (said, is_from_tool), "{last}");
        }
        check(&json!({ "role": "tool", "tool_call_id": "c", "content": "sunny" }), "sunny", true);
        check(&json!({ "type": "function_call_output", "call_id": "c", "output": "sunny" }), "sunny", true);
        for content in [json!("sunny"), json!([{ "type": "text", "text": "sunny" }])] {
            let result = json!({ "type": "tool_result", "tool_use_id": "t", "content": content });
            check(&json!({ "role": "user", "content": [result] }), "sunny", true);
        }
        check(&json!({ "role": "user", "content": "and now?" }), "and now?", false);
        let answer = Answer::to(&Prompt { is_from_tool: true, ..Prompt::from_text("sunny") }, None);
        assert_eq!(answer.text(), "Hello from emx-gate's demo provider. The tool said: sunny");
    }

    #[test]
    fn json_comes_in_pieces_and_obeys_the_limit() {
        let answer = Answer::json(&json!({ "city": "Zürich" }), None);
        assert_eq!(answer.words, ["{\"city\":", "\"Zürich\"", "}"]);
        let answer = Answer::json(&json!({ "city": "Zürich" }), Some(1));
        assert_eq!((answer.text().as_str(), answer.is_truncated), ("{\"city\":", true));
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
