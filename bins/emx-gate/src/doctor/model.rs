//! Which model to ask for, who would answer, and whether that could cost anything.

use gate_model_ref::ProviderKind;
use serde_json::Value;

use super::call::{Call, Caller};

/// What the gateway has for a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) kind: ProviderKind,
    /// The model to ask for, if there is one.
    pub(super) model: Option<String>,
    /// Whether that model is one of the demo's: asking for it costs nothing.
    pub(super) is_demo: bool,
    /// Whether a name that nothing has may be passed on to a provider.
    pub(super) has_root: bool,
}

impl Offer {
    /// Asks the gateway for its models and providers.
    ///
    /// # Errors
    /// The lists cannot be read; the text is a sentence.
    pub(super) async fn find(
        caller: &Caller,
        kind: ProviderKind,
        named: Option<&str>,
    ) -> Result<Self, String> {
        let models = list(caller, "/v1/models").await?;
        let providers = list(caller, "/v1/providers").await?;
        Ok(Self::of(kind, named, &models, &providers))
    }

    /// Chooses from the entries of both lists.
    fn of(kind: ProviderKind, named: Option<&str>, models: &[Value], providers: &[Value]) -> Self {
        let prefix = format!("{kind}.");
        let listed = models.iter().filter_map(|entry| entry.get("id")?.as_str());
        let first = listed.into_iter().find(|id| id.starts_with(&prefix));
        let model = named.or(first).map(str::to_owned);
        let id = |entry: &Value| entry.get("id").and_then(Value::as_str).map(str::to_owned);
        let is_demo = model.as_deref().is_some_and(|model| {
            let owner = providers
                .iter()
                .filter(|entry| id(entry).is_some_and(|id| model.starts_with(&format!("{id}."))))
                .max_by_key(|entry| id(entry).map(|id| id.len()));
            owner.is_some_and(|owner| is_demo(kind, owner))
        });
        let has_root = providers.iter().any(|entry| id(entry).as_deref() == Some(kind.as_str()));
        Self { kind, model, is_demo, has_root }
    }

    /// Tells whether requests may reach the provider.
    pub(super) fn may_ask(&self, live: bool) -> bool {
        self.is_demo || live
    }

    /// Says which requests go to a provider.
    pub(super) fn announcement(&self, live: bool) -> String {
        let kind = self.kind;
        match &self.model {
            None => format!("{kind}: no model is listed; name one with --model to check its provider too"),
            Some(model) if self.is_demo => format!("{kind}: requests for `{model}` go to the demo"),
            Some(model) if live => {
                format!("{kind}: requests for `{model}` go to its provider and may cost money (--live)")
            }
            Some(model) => format!("{kind}: nothing is sent to the provider of `{model}` without --live"),
        }
    }
}

/// The demo runs inside the gateway; a provider of that name elsewhere is somebody's own.
fn is_demo(kind: ProviderKind, provider: &Value) -> bool {
    let text = |name: &str| provider.get(name).and_then(Value::as_str).unwrap_or_default();
    text("id") == format!("{kind}.demo") && text("api_base").starts_with("http://127.0.0.1:")
}

async fn list(caller: &Caller, path: &str) -> Result<Vec<Value>, String> {
    let reply = caller.call(Call::get(path)).await.map_err(|error| format!("GET {path}: {error}"))?;
    match reply.status.as_u16() {
        200 => {}
        status @ (401 | 403) => {
            return Err(format!(
                "GET {path} answers {status}: put a key that the gateway accepts into EMX_GATE_KEY"
            ));
        }
        status => return Err(format!("GET {path} answers {status}: is this emx-gate?")),
    }
    let entries = reply.json().and_then(|json| json.get("data")?.as_array().cloned());
    entries.ok_or_else(|| format!("GET {path} answers without a list `data`: is this emx-gate?"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    // Spec: mvp M-16.
    #[test]
    fn only_the_built_in_demo_is_asked_without_being_told() {
        let models = [json!({"id": "openai.demo.gpt-demo"}), json!({"id": "anthropic.claude"})];
        let demo = json!({"id": "openai.demo", "api_base": "http://127.0.0.1:9/v1"});
        let strange = json!({"id": "openai.demo", "api_base": "https://demo.example/v1"});
        let below = json!({"id": "openai.demo.gpt-demo", "api_base": "https://demo.example/v1"});
        let root = json!({"id": "openai", "api_base": "http://127.0.0.1:9/v1"});
        let check = |named, providers: &[Value], expected: (&str, bool, bool)| {
            let offer = Offer::of(ProviderKind::OpenAi, named, &models, providers);
            assert_eq!(
                (offer.model.as_deref(), offer.is_demo, offer.has_root),
                (Some(expected.0), expected.1, expected.2)
            );
            assert!(!offer.may_ask(false) || offer.is_demo);
        };
        check(None, std::slice::from_ref(&demo), ("openai.demo.gpt-demo", true, false));
        check(None, &[strange], ("openai.demo.gpt-demo", false, false));
        check(None, &[demo.clone(), root.clone()], ("openai.demo.gpt-demo", true, true));
        check(Some("gpt-4"), &[demo.clone(), root], ("gpt-4", false, true));
        check(Some("openai.demo.x"), &[demo.clone(), below.clone()], ("openai.demo.x", true, false));
        check(Some("openai.demo.gpt-demo.x"), &[demo, below], ("openai.demo.gpt-demo.x", false, false));
        let none = Offer::of(ProviderKind::OpenAi, None, &[], &[]);
        assert_eq!((none.model, none.is_demo), (None, false));
    }
}
