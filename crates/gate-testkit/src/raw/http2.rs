//! An HTTP/2 client of frames: it sends what it is told, also what no library would send, and shows
//! the frames that come back. Of header compression it knows what it takes to send plain fields and to
//! read a status.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use super::{read_more, within};
use crate::PATIENCE;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEAD_BYTES: usize = 9;

/// The types of frames (RFC 9113 section 6).
pub mod kind {
    /// Part of a body.
    pub const DATA: u8 = 0x0;
    /// The beginning of a head.
    pub const HEADERS: u8 = 0x1;
    /// The end of a stream by error.
    pub const RST_STREAM: u8 = 0x3;
    /// Settings, or their acknowledgement.
    pub const SETTINGS: u8 = 0x4;
    /// A question whether the peer is there, or its answer.
    pub const PING: u8 = 0x6;
    /// The end of a connection.
    pub const GOAWAY: u8 = 0x7;
    /// Room for more of a body.
    pub const WINDOW_UPDATE: u8 = 0x8;
    /// More of a head.
    pub const CONTINUATION: u8 = 0x9;
}

/// Flags of frames.
pub mod flag {
    /// The stream ends with this frame.
    pub const END_STREAM: u8 = 0x1;
    /// The head ends with this frame.
    pub const END_HEADERS: u8 = 0x4;
    /// The frame acknowledges one of the peer's.
    pub const ACK: u8 = 0x1;
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawFrame {
    /// Its type; see [`kind`].
    pub kind: u8,
    /// Its flags; see [`flag`].
    pub flags: u8,
    /// The stream, 0 for the connection.
    pub stream: u32,
    /// What it carries.
    pub payload: Vec<u8>,
}

impl RawFrame {
    /// Makes a frame.
    pub fn new(kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Self {
        Self { kind, flags, stream, payload: payload.into() }
    }

    /// Makes the head of a request, whole in one frame; `flags` may end the stream too.
    pub fn headers(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Self {
        Self::new(kind::HEADERS, flags | flag::END_HEADERS, stream, block(fields))
    }

    /// Makes room for more of a body, or of all bodies on stream 0.
    pub fn window_update(stream: u32, bytes: u32) -> Self {
        Self::new(kind::WINDOW_UPDATE, 0, stream, bytes.to_be_bytes())
    }

    /// Makes settings of identifiers and values.
    pub fn settings(settings: &[(u16, u32)]) -> Self {
        let payload: Vec<u8> = settings
            .iter()
            .flat_map(|(id, value)| [id.to_be_bytes().as_slice(), &value.to_be_bytes()].concat())
            .collect();
        Self::new(kind::SETTINGS, 0, 0, payload)
    }

    /// Returns the frame as it is sent.
    pub fn to_bytes(&self) -> Vec<u8> {
        let [_, high, middle, low] = u32::try_from(self.payload.len()).unwrap_or(u32::MAX).to_be_bytes();
        let mut bytes = vec![high, middle, low, self.kind, self.flags];
        bytes.extend_from_slice(&self.stream.to_be_bytes());
        bytes.extend_from_slice(&self.payload);
        bytes
    }

    /// Tells whether it ends its stream.
    pub fn ends_stream(&self) -> bool {
        matches!(self.kind, kind::DATA | kind::HEADERS) && self.flags & flag::END_STREAM != 0
    }

    /// Returns the status that a response's head begins with.
    pub fn status(&self) -> Option<u16> {
        // RFC 7541: an entry of the static table, or its name (8) and a value, plain or in Huffman's code.
        let (&first, rest) = self.payload.split_first()?;
        match first {
            0x88..=0x8e => [200, 204, 206, 304, 400, 404, 500].get(usize::from(first & 0x7f) - 8).copied(),
            0x08 | 0x18 | 0x48 => {
                let (&length, value) = rest.split_first()?;
                let value = value.get(..usize::from(length & 0x7f))?;
                let digits =
                    if length & 0x80 == 0 { value.iter().map(|b| b - b'0').collect() } else { digits(value) };
                let mut digits = digits.into_iter().map(u16::from);
                Some(digits.next()? * 100 + digits.next()? * 10 + digits.next()?)
            }
            _ => None,
        }
    }

    /// Returns how many bytes a window update makes room for.
    pub fn window(&self) -> Option<usize> {
        let bytes = self.payload.get(..4).filter(|_| self.kind == kind::WINDOW_UPDATE)?;
        usize::try_from(u32::from_be_bytes(bytes.try_into().ok()?)).ok()
    }

    /// Returns the code of an error that ends a stream or the connection.
    pub fn error_code(&self) -> Option<u32> {
        let at = match self.kind {
            kind::RST_STREAM => 0,
            kind::GOAWAY => 4,
            _ => return None,
        };
        self.payload.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
    }
}

/// Returns a block of header fields, each with its name and none remembered (RFC 7541 section 6.2.2).
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            length(text.len(), &mut block);
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// Writes a length as an integer with a prefix of seven bits (RFC 7541 section 5.1).
fn length(length: usize, block: &mut Vec<u8>) {
    if length < 127 {
        block.push(u8::try_from(length).unwrap_or_default());
        return;
    }
    block.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).unwrap_or_default() | 128);
        rest /= 128;
    }
    block.push(u8::try_from(rest).unwrap_or_default());
}

