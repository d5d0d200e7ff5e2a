//! Messages of a client, put together from its frames, within bounds of bytes and of time. What a
//! message says is not looked at.

use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::{Instant, timeout_at};

use super::frame::{CloseCode, FrameHead, MAX_CONTROL_BYTES, Opcode, mask};
use super::refusal::Refusal;
use crate::body_memory::Hold;
use crate::error::{ApiError, ErrorCode};

/// How much is read at once.
const READ_BYTES: usize = 16 * 1024;
/// How much is kept of what a client sends while nobody waits for a message.
const MAX_AHEAD_BYTES: usize = 64 * 1024;

/// Something whole that a client sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Inbound {
    /// A text message.
    Text(Bytes),
    /// A control frame.
    Control(Opcode, Bytes),
}

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waits {
    /// Until a message begins; `None` is for ever.
    pub(super) idle: Option<Duration>,
    /// Between two pieces of a message.
    pub(super) piece: Duration,
    /// From a message's first byte to its last.
    pub(super) whole: Duration,
}

/// Why there is no message.
#[derive(Debug)]
pub(super) enum Unread {
    /// The client's connection has ended.
    Gone,
    /// What comes is not taken.
    Refused(Box<Refusal>),
}

/// Puts messages together.
#[derive(Debug)]
pub(super) struct MessageReader {
    /// What was read and is not part of `message` yet.
    buffer: BytesMut,
    /// The text of a message whose last frame is still to come.
    message: BytesMut,
    is_inside_message: bool,
    /// When the first byte of an unfinished message or frame came.
    begun: Option<Instant>,
    /// The longest message.
    limit: u64,
    /// The part of the memory for bodies that `buffer` and `message` take beyond the read-ahead.
    hold: Hold,
}

impl MessageReader {
    pub(super) fn new(limit: u64, hold: Hold) -> Self {
        Self {
            buffer: BytesMut::new(),
            message: BytesMut::new(),
            is_inside_message: false,
            begun: None,
            limit,
            hold,
        }
    }

    /// Reads the next message or control frame; `bytes` counts what came.
    ///
    /// # Errors
    /// The client is gone, too slow, or sends what is not taken here.
    ///
    /// # Cancel safety
    /// Nothing that was read is lost when the future is dropped.
    pub(super) async fn read(
        &mut self,
        io: &mut (impl AsyncRead + Unpin),
        waits: Waits,
        bytes: &mut u64,
    ) -> Result<Inbound, Unread> {
        loop {
            if let Some(inbound) = self.next().map_err(|refusal| Unread::Refused(Box::new(refusal)))? {
                return Ok(inbound);
            }
            let deadline = match self.begun {
                None => waits.idle.and_then(|idle| Instant::now().checked_add(idle)),
                Some(begun) => Some((Instant::now() + waits.piece).min(begun + waits.whole)),
            };
            let more = self.more(io, bytes);
            let has_more = match deadline {
                None => more.await,
                Some(deadline) => timeout_at(deadline, more).await.map_err(|_| late())?,
            };
            if !has_more {
                return Err(Unread::Gone);
            }
            self.cover().map_err(|error| Unread::Refused(Box::new(error.into())))?;
        }
    }

    /// Takes memory for a message that gets large; what every session may read ahead is free.
    fn cover(&mut self) -> Result<(), ApiError> {
        let held = self.buffer.len() + self.message.len();
        if held > MAX_AHEAD_BYTES { self.hold.cover(held) } else { Ok(()) }
    }

    /// Reads ahead until the client's connection ends. A client that sends much meanwhile is no
    /// longer watched: it is there.
    ///
    /// # Cancel safety
    /// As [`read`](Self::read).
    pub(super) async fn watch(&mut self, io: &mut (impl AsyncRead + Unpin), bytes: &mut u64) {
        while self.buffer.len() < MAX_AHEAD_BYTES {
            if !self.more(io, bytes).await {
                return;
            }
        }
        std::future::pending::<()>().await;
    }

