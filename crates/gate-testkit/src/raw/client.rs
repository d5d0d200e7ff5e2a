//! An HTTP/1.1 client of bytes: it sends what it is told and shows exactly what came back.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use super::{end_of, read_more, within};
use crate::PATIENCE;

/// The head of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawHead {
    /// The status code.
    pub status: u16,
    /// Names as spelled by the peer and values, in order.
    pub headers: Vec<(String, String)>,
    /// The exact bytes, with the empty line that ends them.
    pub bytes: Vec<u8>,
}

impl RawHead {
    /// Returns the first value of a header, whatever the case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Returns how often a header came, whatever the case of its name.
    pub fn header_count(&self, name: &str) -> usize {
        self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)).count()
    }

    fn parse(bytes: &[u8]) -> io::Result<Self> {
        let text = std::str::from_utf8(bytes).map_err(|_| malformed("the head is no UTF-8"))?;
        let mut lines = text.split("\r\n");
        let line = lines.next().unwrap_or_default();
        let status = line
            .strip_prefix("HTTP/1.")
            .and_then(|rest| rest.split(' ').nth(1))
            .and_then(|status| status.parse().ok())
            .ok_or_else(|| malformed(&format!("no status line: {line:?}")))?;
        let headers = lines
            .take_while(|line| !line.is_empty())
            .map(|line| match line.split_once(':') {
                Some((name, value)) => Ok((name.to_owned(), value.trim().to_owned())),
                None => Err(malformed(&format!("no header line: {line:?}"))),
            })
            .collect::<io::Result<_>>()?;
        Ok(Self { status, headers, bytes: bytes.to_vec() })
    }

    fn framing(&self) -> io::Result<Framing> {
        // RFC 9112 section 6.3: these have no body, chunked wins over a length, and a message with
        // neither ends with the connection.
        if matches!(self.status, 100..=199 | 204 | 304) {
            return Ok(Framing::Length(0));
        }
        if self.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            return Ok(Framing::Chunked);
        }
        match self.header("content-length") {
            Some(length) => match length.parse() {
                Ok(length) => Ok(Framing::Length(length)),
                Err(_) => Err(malformed(&format!("content-length: {length}"))),
            },
            None => Ok(Framing::UntilClose),
        }
    }
}

enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

enum Chunk {
    Whole(Vec<u8>),
    /// What came of a chunk before the connection ended.
    Part(Vec<u8>, BodyEnd),
    Last,
}

/// How a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyEnd {
    /// As its framing said: all bytes of the length, or the last chunk.
    Complete,
    /// With the connection, and the framing said nothing else.
    Closed,
    /// The connection was closed before the framing's end.
    Cut,
    /// The connection was reset.
    Reset,
}

/// A body as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawBody {
    /// The content without its framing.
    pub bytes: Vec<u8>,
    /// The chunks, where it was chunked.
    pub chunks: Vec<Vec<u8>>,
    /// How it ended.
    pub end: BodyEnd,
}

impl RawBody {
    /// Tells whether the reader can know that this is the whole body.
    pub fn is_clean(&self) -> bool {
        matches!(self.end, BodyEnd::Complete | BodyEnd::Closed)
    }

    /// Returns the content as text; bytes that are no UTF-8 are replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// A response, head and body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawResponse {
    /// The head.
    pub head: RawHead,
    /// The body.
    pub body: RawBody,
}

/// A client over any byte stream, such as one end of a duplex or a TCP connection.
#[derive(Debug)]
pub struct RawClient<S> {
    io: S,
    /// What was read and not handed out yet.
    buffer: Vec<u8>,
    patience: Duration,
}

impl<S: AsyncRead + AsyncWrite + Unpin> RawClient<S> {
    /// Makes a client that waits [`PATIENCE`](crate::PATIENCE) for each thing that it reads.
    pub fn new(io: S) -> Self {
        Self { io, buffer: Vec::new(), patience: PATIENCE }
    }

