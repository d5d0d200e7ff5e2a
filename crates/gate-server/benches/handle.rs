//! One request through the whole gateway, its provider a pipe in memory: `cargo bench -p gate-server`.
//! The scan of the body and the splice are what grows with its size.

use std::error::Error;

use bytes::Bytes;
use criterion::{Criterion, Throughput};
use gate_config::{Sources, load};
use gate_server::Gateway;
use gate_upstream::{Dialer, MemoryDialer};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::runtime::Builder;

const CONFIG: &str = "[llm.provider.openai]\napi_base = 'http://openai.test/v1'\napi_key = 'k'\n\
    [llm.provider.openai.fast]\nmodel = 'gpt-4'\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 63\r\n\r\n\
    {\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":8}}             ";

/// Answers every request of a connection. A request ends with `]}`, which is nowhere else in it.
async fn play_provider(mut pipe: DuplexStream) {
    let mut buffer = vec![0; 64 * 1024];
    let mut last = 0;
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        let read = buffer.get(..count).unwrap_or_default();
        let is_end = read.ends_with(b"]}") || (read == b"}" && last == b']');
        last = read.last().copied().unwrap_or(0);
        if is_end && pipe.write_all(ANSWER).await.is_err() {
            return;
        }
    }
}

fn body(bytes: usize) -> Bytes {
    let text = "The quick brown fox jumps over the lazy dog. \\n".repeat(bytes / 47);
    format!(r#"{{"model":"fast","messages":[{{"role":"user","content":"{text}"}}]}}"#).into()
}

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (dialer, mut listener) = MemoryDialer::new();
    let config = load(&Sources::empty().with_text("bench", CONFIG))?.config;
    let gateway = Gateway::builder(config).dialer(Dialer::Memory(dialer)).build()?;
    runtime.spawn(async move {
        while let Some(pipe) = listener.accept().await {
            tokio::spawn(play_provider(pipe));
        }
    });

    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("handle");
    for (name, bytes) in [("1 KiB", 1024), ("100 KiB", 100 * 1024), ("1 MiB", 1024 * 1024)] {
        let body = body(bytes);
        group.throughput(Throughput::Bytes(u64::try_from(body.len()).unwrap_or(0)));
        group.bench_function(name, |bencher| {
            bencher.iter(|| runtime.block_on(exchange(&gateway, &body)));
        });
    }
    group.finish();
    criterion.final_summary();
    Ok(())
}

/// Sends one request and reads its answer; a benchmark of errors would say nothing, so there it ends.
async fn exchange(gateway: &Gateway, body: &Bytes) -> usize {
    let mut request = Request::new(Full::new(body.clone()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = http::Uri::from_static("/v1/chat/completions");
    request.headers_mut().insert(HOST, http::HeaderValue::from_static("localhost"));
    request.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    request.headers_mut().insert(CONTENT_LENGTH, body.len().into());
    let response = gateway.handle(request).await;
    assert_eq!(response.status(), 200);
    response.into_body().collect().await.map_or(0, |answer| answer.to_bytes().len())
}
