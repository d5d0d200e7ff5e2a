//! A reader of the frame heads in what a client of HTTP/2 sends (RFC 9113 §4.1). It changes nothing:
//! it tells the clocks where a head of a request begins and ends, and counts the frames that cost the
//! sender nothing and ask for nothing.

use tokio::time::Instant;

/// The bytes that every connection begins with.
const PREFACE_BYTES: usize = 24;
const HEAD_BYTES: usize = 9;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const CONTINUATION: u8 = 0x9;
/// Flags of the frames above.
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// So many frames beside requests and their bodies may come at once.
const CONTROL_BURST: u64 = 10_000;
/// So many more may come with each second.
const CONTROL_PER_SECOND: u64 = 1_000;
/// So many more may come for each piece of an answer: a client makes room as it reads, and Go's does so
/// for each 4 KiB, once for the stream and once for the connection. A piece has 16 KiB at most.
const CONTROL_PER_PIECE: u64 = 16;

/// What is known of the frames that came so far.
#[derive(Debug)]
pub(crate) struct Frames {
    /// How much of the preface is still to come.
    preface: usize,
    head: [u8; HEAD_BYTES],
    head_bytes: usize,
    /// How much of the current frame's payload is still to come.
    payload: usize,
    has_begun: bool,
    /// When the head of a request began that is not whole.
    head_since: Option<Instant>,
    /// Whether the head is whole with the current frame.
    is_last_of_head: bool,
    control: Control,
}

/// A bucket that frames fill, and that time and answers empty.
#[derive(Debug)]
struct Control {
    level: u64,
    emptied: Instant,
    pieces: u64,
}

impl Frames {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            preface: PREFACE_BYTES,
            head: [0; HEAD_BYTES],
            head_bytes: 0,
            payload: 0,
            has_begun: false,
            head_since: None,
            is_last_of_head: false,
            control: Control { level: 0, emptied: now, pieces: 0 },
        }
    }

    /// Reads what the client sent next. `pieces` is how many pieces of answers it was given so far.
    pub(crate) fn read(&mut self, mut bytes: &[u8], pieces: u64, now: Instant) {
        let control = self.control.level;
        let preface = self.preface.min(bytes.len());
        self.preface -= preface;
        bytes = bytes.get(preface..).unwrap_or_default();
        while !bytes.is_empty() {
            if self.payload > 0 {
                let taken = self.payload.min(bytes.len());
                self.payload -= taken;
                bytes = bytes.get(taken..).unwrap_or_default();
            } else {
                let Some((&byte, rest)) = bytes.split_first() else { break };
                bytes = rest;
                if let Some(place) = self.head.get_mut(self.head_bytes) {
                    *place = byte;
                }
                self.head_bytes += 1;
                if self.head_bytes == HEAD_BYTES {
                    self.head_bytes = 0;
                    self.begin_frame(now);
                }
            }
            if self.payload == 0 && self.is_last_of_head {
                self.is_last_of_head = false;
                self.head_since = None;
            }
        }
        if self.control.level != control {
            self.control.empty(pieces, now);
        }
    }

    /// Tells whether a frame has begun behind the preface.
    pub(crate) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Returns since when a request's head has been coming.
    pub(crate) fn head_since(&self) -> Option<Instant> {
        self.head_since
    }

    /// Tells whether more came than a client can mean.
    pub(crate) fn is_flood(&self) -> bool {
        self.control.level > CONTROL_BURST
    }

    fn begin_frame(&mut self, now: Instant) {
        self.has_begun = true;
        let [high, middle, low, kind, flags, ..] = self.head;
        self.payload = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        match kind {
            HEADERS | CONTINUATION => {
                self.head_since.get_or_insert(now);
                self.is_last_of_head = flags & END_HEADERS != 0;
                self.control.level += u64::from(kind == CONTINUATION);
            }
            // A body that neither comes nor ends.
            DATA if self.payload == 0 && flags & END_STREAM == 0 => self.control.level += 1,
            DATA => {}
            _ => self.control.level += 1,
        }
    }
}

impl Control {
    /// Takes out what time and answers allow.
    fn empty(&mut self, pieces: u64, now: Instant) {
        let seconds = now.duration_since(self.emptied).as_secs();
        let taken = seconds
            .saturating_mul(CONTROL_PER_SECOND)
            .saturating_add(pieces.saturating_sub(self.pieces).saturating_mul(CONTROL_PER_PIECE));
        self.level = self.level.saturating_sub(taken);
        self.pieces = pieces;
        // Only whole seconds are counted, so only those are over.
        self.emptied += std::time::Duration::from_secs(seconds);
    }
}

#[cfg(test)]
mod tests;