    /// Waits this long instead; for a test with a paused clock that waits for a long time-out.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sends bytes and flushes.
    ///
    /// # Errors
    ///
    /// When the peer has closed, or takes nothing for too long.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let io = &mut self.io;
        within(self.patience, "send", async {
            io.write_all(bytes.as_ref()).await?;
            io.flush().await
        })
        .await
    }

    /// Ends the sending side and keeps reading.
    ///
    /// # Errors
    ///
    /// When the connection is gone.
    pub async fn close_sending(&mut self) -> io::Result<()> {
        self.io.shutdown().await
    }

    /// Reads a head, an informational one included.
    ///
    /// # Errors
    ///
    /// When the connection ends before the empty line, nothing comes, or it is no head of HTTP/1.
    pub async fn read_head(&mut self) -> io::Result<RawHead> {
        RawHead::parse(&self.read_until(b"\r\n\r\n").await?)
    }

    /// Reads the body that belongs to a head, by its framing.
    ///
    /// # Errors
    ///
    /// When nothing comes for too long, or the framing is malformed. An early end is no error but a
    /// [`BodyEnd`].
    pub async fn read_body(&mut self, head: &RawHead) -> io::Result<RawBody> {
        match head.framing()? {
            Framing::Length(length) => {
                let end = self.fill(length).await?;
                let bytes = self.take(length.min(self.buffer.len()));
                Ok(RawBody { bytes, chunks: Vec::new(), end: end.unwrap_or(BodyEnd::Complete) })
            }
            Framing::Chunked => self.read_chunks().await,
            Framing::UntilClose => {
                let (bytes, end) = self.read_to_close().await?;
                Ok(RawBody { bytes, chunks: Vec::new(), end })
            }
        }
    }

    /// Reads a head and its body.
    ///
    /// # Errors
    ///
    /// As [`read_head`](Self::read_head) and [`read_body`](Self::read_body).
    pub async fn read_response(&mut self) -> io::Result<RawResponse> {
        let head = self.read_head().await?;
        let body = self.read_body(&head).await?;
        Ok(RawResponse { head, body })
    }

    /// Reads to the end of the next `needle` and returns it all.
    ///
    /// # Errors
    ///
    /// When the connection ends first, or nothing comes for too long.
    pub async fn read_until(&mut self, needle: &[u8]) -> io::Result<Vec<u8>> {
        loop {
            if let Some(end) = end_of(needle, &self.buffer, 0) {
                return Ok(self.take(end));
            }
            if self.more().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Reads exactly this many bytes.
    ///
    /// # Errors
    ///
    /// When the connection ends first, or nothing comes for too long.
    pub async fn read_bytes(&mut self, count: usize) -> io::Result<Vec<u8>> {
        match self.fill(count).await? {
            None => Ok(self.take(count)),
            Some(BodyEnd::Reset) => Err(io::ErrorKind::ConnectionReset.into()),
            Some(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Reads one chunk of a chunked body; `None` is its proper end, trailers included.
    ///
    /// # Errors
    ///
    /// When the connection ends inside the body, nothing comes for too long, or it is no chunk.
    pub async fn read_chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        match self.read_chunk_or_part().await? {
            Chunk::Whole(chunk) => Ok(Some(chunk)),
            Chunk::Last => Ok(None),
            Chunk::Part(_, BodyEnd::Reset) => Err(io::ErrorKind::ConnectionReset.into()),
            Chunk::Part(..) => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Reads to the end of the connection: [`BodyEnd::Closed`] or [`BodyEnd::Reset`].
    ///
    /// # Errors
    ///
    /// When the connection stays open for too long without a byte.
    pub async fn read_to_close(&mut self) -> io::Result<(Vec<u8>, BodyEnd)> {
        let end = self.fill(usize::MAX).await?;
        let end = if end == Some(BodyEnd::Reset) { BodyEnd::Reset } else { BodyEnd::Closed };
        Ok((std::mem::take(&mut self.buffer), end))
    }

    async fn read_chunks(&mut self) -> io::Result<RawBody> {
        let mut body = RawBody { bytes: Vec::new(), chunks: Vec::new(), end: BodyEnd::Complete };
        loop {
            match self.read_chunk_or_part().await {
                Ok(Chunk::Whole(chunk)) => {
                    body.bytes.extend_from_slice(&chunk);
                    body.chunks.push(chunk);
                }
                Ok(Chunk::Last) => return Ok(body),
                Ok(Chunk::Part(part, end)) => {
                    body.bytes.extend_from_slice(&part);
                    return Ok(RawBody { end, ..body });
                }
                Err(error) => match end_of_connection(&error) {
                    Some(end) => return Ok(RawBody { end, ..body }),
                    None => return Err(error),
                },
            }
        }
    }

    async fn read_chunk_or_part(&mut self) -> io::Result<Chunk> {
        let line = self.read_until(b"\r\n").await?;
        let size = std::str::from_utf8(&line).ok().and_then(|line| line.trim_end().split(';').next());
        let Some(size) = size.and_then(|size| usize::from_str_radix(size, 16).ok()) else {
            return Err(malformed(&format!("no size of a chunk: {:?}", String::from_utf8_lossy(&line))));
        };
        if size == 0 {
            while self.read_until(b"\r\n").await? != b"\r\n" {}
            return Ok(Chunk::Last);
        }
        let end = self.fill(size.saturating_add(2)).await?;
        let chunk = self.take(size.min(self.buffer.len()));
        match end {
            Some(end) => Ok(Chunk::Part(chunk, end)),
            None if self.take(2) == b"\r\n" => Ok(Chunk::Whole(chunk)),
            None => Err(malformed("a chunk does not end with a line break")),
        }
    }

    /// Reads until the buffer holds this many bytes; tells how the connection ended if it does not.
    async fn fill(&mut self, length: usize) -> io::Result<Option<BodyEnd>> {
        while self.buffer.len() < length {
            match self.more().await {
                Ok(0) => return Ok(Some(BodyEnd::Cut)),
                Ok(_) => {}
                Err(error) => return end_of_connection(&error).map(Some).ok_or(error),
            }
        }
        Ok(None)
    }

    async fn more(&mut self) -> io::Result<usize> {
        within(self.patience, "read", read_more(&mut self.io, &mut self.buffer)).await
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        let rest = self.buffer.split_off(length);
        std::mem::replace(&mut self.buffer, rest)
    }
}

fn end_of_connection(error: &io::Error) -> Option<BodyEnd> {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Some(BodyEnd::Cut),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Some(BodyEnd::Reset),
        _ => None,
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

#[cfg(test)]
mod tests;
