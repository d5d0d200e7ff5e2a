//! The container that an answer to `messages` tells of near its end: its id is found without reading
//! the answer for it, and taken only from where the vendor puts it. What a model writes, such as the
//! input of a tool, may hold the same words elsewhere.

use std::sync::LazyLock;

use gate_usage::ContentType;
use memchr::memmem::Finder;
use serde::Deserialize;

/// The key, which no string can hold: there its quotes would be escaped.
static KEY: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(KEY_TEXT));
const KEY_TEXT: &[u8] = b"\"container\"";
/// How near to the end of a JSON answer the container must be.
const TAIL_BYTES: usize = 8 * 1024;
/// The longest event that is looked into: one that ends a message has a few hundred bytes.
const MAX_EVENT_BYTES: usize = 16 * 1024;

/// Looks for the container in one answer, of which it holds some kilobytes at most.
#[derive(Debug)]
pub(crate) struct ContainerSearch {
    form: Form,
    /// What may be the beginning of what is looked for.
    held: Vec<u8>,
}

#[derive(Debug)]
enum Form {
    /// One JSON object: `container.id`.
    Json,
    /// Events: `delta.container.id` of a `message_delta`.
    Stream {
        /// Whether the event that passes is too long to be one.
        is_too_long: bool,
    },
    /// Unread, or found.
    Done,
}

impl ContainerSearch {
    pub(crate) fn new(content_type: ContentType) -> Self {
        let form = match content_type {
            ContentType::Json => Form::Json,
            ContentType::EventStream => Form::Stream { is_too_long: false },
            ContentType::Other => Form::Done,
        };
        Self { form, held: Vec::new() }
    }

    /// Looks at the next piece of the answer, and returns the id once an event tells it.
    pub(crate) fn look(&mut self, data: &[u8]) -> Option<String> {
        match self.form {
            Form::Json => self.hold_tail(data),
            Form::Stream { .. } => return self.look_at_events(data),
            Form::Done => {}
        }
        None
    }

    /// Returns the id in a JSON answer, which has ended.
    pub(crate) fn finish(&mut self) -> Option<String> {
        let held = std::mem::take(&mut self.held);
        let Form::Json = std::mem::replace(&mut self.form, Form::Done) else { return None };
        // A member in the outermost object is one behind whose value the text closes one brace more
        // than it opens.
        KEY.find_iter(&held).find_map(|at| {
            let members = [b"{", held.get(at..)?].concat();
            serde_json::from_slice::<Holder<'_>>(&members).ok()?.id()
        })
    }

    /// Keeps what stands near the end from the first key on, or else as much as a key that is cut.
    fn hold_tail(&mut self, data: &[u8]) {
        let window = data.get(data.len().saturating_sub(TAIL_BYTES)..).unwrap_or_default();
        if window.len() < data.len() {
            self.held.clear();
        }
        self.held.extend_from_slice(window);
        let excess = self.held.len().saturating_sub(TAIL_BYTES);
        let key = KEY.find(self.held.get(excess..).unwrap_or_default());
        let rest = self.held.len().saturating_sub(KEY_TEXT.len() - 1).max(excess);
        self.held.drain(..key.map_or(rest, |at| excess + at));
    }

    fn look_at_events(&mut self, data: &[u8]) -> Option<String> {
        // Nearly every piece is a few whole events without a container.
        if self.held.is_empty() && ends_event(data) && KEY.find(data).is_none() {
            self.form = Form::Stream { is_too_long: false };
            return None;
        }
        self.held.extend_from_slice(data);
        let held = std::mem::take(&mut self.held);
        let mut rest = held.as_slice();
        while let Some((event, behind)) = split_event(rest) {
            let is_tail = matches!(self.form, Form::Stream { is_too_long: true });
            self.form = Form::Stream { is_too_long: false };
            rest = behind;
            if !is_tail
                && KEY.find(event).is_some()
                && let Some(id) = id_in_event(event)
            {
                self.form = Form::Done;
                return Some(id);
            }
        }
        if rest.len() > MAX_EVENT_BYTES {
            self.form = Form::Stream { is_too_long: true };
            // Enough to see a blank line that is cut.
            rest = rest.get(rest.len() - 3..).unwrap_or_default();
        }
        self.held = rest.to_vec();
        None
    }
}

fn ends_event(data: &[u8]) -> bool {
    data.ends_with(b"\n\n") || data.ends_with(b"\r\n\r\n")
}

/// Splits off the first whole event, at its blank line.
fn split_event(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr_iter(b'\n', text).find_map(|at| {
        let behind = text.get(at + 1..)?;
        let blank = if behind.starts_with(b"\r\n") { 2 } else { usize::from(behind.starts_with(b"\n")) };
        (blank > 0).then_some(at + 1 + blank)
    })?;
    text.split_at_checked(end)
}

