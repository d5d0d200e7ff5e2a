//! The promise itself, from end to end and for random bytes: up goes what came but for the model's
//! span, back comes what the provider sent.

use bytes::Bytes;
use gate_testkit::Step;
use gate_testkit::mock::Reply;
use proptest::prelude::*;
use serde_json::Value;

use crate::support::{CONFIG, Rig, post};

/// A JSON value, small enough to make many.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 3, |inner| {
        let key = prop_oneof![2 => any::<String>(), 1 => Just("model".to_owned())];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::hash_map(key, inner, 0..3).prop_map(|members| members.into_iter().collect()),
        ]
    })
}

/// A key of the top level without a rule of its own.
fn key() -> impl Strategy<Value = String> {
    any::<String>().prop_filter("has no rule of its own", |key| {
        !key.eq_ignore_ascii_case("model") && key != "stream" && !key.starts_with("max_")
    })
}

/// The text of members, each with white space around its parts.
fn members() -> impl Strategy<Value = Vec<String>> {
    let member =
        (key(), value(), "[ \t\r\n]{0,2}", "[ \t\r\n]{0,2}").prop_map(|(key, value, before, after)| {
            format!("{before}{}{after}:{before}{value}{after}", Value::from(key))
        });
    prop::collection::vec(member, 0..4)
}

/// A text cut at random places.
fn pieces(bytes: &[u8], cuts: &[prop::sample::Index]) -> Vec<Step> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| Step::Data(Bytes::copy_from_slice(&bytes[pair[0]..pair[1]]))).collect()
}

fn block_on(test: impl Future<Output = Result<(), TestCaseError>>) -> Result<(), TestCaseError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(test)
}

proptest! {
    // Spec: api A-12; mvp M-4.
    #[test]
    fn a_request_goes_up_as_it_came_but_for_the_model(
        before in members(),
        after in members(),
        model_key in prop_oneof![Just("\"model\""), Just("\"mod\\u0065l\""), Just("\"\\u006dodel\"")],
        model in prop_oneof![
            Just("\"openai.azure.small\""), Just("\"OPENAI.azure.SMALL\""), Just("\"openai.azure.sm\\u0061ll\""),
        ],
        space in "[ \t\r\n]{0,3}",
    ) {
        let lead: String = before.iter().map(|member| format!("{member},")).collect();
        let follow: String = after.iter().map(|member| format!(",{member}")).collect();
        let prefix = format!("{space}{{{lead}{space}{model_key}{space}:{space}");
        let suffix = format!("{space}{follow}}}{space}");
        block_on(async {
            let (mut rig, mock) = Rig::with_mock(CONFIG, [Reply::json(200, "{}")]);
            let response = rig.post("/v1/chat/completions", &format!("{prefix}{model}{suffix}")).await;
            prop_assert_eq!(response.head.status, 200, "{}", response.body.text());
            prop_assert_eq!(mock.next_request().await.text(), format!("{prefix}\"gpt-4-mini.2\"{suffix}"));
            Ok(())
        })?;
    }

    // Spec: api A-21; mvp M-4.
    #[test]
    fn an_answer_comes_back_as_it_was_sent(
        body in prop::collection::vec(any::<u8>(), 0..2000),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        is_stream in any::<bool>(),
        is_sized in any::<bool>(),
    ) {
        let content_type = if is_stream { "text/event-stream" } else { "application/octet-stream" };
        let mut reply = Reply::steps(200, pieces(&body, &cuts)).header("content-type", content_type);
        if is_sized {
            reply = reply.header("content-length", &body.len().to_string());
        }
        block_on(async {
            let (mut rig, _mock) = Rig::with_mock(CONFIG, [reply]);
            let response = rig.send(&post("/v1/responses", &[], r#"{"model":"gpt-4"}"#)).await;
            prop_assert!(response.body.is_clean());
            prop_assert_eq!(response.body.bytes, body);
            Ok(())
        })?;
    }
}
