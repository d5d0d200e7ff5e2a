//! The demo providers alone, without a gateway: prints a gateway configuration for them and serves
//! until it is interrupted. Try it with `cargo run -p gate-testkit --example demo`.

use gate_testkit::demo::{Demo, Pace, config_toml};
use std::io::Write as _;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let config = config_toml(listener.local_addr()?);
    writeln!(std::io::stdout(), "{config}")?;
    match Demo::new(Pace::default()).serve(listener).await {}
}
