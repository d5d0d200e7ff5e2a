//! Rows 44 to 46: many clients on a cold pool, the gateway's own life, and who shares a connection. That a signal drains, and a
//! second one ends at once, is tested with the program.

use std::sync::Arc;
use std::time::Duration;

use gate_config::{Sources, load};
use gate_testkit::mock::{MockUpstream, Reply};
use gate_testkit::raw::{Authority, Flaw, Latch, RawScript, RawServer};

use gate_upstream::{Dialer, MemoryDialer};
use tokio::task::JoinSet;

use crate::rig::{Ask, Rig, config, paused, real};
use crate::row::{CHUNKED_STREAM, Row, ca_file, chunk, json, sends};

const EVENT: &str = "data: {\"a\":1}\n\n";

pub(crate) fn rows() -> Vec<Row> {
    vec![
        Row::story(44, "a thousand clients on a cold pool", cold_pool),
        Row::story(45, "the gateway must go while answers run", end_of_the_gateway),
        Row::story(45, "a reload without the provider", reload_without_the_provider),
        Row::story(46, "two trusts, two connections", connections_by_trust),
    ]
}

// Spec: api A-42; security S-18, S-48.
#[test]
fn what_outlives_what() {
    for row in rows() {
        row.check();
    }
}

/// A provider may have 64 connections, and each answer takes 10 ms. Nobody is refused, and no client
/// brings a connection of its own along. How many are made at once is tested below the gateway.
fn cold_pool() {
    const CLIENTS: usize = 1000;
    const CONNECTIONS: usize = 64;
    paused().block_on(async {
        let (dialer, mut listener) = MemoryDialer::new();
        let limit = format!("max_connections = {CONNECTIONS}");
        let mut rig = Rig::with_dialer(&config("http://upstream.test", "", &limit), Dialer::Memory(dialer));
        let upstream =
            Arc::new(MockUpstream::answering(|_| Reply::json(200, "{}").after(Duration::from_millis(10))));
        let mut tasks = JoinSet::new();
        let served = Arc::clone(&upstream);
        tasks.spawn(async move {
            while let Some(stream) = listener.accept().await {
                served.serve_stream(stream);
            }
        });
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            let mut client = rig.connect();
            client.send(Ask::Chat.request(0)).await.unwrap();
            clients.push(client);
        }
        for mut client in clients {
            assert_eq!(client.read_response().await.unwrap().head.status, 200);
            assert_eq!(rig.record().await.attempts, 1);
        }
        let counts = upstream.counts();
        assert_eq!((counts.opened, counts.requests), (CONNECTIONS, CLIENTS));
    });
}

fn end_of_the_gateway() {
    const ANSWERS: usize = 500;
    paused().block_on(async {
        let script = sends(format!("{CHUNKED_STREAM}{}", chunk(EVENT))).stall();
        let text = config("http://upstream.test", "", "");
        let (mut rig, mut upstream) = Rig::in_memory(&text, vec![script; ANSWERS]);
        let mut clients = Vec::new();
        for _ in 0..ANSWERS {
            let mut client = rig.connect();
            client.send(Ask::ChatStream.request(0)).await.unwrap();
            let head = client.read_head().await.unwrap();
            assert_eq!(client.read_chunk().await.unwrap().as_deref(), Some(EVENT.as_bytes()));
            clients.push((client, head));
        }
        assert_eq!(rig.gateway.in_flight(), ANSWERS);
        rig.gateway.start_draining();
        rig.gateway.end_answers();
        for (mut client, head) in clients {
            let body = client.read_body(&head).await.unwrap();
            assert!(!body.is_clean() && body.text().contains("provider_unavailable"), "{body:?}");
            let record = rig.record().await;
            assert_eq!((record.end.as_str(), record.error_code), ("shutdown", Some("provider_unavailable")));
        }
        for _ in 0..ANSWERS {
            assert!(upstream.transcript().await.error.is_none(), "each was cancelled by a close");
        }
        assert_eq!(rig.gateway.in_flight(), 0);
    });
}

fn reload_without_the_provider() {
    paused().block_on(async {
        let latch = Latch::new();
        let rest = format!("{}0\r\n\r\n", chunk("data: [DONE]\n\n"));
        let script: RawScript =
            sends(format!("{CHUNKED_STREAM}{}", chunk(EVENT))).hold(&latch).send(rest).stall();
        let text = config("http://upstream.test", "", "");
        let (mut rig, upstream) = Rig::in_memory(&text, [script]);
        let mut client = rig.connect();
        client.send(Ask::ChatStream.request(0)).await.unwrap();
        let head = client.read_head().await.unwrap();
        assert!(client.read_chunk().await.unwrap().is_some());

        let other = "[llm.provider.anthropic]\napi_key = \"anthropic-canary\"\nmodels = [\"claude-1\"]";
        rig.gateway.reload(load(&Sources::empty().with_text("test", other)).unwrap().config).unwrap();
        let refused = rig.send(&Ask::Chat.request(0)).await;
        assert_eq!(refused.head.status, 404, "{}", refused.body.text());
        assert_eq!(rig.record().await.provider, None);

        latch.release();
        let body = client.read_body(&head).await.unwrap();
        assert_eq!((body.is_clean(), body.text().as_str()), (true, "data: [DONE]\n\n"));
        assert_eq!((rig.record().await.end.as_str(), upstream.connections()), ("complete", 1));
    });
}

/// One address, two sets of authorities: a connection that the one trusts is not for the other. Two
/// keys alone are no reason for two connections, since a key travels in the request.
fn connections_by_trust() {
    real().block_on(async {
        let authority = Authority::try_new().unwrap();
        let served = sends(json(200, "{}")).expect_request().send(json(200, "{}")).stall();
        let acceptor = authority.acceptor(Flaw::None, &[]).unwrap();
        let server = RawServer::start_tls(acceptor, [served.clone(), served]).await.unwrap();
        let (one, other, foreign) =
            (ca_file(&authority), ca_file(&authority), ca_file(&Authority::try_new().unwrap()));
        let provider = |name: &str, key: &str, file: &tempfile::NamedTempFile| {
            format!(
                "[llm.provider.openai.{name}]\napi_base = \"https://127.0.0.1:{}/v1\"\napi_key = \"{key}\"\n\
                 models = [\"{name}-1\"]\nca_file = \"{}\"\n",
                server.port(),
                file.path().display()
            )
        };
        let text = [
            provider("a", "key-a", &one),
            provider("b", "key-b", &one),
            provider("c", "key-c", &other),
            provider("d", "key-d", &foreign),
        ]
        .concat();
        let mut rig = Rig::new(&text);
        for (model, status, connections) in
            [("a-1", 200, 1), ("b-1", 200, 1), ("c-1", 200, 2), ("d-1", 502, 3)]
        {
            let body = format!("{{\"model\":\"{model}\"}}");
            let request = format!(
                "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                 content-length: {}\r\n\r\n{body}",
                body.len()
            );
            let response = rig.send(&request).await;
            assert_eq!((response.head.status, server.connections()), (status, connections), "{model}");
            rig.record().await;
        }
    });
}
