//! A gateway as a child process, and requests to send to it.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use gate_testkit::raw::{RawClient, RawResponse};
use tempfile::TempDir;
use tokio::net::TcpStream;

/// How long anything may take before the test is called failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A command in an empty folder and an empty environment: what it reads is what the test gives.
pub(crate) fn command(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_emx-gate"));
    command.env_clear().env("HOME", home).env("EMX_HOME", home).current_dir(home);
    command
}

pub(crate) fn run(home: &TempDir, arguments: &[&str]) -> Output {
    command(home.path()).args(arguments).output().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub(crate) fn write(home: &TempDir, name: &str, content: &str) -> PathBuf {
    let path = home.path().join(name);
    std::fs::write(&path, content).unwrap();
    path
}

/// A running gateway; dropping it kills it.
pub(crate) struct Process {
    child: Child,
    lines: Receiver<String>,
    pub(crate) seen: Vec<String>,
    pub(crate) address: SocketAddr,
}

impl Process {
    /// Starts a gateway and waits until it says where it listens. From then on its stderr is read
    /// only while a test asks for lines: between that, the pipe fills up and stays full.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = sync_channel(0);
        std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok())
        });
        let mut process = Self { child, lines, seen: Vec::new(), address: ([127, 0, 0, 1], 0).into() };
        let line = process.wait_for(" on http");
        let address = line.split_once("://").unwrap().1.split(' ').next().unwrap();
        process.address = address.parse().unwrap();
        process
    }

    /// Starts a gateway on any port with this configuration.
    pub(crate) fn with_config(home: &TempDir, config: &str, arguments: &[&str]) -> Self {
        let path = write(home, "gate.toml", config);
        Self::start(command(home.path()).arg("--config").arg(path).args(["--port", "0"]).args(arguments))
    }

    /// Waits for a line on stderr that holds `part`.
    pub(crate) fn wait_for(&mut self, part: &str) -> String {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(part) {
                        return line;
                    }
                }
                Err(error) => panic!("no line with {part:?} ({error}):\n{}", self.seen.join("\n")),
            }
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        let status =
            Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status().unwrap();
        assert!(status.success());
    }

    /// Waits for the end, and returns the status and everything on stderr.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        // The lines end when the process does.
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.seen.push(line);
        }
        let status = self.child.wait().unwrap();
        (status, self.seen.join("\n"))
    }

    /// Waits for the end while nobody reads stderr.
    pub(crate) fn wait_unread(mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the process does not end while nobody reads its stderr");
    }

    pub(crate) async fn connect(&self) -> RawClient<TcpStream> {
        RawClient::new(TcpStream::connect(self.address).await.unwrap())
    }

    pub(crate) async fn send(&self, request: &str) -> RawResponse {
        let mut client = self.connect().await;
        client.send(request).await.unwrap();
        client.read_response().await.unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn config_for(upstream: SocketAddr) -> String {
    format!(
        "[llm.provider.openai]\napi_base = \"http://{upstream}/v1\"\napi_key = \"canary-key\"\nmodel = \"gpt-4\"\n"
    )
}

pub(crate) fn chat(model: &str) -> String {
    let body =
        format!(r#"{{"model":"{model}","stream":true,"messages":[{{"role":"user","content":"hi"}}]}}"#);
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

pub(crate) const READY: &str = "GET /ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