/// Returns the id in an event that ends a message.
fn id_in_event(event: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Delta<'e> {
        #[serde(rename = "type")]
        name: &'e str,
        #[serde(borrow)]
        delta: Holder<'e>,
    }
    let lines = event.split(|byte| *byte == b'\n').filter_map(|line| line.strip_prefix(b"data:"));
    let data = lines.collect::<Vec<_>>().concat();
    let event: Delta<'_> = serde_json::from_slice(&data).ok()?;
    (event.name == "message_delta").then(|| event.delta.id())?
}

/// What holds a container.
#[derive(Deserialize)]
struct Holder<'a> {
    #[serde(borrow)]
    container: Option<Container<'a>>,
}

#[derive(Deserialize)]
struct Container<'a> {
    id: &'a str,
}

impl Holder<'_> {
    fn id(&self) -> Option<String> {
        self.container.as_ref().map(|container| container.id.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks at an answer in pieces of each size, and wants the same each time.
    #[track_caller]
    fn check(content_type: ContentType, answer: &str, expected: Option<&str>) {
        for size in [1, 2, 7, 64, 5000, usize::MAX] {
            let mut search = ContainerSearch::new(content_type);
            let mut found = None;
            for piece in answer.as_bytes().chunks(size.min(answer.len().max(1))) {
                found = found.or(search.look(piece));
                let bound = TAIL_BYTES.max(MAX_EVENT_BYTES);
                assert!(search.held.len() <= bound, "{} bytes are held", search.held.len());
            }
            assert_eq!(found.or(search.finish()).as_deref(), expected, "in pieces of {size}: {answer:.200}");
        }
    }

    // Spec: api A-78.
    #[test]
    fn the_container_of_a_json_answer_is_a_member_near_its_end() {
        fn check_json(answer: &str, expected: Option<&str>) {
            check(ContentType::Json, answer, expected);
        }
        check_json(r#"{"id":"msg_1","container":{"id":"c_1"}}"#, Some("c_1"));
        let whole = r#"{"id":"msg_1","content":[{"text":"x"}],"stop_reason":"end_turn",
            "container" : {"id":"c_1","expires_at":"2026"}, "usage":{"input_tokens":1}}
        "#;
        check_json(whole, Some("c_1"));
        check_json(r#"{"id":"msg_1","container":null}"#, None);
        check_json(r#"{"container":"c_1"}"#, None);
        check_json("", None);
        // What a model wrote: deeper, or in a string.
        let deeper = r#"{"content":[{"input":{"container":{"id":"no"}}}],"usage":{}}"#;
        check_json(deeper, None);
        check_json(r#"{"content":[{"text":"\"container\":{\"id\":\"no\"}"}]}"#, None);
        check_json(r#"{"a":{"container":{"id":"no"}},"container":{"id":"c_1"}}"#, Some("c_1"));
        // A body that is no object, or not whole.
        check_json(r#"{"container":{"id":"c_1"}"#, None);
        check_json(r#"{"container":{"id":"c_1"}}}"#, None);
        // Far from the end.
        let long = "x".repeat(TAIL_BYTES);
        check_json(&format!(r#"{{"container":{{"id":"c_1"}},"x":"{long}"}}"#), None);
        check_json(&format!(r#"{{"x":"{long}{long}","container":{{"id":"c_1"}}}}"#), Some("c_1"));
    }

    // Spec: api A-78.
    #[test]
    fn the_container_of_a_stream_is_in_the_event_that_ends_the_message() {
        fn check_stream(answer: &str, expected: Option<&str>) {
            check(ContentType::EventStream, answer, expected);
            check(ContentType::EventStream, &answer.replace('\n', "\r\n"), expected);
        }
        let first = "event: message_start\ndata: {\"message\":{\"id\":\"m\",\"container\":null}}\n\n";
        let last = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn","container":{"id":"c_1"}},"usage":{}}"#;
        check_stream(&format!("{first}event: message_delta\ndata: {last}\n\nevent: x\n\n"), Some("c_1"));
        check_stream(&format!("data:{last}\n\n"), Some("c_1"));
        // Not ended; not the event; not the place.
        check_stream(&format!("data: {last}\n"), None);
        check_stream(&format!("data: {}\n\n", last.replace("message_delta", "message_start")), None);
        let start = r#"{"type":"content_block_start","delta":{"x":{"container":{"id":"no"}}}}"#;
        check_stream(&format!("data: {start}\n\ndata: {last}\n\n"), Some("c_1"));
        let text = r#"{"type":"content_block_delta","delta":{"text":"\"container\":{\"id\":\"no\"}"}}"#;
        check_stream(&format!("data: {text}\n\n"), None);
        // An event too long to be looked into, and one behind it.
        let long = format!("data: {{\"x\":\"{}\",\"container\":{{}}}}\n\n", "x".repeat(2 * MAX_EVENT_BYTES));
        check_stream(&format!("{long}data: {last}\n\n"), Some("c_1"));
    }

    // Spec: api A-78.
    #[test]
    fn what_cannot_be_read_tells_of_no_container() {
        check(ContentType::Other, r#"{"container":{"id":"c_1"}}"#, None);
    }
}
