//! What a request wants for an answer: words, the call of a tool, or JSON of a given shape. It reads the
//! forms of all dialects, which differ in where the same things stand.

use serde_json::{Value, json};

use super::refusal::Refusal;
use super::schema;
use super::text::{Answer, Prompt};

/// A tool that the client offers.
struct Tool<'b> {
    name: &'b str,
    schema: Option<&'b Value>,
}

impl<'b> Tool<'b> {
    /// Reads a tool that the client runs itself; those of the vendor have no schema to go by.
    fn parse(tool: &'b Value) -> Option<Self> {
        let function = tool.get("function").unwrap_or(tool);
        let schema = function.get("parameters").or(function.get("input_schema"));
        let is_function = tool.get("type").and_then(Value::as_str) == Some("function");
        let name = function.get("name").and_then(Value::as_str)?;
        (is_function || schema.is_some()).then_some(Self { name, schema })
    }

    fn call(&self, limit: Option<usize>) -> Answer {
        // A tool without parameters takes none.
        let arguments = self.schema.map_or_else(|| json!({}), schema::example);
        Answer { tool: Some(self.name.to_owned()), ..Answer::json(&arguments, limit) }
    }
}

/// Answers a prompt as the request wants it. `format` is the shape that the dialect asks for, where it has
/// one: `{"type":"json_schema", …}` with the schema in it or one level below, or `{"type":"json_object"}`.
///
/// A tool is called if `tool_choice` makes it, or if the last user message says `call NAME`; never in answer
/// to what a tool said.
///
/// # Errors
/// `tool_choice` forces a tool that is not there.
pub(super) fn grant(
    body: &Value,
    format: Option<&Value>,
    prompt: &Prompt,
    limit: Option<usize>,
) -> Result<Answer, Refusal> {
    if let Some(tool) = wanted_tool(body, prompt)? {
        return Ok(tool.call(limit));
    }
    let format = format.unwrap_or(&Value::Null);
    let schema = format.pointer("/json_schema/schema").or(format.get("schema"));
    Ok(match (format.get("type").and_then(Value::as_str), schema) {
        (Some("json_schema"), Some(schema)) => Answer::json(&schema::example(schema), limit),
        (Some("json_object"), _) => {
            Answer::json(&json!({ "answer": Answer::to(prompt, None).text() }), limit)
        }
        _ => Answer::to(prompt, limit),
    })
}

fn wanted_tool<'b>(body: &'b Value, prompt: &Prompt) -> Result<Option<Tool<'b>>, Refusal> {
    let tools = body.get("tools").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut tools = tools.iter().filter_map(Tool::parse);
    let choice = body.get("tool_choice").unwrap_or(&Value::Null);
    let kind = choice.as_str().or(choice.get("type").and_then(Value::as_str)).unwrap_or("auto");
    if prompt.is_from_tool || kind == "none" {
        return Ok(None);
    }
    let missing = || Refusal::parameter("tool_choice", "names no tool of `tools`");
    match kind {
        "required" | "any" => tools.next().map(Some).ok_or_else(missing),
        "function" | "tool" => {
            let name = choice.pointer("/function/name").or(choice.get("name")).and_then(Value::as_str);
            tools.find(|tool| Some(tool.name) == name).map(Some).ok_or_else(missing)
        }
        _ => Ok(tools.find(|tool| asks_for(&prompt.said, tool.name))),
    }
}

/// Tells whether a text says `call NAME`, be the name quoted or not.
fn asks_for(text: &str, name: &str) -> bool {
    let is_quote = |c: char| matches!(c, '`' | '"' | '\'');
    let mut words = text.split_whitespace().map(|word| word.trim_end_matches(['.', ',', '!', '?', ';', ':']));
    std::iter::from_fn(|| words.find(|word| word.eq_ignore_ascii_case("call")).and_then(|_| words.next()))
        .any(|word| word.trim_matches(is_quote) == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(body: &Value, said: &str, is_from_tool: bool) -> (Option<String>, String) {
        let prompt = Prompt { is_from_tool, ..Prompt::from_text(said) };
        let answer = grant(body, body.get("format"), &prompt, None).unwrap();
        (answer.tool.clone(), answer.text())
    }

    #[test]
    fn a_tool_is_called_if_it_is_forced_or_asked_for() {
        let schema = json!({ "type": "object", "properties": { "city": { "type": "string" } } });
        let chat = json!({ "type": "function", "function": { "name": "weather", "parameters": schema } });
        let responses = json!({ "type": "function", "name": "weather", "parameters": schema });
        let messages = json!({ "name": "weather", "input_schema": schema });
        let vendors = json!({ "type": "web_search_20260209", "name": "other" });
        let check = |tool: &Value, choice: Value, said: &str, expected: Option<&str>| {
            let body = json!({ "tools": [vendors, tool], "tool_choice": choice });
            let (name, text) = granted(&body, said, false);
            assert_eq!(name.as_deref(), expected, "{body} {said}");
            assert_eq!(text == r#"{"city":"demo"}"#, expected.is_some(), "{text}");
        };
        for tool in [&chat, &responses, &messages] {
            check(tool, json!(null), "Please call weather.", Some("weather"));
            check(tool, json!("auto"), "now Call `weather`, please", Some("weather"));
            check(tool, json!({ "type": "auto" }), "call me; what is the weather?", None);
            check(tool, json!("auto"), "call weathers", None);
            check(tool, json!("auto"), "call other", None);
            check(tool, json!("none"), "call weather", None);
            check(tool, json!({ "type": "none" }), "call weather", None);
            check(tool, json!("required"), "hi", Some("weather"));
            check(tool, json!({ "type": "any" }), "hi", Some("weather"));
            check(tool, json!({ "type": "tool", "name": "weather" }), "hi", Some("weather"));
        }
        let by_function = json!({ "type": "function", "function": { "name": "weather" } });
        check(&chat, by_function, "hi", Some("weather"));
        let body = json!({ "tools": [chat], "tool_choice": "required" });
        assert_eq!(granted(&body, "sunny", true).0, None, "a tool that answered is not asked again");
        let bare = json!({ "tools": [{ "type": "function", "function": { "name": "now" } }] });
        assert_eq!(granted(&bare, "call now", false), (Some("now".to_owned()), "{}".to_owned()));
        for choice in [json!("required"), json!({ "type": "tool", "name": "other" })] {
            let body = json!({ "tools": [vendors], "tool_choice": choice });
            assert!(grant(&body, None, &Prompt::from_text("hi"), None).is_err(), "{body}");
        }
    }

    #[test]
    fn a_shape_is_kept() {
        let schema = json!({ "type": "object", "properties": { "n": { "type": "integer" } } });
        for format in [
            json!({ "type": "json_schema", "json_schema": { "name": "a", "schema": schema } }),
            json!({ "type": "json_schema", "name": "a", "schema": schema }),
        ] {
            assert_eq!(granted(&json!({ "format": format }), "hi", false).1, r#"{"n":1}"#);
        }
        let text = granted(&json!({ "format": { "type": "json_object" } }), "hi", false).1;
        assert_eq!(text, r#"{"answer":"Hello from emx-gate's demo provider. You said: hi"}"#);
        let text = granted(&json!({ "format": { "type": "text" } }), "hi", false).1;
        assert_eq!(text, "Hello from emx-gate's demo provider. You said: hi");
    }
}
