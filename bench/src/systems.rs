//! The systems that are compared: the mock alone, the gateway, and plain reverse proxies.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::process::Program;
use crate::system_calls::create_private;

/// How long a system may take to give its first answer. Valgrind takes its time.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The mock, with nothing in between: the floor.
    Direct,
    /// The gateway, with all it does.
    Gateway,
    /// nginx as a plain reverse proxy.
    Nginx,
    /// haproxy as a plain reverse proxy.
    Haproxy,
}

impl Kind {
    /// Returns the name in the table and on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Gateway => "emx-gate",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
        }
    }
}

/// Where programs are, and where their files go.
#[derive(Debug)]
pub(crate) struct Setting {
    pub folder: PathBuf,
    pub gateway: PathBuf,
    pub mock_port: u16,
}

/// A system that has been started.
#[derive(Debug)]
pub(crate) struct System {
    pub kind: Kind,
    pub program: Program,
    pub address: SocketAddr,
    /// Where a proxy has another setting for streams, its address.
    pub stream_address: SocketAddr,
    /// From the start of the process to its first answer.
    pub start_time: Duration,
}

impl System {
    /// Starts a system and waits for its first answer.
    ///
    /// # Errors
    /// It cannot be started, or does not answer.
    pub(crate) fn start(kind: Kind, setting: &Setting) -> io::Result<Self> {
        let (port, stream_port) = match kind {
            Kind::Direct => (setting.mock_port, setting.mock_port),
            Kind::Gateway => {
                let port = free_port()?;
                (port, port)
            }
            Kind::Nginx | Kind::Haproxy => (free_port()?, free_port()?),
        };
        let mut command = setting.command(kind, port, stream_port)?;
        Self::start_command(kind, &mut command, port, stream_port, &setting.folder)
    }

    /// Starts a gateway with a configuration of the caller's, `command` being all but its flags.
    ///
    /// # Errors
    /// As for [`System::start`].
    pub(crate) fn start_gateway(mut command: Command, config: &str, setting: &Setting) -> io::Result<Self> {
        let port = free_port()?;
        let path = setting.write("gateway-of-its-own.toml", config)?;
        command.arg("--config").arg(path).arg("--port").arg(port.to_string());
        Self::start_command(Kind::Gateway, &mut command, port, port, &setting.folder)
    }

