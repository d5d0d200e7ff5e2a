//! Requests on connections of their own, and everything that could show a secret while they are served.

use std::sync::{Arc, Mutex};

use gate_server::{Gateway, RecordSink, RequestRecord, serve_stream};
use gate_testkit::mock::MockUpstream;
use gate_testkit::raw::{RawClient, RawScript};
use gate_upstream::{Dialer, MemoryDialer, MemoryListener};
use tokio::task::JoinSet;

use crate::requests::Ask;
use crate::{check, logged, places};

/// What the provider does with every connection.
pub(crate) enum Upstream {
    Answers(MockUpstream),
    Plays(RawScript),
}

#[derive(Clone, Debug, Default)]
struct Records(Arc<Mutex<Vec<RequestRecord>>>);

impl RecordSink for Records {
    fn record(&self, record: &RequestRecord) {
        self.0.lock().unwrap().push(record.clone());
    }
}

/// Sends each request, and looks into the answers, the records, the log, and the gateway itself.
/// Returns the status of each answer, 0 where the connection ended without one.
pub(crate) async fn drive(upstream: Upstream, asks: &[Ask]) -> Vec<u16> {
    logged::keep();
    let (dialer, listener) = MemoryDialer::new();
    let records = Records::default();
    let gateway = Gateway::builder(places::loaded().config)
        .dialer(Dialer::Memory(dialer))
        .sink(records.clone())
        .build()
        .unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(serve_upstream(upstream, listener));
    let mut statuses = Vec::new();
    for ask in asks {
        let (client, server) = tokio::io::duplex(256 * 1024);
        let served = gateway.clone();
        tasks.spawn(async move { serve_stream(server, &served).await });
        let mut client = RawClient::new(client);
        // A gateway that has refused enough may close before it has read everything.
        let _ = client.send(&ask.bytes).await;
        match client.read_response().await {
            Ok(answer) => {
                check(ask.name, &String::from_utf8_lossy(&answer.head.bytes));
                check(ask.name, &answer.body.text());
                statuses.push(answer.head.status);
            }
            Err(error) => {
                check(ask.name, &error.to_string());
                statuses.push(0);
            }
        }
        drop(client);
        check(ask.name, &format!("{gateway:?}"));
    }
    while gateway.in_flight() > 0 {
        tokio::task::yield_now().await;
    }
    check("records", &format!("{:?}", records.0.lock().unwrap()));
    check("log", &logged::lines());
    statuses
}

async fn serve_upstream(upstream: Upstream, mut listener: MemoryListener) {
    let mut playing = JoinSet::new();
    while let Some(stream) = listener.accept().await {
        match &upstream {
            Upstream::Answers(mock) => mock.serve_stream(stream),
            Upstream::Plays(script) => {
                playing.spawn(script.clone().play(stream));
            }
        }
    }
}
