//! WebSocket (RFC 6455) as a server speaks it: the handshake, and text messages in and out. It agrees to no
//! extension, and knows nothing of what a message says.

use std::io;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use bytes::{Buf as _, BytesMut};
use http::header::{
    CONNECTION, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    UPGRADE,
};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::MAX_REQUEST_BYTES;
use super::embeddings::base64;
use super::refusal::Refusal;
use crate::body::ScriptBody;

/// What a server appends to the client's key, to show that it knows the protocol (§1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The subprotocol of the vendor's sessions.
const PROTOCOL: &str = "realtime";

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;

/// Tells whether a request asks for WebSocket.
pub(super) fn is_wanted(head: &Parts) -> bool {
    head.method == Method::GET && names(&head.headers, UPGRADE.as_str(), "websocket").is_some()
}

/// Agrees to a session.
///
/// # Errors
/// There is no key to answer to.
pub(super) fn agree(headers: &HeaderMap) -> Result<Response<ScriptBody>, Refusal> {
    let key = headers.get(SEC_WEBSOCKET_KEY).ok_or_else(|| {
        Refusal::invalid("this is no WebSocket handshake: `sec-websocket-key` is missing".to_owned())
    })?;
    let proof = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key.as_bytes(), GUID].concat());
    let mut response = Response::new(ScriptBody::sized(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answer = response.headers_mut();
    answer.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(proof) = HeaderValue::from_str(&base64(proof.as_ref())) {
        answer.insert(SEC_WEBSOCKET_ACCEPT, proof);
    }
    // A browser gives up a session whose server chooses none of what it offers.
    if names(headers, SEC_WEBSOCKET_PROTOCOL.as_str(), PROTOCOL).is_some() {
        answer.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
    }
    Ok(response)
}

/// Finds a word in the list of a header.
fn names<'h>(headers: &'h HeaderMap, name: &str, word: &str) -> Option<&'h str> {
    let texts = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).map(str::trim).find(|other| other.eq_ignore_ascii_case(word))
}

/// A connection that has left HTTP.
pub(super) struct Socket<I> {
    io: I,
    /// What was read and not yet used.
    buffer: BytesMut,
}

struct Frame {
    is_final: bool,
    opcode: u8,
    payload: BytesMut,
}

/// Why no message came: the codes of a close (§7.4.1), or the end of the connection.
enum End {
    Close(u16),
    Gone,
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> Socket<I> {
    /// Takes a connection, and what was read from it behind the request.
    pub(super) fn new(io: I, early: &[u8]) -> Self {
        Self { io, buffer: BytesMut::from(early) }
    }

    /// Reads the next text, and answers pings meanwhile. `None` is the end: one in due form is answered, and
    /// so is what breaks the protocol.
    pub(super) async fn read(&mut self) -> Option<String> {
        match self.message().await {
            Ok(text) => Some(text),
            Err(End::Close(code)) => {
                // Whether the peer is still there to read it does not matter.
                let _ = self.close(code).await;
                None
            }
            Err(End::Gone) => None,
        }
    }

    /// Sends a text as one frame.
    pub(super) async fn send(&mut self, text: &[u8]) -> io::Result<()> {
        self.write(TEXT, text).await
    }

    /// Sends the last frame.
    pub(super) async fn close(&mut self, code: u16) -> io::Result<()> {
        self.write(CLOSE, &code.to_be_bytes()).await?;
        self.io.shutdown().await
    }

    async fn message(&mut self) -> Result<String, End> {
        let mut text: Option<BytesMut> = None;
        loop {
            let Frame { is_final, opcode, payload } = self.frame().await?;
            match (opcode, &mut text) {
                (TEXT, None) => text = Some(payload),
                (CONTINUATION, Some(text)) => text.extend_from_slice(&payload),
                (PING, _) => {
                    self.write(PONG, &payload).await?;
                    continue;
                }
                (PONG, _) => continue,
                // The same code goes back (§5.5.1); one without a code gets the usual one.
                (CLOSE, _) => {
                    return Err(End::Close(payload.first_chunk().map_or(1000, |c| u16::from_be_bytes(*c))));
                }
                (0x2, _) => return Err(End::Close(1003)),
                _ => return Err(End::Close(1002)),
            }
            if text.as_ref().is_some_and(|text| text.len() > MAX_REQUEST_BYTES) {
                return Err(End::Close(1009));
            }
            if is_final {
                let text = String::from_utf8(text.unwrap_or_default().to_vec());
                return text.map_err(|_| End::Close(1007));
            }
        }
    }

    /// Reads one frame of a client.
    async fn frame(&mut self) -> Result<Frame, End> {
        let [first, second] = self.take().await?;
        let length = match second & 0x7f {
            126 => u64::from(u16::from_be_bytes(self.take().await?)),
            127 => u64::from_be_bytes(self.take().await?),
            short => u64::from(short),
        };
        // A client masks, and nobody agreed to what the other bits may mean (§5.1, §5.2).
        if second & 0x80 == 0 || first & 0x70 != 0 {
            return Err(End::Close(1002));
        }
        let length = usize::try_from(length).ok().filter(|length| *length <= MAX_REQUEST_BYTES);
        let Some(length) = length else { return Err(End::Close(1009)) };
        let key: [u8; 4] = self.take().await?;
        self.fill(length).await?;
        let mut payload = self.buffer.split_to(length);
        for (byte, key) in payload.iter_mut().zip(key.iter().cycle()) {
            *byte ^= key;
        }
        Ok(Frame { is_final: first & 0x80 != 0, opcode: first & 0x0f, payload })
    }

    /// Takes as many bytes as the array has.
    async fn take<const N: usize>(&mut self) -> Result<[u8; N], End> {
        self.fill(N).await?;
        let bytes = self.buffer.first_chunk().copied().ok_or(End::Gone)?;
        self.buffer.advance(N);
        Ok(bytes)
    }

    /// Reads until so many bytes are there.
    async fn fill(&mut self, count: usize) -> Result<(), End> {
        while self.buffer.len() < count {
            if self.io.read_buf(&mut self.buffer).await? == 0 {
                return Err(End::Gone);
            }
        }
        Ok(())
    }

    /// Writes one frame of a server, which is not masked.
    async fn write(&mut self, opcode: u8, payload: &[u8]) -> io::Result<()> {
        let mut frame = vec![0x80 | opcode];
        match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
            (Ok(length @ 0..126), _) => frame.push(length),
            (_, Ok(length)) => {
                frame.push(126);
                frame.extend_from_slice(&length.to_be_bytes());
            }
            _ => {
                frame.push(127);
                // A `usize` is at most 64 bits wide, so nothing is lost.
                frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
            }
        }
        frame.extend_from_slice(payload);
        self.io.write_all(&frame).await?;
        self.io.flush().await
    }
}
