//! How a fuzz input says in which pieces its bytes arrive.

/// Splits an input at its first line feed: the settings, and the bytes that are read under them.
pub(crate) fn settings_and_bytes(input: &[u8]) -> (&[u8], &[u8]) {
    match input.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&input[..at], &input[at + 1..]),
        None => (&[], input),
    }
}

/// Cuts `bytes` into pieces of 1 to 64 bytes, as the settings' bytes say in turn; without settings
/// each byte comes alone.
pub(crate) fn pieces<'b>(mut bytes: &'b [u8], settings: &[u8]) -> Vec<&'b [u8]> {
    let mut sizes = settings.iter().cycle();
    let mut pieces = Vec::new();
    while !bytes.is_empty() {
        let size = sizes.next().map_or(1, |byte| 1 + usize::from(byte % 64));
        let (piece, rest) = bytes.split_at(size.min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}
