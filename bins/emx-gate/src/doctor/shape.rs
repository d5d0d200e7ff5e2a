//! What answers look like in each dialect: the members that clients read. It judges values and asks
//! nobody.

use gate_model_ref::ProviderKind;
use serde_json::Value;

/// Says what an error body lacks in a dialect, nothing if it is whole.
pub(super) fn error(kind: ProviderKind, body: Option<&Value>) -> Result<(), &'static str> {
    let Some(body) = body else { return Err("the body is not JSON") };
    let text = |pointer: &str| body.pointer(pointer).is_some_and(Value::is_string);
    if !text("/error/message") || !text("/error/type") {
        return Err("the body has no `error` with `message` and `type`");
    }
    if kind == ProviderKind::Anthropic && body.get("type").and_then(Value::as_str) != Some("error") {
        return Err("the body has no `\"type\":\"error\"` beside `error`");
    }
    Ok(())
}

/// Says what a list of models lacks, or how many it has.
pub(super) fn models(kind: ProviderKind, body: Option<&Value>) -> Result<usize, &'static str> {
    let Some(body) = body else { return Err("the body is not JSON") };
    let data = body.get("data").and_then(Value::as_array).ok_or("the body has no list `data`")?;
    let is_text = |entry: &Value, name: &str| entry.get(name).is_some_and(Value::is_string);
    match kind {
        ProviderKind::OpenAi => {
            if body.get("object").and_then(Value::as_str) != Some("list") {
                return Err("the body has no `\"object\":\"list\"`");
            }
            let is_whole = |entry: &Value| {
                is_text(entry, "id") && is_text(entry, "owned_by") && entry.get("created").is_some()
            };
            data.iter()
                .all(is_whole)
                .then_some(data.len())
                .ok_or("a model lacks `id`, `created` or `owned_by`")
        }
        ProviderKind::Anthropic => {
            let has_page = ["has_more", "first_id", "last_id"].iter().all(|name| body.get(*name).is_some());
            if !has_page {
                return Err("the body lacks `has_more`, `first_id` or `last_id`");
            }
            let is_whole = |entry: &Value| is_text(entry, "id") && is_text(entry, "display_name");
            data.iter().all(is_whole).then_some(data.len()).ok_or("a model lacks `id` or `display_name`")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    // Spec: mvp M-16.
    #[test]
    fn what_is_missing_is_named() {
        let (openai, anthropic) = (ProviderKind::OpenAi, ProviderKind::Anthropic);
        let bare = json!({"error": {"message": "m", "type": "t"}});
        assert_eq!(error(openai, Some(&bare)), Ok(()));
        assert_eq!(error(anthropic, Some(&bare)), Err("the body has no `\"type\":\"error\"` beside `error`"));
        assert_eq!(
            error(openai, Some(&json!({"error": "m"}))),
            Err("the body has no `error` with `message` and `type`")
        );
        assert_eq!(error(openai, None), Err("the body is not JSON"));
        let list = json!({"object": "list", "data": [{"id": "a", "created": 1, "owned_by": "b"}]});
        assert_eq!(models(openai, Some(&list)), Ok(1));
        assert_eq!(models(anthropic, Some(&list)), Err("the body lacks `has_more`, `first_id` or `last_id`"));
        assert_eq!(models(openai, Some(&json!({"data": []}))), Err("the body has no `\"object\":\"list\"`"));
        let page = json!({"data": [{"id": "a"}], "has_more": false, "first_id": "a", "last_id": "a"});
        assert_eq!(models(anthropic, Some(&page)), Err("a model lacks `id` or `display_name`"));
    }
}
