//! The little of HTTP/1.1 that load generator and mock need: heads, the two framings, events. It
//! checks only what would spoil a figure, since every cycle it takes is taken from what is measured.

use std::io;

use memchr::memmem;

/// A message's head, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Its length in bytes, the empty line included.
    pub length: usize,
    /// How its body ends.
    pub framing: Framing,
}

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// After so many bytes.
    Length(usize),
    /// With the empty chunk.
    Chunked,
}

impl Head {
    /// Reads a head once all of it is there.
    ///
    /// # Errors
    /// It has a length that is no number.
    pub(crate) fn parse(buffer: &[u8]) -> io::Result<Option<Self>> {
        let Some(end) = memmem::find(buffer, b"\r\n\r\n") else { return Ok(None) };
        let mut framing = Framing::Length(0);
        for line in buffer.get(..end).unwrap_or_default().split(|byte| *byte == b'\n').skip(1) {
            if let Some(value) = header(line, b"content-length:") {
                let length = std::str::from_utf8(value).ok().and_then(|text| text.trim().parse().ok());
                framing = Framing::Length(length.ok_or_else(|| broken("content-length is no number"))?);
            } else if header(line, b"transfer-encoding:").is_some() {
                framing = Framing::Chunked;
            }
        }
        Ok(Some(Self { length: end + 4, framing }))
    }
}

/// Returns a header's value if the line is that header.
fn header<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, value) = line.split_at_checked(name.len())?;
    start.eq_ignore_ascii_case(name).then_some(value)
}

/// Returns an answer's status, 0 where there is none to read.
pub(crate) fn status(head: &[u8]) -> u16 {
    let digits = head.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// Finds the end of a body in what comes, and hands out what is in it.
#[derive(Debug)]
pub(crate) struct BodyReader {
    state: State,
}

#[derive(Debug)]
enum State {
    Counted(usize),
    ChunkSize { size: usize, is_extension: bool },
    ChunkData(usize),
    ChunkEnd,
    Trailer { is_empty_line: bool },
    End,
}

impl BodyReader {
    /// Begins a body.
    pub(crate) const fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Length(0) => State::End,
            Framing::Length(length) => State::Counted(length),
            Framing::Chunked => State::ChunkSize { size: 0, is_extension: false },
        };
        Self { state }
    }

    /// Tells whether the body has ended.
    pub(crate) const fn is_at_end(&self) -> bool {
        matches!(self.state, State::End)
    }

    /// Reads the next bytes, and hands the body's content in them to `sink`. What follows the end
    /// is dropped: neither side pipelines.
    ///
    /// # Errors
    /// A chunk's size is not hexadecimal.
    pub(crate) fn push(&mut self, mut bytes: &[u8], mut sink: impl FnMut(&[u8])) -> io::Result<()> {
        while let Some((&first, rest)) = bytes.split_first() {
            match &mut self.state {
                State::End => return Ok(()),
                State::Counted(left) | State::ChunkData(left) => {
                    let (data, after) = bytes.split_at(bytes.len().min(*left));
                    sink(data);
                    *left -= data.len();
                    bytes = after;
                    match self.state {
                        State::Counted(0) => self.state = State::End,
                        State::ChunkData(0) => self.state = State::ChunkEnd,
                        _ => {}
                    }
                    continue;
                }
                State::ChunkSize { size, is_extension } => match first {
                    b'\n' if *size == 0 => self.state = State::Trailer { is_empty_line: true },
                    b'\n' => self.state = State::ChunkData(*size),
                    b';' | b'\r' => *is_extension = true,
                    _ if *is_extension => {}
                    _ => {
                        let digit = char::from(first).to_digit(16).and_then(|d| usize::try_from(d).ok());
                        let digit = digit.ok_or_else(|| broken("a chunk's size is not hexadecimal"))?;
                        *size = size.saturating_mul(16).saturating_add(digit);
                    }
                },
                State::ChunkEnd if first == b'\n' => {
                    self.state = State::ChunkSize { size: 0, is_extension: false };
                }
                State::ChunkEnd => {}
                State::Trailer { is_empty_line } => match first {
                    b'\n' if *is_empty_line => self.state = State::End,
                    b'\n' => *is_empty_line = true,
                    b'\r' => {}
                    _ => *is_empty_line = false,
                },
            }
            bytes = rest;
        }
        Ok(())
    }
}