    async fn more(&mut self, io: &mut (impl AsyncRead + Unpin), bytes: &mut u64) -> bool {
        self.buffer.reserve(READ_BYTES);
        let count = io.read_buf(&mut self.buffer).await.unwrap_or(0);
        // A `usize` is at most 64 bits wide, so nothing is lost.
        *bytes += count as u64;
        if count > 0 {
            self.begun.get_or_insert_with(Instant::now);
        }
        count > 0
    }

    /// Takes what is whole already.
    fn next(&mut self) -> Result<Option<Inbound>, Refusal> {
        loop {
            let head =
                FrameHead::parse(&self.buffer).map_err(|_| broken("a length that no frame may have"))?;
            let Some((head, size)) = head else { return Ok(None) };
            let key = self.check(&head)?;
            // The check has bounded the length.
            let length = usize::try_from(head.length).unwrap_or(usize::MAX);
            if self.buffer.len() - size < length {
                return Ok(None);
            }
            self.buffer.advance(size);
            let mut payload = self.buffer.split_to(length);
            mask(&mut payload, key);
            if head.opcode.is_control() {
                if head.opcode == Opcode::Close {
                    check_close(&payload)?;
                }
                self.rest();
                return Ok(Some(Inbound::Control(head.opcode, payload.freeze())));
            }
            if self.message.is_empty() {
                self.message = payload;
            } else {
                self.message.extend_from_slice(&payload);
            }
            self.is_inside_message = !head.is_final;
            if head.is_final {
                self.rest();
                let text = std::mem::take(&mut self.message).freeze();
                return Ok(Some(Inbound::Text(self.hold.split().keep(text))));
            }
        }
    }

    /// Sets the clock after something whole.
    fn rest(&mut self) {
        let is_idle = self.buffer.is_empty() && !self.is_inside_message;
        self.begun = (!is_idle).then(Instant::now);
    }

    /// Checks a frame by its head (RFC 6455 §5.1 to §5.5), before its payload is read, and returns
    /// its mask.
    fn check(&self, head: &FrameHead) -> Result<[u8; 4], Refusal> {
        let Some(key) = head.mask else { return Err(broken("a frame without a mask")) };
        if head.has_reserved_bits {
            return Err(broken("a frame of an extension that was not agreed on"));
        }
        match head.opcode {
            Opcode::Unknown(_) => Err(broken("a frame of an unknown sort")),
            opcode if opcode.is_control() && (!head.is_final || head.length > MAX_CONTROL_BYTES) => {
                Err(broken("a control frame in parts, or of more than 125 bytes"))
            }
            opcode if opcode.is_control() => Ok(key),
            Opcode::Binary => {
                let message = "this session takes JSON in text messages, and no binary message";
                let error = ApiError::new(ErrorCode::BadRequest, message);
                Err(Refusal::closing(CloseCode::Unsupported, error))
            }
            Opcode::Text if self.is_inside_message => Err(broken("a message inside another one")),
            Opcode::Continuation if !self.is_inside_message => {
                Err(broken("the continuation of a message that has not begun"))
            }
            _ => {
                let length = head.length.saturating_add(self.message.len() as u64);
                if length > self.limit { Err(too_large(self.limit)) } else { Ok(key) }
            }
        }
    }
}

/// Checks what a frame that closes says (RFC 6455 §5.5.1, §7.4): nothing, or a code that may be sent and
/// a reason in UTF-8.
fn check_close(payload: &[u8]) -> Result<(), Refusal> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() { Ok(()) } else { Err(broken("half a code to close with")) };
    };
    match u16::from_be_bytes(*code) {
        // Those that only a program tells itself are not among them, and those without a meaning yet.
        1000..=1003 | 1007..=1014 | 3000..=4999 => {}
        _ => return Err(broken("a code to close with that no frame may have")),
    }
    if std::str::from_utf8(reason).is_err() {
        let message = "the client sent a reason to close that is not UTF-8 (RFC 6455)";
        let error = ApiError::new(ErrorCode::BadRequest, message);
        return Err(Refusal::closing(CloseCode::InvalidPayload, error));
    }
    Ok(())
}

