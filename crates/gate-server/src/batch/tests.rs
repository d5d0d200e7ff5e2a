//! Batches, good and bad.

use http_body_util::{BodyExt, Collected};

use super::*;

#[track_caller]
fn check(body: &str, expected: Result<&[&str], (ErrorCode, &str)>) {
    let found = models(body.as_bytes());
    match (found, expected) {
        (Ok(models), Ok(names)) => {
            assert_eq!(models.iter().map(|model| model.name.as_str()).collect::<Vec<_>>(), names, "{body}");
        }
        (Err(error), Err((code, part))) => {
            assert_eq!(error.code, code, "{body}: {}", error.message);
            assert!(error.message.contains(part), "{body}: {}", error.message);
        }
        (found, expected) => panic!("{body}: {found:?}, not {expected:?}"),
    }
}

// Spec: api A-45.
#[test]
fn each_request_of_a_batch_names_its_model() {
    use ErrorCode::{BadRequest, DuplicateKey, InvalidJson, MissingModel};
    check(
        r#"{"model":"no","requests":[{"custom_id":"1","params":{"max_tokens":1,"model":"a"}}, {"params":{"mod\u0065l":"b"}}]}"#,
        Ok(&["a", "b"]),
    );
    check(r#"{"requests":[]}"#, Ok(&[]));
    check("{}", Ok(&[]));
    check("[]", Err((InvalidJson, "not a JSON object")));
    check(r#"{"requests":[{]}"#, Err((InvalidJson, "not valid JSON")));
    check(r#"{"requests":{}}"#, Err((BadRequest, "`requests` must be an array")));
    check(r#"{"requests":[1]}"#, Err((BadRequest, "requests[0]: it must be an object")));
    check(r#"{"requests":[],"requests":[]}"#, Err((DuplicateKey, "`requests`")));
    let good = r#"{"params":{"model":"a"}}"#;
    for (bad, code, part) in [
        (r#"{}"#, MissingModel, "requests[1]: `params` names no `model`"),
        (r#"{"params":{}}"#, MissingModel, "requests[1]: `params` names no `model`"),
        (r#"{"params":{"model":""}}"#, MissingModel, "requests[1]: "),
        (r#"{"params":{"model":null}}"#, BadRequest, "requests[1]: `model` must be a string, not null"),
        (r#"{"params":{"model":"a","model":"b"}}"#, DuplicateKey, "requests[1]: `model` stands"),
        (r#"{"params":{"model":"a"},"params":{"model":"b"}}"#, DuplicateKey, "requests[1]: `params`"),
        (r#"{"params":[]}"#, InvalidJson, "requests[1]: "),
    ] {
        check(&format!(r#"{{"requests":[{good},{bad}]}}"#), Err((code, part)));
    }
}

#[tokio::test]
async fn only_the_models_that_differ_are_replaced() {
    let body = Bytes::from_static(
        br#"{ "requests" : [{"params":{"model": "a" ,"x":1.0}},{"params":{"model":"b"}},{"params":{"model":"a"}}] }"#,
    );
    let models = models(&body).unwrap();
    let sent = splice(&body, &models, ["long", "b", "\"c"]).collect().await.map(Collected::to_bytes).unwrap();
    let expected = r#"{ "requests" : [{"params":{"model": "long" ,"x":1.0}},{"params":{"model":"b"}},{"params":{"model":"\"c"}}] }"#;
    assert_eq!(sent, expected);
    assert_eq!(splice(&body, &models, ["a", "b", "a"]).collect().await.unwrap().to_bytes(), body);
}