    fn start_command(
        kind: Kind,
        command: &mut Command,
        port: u16,
        stream_port: u16,
        folder: &Path,
    ) -> io::Result<Self> {
        let log = folder.join(format!("{}.log", kind.name()));
        let begin = Instant::now();
        let mut program = Program::start(command, &log)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        while !answers_health(address) {
            if !program.is_running() || begin.elapsed() > START_LIMIT {
                let said = fs::read_to_string(&log).unwrap_or_default();
                let last: Vec<&str> = said.lines().rev().take(5).collect();
                return Err(io::Error::other(format!("{} does not start: {last:?}", kind.name())));
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        let start_time = begin.elapsed();
        let stream_address = SocketAddr::from((Ipv4Addr::LOCALHOST, stream_port));
        Ok(Self { kind, program, address, stream_address, start_time })
    }
}

impl Setting {
    /// Returns where the program of a system is, if it is there.
    pub(crate) fn program_path(&self, kind: Kind) -> Option<PathBuf> {
        match kind {
            Kind::Direct => std::env::current_exe().ok(),
            Kind::Gateway => Some(self.gateway.clone()).filter(|path| path.exists()),
            Kind::Nginx | Kind::Haproxy => on_path(kind.name()),
        }
    }

    fn command(&self, kind: Kind, port: u16, stream_port: u16) -> io::Result<Command> {
        let path = self.program_path(kind).ok_or_else(|| io::Error::other(format!("no {}", kind.name())))?;
        let mut command = Command::new(path);
        match kind {
            Kind::Direct => {
                command.arg("mock").arg("--port").arg(port.to_string());
            }
            Kind::Gateway => {
                let config = self.write("gateway.toml", &gateway_config(self.mock_port, 0))?;
                command.arg("--config").arg(config).arg("--port").arg(port.to_string());
            }
            Kind::Nginx => {
                let config = self.nginx_config(port, stream_port);
                command.arg("-c").arg(self.write("nginx.conf", &config)?);
            }
            Kind::Haproxy => {
                let config = haproxy_config(self.mock_port, port, stream_port);
                command.arg("-db").arg("-f").arg(self.write("haproxy.cfg", &config)?);
            }
        }
        Ok(command)
    }

    /// Writes a configuration.
    pub(crate) fn write(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let path = self.folder.join(name);
        create_private(&path)?.write_all(text.as_bytes())?;
        Ok(path)
    }

    fn nginx_config(&self, port: u16, stream_port: u16) -> String {
        let folder = self.folder.display();
        let mock = self.mock_port;
        let location = "location / { proxy_pass http://mock; proxy_http_version 1.1; \
                        proxy_set_header Connection \"\"; proxy_set_header Host $host;";
        format!(
            "daemon off;\npid {folder}/nginx.pid;\nerror_log {folder}/nginx_error.log warn;\n\
             worker_processes 2;\nworker_rlimit_nofile 20000;\n\
             events {{ worker_connections 16384; }}\nhttp {{\n  access_log off;\n  \
             keepalive_requests 10000000;\n  client_max_body_size 16m;\n  \
             client_body_temp_path {folder}/nginx_body;\n  proxy_temp_path {folder}/nginx_proxy;\n  \
             fastcgi_temp_path {folder}/nginx_f;\n  uwsgi_temp_path {folder}/nginx_u;\n  \
             scgi_temp_path {folder}/nginx_s;\n  \
             upstream mock {{ server 127.0.0.1:{mock}; keepalive 512; keepalive_requests 10000000; }}\n  \
             server {{ listen 127.0.0.1:{port} backlog=8192; {location} }} }}\n  \
             server {{ listen 127.0.0.1:{stream_port} backlog=8192; {location} proxy_buffering off; }} }}\n}}\n"
        )
    }
}

fn haproxy_config(mock: u16, port: u16, stream_port: u16) -> String {
    let server = format!("server mock 127.0.0.1:{mock} maxconn 9500 pool-max-conn 512");
    format!(
        "global\n  nbthread 2\n  maxconn 9500\ndefaults\n  mode http\n  timeout connect 5s\n  \
         timeout client 120s\n  timeout server 120s\n  http-reuse always\n\
         frontend f\n  bind 127.0.0.1:{port} backlog 8192\n  default_backend b\nbackend b\n  {server}\n\
         frontend fs\n  bind 127.0.0.1:{stream_port} backlog 8192\n  option http-no-delay\n  \
         default_backend bs\nbackend bs\n  option http-no-delay\n  {server}\n"
    )
}

/// Writes the gateway's configuration: a name that is routed and spliced, and `more` models beside it.
/// The proxies have no bound on connections to the mock that a scenario meets, and so it has none.
pub(crate) fn gateway_config(mock_port: u16, more: u32) -> String {
    let mut text = format!(
        "[llm]\nlog_format = \"json\"\n\n[llm.provider.openai]\n\
         api_base = \"http://127.0.0.1:{mock_port}/v1\"\napi_key = \"sk-bench-0123456789\"\n\
         max_connections = 10000\n\n\
         [llm.provider.openai.fast]\nmodel = \"gpt-4\"\n"
    );
    for index in 0..more {
        // A `String` takes every byte.
        let _ = write!(text, "\n[llm.provider.openai.model-{index}]\nmodel = \"vendor-model-{index}\"\n");
    }
    text
}

/// The name that clients send: the gateway puts another in its place.
pub(crate) const MODEL: &str = "fast";

/// Asks once for `/health`.
fn answers_health(address: SocketAddr) -> bool {
    let ask = || -> io::Result<bool> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(START_LIMIT))?;
        stream.write_all(b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")?;
        let mut start = [0; 12];
        stream.read_exact(&mut start)?;
        Ok(start.ends_with(b" 200"))
    };
    ask().unwrap_or(false)
}

/// Finds a port that nobody listens on now.
pub(crate) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Finds a program as a shell does; those of administrators are often not on a user's path.
fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join(name)).find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use gate_config::{Sources, load};

    use super::*;

    #[test]
    fn the_gateway_s_configuration_loads_with_as_many_models_as_asked_for() {
        for more in [0, 100] {
            let sources = Sources::empty().with_text("bench", &gateway_config(9, more));
            let loaded = load(&sources).unwrap();
            assert!(loaded.warnings.is_empty());
            assert_eq!(loaded.config.providers.models(None).count(), 1 + more as usize);
        }
    }
}
