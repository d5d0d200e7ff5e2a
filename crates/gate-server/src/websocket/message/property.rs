//! What holds for any bytes of a WebSocket peer: the same messages, boundaries and refusals however
//! they are cut, and no message beyond its bound.

use std::sync::Arc;

use super::super::frame::{FrameHead, FrameTracker, Piece, mask};
use super::{Inbound, MAX_CONTROL_BYTES, MessageReader};
use crate::body_memory::Hold;
use crate::fuzzing::pieces::{pieces, settings_and_bytes};

const LIMIT: u64 = 300;

/// Checks one peer. The input is a line of settings, which are the sizes of the pieces, then the
/// peer's bytes.
pub fn frames(input: &[u8]) {
    let (settings, bytes) = settings_and_bytes(input);
    let pieces = pieces(bytes, settings);
    let messages = read_messages(&[bytes]);
    assert_eq!(read_messages(&pieces), messages, "messages in pieces, and whole");
    assert_eq!(track(&pieces), track(&[bytes]), "frames in pieces, and whole");
    check_head(bytes);
}

/// Reads what a client sends up to its end or a refusal.
fn read_messages(pieces: &[&[u8]]) -> Vec<String> {
    let mut reader = MessageReader::new(LIMIT, Hold::nothing(&Arc::default(), 1 << 20));
    let mut found = Vec::new();
    for piece in pieces {
        reader.buffer.extend_from_slice(piece);
        loop {
            match reader.next() {
                Ok(Some(Inbound::Text(text))) => {
                    assert!(text.len() as u64 <= LIMIT);
                    found.push(format!("text {}", String::from_utf8_lossy(&text)));
                }
                Ok(Some(Inbound::Control(opcode, payload))) => {
                    assert!(payload.len() as u64 <= MAX_CONTROL_BYTES);
                    found.push(format!("{opcode:?} {}", String::from_utf8_lossy(&payload)));
                }
                Ok(None) => break,
                Err(refusal) => {
                    found.push(format!("refused {:?} {}", refusal.close, refusal.error.message));
                    return found;
                }
            }
        }
        assert!(reader.message.len() as u64 <= LIMIT);
    }
    found
}

/// Follows what passes: the texts, and where it stands at the end.
fn track(pieces: &[&[u8]]) -> (Vec<u8>, usize, [bool; 3]) {
    let mut tracker = FrameTracker::default();
    let (mut texts, mut ends) = (Vec::new(), 0);
    for piece in pieces {
        tracker.advance(piece, |seen| match seen {
            Piece::Text(part) => texts.extend_from_slice(part),
            Piece::End => ends += 1,
        });
    }
    let places = [tracker.is_at_frame_boundary(), tracker.is_at_message_boundary(), tracker.has_closed()];
    assert!(places[0] || !places[1] && !places[2], "a message ends only where a frame does: {places:?}");
    (texts, ends, places)
}

/// A head is within the bytes, and masking twice changes nothing.
fn check_head(bytes: &[u8]) {
    let Ok(Some((head, size))) = FrameHead::parse(bytes) else { return };
    assert!(size <= bytes.len() && head.length >> 63 == 0);
    let mut payload = bytes[size..].to_vec();
    for _ in 0..2 {
        mask(&mut payload, head.mask.unwrap_or_default());
    }
    assert_eq!(payload, bytes[size..]);
}
