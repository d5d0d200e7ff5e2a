//! The gateway inside another program, which keeps a route of its own.
//!
//! ```text
//! $ cargo run -p gate-server --example embed
//! ```
//!
//! and, once it says where it listens, from another terminal:
//!
//! ```text
//! $ curl http://127.0.0.1:8849/hello
//! $ curl http://127.0.0.1:8849/v1/models
//! ```

#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::error::Error;

use gate_config::{Sources, load};
use gate_server::{GateBody, Gateway, RecordSink, RequestRecord, serve_with};
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::net::TcpListener;

/// A configuration can be a text of the program's own; nothing is read from files or variables.
const CONFIG: &str = r#"
    [llm.provider.openai]
    api_key = "sk-example"
    models = ["gpt-4o"]
"#;

/// A sink of the program's own: it gets the account of each finished request.
struct Printer;

impl RecordSink for Printer {
    fn record(&self, record: &RequestRecord) {
        let path = record.path.as_deref().unwrap_or("-");
        println!("{path} -> {:?} ({})", record.status, record.end.as_str());
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let config = load(&Sources::empty().with_text("embedded", CONFIG))?.config;
    let gateway = Gateway::builder(config).sink(Printer).build()?;

    let inner = gateway.clone();
    let handler = move |request: Request<Incoming>| {
        let gateway = inner.clone();
        async move {
            match request.uri().path() {
                "/hello" => Response::new(GateBody::full("a route of this program\n")),
                _ => gateway.handle(request).await,
            }
        }
    };

    // The program decides where to listen and when to stop; port 0 would be any free one.
    let listener = TcpListener::bind("127.0.0.1:8849").await?;
    println!("http://{}/hello and http://{}/v1/models", listener.local_addr()?, listener.local_addr()?);
    let stop = async {
        // Without the signal handler the program runs until it is killed.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let drained = serve_with(listener, gateway, handler, stop).await?;
    println!("{} requests were running, {} were ended", drained.in_flight, drained.ended);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_configuration_loads() {
        let config = load(&Sources::empty().with_text("embedded", CONFIG)).unwrap().config;
        Gateway::builder(config).build().unwrap();
    }
}