/// Counts the events of a stream by the empty lines that end them, wherever it is cut.
#[derive(Debug, Default)]
pub(crate) struct EventCounter {
    ends_with_line: bool,
}

impl EventCounter {
    /// Returns how many events end in the next bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> u64 {
        let Some((first, last)) = bytes.first().zip(bytes.last()) else { return 0 };
        let across = u64::from(self.ends_with_line && *first == b'\n');
        let within = memmem::find_iter(bytes, b"\n\n").count();
        self.ends_with_line = *last == b'\n' && !(across == 1 && bytes.len() == 1);
        across + u64::try_from(within).unwrap_or(u64::MAX)
    }
}

/// Makes the error of a peer that does not speak as it should.
pub(crate) fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Builds a chat request whose body has about `body_bytes`.
///
/// The mock reads `user`, which every system passes on: `events=100 interval_ms=20 latency_ms=0`.
pub(crate) fn chat_request(model: &str, body_bytes: usize, is_stream: bool, user: &str) -> Vec<u8> {
    let start = format!(
        r#"{{"model":"{model}","user":"{user}","stream":{is_stream},"messages":[{{"role":"user","content":""#
    );
    let end = r#""}],"temperature":0.7}"#;
    let filler = b"The quick brown fox jumps over the lazy dog. ".iter().cycle();
    let content: Vec<u8> = filler.take(body_bytes.saturating_sub(start.len() + end.len())).copied().collect();
    let length = start.len() + content.len() + end.len();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer sk-client\r\n\
         content-type: application/json\r\naccept: */*\r\nuser-agent: gate-bench\r\n\
         content-length: {length}\r\n\r\n"
    );
    [head.as_bytes(), start.as_bytes(), &content, end.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_tells_how_its_body_ends() {
        for (head, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n", Some(Framing::Length(12))),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", Some(Framing::Chunked)),
            ("GET /health HTTP/1.1\r\nhost: a\r\n\r\n", Some(Framing::Length(0))),
            ("HTTP/1.1 200 OK\r\ncontent-length: 12\r\n", None),
        ] {
            assert_eq!(Head::parse(head.as_bytes()).unwrap().map(|head| head.framing), expected, "{head}");
        }
        assert!(Head::parse(b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n").is_err());
    }

    #[test]
    fn a_body_ends_at_the_same_byte_however_it_is_cut() {
        for (framing, wire, expected) in [
            (Framing::Length(5), &b"hello"[..], &b"hello"[..]),
            (Framing::Chunked, b"5\r\nhello\r\n1;x=1\r\n!\r\n0\r\n\r\n", b"hello!"),
            (Framing::Chunked, b"0a\r\n0123456789\r\n0\r\nt: v\r\n\r\n", b"0123456789"),
        ] {
            for cut in 0..wire.len() {
                let mut reader = BodyReader::new(framing);
                let mut content = Vec::new();
                reader.push(&wire[..cut], |part| content.extend_from_slice(part)).unwrap();
                assert!(!reader.is_at_end(), "{cut}");
                reader.push(&wire[cut..], |part| content.extend_from_slice(part)).unwrap();
                assert!(reader.is_at_end(), "{cut}");
                assert_eq!(content, expected, "{cut}");
            }
        }
    }

    #[test]
    fn events_are_counted_wherever_the_stream_is_cut() {
        let stream = b"data: 1\n\ndata: 2\n\ndata: [DONE]\n\n";
        for cut in 0..=stream.len() {
            let mut counter = EventCounter::default();
            assert_eq!(counter.push(&stream[..cut]) + counter.push(&stream[cut..]), 3, "{cut}");
        }
    }

    #[test]
    fn a_request_has_the_size_that_was_asked_for() {
        for bytes in [1024, 100 * 1024] {
            let request = chat_request("gpt-4", bytes, false, "latency_ms=0");
            let head = Head::parse(&request).unwrap().unwrap();
            assert_eq!(head.framing, Framing::Length(bytes));
            assert_eq!(request.len() - head.length, bytes);
            let body: serde_json::Value = serde_json::from_slice(&request[head.length..]).unwrap();
            assert_eq!(body["model"], "gpt-4");
        }
    }
}
