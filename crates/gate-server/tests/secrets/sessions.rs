//! WebSocket sessions, whose clients in browsers have no headers and put their key into a subprotocol.

use gate_testkit::raw::RawScript;

use crate::places::{CREDENTIALS, OPENAI_KEY, OTHERS};
use crate::requests::{Ask, request};
use crate::rig::{Upstream, drive};

/// The key of RFC 6455 §1.3, and the proof of having read it.
const KEY: &str = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==";
const PROOF: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const PROTOCOLS: &str = "sec-websocket-protocol: realtime, openai-insecure-api-key.canary-subprotocol, \
                         openai-organization.canary-organization, openai-project.canary-project";

fn open(more: &[&str]) -> String {
    let upgrade = ["connection: Upgrade", "upgrade: websocket", "sec-websocket-version: 13", KEY];
    let headers = [&upgrade, more, &OTHERS[..]].concat();
    request("GET /v1/realtime?model=gpt-4&key=canary-session-query", &headers, "")
}

// Spec: security S-22, S-67; api A-52.
#[tokio::test(start_paused = true)]
async fn sessions_show_no_secret_whether_they_are_opened_or_not() {
    let agreed = format!(
        "HTTP/1.1 101 X\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: {PROOF}\r\n\r\n"
    );
    // A message, and a frame that nobody may send.
    let message = format!("{agreed}\u{1}\u{0c}canary-frame\u{7f}canary");
    let cut = agreed.replace("\r\n\r\n", "\r\nx-secret: canary");
    let said = format!("{{\"error\":\"{OPENAI_KEY}\"}}");
    let refused = format!("HTTP/1.1 401 X\r\ncontent-length: {}\r\n\r\n{said}", said.len());
    for (answer, expected) in [
        (agreed.clone(), 101),
        (message, 101),
        (cut, 502),
        ("canary-banner\r\n\r\n".to_owned(), 502),
        (refused, 401),
    ] {
        let script = RawScript::new().expect_head().send(answer.clone()).close();
        let asks = [Ask::new("a session", open(if expected == 401 { &[] } else { &[PROTOCOLS] }))];
        let statuses = drive(Upstream::Plays(script), &asks).await;
        assert_eq!(statuses, [expected], "{answer}");
    }
    let good = open(&[PROTOCOLS]);
    let asks = [
        Ask::new("another version", good.replace("version: 13", "version: 8")),
        Ask::new("no nonce", good.replace("dGhlIHNhbXBsZSBub25jZQ==", "canary-nonce")),
        Ask::new("two credentials", open(&[CREDENTIALS[0], "x-api-key: canary-other"])),
        Ask::new(
            "a body",
            good.replace("upgrade: websocket", "upgrade: websocket\r\ncontent-length: 6") + "canary",
        ),
    ];
    assert_eq!(drive(Upstream::Plays(RawScript::new()), &asks).await, [400; 4]);
}
