//! Buffers of bodies that are over, kept for those to come: memory that is given back to the system is
//! cleared when it is taken again, and for a large body that costs as much as copying it. What a buffer
//! held is never seen again: it comes back empty.

use std::sync::{Mutex, PoisonError};

use bytes::{Bytes, BytesMut};

/// The most that are kept, and how large each may be: 16 MiB in all. The rest of a larger body was
/// copied several times while it grew; clearing adds little to that.
const MOST_BUFFERS: usize = 16;
pub(crate) const MOST_BYTES: usize = 1024 * 1024;

/// The buffers that nobody uses.
#[derive(Debug, Default)]
pub(super) struct Spare(Mutex<Vec<BytesMut>>);

impl Spare {
    /// Returns an empty buffer with room for so many bytes.
    pub(super) fn take(&self, bytes: usize) -> BytesMut {
        // One that is too small is dropped: so those that are kept grow to what is asked for.
        let spare = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        spare.filter(|buffer| buffer.capacity() >= bytes).unwrap_or_else(|| BytesMut::with_capacity(bytes))
    }

    /// Keeps the buffer of these bytes, if nobody else has a piece of them and there is a place for it.
    pub(super) fn put(&self, bytes: Bytes) {
        let Ok(mut buffer) = bytes.try_into_mut() else { return };
        buffer.clear();
        if buffer.capacity() > MOST_BYTES {
            return;
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < MOST_BUFFERS {
            kept.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(spare: &Spare, bytes: usize) -> Bytes {
        let mut buffer = spare.take(bytes);
        assert!(buffer.is_empty() && buffer.capacity() >= bytes);
        buffer.resize(bytes, b'x');
        buffer.freeze()
    }

    #[test]
    fn a_buffer_is_used_again_once_its_body_is_over() {
        let spare = Spare::default();
        let first = filled(&spare, 1000);
        let place = first.as_ptr();
        let piece = first.slice(10..20);
        spare.put(first);
        // Somebody still reads a piece of it.
        assert_ne!(filled(&spare, 1000).as_ptr(), place);
        spare.put(piece);
        assert_eq!(filled(&spare, 10).as_ptr(), place.wrapping_add(10));
    }

    #[test]
    fn only_so_many_are_kept_and_none_that_is_too_large_or_too_small() {
        let spare = Spare::default();
        let all: Vec<_> = (0..2 * MOST_BUFFERS).map(|_| filled(&spare, 100)).collect();
        all.into_iter().for_each(|bytes| spare.put(bytes));
        assert_eq!(spare.0.lock().unwrap().len(), MOST_BUFFERS);
        // A larger one takes the place of one that is too small.
        spare.put(filled(&spare, MOST_BYTES));
        assert_eq!(spare.0.lock().unwrap().len(), MOST_BUFFERS);
        assert!(spare.take(MOST_BYTES).capacity() >= MOST_BYTES);
        spare.put(filled(&spare, MOST_BYTES + 1));
        assert_eq!(spare.0.lock().unwrap().len(), MOST_BUFFERS - 2);
    }
}
