//! Nobody is left to ask: the answer is there at once, and says when to come back.

use std::time::Duration;

use gate_testkit::mock::Reply;
use gate_testkit::raw::RawResponse;
use tokio::time::{Instant, advance};

use crate::rig::{Provider, Rig, post};

/// Two of each kind, and one that comes after those of the first kind.
const CONFIG: &str = r#"
    [llm.circuit_breaker]
    failure_threshold = 1
    recovery_timeout = 20
    [llm.provider.openai]
    fallback = "north"
    [llm.provider.openai.east]
    api_base = "http://east.test/v1"
    api_key = "k"
    weight = 1
    [llm.provider.openai.west]
    api_base = "http://west.test/v1"
    api_key = "k"
    weight = 1
    [llm.provider.openai.north]
    api_base = "http://north.test/v1"
    api_key = "k"
    model = "north-model"
    [llm.provider.anthropic.south]
    api_base = "http://south.test"
    api_key = "k"
    weight = 1
    [llm.provider.anthropic.pole]
    api_base = "http://pole.test"
    api_key = "k"
    weight = 1
"#;

const HOSTS: [&str; 5] = ["east.test", "west.test", "north.test", "south.test", "pole.test"];

fn requests() -> [(String, &'static str); 3] {
    let openai = r#""type":"server_error","param":null,"code":"provider_unavailable""#;
    let anthropic = r#"{"type":"error","error":{"type":"overloaded_error","message":""#;
    let stream = r#""stream":true,"max_tokens":9,"messages":[]}"#;
    [
        (post("/v1/chat/completions", &format!(r#"{{"model":"openai.gpt-4",{stream}"#)), openai),
        (post("/v1/responses", r#"{"model":"openai.gpt-4","stream":true,"input":"x"}"#), openai),
        (post("/v1/messages", &format!(r#"{{"model":"anthropic.claude-1",{stream}"#)), anthropic),
    ]
}

fn asked(providers: &[Provider]) -> usize {
    providers.iter().map(|provider| provider.asked(0..1000)).sum()
}

fn check(response: &RawResponse, retry_after: &str, shape: &str) {
    let head = &response.head;
    let text = response.body.text();
    assert_eq!(
        (head.status, head.header("x-gateway-error"), head.header("retry-after")),
        (503, Some("provider_unavailable"), Some(retry_after)),
        "{text}"
    );
    assert_eq!((head.header("x-should-retry"), head.header("x-gateway-attempts")), (Some("true"), None));
    assert!(response.body.is_clean() && text.contains(shape), "{text}");
}

// Spec: load-balancing B-12; api A-24, A-70.
#[tokio::test(start_paused = true)]
async fn open_breakers_answer_without_a_wait_or_a_byte() {
    let mut rig = Rig::new(CONFIG);
    let providers = HOSTS.map(|host| Provider::up(&rig, host, |_| Reply::json(503, "{}")));
    for (request, _) in requests() {
        rig.send(&request).await;
    }
    // Each was asked once by the first of its kind; responses found them open.
    assert_eq!(asked(&providers), HOSTS.len());
    advance(Duration::from_secs(5)).await;
    let begin = Instant::now();
    for (request, shape) in requests() {
        check(&rig.send(&request).await, "15", shape);
        let crowd = rig.load(&request, 500, Duration::ZERO, async {}).await;
        for seen in crowd {
            check(&seen.response.unwrap(), "15", shape);
        }
    }
    assert_eq!((begin.elapsed(), asked(&providers)), (Duration::ZERO, HOSTS.len()));
}

// Spec: load-balancing B-9, B-12; api A-70.
#[tokio::test(start_paused = true)]
async fn where_all_rest_the_shortest_rest_counts() {
    let mut rig = Rig::new(CONFIG);
    let providers = HOSTS.map(|host| {
        Provider::up(&rig, host, move |_| {
            let rest = 30 + 10 * HOSTS.iter().position(|other| *other == host).unwrap();
            Reply::json(429, "{}").header("retry-after", &rest.to_string())
        })
    });
    let (chat, shape) = &requests()[0];
    // The last of the three says no: that is the answer.
    assert_eq!(rig.send(chat).await.head.header("retry-after"), Some("50"));
    advance(Duration::from_millis(2500)).await;
    let begin = Instant::now();
    check(&rig.send(chat).await, "28", shape);
    assert_eq!((begin.elapsed(), asked(&providers)), (Duration::ZERO, 3));
}
