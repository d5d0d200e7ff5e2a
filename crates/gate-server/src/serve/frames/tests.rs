use std::time::Duration;

use super::*;

const PING: u8 = 0x6;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
    let length = u32::try_from(payload).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
    frame.resize(HEAD_BYTES + payload, 0);
    frame
}

/// Reads these bytes in pieces of every size, and returns what is known then, the same for each size.
#[track_caller]
fn check(frames: &[Vec<u8>], has_begun: bool, is_in_head: bool, control: u64) {
    let bytes = [PREFACE.to_vec(), frames.concat()].concat();
    for size in [1, 2, 7, 9, 10, 33, bytes.len()] {
        let now = Instant::now();
        let mut known = Frames::new(now);
        bytes.chunks(size).for_each(|piece| known.read(piece, 0, now));
        let found = (known.has_begun(), known.head_since().is_some(), known.control.level);
        assert_eq!(found, (has_begun, is_in_head, control), "in pieces of {size}");
    }
}

// Spec: security S-36.
#[test]
fn a_head_is_followed_from_its_first_frame_to_its_last() {
    let (headers, whole) = (frame(HEADERS, 0, 20), frame(HEADERS, END_HEADERS, 20));
    check(&[], false, false, 0);
    check(&[headers[..8].to_vec()], false, false, 0);
    check(&[headers[..9].to_vec()], true, true, 0);
    check(std::slice::from_ref(&headers), true, true, 0);
    check(&[whole[..28].to_vec()], true, true, 0);
    check(std::slice::from_ref(&whole), true, false, 0);
    check(&[headers.clone(), frame(CONTINUATION, 0, 3)], true, true, 1);
    check(&[headers, frame(CONTINUATION, 0, 3), frame(CONTINUATION, END_HEADERS, 0)], true, false, 2);
    check(&[whole, frame(DATA, 0, 300)], true, false, 0);
}

// Spec: security S-37.
#[test]
fn frames_that_ask_for_nothing_are_counted() {
    let kinds = [0x2, 0x3, 0x4, PING, 0x8, 0xff].map(|kind| frame(kind, 0, 8));
    check(&kinds, true, false, 6);
    check(&[frame(DATA, 0, 0), frame(DATA, END_STREAM, 0), frame(DATA, 0, 1)], true, false, 1);
}

// Spec: security S-37.
#[test]
fn time_and_answers_allow_more_frames() {
    let begun = Instant::now();
    let mut known = Frames::new(begun);
    known.read(PREFACE, 0, begun);
    let many = |count: u64| frame(PING, 0, 8).repeat(usize::try_from(count).unwrap());
    known.read(&many(CONTROL_BURST), 0, begun);
    assert!(!known.is_flood());
    known.read(&many(1), 0, begun);
    assert!(known.is_flood());
    known.read(&many(CONTROL_PER_SECOND), 0, begun + Duration::from_millis(1999));
    assert!(known.is_flood(), "one second has passed, and as many came");
    known.read(&many(1), 0, begun + Duration::from_millis(2000));
    assert!(!known.is_flood());
    known.read(&many(5000), 313, begun + Duration::from_millis(2000));
    assert!(!known.is_flood());
}
