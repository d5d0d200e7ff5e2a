//! The mock upstream: `gate-bench mock`. It answers chat completions from bytes made beforehand, on
//! one thread, and does what the request's `user` says, so that nothing has to be set between runs.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, sleep_until};

use crate::http::{BodyReader, Head};

/// How far into a body the mock looks for what it is to do.
const SEARCHED: usize = 512;
/// One event of a stream, as OpenAI writes them.
const EVENT: &str = "data: {\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1,\
    \"model\":\"gpt-4\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" word\"},\"logprobs\":null,\
    \"finish_reason\":null}]}\n\n";
const USAGE_EVENT: &str = "data: {\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\
    \"created\":1,\"model\":\"gpt-4\",\"choices\":[],\"usage\":{\"prompt_tokens\":9,\
    \"completion_tokens\":98,\"total_tokens\":107}}\n\n";

/// What a request asks of the mock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wish {
    is_stream: bool,
    /// Before the head of the answer.
    latency: Duration,
    /// Of a stream, the one with the usage and `[DONE]` included.
    events: u32,
    interval: Duration,
}

/// The bytes that are sent, made once.
struct Answers {
    json: Vec<u8>,
    stream_start: Vec<u8>,
    event: Vec<u8>,
    stream_end: Vec<u8>,
}

/// Listens on the port and answers until the process ends.
///
/// # Errors
/// The port cannot be had, or the runtime not be made.
pub(crate) fn run(port: u16) -> io::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        serve(socket.listen(8192)?).await
    })
}

/// Answers whoever connects.
///
/// # Errors
/// Accepting failed.
pub(crate) async fn serve(listener: TcpListener) -> io::Result<()> {
    let answers: &'static Answers = Box::leak(Box::new(Answers::new()));
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            // A client that leaves ends its connection; that is no fault.
            let _ = answer_all(stream, answers).await;
        });
    }
}

async fn answer_all(mut stream: TcpStream, answers: &Answers) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Some(wish) = read_request(&mut stream, &mut buffer).await? else { return Ok(()) };
        if !wish.latency.is_zero() {
            sleep(wish.latency).await;
        }
        if wish.is_stream {
            send_events(&mut stream, answers, wish).await?;
        } else {
            stream.write_all(&answers.json).await?;
        }
    }
}

/// Reads a request, and returns what it wishes; nothing where the client has left.
async fn read_request(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<Option<Wish>> {
    let mut filled = 0;
    let head = loop {
        let count = stream.read(buffer.get_mut(filled..).unwrap_or_default()).await?;
        if count == 0 {
            return Ok(None);
        }
        filled += count;
        if let Some(head) = Head::parse(buffer.get(..filled).unwrap_or_default())? {
            break head;
        }
    };
    let mut reader = BodyReader::new(head.framing);
    let mut start = Vec::with_capacity(SEARCHED);
    let mut keep = |part: &[u8]| {
        let missing = SEARCHED.saturating_sub(start.len()).min(part.len());
        start.extend_from_slice(part.get(..missing).unwrap_or_default());
    };
    reader.push(buffer.get(head.length..filled).unwrap_or_default(), &mut keep)?;
    while !reader.is_at_end() {
        let count = stream.read(buffer).await?;
        if count == 0 {
            return Ok(None);
        }
        reader.push(buffer.get(..count).unwrap_or_default(), &mut keep)?;
    }
    Ok(Some(Wish::read(&start)))
}

async fn send_events(stream: &mut TcpStream, answers: &Answers, wish: Wish) -> io::Result<()> {
    stream.write_all(&answers.stream_start).await?;
    let mut due = Instant::now();
    // The first went with the head, and the last two go with the end.
    for _ in 3..wish.events {
        due += wish.interval;
        sleep_until(due).await;
        stream.write_all(&answers.event).await?;
    }
    sleep_until(due + wish.interval).await;
    stream.write_all(&answers.stream_end).await
}

impl Wish {
    fn read(body: &[u8]) -> Self {
        let field = |name: &str| {
            let at = memmem::find(body, name.as_bytes())? + name.len();
            let rest = body.get(at..)?;
            let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            std::str::from_utf8(rest.get(..length)?).ok()?.parse::<u32>().ok()
        };
        Self {
            is_stream: memmem::find(body, b"\"stream\":true").is_some(),
            latency: Duration::from_millis(field("latency_ms=").unwrap_or(0).into()),
            events: field("events=").unwrap_or(3),
            interval: Duration::from_millis(field("interval_ms=").unwrap_or(0).into()),
        }
    }
}

impl Answers {
    fn new() -> Self {
        let text = "A gateway that does not translate passes bytes on. ".repeat(14);
        let body = format!(
            r#"{{"id":"chatcmpl-bench","object":"chat.completion","created":1,"model":"gpt-4","choices":[{{"index":0,"message":{{"role":"assistant","content":"{text}"}},"logprobs":null,"finish_reason":"stop"}}],"usage":{{"prompt_tokens":9,"completion_tokens":98,"total_tokens":107}}}}"#
        );
        let json = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_bench\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let start = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n\
             cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n{}",
            chunk(EVENT)
        );
        let end = format!("{}0\r\n\r\n", chunk(&format!("{USAGE_EVENT}data: [DONE]\n\n")));
        Self {
            json: json.into_bytes(),
            stream_start: start.into_bytes(),
            event: chunk(EVENT).into_bytes(),
            stream_end: end.into_bytes(),
        }
    }
}

fn chunk(content: &str) -> String {
    format!("{:x}\r\n{content}\r\n", content.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_what_the_mock_is_to_do() {
        let wish = Wish::read(br#"{"user":"events=100 interval_ms=20 latency_ms=3","stream":true"#);
        let expected = Wish {
            is_stream: true,
            latency: Duration::from_millis(3),
            events: 100,
            interval: Duration::from_millis(20),
        };
        assert_eq!(wish, expected);
        assert!(!Wish::read(br#"{"stream":false}"#).is_stream);
    }
}