fn broken(what: &str) -> Refusal {
    let error = ApiError::new(ErrorCode::BadRequest, format!("the client sent {what} (RFC 6455)"));
    Refusal::closing(CloseCode::Protocol, error)
}

fn too_large(limit: u64) -> Refusal {
    let message =
        format!("the message has more than {limit} bytes; `[llm.limits] max_request_size_mb` sets the limit");
    Refusal::from(ApiError::new(ErrorCode::RequestTooLarge, message))
}

fn late() -> Unread {
    let message = "no whole message came in time; open the connection again when there is one to send";
    Unread::Refused(Box::new(Refusal::from(ApiError::new(ErrorCode::RequestTimeout, message))))
}

#[cfg(any(test, fuzzing))]
pub(super) mod property;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::super::frame::frame;
    use super::*;

    const KEY: Option<[u8; 4]> = Some([1, 2, 3, 4]);
    const WAITS: Waits = Waits {
        idle: Some(Duration::from_secs(75)),
        piece: Duration::from_secs(30),
        whole: Duration::from_secs(300),
    };

    fn hold() -> Hold {
        Hold::nothing(&Arc::default(), 1 << 20)
    }

    /// Feeds bytes in pieces, and returns what came out until the end or a refusal.
    fn read_all(pieces: &[&[u8]], limit: u64) -> Vec<String> {
        let mut reader = MessageReader::new(limit, hold());
        let mut found = Vec::new();
        for piece in pieces {
            reader.buffer.extend_from_slice(piece);
            loop {
                match reader.next() {
                    Ok(Some(Inbound::Text(text))) => found.push(String::from_utf8_lossy(&text).into_owned()),
                    Ok(Some(Inbound::Control(opcode, payload))) => {
                        found.push(format!("{opcode:?} {}", String::from_utf8_lossy(&payload)));
                    }
                    Ok(None) => break,
                    Err(refusal) => {
                        found.push(format!("{:?} {}", refusal.close, refusal.error.message));
                        return found;
                    }
                }
            }
        }
        found
    }

    /// Sets the first byte of a frame.
    fn with_first(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = frame(Opcode::Text, payload, KEY).to_vec();
        bytes[0] = first;
        bytes
    }

    // Spec: api A-81.
    #[test]
    fn a_close_says_nothing_or_why() {
        fn check(payload: &[u8], expected: &str) {
            let found = read_all(&[&frame(Opcode::Close, payload, KEY)], 300);
            assert_eq!(found, [expected], "{payload:x?}");
        }
        check(b"", "Close ");
        check(b"\x0f\xa1bye", "Close \u{f}\u{fffd}bye");
        for code in [1000, 1003, 1007, 1014, 3000, 4999_u16] {
            check(&code.to_be_bytes(), &format!("Close {}", String::from_utf8_lossy(&code.to_be_bytes())));
        }
        check(b"\x03", "Protocol the client sent half a code to close with (RFC 6455)");
        let none = "Protocol the client sent a code to close with that no frame may have (RFC 6455)";
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, u16::MAX] {
            check(&code.to_be_bytes(), none);
        }
        let text = "InvalidPayload the client sent a reason to close that is not UTF-8 (RFC 6455)";
        check(b"\x03\xe8\xff", text);
    }

    // Spec: api A-54.
    #[test]
    fn frames_that_break_the_protocol_are_refused_by_their_heads() {
        fn check(bytes: &[u8], expected: &[&str]) {
            assert_eq!(read_all(&[bytes], 300), expected, "{bytes:x?}");
        }
        check(&frame(Opcode::Text, b"hi", KEY), &["hi"]);
        check(&frame(Opcode::Text, b"", KEY), &[""]);
        check(&frame(Opcode::Ping, b"p", KEY), &["Ping p"]);
        let in_parts =
            [with_first(0x01, b"a"), with_first(0x89, b"p"), with_first(0x00, b"b"), with_first(0x80, b"c")];
        check(&in_parts.concat(), &["Ping p", "abc"]);

        check(
            &frame(Opcode::Text, b"hi", None),
            &["Protocol the client sent a frame without a mask (RFC 6455)"],
        );
        let extension = "Protocol the client sent a frame of an extension that was not agreed on (RFC 6455)";
        check(&with_first(0xc1, b"hi"), &[extension]);
        check(&with_first(0x83, b"hi"), &["Protocol the client sent a frame of an unknown sort (RFC 6455)"]);
        let control =
            "Protocol the client sent a control frame in parts, or of more than 125 bytes (RFC 6455)";
        check(&with_first(0x09, b"p"), &[control]);
        check(&frame(Opcode::Ping, &[0; 126], KEY), &[control]);
        let nested = "Protocol the client sent a message inside another one (RFC 6455)";
        check(&[with_first(0x01, b"a"), with_first(0x81, b"b")].concat(), &[nested]);
        let orphan = "Protocol the client sent the continuation of a message that has not begun (RFC 6455)";
        check(&with_first(0x80, b"b"), &[orphan]);
        check(
            b"\x81\xff\xff\0\0\0\0\0\0\0",
            &["Protocol the client sent a length that no frame may have (RFC 6455)"],
        );
        let binary = "Unsupported this session takes JSON in text messages, and no binary message";
        check(&frame(Opcode::Binary, b"{}", KEY), &[binary]);
    }

    // Spec: api A-54.
    #[test]
    fn a_message_over_the_limit_is_refused_before_it_is_read() {
        let limit =
            "TooBig the message has more than 10 bytes; `[llm.limits] max_request_size_mb` sets the limit";
        assert_eq!(read_all(&[&with_first(0x81, &[b'a'; 10])], 10), ["aaaaaaaaaa"]);
        assert_eq!(read_all(&[&with_first(0x81, &[b'a'; 11])[..6]], 10), [limit]);
        let parts = [with_first(0x01, &[b'a'; 6]), with_first(0x80, &[b'a'; 5])].concat();
        assert_eq!(read_all(&[&parts], 10), [limit]);
        assert_eq!(read_all(&[b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0"], 10), [limit]);
    }

    proptest! {
        #[test]
        fn messages_are_the_same_however_the_bytes_are_cut(
            texts in prop::collection::vec("[a-z]{0,200}", 0..5),
            cuts in prop::collection::vec(1..40usize, 1..10),
        ) {
            let bytes: Vec<u8> = texts.iter().flat_map(|text| frame(Opcode::Text, text.as_bytes(), KEY)).collect();
            let (mut pieces, mut rest, mut cuts) = (Vec::new(), &bytes[..], cuts.into_iter().cycle());
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(cuts.next().unwrap().min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            prop_assert_eq!(read_all(&pieces, 1000), texts);
        }
    }

    // Spec: api A-54.
    #[tokio::test(start_paused = true)]
    async fn a_client_has_its_time_to_begin_and_to_go_on() {
        async fn check(pieces: &[(u64, &[u8])], expected: u64) {
            let (mut far, mut near) = tokio::io::duplex(64);
            let begin = Instant::now();
            let write = async {
                for (pause, piece) in pieces {
                    tokio::time::sleep(Duration::from_secs(*pause)).await;
                    tokio::io::AsyncWriteExt::write_all(&mut far, piece).await.unwrap();
                }
                std::future::pending::<()>().await;
            };
            let (mut reader, mut bytes) = (MessageReader::new(100, hold()), 0);
            let outcome = tokio::select! {
                outcome = reader.read(&mut near, WAITS, &mut bytes) => outcome,
                () = write => unreachable!(),
            };
            let Err(Unread::Refused(refusal)) = outcome else { panic!("{outcome:?}") };
            assert_eq!((refusal.close, refusal.error.code), (CloseCode::Policy, ErrorCode::RequestTimeout));
            assert_eq!(begin.elapsed().as_secs(), expected);
        }
        check(&[], 75).await;
        check(&[(10, b"\x81")], 40).await;
        // A byte now and then is not enough: the whole has its time too.
        let head: &[u8] = b"\x81\x94\0\0\0\0";
        let slow: Vec<_> = [(0, head)].into_iter().chain((0..19).map(|_| (29, &b"x"[..]))).collect();
        check(&slow, 300).await;
        check(&slow[..2], 59).await;
    }
}