/// Reads three digits in Huffman's code (RFC 7541 appendix B): 0 to 2 have five bits, the rest six.
fn digits(bytes: &[u8]) -> Vec<u8> {
    let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)).collect();
    let number = |bits: &[u8]| bits.iter().fold(0, |number, bit| number * 2 + bit);
    let mut rest = bits.as_slice();
    let mut digits = Vec::new();
    while digits.len() < 3 {
        let Some(five) = rest.get(..5) else { break };
        let short = number(five);
        let (digit, length) = match (short, rest.get(..6)) {
            (0..=2, _) => (short, 5),
            (_, Some(six)) => (number(six).wrapping_sub(0b01_1001).wrapping_add(3), 6),
            _ => break,
        };
        digits.push(digit);
        rest = rest.get(length..).unwrap_or_default();
    }
    digits
}

/// A client over any byte stream.
#[derive(Debug)]
pub struct RawHttp2<S> {
    io: S,
    buffer: Vec<u8>,
    patience: Duration,
}

impl<S: AsyncRead + AsyncWrite + Unpin> RawHttp2<S> {
    /// Makes a client that has sent nothing.
    pub fn new(io: S) -> Self {
        Self { io, buffer: Vec::new(), patience: PATIENCE }
    }

    /// Waits this long instead of [`PATIENCE`](crate::PATIENCE) for each thing that it reads.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Begins a connection: the preface, and these settings.
    ///
    /// # Errors
    ///
    /// When the peer has closed, or takes nothing for too long.
    pub async fn begin(&mut self, settings: &[(u16, u32)]) -> io::Result<()> {
        let settings = RawFrame::settings(settings).to_bytes();
        self.send_bytes(&[PREFACE, &settings].concat()).await
    }

    /// Sends frames at once.
    ///
    /// # Errors
    ///
    /// As [`begin`](Self::begin).
    pub async fn send(&mut self, frames: &[RawFrame]) -> io::Result<()> {
        let bytes: Vec<u8> = frames.iter().flat_map(RawFrame::to_bytes).collect();
        self.send_bytes(&bytes).await
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    ///
    /// As [`begin`](Self::begin).
    pub async fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        let io = &mut self.io;
        within(self.patience, "send", async {
            io.write_all(bytes).await?;
            io.flush().await
        })
        .await
    }

