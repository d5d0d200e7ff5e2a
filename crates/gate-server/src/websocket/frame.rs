//! WebSocket frames (RFC 6455 §5): heads are read and written, payloads masked, boundaries kept in
//! sight. Nothing here knows what a message says, and no extension is understood.

use bytes::Bytes;

/// The longest head: two bytes, a length of eight, a mask of four.
const MAX_HEAD_BYTES: usize = 14;
/// The longest payload of a control frame (§5.5).
pub(super) const MAX_CONTROL_BYTES: u64 = 125;

/// What a frame is (§11.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
    /// One that no specification has given a meaning.
    Unknown(u8),
}

impl Opcode {
    const fn of(bits: u8) -> Self {
        match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            other => Self::Unknown(other),
        }
    }

    const fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xa,
            Self::Unknown(bits) => bits,
        }
    }

    pub(super) const fn is_control(self) -> bool {
        self.bits() & 0x8 != 0
    }
}

/// Why a session is closed (§7.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CloseCode {
    /// The gateway shuts down.
    GoingAway = 1001,
    /// The peer's frames break the protocol.
    Protocol = 1002,
    /// A sort of message that is not taken here.
    Unsupported = 1003,
    /// A message is not what it says it is.
    InvalidPayload = 1007,
    /// A message that is not allowed here.
    Policy = 1008,
    /// A message beyond the limit.
    TooBig = 1009,
    /// The provider failed.
    Internal = 1011,
}

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHead {
    /// Whether the message ends with this frame.
    pub(super) is_final: bool,
    /// Whether a bit is set that only an extension could explain.
    pub(super) has_reserved_bits: bool,
    pub(super) opcode: Opcode,
    pub(super) mask: Option<[u8; 4]>,
    /// The length of the payload.
    pub(super) length: u64,
}

/// A length that no frame may have: its first bit is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InvalidLength;

impl FrameHead {
    /// Reads the head at the beginning of `bytes`, and returns it with its own size; `None` if it
    /// is not all there.
    ///
    /// # Errors
    /// The length is none that a frame may have.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, InvalidLength> {
        let Some((&[first, second], mut rest)) = bytes.split_first_chunk::<2>() else { return Ok(None) };
        let mut size = 2;
        let length = match second & 0x7f {
            126 => {
                let Some((length, after)) = rest.split_first_chunk::<2>() else { return Ok(None) };
                (rest, size) = (after, size + 2);
                u64::from(u16::from_be_bytes(*length))
            }
            127 => {
                let Some((length, after)) = rest.split_first_chunk::<8>() else { return Ok(None) };
                (rest, size) = (after, size + 8);
                u64::from_be_bytes(*length)
            }
            short => u64::from(short),
        };
        if length > u64::MAX / 2 {
            return Err(InvalidLength);
        }
        let mask = if second & 0x80 == 0 {
            None
        } else {
            let Some((mask, _)) = rest.split_first_chunk::<4>() else { return Ok(None) };
            size += 4;
            Some(*mask)
        };
        let head = Self {
            is_final: first & 0x80 != 0,
            has_reserved_bits: first & 0x70 != 0,
            opcode: Opcode::of(first & 0x0f),
            mask,
            length,
        };
        Ok(Some((head, size)))
    }

    fn write(&self, to: &mut Vec<u8>) {
        let is_masked = if self.mask.is_some() { 0x80 } else { 0 };
        to.push(if self.is_final { 0x80 } else { 0 } | self.opcode.bits());
        match (u8::try_from(self.length), u16::try_from(self.length)) {
            (Ok(length @ 0..126), _) => to.push(is_masked | length),
            (_, Ok(length)) => {
                to.push(is_masked | 126);
                to.extend_from_slice(&length.to_be_bytes());
            }
            _ => {
                to.push(is_masked | 127);
                to.extend_from_slice(&self.length.to_be_bytes());
            }
        }
        to.extend_from_slice(self.mask.as_ref().map_or(&[], |mask| mask.as_slice()));
    }
}

