//! The rules: what a client asks of a gateway, and which answer it needs. Each was seen in the
//! clients themselves (versions in `docs/clients.md`).

use std::time::Duration;

use gate_model_ref::ProviderKind;
use http::StatusCode;
use serde_json::{Value, json};

use super::call::{Call, Caller, Reply};
use super::model::Offer;
use super::{Client, Verdict, shape};

/// The version that Anthropic's newest SDKs send.
const VERSION: &str = "2026-10-21";
/// A name that no provider has.
const NO_MODEL: &str = "emx-gate-doctor-no-such-model";
/// Claude Code and Codex give up or lose time if these answers take longer.
const AT_ONCE: Duration = Duration::from_secs(1);

/// A vendor's operation that streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Api {
    Chat,
    Responses,
    Messages,
}

/// One rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    Ready,
    Probe,
    Credentials(ProviderKind),
    Models(ProviderKind),
    Routes(Api),
    CountTokensRoute,
    BigHeaders(Api),
    Upgrade,
    UnknownModel(Api),
    Stream(Api),
    CountTokens,
    ProviderErrors(Api),
}

impl Check {
    pub(super) const ALL: [Self; 23] = [
        Self::Ready,
        Self::Probe,
        Self::Credentials(ProviderKind::OpenAi),
        Self::Credentials(ProviderKind::Anthropic),
        Self::Models(ProviderKind::OpenAi),
        Self::Models(ProviderKind::Anthropic),
        Self::Routes(Api::Chat),
        Self::Routes(Api::Responses),
        Self::Routes(Api::Messages),
        Self::CountTokensRoute,
        Self::BigHeaders(Api::Responses),
        Self::BigHeaders(Api::Messages),
        Self::Upgrade,
        Self::UnknownModel(Api::Chat),
        Self::UnknownModel(Api::Responses),
        Self::UnknownModel(Api::Messages),
        Self::Stream(Api::Chat),
        Self::Stream(Api::Responses),
        Self::Stream(Api::Messages),
        Self::CountTokens,
        Self::ProviderErrors(Api::Chat),
        Self::ProviderErrors(Api::Responses),
        Self::ProviderErrors(Api::Messages),
    ];

    /// Tells whether the client depends on the rule.
    pub(super) fn is_for(self, client: Client) -> bool {
        match self {
            Self::Ready => true,
            Self::Probe => client == Client::ClaudeCode,
            Self::Credentials(kind) | Self::Models(kind) => {
                client.kind() == kind && !(client == Client::Codex && matches!(self, Self::Models(_)))
            }
            Self::CountTokensRoute | Self::CountTokens => client.kind() == ProviderKind::Anthropic,
            Self::Upgrade => client == Client::Codex,
            Self::BigHeaders(api) => match api {
                Api::Responses => client == Client::Codex,
                _ => client == Client::ClaudeCode,
            },
            Self::Routes(api) | Self::UnknownModel(api) | Self::Stream(api) | Self::ProviderErrors(api) => {
                match api {
                    Api::Chat => client == Client::OpenAi,
                    Api::Responses => client.kind() == ProviderKind::OpenAi,
                    Api::Messages => client.kind() == ProviderKind::Anthropic,
                }
            }
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Probe => "HEAD probes answered",
            Self::Credentials(_) => "every form of the key accepted",
            Self::Models(ProviderKind::OpenAi) => "list of models, OpenAI's shape",
            Self::Models(ProviderKind::Anthropic) => "list of models, Anthropic's shape",
            Self::Routes(Api::Chat) => "/v1/chat/completions is there",
            Self::Routes(Api::Responses) => "/v1/responses is there",
            Self::Routes(Api::Messages) => "/v1/messages?beta=true is there",
            Self::CountTokensRoute => "count_tokens is there",
            Self::BigHeaders(_) => "big headers accepted",
            Self::Upgrade => "WebSocket settled at once",
            Self::UnknownModel(Api::Chat) => "unknown model, chat",
            Self::UnknownModel(Api::Responses) => "unknown model, responses",
            Self::UnknownModel(Api::Messages) => "unknown model, messages",
            Self::Stream(Api::Chat) => "stream flushed, chat",
            Self::Stream(Api::Responses) => "stream flushed, responses",
            Self::Stream(Api::Messages) => "stream flushed, messages",
            Self::CountTokens => "count_tokens counts",
            Self::ProviderErrors(Api::Chat) => "errors unwrapped, chat",
            Self::ProviderErrors(Api::Responses) => "errors unwrapped, responses",
            Self::ProviderErrors(Api::Messages) => "errors unwrapped, messages",
        }
    }