    /// Reads the next frame; nothing at the end of the connection, clean or not.
    ///
    /// # Errors
    ///
    /// When nothing comes for too long.
    pub async fn read(&mut self) -> io::Result<Option<RawFrame>> {
        loop {
            if let Some(frame) = self.take() {
                return Ok(Some(frame));
            }
            match within(self.patience, "read", read_more(&mut self.io, &mut self.buffer)).await {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return Err(error),
                Err(_) => return Ok(None),
            }
        }
    }

    /// Reads frames up to the first that `is_it` says yes to, and answers pings and settings on the way;
    /// nothing if the connection ends first.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub async fn read_until(&mut self, is_it: impl Fn(&RawFrame) -> bool) -> io::Result<Option<RawFrame>> {
        while let Some(frame) = self.read().await? {
            if is_it(&frame) {
                return Ok(Some(frame));
            }
            if matches!(frame.kind, kind::PING | kind::SETTINGS) && frame.flags & flag::ACK == 0 {
                let payload = if frame.kind == kind::PING { frame.payload } else { Vec::new() };
                // A peer that has closed meanwhile may still have said something before.
                let _ = self.send(&[RawFrame::new(frame.kind, flag::ACK, 0, payload)]).await;
            }
        }
        Ok(None)
    }

    /// Reads the answer on a stream: its status, its body, and the code of the error that it ended with.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read), and when the connection ends first.
    pub async fn read_response(&mut self, stream: u32) -> io::Result<(u16, Vec<u8>, Option<u32>)> {
        let (mut status, mut body) = (0, Vec::new());
        loop {
            let frame = self.read_until(|frame| frame.stream == stream).await?;
            let Some(frame) = frame else { return Err(io::ErrorKind::UnexpectedEof.into()) };
            match frame.kind {
                kind::HEADERS => status = frame.status().unwrap_or(status),
                kind::DATA => body.extend_from_slice(&frame.payload),
                kind::RST_STREAM => return Ok((status, body, frame.error_code())),
                _ => {}
            }
            if frame.ends_stream() {
                return Ok((status, body, None));
            }
        }
    }

    fn take(&mut self) -> Option<RawFrame> {
        let head: [u8; HEAD_BYTES] = self.buffer.get(..HEAD_BYTES)?.try_into().ok()?;
        let [high, middle, low, kind, flags, stream @ ..] = head;
        let end = HEAD_BYTES + usize::from(high) * 65_536 + usize::from(middle) * 256 + usize::from(low);
        let payload = self.buffer.get(HEAD_BYTES..end)?.to_vec();
        self.buffer.drain(..end);
        Some(RawFrame { kind, flags, stream: u32::from_be_bytes(stream) & 0x7fff_ffff, payload })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_in_every_form() {
        for (payload, status) in [
            (&[0x88][..], Some(200)),
            (&[0x8d, 0x40], Some(404)),
            // RFC 7541 appendix C.5 and C.6.
            (&[0x48, 0x03, b'3', b'0', b'2'], Some(302)),
            (&[0x48, 0x82, 0x64, 0x02], Some(302)),
            (&[0x48, 0x83, 0x64, 0x0e, 0xff], Some(307)),
            (&[0x82], None),
        ] {
            let frame = RawFrame::new(kind::HEADERS, 0, 1, payload);
            assert_eq!(frame.status(), status, "{payload:?}");
        }
    }

    #[tokio::test]
    async fn frames_come_back_as_they_were_sent() {
        let (one, two) = tokio::io::duplex(1 << 20);
        let (mut one, mut two) = (RawHttp2::new(one), RawHttp2::new(two));
        let value = "v".repeat(70_000);
        let frames = [
            RawFrame::headers(3, flag::END_STREAM, &[("n", "v"), ("long", &value)]),
            RawFrame::window_update(0, 7),
            RawFrame::settings(&[(4, 0)]),
        ];
        one.send(&frames).await.unwrap();
        drop(one);
        for frame in frames {
            assert_eq!(two.read().await.unwrap(), Some(frame));
        }
        assert_eq!(two.read().await.unwrap(), None);
    }
}
