//! `--demo`: two mock providers inside this process, and commands to try them with.

use std::io;
use std::net::SocketAddr;

use gate_testkit::demo::{self, Demo, Pace};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The mock providers; dropping this ends them.
pub(crate) struct DemoProviders {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl DemoProviders {
    /// Starts the providers on a free loopback port.
    ///
    /// # Errors
    /// No port is free.
    pub(crate) async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move { match Demo::new(Pace::default()).serve(listener).await {} });
        Ok(Self { address, task })
    }

    /// Returns the configuration that names them.
    pub(crate) fn config_toml(&self) -> String {
        demo::config_toml(self.address)
    }

    /// Prints a command for each dialect.
    pub(crate) fn print_usage(&self, gateway: SocketAddr) {
        let gateway = crate::reachable(gateway);
        let (bold, reset) = (anstyle::Style::new().bold(), anstyle::Reset);
        anstream::println!(
            "
{bold}The demo is running.{reset} Try it from another terminal:

  # OpenAI's dialect, streaming
  curl -N http://{gateway}/v1/chat/completions -H 'content-type: application/json' \\
    -d '{{\"model\":\"{chat}\",\"stream\":true,\"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}]}}'

  # Anthropic's dialect
  curl http://{gateway}/v1/messages -H 'content-type: application/json' \\
    -d '{{\"model\":\"{claude}\",\"max_tokens\":64,\"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}]}}'

  # What there is
  curl http://{gateway}/v1/models

Ctrl-C ends it.
",
            chat = demo::CHAT_MODEL,
            claude = demo::MESSAGES_MODEL,
        );
    }
}

impl Drop for DemoProviders {
    fn drop(&mut self) {
        self.task.abort();
    }
}