    /// Says what goes wrong in the client otherwise.
    pub(super) const fn why(self) -> &'static str {
        match self {
            Self::Ready => "it would refuse requests",
            Self::Probe => "Claude Code looks for the server with HEAD before it starts",
            Self::Credentials(_) => "SDKs differ by version in the header that carries the key",
            Self::Models(_) => "clients read these members to offer models",
            Self::Routes(Api::Messages) => "Claude Code adds ?beta=true to every message",
            Self::Routes(_) => "the client has no other endpoint",
            Self::CountTokensRoute | Self::CountTokens => {
                "Claude Code would count by sending whole messages instead"
            }
            Self::BigHeaders(_) => "agents send their metadata in headers of some KiB",
            Self::Upgrade => "without 426 or 101 Codex tries for seconds before it falls back to HTTP",
            Self::UnknownModel(_) => "the SDK would show another error, or try again in vain",
            Self::Stream(_) => "users would see nothing until the answer is complete",
            Self::ProviderErrors(_) => "agents decide by the provider's own words whether to try again",
        }
    }

    /// Asks the gateway, and the provider only where that is allowed.
    pub(super) async fn run(self, caller: &Caller, offer: &Offer, live: bool) -> Verdict {
        let asked = match self {
            Self::Ready => ready(caller).await,
            Self::Probe => probe(caller).await,
            Self::Credentials(kind) => credentials(caller, kind).await,
            Self::Models(kind) => models(caller, kind).await,
            Self::Routes(api) => has_route(caller, api.path(), api.kind()).await,
            Self::CountTokensRoute => {
                has_route(caller, "/v1/messages/count_tokens?beta=true", ProviderKind::Anthropic).await
            }
            Self::BigHeaders(api) => big_headers(caller, api.kind()).await,
            Self::Upgrade => upgrade(caller).await,
            Self::UnknownModel(_) if offer.has_root && !live => {
                let provider = offer.kind;
                return not_tried(&format!("`{provider}` may be asked for a name that it does not have"));
            }
            Self::UnknownModel(api) => unknown_model(caller, api).await,
            Self::Stream(_) | Self::CountTokens | Self::ProviderErrors(_) => {
                let Some(model) = &offer.model else { return not_tried_without_model() };
                if !offer.may_ask(live) {
                    return not_tried(&format!("`{model}` would be asked"));
                }
                match self {
                    Self::CountTokens => count_tokens(caller, model).await,
                    Self::ProviderErrors(api) => provider_errors(caller, api, model).await,
                    Self::Stream(api) => stream(caller, api, model).await,
                    _ => Ok(String::new()),
                }
            }
        };
        match asked {
            Ok(found) => Verdict::Pass(found),
            Err(found) => Verdict::Fail(found),
        }
    }
}

fn not_tried(what: &str) -> Verdict {
    Verdict::NotTried(format!("not tried: {what}; --live allows it"))
}

fn not_tried_without_model() -> Verdict {
    Verdict::NotTried("not tried: the gateway lists no model of this kind; name one with --model".to_owned())
}

