//! What reading usage costs: `cargo bench -p gate-usage`.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gate_usage::{ContentType, Dialect, Meter};

const EVENT: &str = "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\
    \"model\":\"gpt-4\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" word\"},\"logprobs\":null,\
    \"finish_reason\":null}]}\n\n";
const LAST: &str = "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\
    \"model\":\"gpt-4\",\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":98,\
    \"total_tokens\":107}}\n\ndata: [DONE]\n\n";

/// A stream as it comes: a frame for each event.
fn stream(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("stream");
    for (name, events) in [("100 events", 100), ("1 event", 1)] {
        let bytes = events * EVENT.len() + LAST.len();
        group.throughput(Throughput::Bytes(u64::try_from(bytes).unwrap_or(0)));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut meter = Meter::new(Dialect::ChatCompletions, ContentType::EventStream);
                for _ in 0..events {
                    meter.push(black_box(EVENT.as_bytes()));
                }
                meter.push(black_box(LAST.as_bytes()));
                meter.finish();
                meter.result()
            });
        });
    }
    group.finish();
}

/// A whole answer, its usage last.
fn body(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("body");
    for (name, kib) in [("1 KiB", 1), ("100 KiB", 100), ("1 MiB", 1024)] {
        let text = "The quick brown fox jumps over the lazy dog. \\n".repeat(kib * 1024 / 47);
        let body = format!(
            r#"{{"choices":[{{"message":{{"content":"{text}"}}}}],"usage":{{"prompt_tokens":9,"completion_tokens":98}}}}"#
        );
        group.throughput(Throughput::Bytes(u64::try_from(body.len()).unwrap_or(0)));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut meter = Meter::new(Dialect::ChatCompletions, ContentType::Json);
                meter.push(black_box(body.as_bytes()));
                meter.finish();
                meter.result()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, stream, body);
criterion_main!(benches);
