//! The shapes of errors, whole and inside streams.

use http_body_util::BodyExt;

use super::*;

fn id() -> RequestId {
    RequestId::new(std::time::UNIX_EPOCH)
}

async fn text(response: Response<GateBody>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

// Spec: api A-25.
#[tokio::test]
async fn an_error_speaks_the_routes_dialect() {
    let id = id();
    let error = ApiError::new(ErrorCode::ModelNotFound, "no \"x\"");

    let openai = error.render(ProviderKind::OpenAi, &id);
    assert_eq!(openai.status(), 404);
    assert_eq!(openai.headers().get("x-request-id").unwrap(), id.as_str());
    assert_eq!(openai.headers().get("x-gateway-error").unwrap(), "model_not_found");
    assert_eq!(openai.headers().get("x-should-retry").unwrap(), "false");
    assert_eq!(
        text(openai).await,
        r#"{"error":{"message":"no \"x\"","type":"invalid_request_error","param":null,"code":"model_not_found"}}"#
    );

    let anthropic = error.render(ProviderKind::Anthropic, &id);
    assert_eq!(anthropic.headers().get("request-id").unwrap(), id.as_str());
    let expected = format!(
        r#"{{"type":"error","error":{{"type":"not_found_error","message":"no \"x\""}},"request_id":"{}"}}"#,
        id.as_str()
    );
    assert_eq!(text(anthropic).await, expected);
}

// Spec: api A-26.
#[test]
fn types_follow_the_status() {
    for (code, openai, anthropic) in [
        (ErrorCode::InvalidJson, "invalid_request_error", "invalid_request_error"),
        (ErrorCode::NotFound, "invalid_request_error", "not_found_error"),
        (ErrorCode::MethodNotAllowed, "invalid_request_error", "invalid_request_error"),
        (ErrorCode::RequestTooLarge, "invalid_request_error", "request_too_large"),
        (ErrorCode::UnsupportedMediaType, "invalid_request_error", "invalid_request_error"),
        (ErrorCode::ProviderNotConfigured, "server_error", "api_error"),
        (ErrorCode::UpstreamClosed, "server_error", "api_error"),
        (ErrorCode::Overloaded, "server_error", "overloaded_error"),
        (ErrorCode::UpstreamTimeout, "server_error", "timeout_error"),
    ] {
        assert_eq!((code.openai_type(), code.anthropic_type()), (openai, anthropic), "{code:?}");
    }
}

// Spec: api A-27.
#[test]
fn sdks_are_told_not_to_retry_what_cannot_change() {
    for (code, is_marked) in [
        (ErrorCode::InvalidJson, true),
        (ErrorCode::ProviderNotConfigured, true),
        (ErrorCode::UpstreamTls, true),
        (ErrorCode::UpstreamTimeout, false),
        (ErrorCode::Overloaded, false),
        (ErrorCode::UpstreamConnectFailed, false),
    ] {
        let response = ApiError::new(code, "x").render(ProviderKind::OpenAi, &id());
        assert_eq!(response.headers().contains_key("x-should-retry"), is_marked, "{code:?}");
    }
}

#[test]
fn extra_headers_are_rendered() {
    let mut error = ApiError::method_not_allowed("POST").closing();
    error.retry_after = Some(2);
    let response = error.render(ProviderKind::OpenAi, &id());
    for (name, value) in [("allow", "POST"), ("connection", "close"), ("retry-after", "2")] {
        assert_eq!(response.headers().get(name).unwrap(), value);
    }
}

// Spec: api A-23.
#[test]
fn an_error_inside_a_stream_has_the_streams_shape() {
    fn check(dialect: StreamDialect, is_inside_event: bool, expected: &str) {
        let id = id();
        let event = error_event(dialect, ErrorCode::UpstreamClosed, "gone", &id, is_inside_event);
        assert_eq!(std::str::from_utf8(&event).unwrap(), expected.replace("ID", id.as_str()));
    }
    check(
        StreamDialect::Chat,
        false,
        "data: {\"error\":{\"message\":\"gone\",\"type\":\"server_error\",\"param\":null,\"code\":\"upstream_closed\"}}\n\n",
    );
    check(
        StreamDialect::Messages,
        true,
        "\n\nevent: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"gone\"},\"request_id\":\"ID\"}\n\n",
    );
    check(
        StreamDialect::Responses,
        false,
        "event: error\ndata: {\"type\":\"error\",\"code\":\"upstream_closed\",\"message\":\"gone\",\"param\":null}\n\n",
    );
}
