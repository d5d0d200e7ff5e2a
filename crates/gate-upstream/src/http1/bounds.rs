//! Bounds the heads of an answer where their bytes are read, before anything parses them. It knows
//! where a head ends and whether it is an interim one, and judges nothing else.
//!
//! Each byte is looked at once, however small the pieces are that it comes in: a head is parsed when it is
//! whole, and not again with each of them.

use crate::error::Violation;

/// Most interim responses (1xx) before the head. They are dropped without a trace, so that nothing
/// else would stop a provider that sends them as fast as it can; real ones send one or two.
pub(crate) const MAX_INTERIM: u32 = 100;

/// Most bytes of an answer before its body, interim responses included. Real heads have a few
/// thousand; without a limit a broken server could make every connection hold 400 KB.
pub(crate) const MAX_HEAD_BYTES: usize = 64 * 1024;

/// As much of a status line as tells the class, such as `HTTP/1.1 103`.
const STATUS_BYTES: usize = 12;

/// What has been read of an answer, up to the end of its head.
#[derive(Debug, Default)]
pub(crate) struct Bounds {
    bytes: usize,
    interim: u32,
    /// The beginning of the present head's first line.
    status: [u8; STATUS_BYTES],
    status_bytes: usize,
    /// Whether the present head's first line is behind.
    is_in_fields: bool,
    /// Whether the present line has anything but its end.
    has_text: bool,
}

impl Bounds {
    /// Looks at further bytes of the answer and returns whether the head has ended in them. It must
    /// not be asked after that.
    ///
    /// # Errors
    /// [`Violation::InterimFlood`] or [`Violation::LargeHead`].
    pub(crate) fn ends_in(&mut self, bytes: &[u8]) -> Result<bool, Violation> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let line_end = memchr::memchr(b'\n', rest);
            let (piece, behind) = rest.split_at(line_end.map_or(rest.len(), |at| at + 1));
            self.bytes += piece.len();
            if self.bytes > MAX_HEAD_BYTES {
                return Err(Violation::LargeHead);
            }
            self.note(piece);
            if line_end.is_some() && self.ends_with_line()? {
                return Ok(true);
            }
            rest = behind;
        }
        Ok(false)
    }

    fn note(&mut self, piece: &[u8]) {
        let Some(last) = piece.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')) else { return };
        self.has_text = true;
        if self.is_in_fields {
            return;
        }
        let places = self.status.iter_mut().skip(self.status_bytes);
        for (place, byte) in places.zip(piece.iter().take(last + 1)) {
            *place = *byte;
            self.status_bytes += 1;
        }
    }

    /// Takes note of a line's end and returns whether the answer's head has ended with it.
    fn ends_with_line(&mut self) -> Result<bool, Violation> {
        if std::mem::take(&mut self.has_text) {
            self.is_in_fields = true;
            return Ok(false);
        }
        // Empty lines in front of a head are allowed (RFC 9112 §2.2), and count to its size.
        if !self.is_in_fields {
            return Ok(false);
        }
        if !self.is_interim() {
            return Ok(true);
        }
        self.interim += 1;
        if self.interim > MAX_INTERIM {
            return Err(Violation::InterimFlood);
        }
        (self.is_in_fields, self.status_bytes) = (false, 0);
        Ok(false)
    }

    /// Tells whether a further head follows: 1xx but for 101, which is the last word in HTTP.
    fn is_interim(&self) -> bool {
        self.status_bytes == STATUS_BYTES
            && matches!(self.status, [.., b'1', _, _])
            && !self.status.ends_with(b"101")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HINT: &str = "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n";

    /// Looks at `answer` in pieces of every size and returns how much of it is head, the same each
    /// time; `None` if its head does not end.
    fn head_of(answer: &str) -> Result<Option<usize>, Violation> {
        let by_size = |size: usize| {
            let mut head = Bounds::default();
            let mut seen = 0;
            for piece in answer.as_bytes().chunks(size) {
                seen += piece.len();
                if head.ends_in(piece)? {
                    return Ok(Some(seen));
                }
            }
            Ok(None)
        };
        let exact = by_size(1);
        for size in 2..answer.len().min(50) {
            match (by_size(size), exact) {
                (Ok(Some(seen)), Ok(Some(exact))) => assert_eq!(seen.div_ceil(size), exact.div_ceil(size)),
                (other, exact) => assert_eq!(other, exact, "{answer:?} by {size}"),
            }
        }
        exact
    }

    // Spec: security S-53.
    #[test]
    fn a_head_ends_behind_the_first_empty_line_that_belongs_to_no_interim_response() {
        fn check(head: &str, body: &str) {
            assert_eq!(head_of(&format!("{head}{body}")), Ok(Some(head.len())), "{head:?}");
        }
        check("HTTP/1.1 200 OK\r\n\r\n", "\r\n\r\n");
        check("HTTP/1.1 200 OK\r\na: b\r\n\r\n", "HTTP/1.1 103 X\r\n\r\n");
        check("HTTP/1.1 200 OK\na: b\n\n", "body");
        check("\r\n\nHTTP/1.1 200 OK\r\n\r\n", "body");
        check("HTTP/1.1 200\r\n\r\n", "body");
        check("HTTP/1.1 101 Switching Protocols\r\n\r\n", "frames");
        check(&format!("{HINT}HTTP/1.1 200 OK\r\n\r\n"), "body");
        check(&format!("{HINT}{HINT}HTTP/1.1 500 X\r\n\r\n"), "body");
        // Nothing that is read as HTTP: it is for the parser to say so.
        check("hello\r\n\r\n", "body");
    }

    // Spec: security S-53.
    #[test]
    fn what_does_not_end_is_refused_at_its_bound() {
        assert_eq!(head_of("HTTP/1.1 200 OK\r\na: b\r\n"), Ok(None));
        assert_eq!(head_of(&HINT.repeat(100)), Ok(None));
        assert_eq!(head_of(&HINT.repeat(101)), Err(Violation::InterimFlood));
        let line = "HTTP/1.1 200 OK\r\nx: ";
        let rest = MAX_HEAD_BYTES - line.len();
        assert_eq!(head_of(&format!("{line}{}", "y".repeat(rest))), Ok(None));
        assert_eq!(head_of(&format!("{line}{}", "y".repeat(rest + 1))), Err(Violation::LargeHead));
        assert_eq!(head_of(&"\r\n".repeat(MAX_HEAD_BYTES)), Err(Violation::LargeHead));
        let long = format!("HTTP/1.1 103 X\r\nlink: {}\r\n\r\n", "y".repeat(10_000));
        assert_eq!(head_of(&long.repeat(7)), Err(Violation::LargeHead), "interim responses count too");
    }
}