impl Api {
    const fn path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Responses => "/v1/responses",
            Self::Messages => "/v1/messages?beta=true",
        }
    }

    const fn kind(self) -> ProviderKind {
        match self {
            Self::Messages => ProviderKind::Anthropic,
            Self::Chat | Self::Responses => ProviderKind::OpenAi,
        }
    }

    /// The event without which the stream is not whole.
    const fn last_event(self) -> &'static str {
        match self {
            Self::Chat => "data: [DONE]",
            Self::Responses => "event: response.completed",
            Self::Messages => "event: message_stop",
        }
    }

    /// A request for a few words, with `said` where the words of the user stand.
    fn body(self, model: &str, said: &Value) -> Value {
        match self {
            Self::Chat => json!({"model": model, "messages": said}),
            Self::Responses => json!({"model": model, "input": said}),
            Self::Messages => json!({"model": model, "max_tokens": 64, "messages": said}),
        }
    }
}

/// What each check finds: the answer as it must be, or what is wrong with it.
type Finding = Result<String, String>;

fn expect(reply: &Reply, status: StatusCode, what: &str) -> Result<(), String> {
    if reply.status == status { Ok(()) } else { Err(format!("{what} answers {}", reply.status)) }
}

async fn ready(caller: &Caller) -> Finding {
    let reply = caller.call(Call::get("/ready")).await?;
    expect(&reply, StatusCode::OK, "GET /ready")?;
    Ok("GET /ready answers 200".to_owned())
}

async fn probe(caller: &Caller) -> Finding {
    for path in ["/", "/api/hello"] {
        let reply = caller.call(Call::head(path)).await?;
        expect(&reply, StatusCode::OK, &format!("HEAD {path}"))?;
    }
    Ok("HEAD / and /api/hello answer 200".to_owned())
}