/// Masks a payload, or takes the mask off: it is the same (§5.3).
pub(super) fn mask(payload: &mut [u8], key: [u8; 4]) {
    for (byte, key) in payload.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

/// Writes a whole message, or a control frame, as one frame.
pub(super) fn frame(opcode: Opcode, payload: &[u8], key: Option<[u8; 4]>) -> Bytes {
    let mut frame = Vec::with_capacity(MAX_HEAD_BYTES + payload.len());
    // A `usize` is at most 64 bits wide, so nothing is lost.
    let length = payload.len() as u64;
    FrameHead { is_final: true, has_reserved_bits: false, opcode, mask: key, length }.write(&mut frame);
    let start = frame.len();
    frame.extend_from_slice(payload);
    if let (Some(key), Some(payload)) = (key, frame.get_mut(start..)) {
        mask(payload, key);
    }
    frame.into()
}

/// Writes a frame that closes a session.
pub(super) fn close(code: CloseCode, reason: &str, key: Option<[u8; 4]>) -> Bytes {
    let mut payload = (code as u16).to_be_bytes().to_vec();
    payload.extend_from_slice(reason.as_bytes());
    frame(Opcode::Close, &payload, key)
}

/// Follows frames that pass as bytes, to know where another frame may be put between them.
#[derive(Debug, Default)]
pub(super) struct FrameTracker {
    /// The bytes of a head that is not all there.
    head: Vec<u8>,
    /// What is still to come of a payload.
    payload_left: u64,
    is_inside_message: bool,
    /// Whether the payload that passes is part of a text.
    is_text: bool,
    /// Whether the message that passes is a text, control frames between its parts aside.
    is_text_message: bool,
    has_close: bool,
    /// What passed are no frames.
    is_lost: bool,
}

/// A part of a text message that passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'b> {
    /// More of the text, unmasked as a server sends it.
    Text(&'b [u8]),
    /// Its end.
    End,
}

impl FrameTracker {
    /// Sees bytes pass, and shows the texts of a server to `see`.
    pub(super) fn advance(&mut self, mut bytes: &[u8], mut see: impl FnMut(Piece<'_>)) {
        while !self.is_lost {
            let in_payload = usize::try_from(self.payload_left).unwrap_or(usize::MAX).min(bytes.len());
            let (payload, rest) = bytes.split_at(in_payload);
            bytes = rest;
            if in_payload > 0 {
                self.payload_left -= in_payload as u64;
                self.pass(payload, &mut see);
            }
            let Some((&byte, rest)) = bytes.split_first() else { return };
            bytes = rest;
            self.head.push(byte);
            match FrameHead::parse(&self.head) {
                Ok(None) => {}
                Ok(Some((head, _))) => {
                    self.head.clear();
                    self.payload_left = head.length;
                    self.has_close |= head.opcode == Opcode::Close;
                    if !head.opcode.is_control() {
                        self.is_inside_message = !head.is_final;
                        if head.opcode != Opcode::Continuation {
                            self.is_text_message = head.opcode == Opcode::Text && !head.has_reserved_bits;
                        }
                    }
                    self.is_text = self.is_text_message && !head.opcode.is_control();
                    if head.length == 0 {
                        self.pass(&[], &mut see);
                    }
                }
                Err(InvalidLength) => self.is_lost = true,
            }
        }
    }

    /// Shows a part of a frame's payload.
    fn pass(&self, payload: &[u8], see: &mut impl FnMut(Piece<'_>)) {
        if self.is_text {
            see(Piece::Text(payload));
            if self.payload_left == 0 && !self.is_inside_message {
                see(Piece::End);
            }
        }
    }

    /// Tells whether a control frame may follow.
    pub(super) fn is_at_frame_boundary(&self) -> bool {
        !self.is_lost && self.head.is_empty() && self.payload_left == 0
    }

    /// Tells whether a message may follow.
    pub(super) fn is_at_message_boundary(&self) -> bool {
        self.is_at_frame_boundary() && !self.is_inside_message
    }

    /// Tells whether a whole frame passed that closes the session: nothing may follow it.
    pub(super) fn has_closed(&self) -> bool {
        self.has_close && self.is_at_frame_boundary()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // Spec: api A-43.
    #[test]
    fn heads_are_read_as_the_specification_writes_them() {
        type Seen = (bool, Opcode, Option<[u8; 4]>, u64, usize);
        fn check(bytes: &[u8], expected: Option<Seen>) {
            let found = FrameHead::parse(bytes).unwrap();
            let found = found.map(|(head, size)| (head.is_final, head.opcode, head.mask, head.length, size));
            assert_eq!(found, expected, "{bytes:x?}");
        }
        // RFC 6455 §5.7.
        check(b"\x81\x05Hello", Some((true, Opcode::Text, None, 5, 2)));
        check(b"\x81\x85\x37\xfa\x21\x3d", Some((true, Opcode::Text, Some([0x37, 0xfa, 0x21, 0x3d]), 5, 6)));
        check(b"\x01\x03Hel", Some((false, Opcode::Text, None, 3, 2)));
        check(b"\x80\x02lo", Some((true, Opcode::Continuation, None, 2, 2)));
        check(b"\x82\x7e\x01\x00", Some((true, Opcode::Binary, None, 256, 4)));
        check(b"\x82\x7f\0\0\0\0\0\x01\0\0", Some((true, Opcode::Binary, None, 65536, 10)));
        for part in [&b""[..], b"\x81", b"\x81\x7e\x01", b"\x81\x7f\0\0\0\0\0\0\0", b"\x81\x85\x37\xfa\x21"] {
            check(part, None);
        }
        assert_eq!(FrameHead::parse(b"\x82\x7f\xff\0\0\0\0\0\0\0"), Err(InvalidLength));
        assert!(FrameHead::parse(b"\xc1\x00").unwrap().unwrap().0.has_reserved_bits);
    }

    #[test]
    fn frames_are_written_as_the_specification_does() {
        assert_eq!(frame(Opcode::Text, b"Hello", None), b"\x81\x05Hello"[..]);
        let masked = frame(Opcode::Text, b"Hello", Some([0x37, 0xfa, 0x21, 0x3d]));
        assert_eq!(masked, b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"[..]);
        assert_eq!(close(CloseCode::GoingAway, "bye", None), b"\x88\x05\x03\xe9bye"[..]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(length in 0..70_000usize, key in any::<Option<[u8; 4]>>()) {
            let payload: Vec<u8> = (0u8..=255).cycle().take(length).collect();
            let written = frame(Opcode::Binary, &payload, key);
            let (head, size) = FrameHead::parse(&written).unwrap().unwrap();
            let mut read = written[size..].to_vec();
            if let Some(key) = head.mask {
                mask(&mut read, key);
            }
            prop_assert_eq!((head.mask, head.length), (key, length as u64));
            prop_assert_eq!(read, payload);
        }

        #[test]
        fn boundaries_are_the_same_however_the_bytes_are_cut(
            lengths in prop::collection::vec((0..300usize, any::<bool>()), 0..6),
            cuts in prop::collection::vec(1..40usize, 1..20),
        ) {
            let mut bytes = Vec::new();
            let mut boundaries = vec![0];
            for (length, is_masked) in lengths {
                bytes.extend(frame(Opcode::Text, &vec![7; length], is_masked.then_some([1, 2, 3, 4])));
                boundaries.push(bytes.len());
            }
            let mut tracker = FrameTracker::default();
            let (mut at, mut cuts) = (0, cuts.into_iter().cycle());
            while at < bytes.len() {
                let end = (at + cuts.next().unwrap()).min(bytes.len());
                tracker.advance(&bytes[at..end], |_| {});
                at = end;
                prop_assert_eq!(tracker.is_at_frame_boundary(), boundaries.contains(&at));
            }
        }

        #[test]
        fn no_bytes_confuse_the_tracker_into_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut tracker = FrameTracker::default();
            tracker.advance(&bytes, |_| {});
            let _ = FrameHead::parse(&bytes);
        }
    }

    #[test]
    fn texts_are_seen_however_they_are_cut_and_framed() {
        let parts: [&[u8]; 8] = [
            b"\x81\x02hi",
            b"\x82\x02no",
            b"\x01\x01a",
            b"\x89\x01p",
            b"\x00\x00",
            b"\x80\x01b",
            b"\x81\x00",
            // Compressed, and closing.
            b"\xc1\x01z\x88\x02\x03\xe8",
        ];
        let bytes = parts.concat();
        for step in 1..bytes.len() {
            let (mut tracker, mut seen) = (FrameTracker::default(), Vec::new());
            for piece in bytes.chunks(step) {
                tracker.advance(piece, |piece| match piece {
                    Piece::Text(text) => seen.extend_from_slice(text),
                    Piece::End => seen.push(b'|'),
                });
            }
            assert_eq!(seen, b"hi|ab||", "{step} bytes at once");
        }
    }

    #[test]
    fn a_fragmented_message_lets_only_control_frames_in() {
        let mut tracker = FrameTracker::default();
        for (bytes, at_frame, at_message) in [
            (&b"\x01\x03He"[..], false, false),
            (b"l", true, false),
            (b"\x89\x00", true, false),
            (b"\x80\x02lo", true, true),
        ] {
            tracker.advance(bytes, |_| {});
            assert_eq!(
                (tracker.is_at_frame_boundary(), tracker.is_at_message_boundary()),
                (at_frame, at_message)
            );
        }
        tracker.advance(b"\x88\x02\x03", |_| {});
        assert!(!tracker.has_closed());
        tracker.advance(b"\xe8", |_| {});
        assert!(tracker.has_closed());
    }
}