async fn credentials(caller: &Caller, kind: ProviderKind) -> Finding {
    let key = caller.key().to_owned();
    let forms: &[(&'static str, String)] =
        &[("authorization", caller.bearer()), ("x-api-key", key.clone()), ("api-key", key)];
    for (name, value) in forms {
        let call = with_version(Call::get("/v1/models"), kind).without_key().header(name, value.clone());
        let reply = caller.call(call).await?;
        expect(&reply, StatusCode::OK, &format!("GET /v1/models with `{name}`"))?;
    }
    Ok("authorization, x-api-key and api-key".to_owned())
}

async fn models(caller: &Caller, kind: ProviderKind) -> Finding {
    let path = match kind {
        ProviderKind::OpenAi => "/v1/models",
        ProviderKind::Anthropic => "/v1/models?limit=1000",
    };
    let reply = caller.call(with_version(Call::get(path), kind)).await?;
    expect(&reply, StatusCode::OK, path)?;
    let count = shape::models(kind, reply.json().as_ref())?;
    Ok(format!("{count} models in {} ms", reply.to_head.as_millis()))
}

/// A `model` that is null is refused by the gateway itself: the route is there, and nobody is asked.
async fn has_route(caller: &Caller, path: &str, kind: ProviderKind) -> Finding {
    let reply = caller.call(with_version(Call::post(path, &json!({"model": null})), kind)).await?;
    expect(&reply, StatusCode::BAD_REQUEST, "a request with `\"model\":null`")?;
    shape::error(kind, reply.json().as_ref())?;
    Ok("a broken request is refused with 400, in the dialect".to_owned())
}

async fn big_headers(caller: &Caller, kind: ProviderKind) -> Finding {
    let metadata = format!("{{\"doctor\":\"{}\"}}", "x".repeat(8 * 1024));
    let call = with_version(Call::get("/v1/models"), kind)
        .header("x-codex-turn-metadata", metadata.clone())
        .header("anthropic-beta", "x".repeat(2048))
        .header("x-doctor-metadata", metadata);
    let reply = caller.call(call).await?;
    expect(&reply, StatusCode::OK, "a request with 18 KiB of headers")?;
    Ok("18 KiB of headers".to_owned())
}

async fn upgrade(caller: &Caller) -> Finding {
    let call = Call::get("/v1/responses")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "ZW14LWdhdGUgZG9jdG9yIQ==")
        .header("sec-websocket-extensions", "permessage-deflate")
        .header("openai-beta", "responses_websockets=2026-02-06");
    let reply = caller.call(call).await?;
    if !matches!(reply.status, StatusCode::UPGRADE_REQUIRED | StatusCode::SWITCHING_PROTOCOLS) {
        return Err(format!("the upgrade answers {}", reply.status));
    }
    if reply.to_head > AT_ONCE {
        return Err(format!("{} only after {} ms", reply.status, reply.to_head.as_millis()));
    }
    Ok(format!("{} after {} ms", reply.status.as_u16(), reply.to_head.as_millis()))
}

async fn unknown_model(caller: &Caller, api: Api) -> Finding {
    let said = json!([{"role": "user", "content": "hi"}]);
    let call = Call::post(api.path(), &api.body(NO_MODEL, &said)).live();
    let reply = caller.call(with_version(call, api.kind())).await?;
    expect(&reply, StatusCode::NOT_FOUND, "a model that nobody has")?;
    shape::error(api.kind(), reply.json().as_ref())?;
    if reply.header("x-gateway-error").is_some() && reply.header("x-should-retry") != Some("false") {
        return Err("404 without `x-should-retry: false`".to_owned());
    }
    Ok("404 in the dialect, not to be tried again".to_owned())
}

async fn stream(caller: &Caller, api: Api, model: &str) -> Finding {
    let said = json!([{"role": "user", "content": "Count from one to twenty, in words."}]);
    let mut body = api.body(model, &said);
    if let Some(members) = body.as_object_mut() {
        members.insert("stream".to_owned(), Value::Bool(true));
    }
    let reply = caller.call(with_version(Call::post(api.path(), &body).live(), api.kind())).await?;
    expect(&reply, StatusCode::OK, "a stream")?;
    let content_type = reply.header("content-type").unwrap_or_default().to_ascii_lowercase();
    if !content_type.starts_with("text/event-stream") {
        return Err(format!("the answer is `{content_type}`, no event stream"));
    }
    let text = String::from_utf8_lossy(&reply.body);
    if !text.lines().any(|line| line.starts_with(api.last_event())) {
        return Err(format!("the stream ends without `{}`", api.last_event()));
    }
    if reply.pieces < 2 {
        return Err("the whole stream came in one piece".to_owned());
    }
    Ok(format!("{} pieces over {} ms, ended as it must", reply.pieces, reply.spread.as_millis()))
}

async fn count_tokens(caller: &Caller, model: &str) -> Finding {
    let body = json!({"model": model, "messages": [{"role": "user", "content": "Hello"}]});
    let call = Call::post("/v1/messages/count_tokens?beta=true", &body).live();
    let reply = caller.call(with_version(call, ProviderKind::Anthropic)).await?;
    expect(&reply, StatusCode::OK, "count_tokens")?;
    let count = reply.json().and_then(|json| json.get("input_tokens")?.as_u64());
    count
        .map(|count| format!("`input_tokens` is {count}"))
        .ok_or_else(|| "the answer has no `input_tokens`".to_owned())
}

/// A request that every provider refuses before it costs anything: what the user said is a number.
async fn provider_errors(caller: &Caller, api: Api, model: &str) -> Finding {
    let call = Call::post(api.path(), &api.body(model, &json!(5))).live();
    let reply = caller.call(with_version(call, api.kind())).await?;
    if !reply.status.is_client_error() {
        return Err(format!("a request that is wrong answers {}", reply.status));
    }
    if let Some(code) = reply.header("x-gateway-error") {
        return Err(format!("the gateway answers for the provider: {} `{code}`", reply.status));
    }
    shape::error(api.kind(), reply.json().as_ref())?;
    Ok(format!("{} with the provider's own body", reply.status.as_u16()))
}

fn with_version(call: Call, kind: ProviderKind) -> Call {
    match kind {
        ProviderKind::OpenAi => call,
        ProviderKind::Anthropic => call.header("anthropic-version", VERSION),
    }
}
