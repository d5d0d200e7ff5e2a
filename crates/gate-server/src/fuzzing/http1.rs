//! A plain reader of HTTP/1.1 messages, independent of hyper: how far a message goes, and whether it
//! is all there. It is more lenient than the gateway and judges nothing else.

/// A message, and where its end is.
#[derive(Debug)]
pub(super) struct Message {
    /// The first line.
    pub(super) line: String,
    headers: Vec<(String, String)>,
    /// The body without its framing, as far as it came.
    pub(super) body: Vec<u8>,
    pub(super) end: End,
}

/// What tells the end of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Its framing, behind so many bytes.
    Framed(usize),
    /// Nothing: bytes are missing.
    Cut,
    /// Only the end of the connection.
    Close,
    /// This reader cannot tell.
    Unknown,
}

impl Message {
    /// Reads one message; `None` if its head is not all there.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (mut at, mut lines) = (0, Vec::new());
        loop {
            let length = bytes[at..].iter().position(|byte| *byte == b'\n')?;
            let line = String::from_utf8_lossy(&bytes[at..at + length]).trim_end_matches('\r').to_owned();
            at += length + 1;
            match line.is_empty() {
                true if lines.is_empty() => {}
                true => break,
                false => lines.push(line),
            }
        }
        let line = lines.remove(0);
        let headers = lines.iter().filter_map(|line| line.split_once(':'));
        let headers = headers
            .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut message = Self { line, headers, body: Vec::new(), end: End::Unknown };
        (message.body, message.end) = message.read_body(&bytes[at..], at);
        Some(message)
    }

    /// Returns the values of a header, in their order.
    pub(super) fn all<'m>(&'m self, name: &'m str) -> impl Iterator<Item = &'m str> {
        self.headers.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Returns the status of an answer.
    pub(super) fn status(&self) -> u16 {
        self.line.split_whitespace().nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    fn read_body(&self, rest: &[u8], head: usize) -> (Vec<u8>, End) {
        let is_answer = self.line.starts_with("HTTP/");
        if is_answer && matches!(self.status(), 100..=199 | 204 | 304) {
            return (Vec::new(), End::Framed(head));
        }
        let codings: Vec<_> = self.all("transfer-encoding").collect();
        match *codings {
            [] => {}
            [coding] if coding.eq_ignore_ascii_case("chunked") => return read_chunks(rest, head),
            _ => return (rest.to_vec(), End::Unknown),
        }
        let lengths: Vec<_> = self.all("content-length").flat_map(|value| value.split(',')).collect();
        match lengths.first().map(|length| length.trim().parse::<usize>()) {
            None if is_answer => (rest.to_vec(), End::Close),
            None => (Vec::new(), End::Framed(head)),
            Some(Err(_)) => (rest.to_vec(), End::Unknown),
            Some(Ok(length)) => match rest.get(..length) {
                Some(body) => (body.to_vec(), End::Framed(head + length)),
                None => (rest.to_vec(), End::Cut),
            },
        }
    }
}

fn read_chunks(bytes: &[u8], head: usize) -> (Vec<u8>, End) {
    let (mut at, mut body) = (0, Vec::new());
    loop {
        let Some(length) = bytes[at..].iter().position(|byte| *byte == b'\n') else {
            return (body, End::Cut);
        };
        let line = String::from_utf8_lossy(&bytes[at..at + length]).into_owned();
        at += length + 1;
        let size = line.split([';', ' ', '\t', '\r']).next().unwrap_or_default();
        let Ok(size) = usize::from_str_radix(size, 16) else { return (body, End::Unknown) };
        if size == 0 {
            return (body, end_of_trailers(&bytes[at..], head + at));
        }
        let Some(data) = bytes.get(at..at.saturating_add(size)) else {
            body.extend_from_slice(&bytes[at..]);
            return (body, End::Cut);
        };
        body.extend_from_slice(data);
        at += size;
        match bytes.get(at..at + 2) {
            Some(b"\r\n") => at += 2,
            Some(_) => return (body, End::Unknown),
            None => return (body, End::Cut),
        }
    }
}

/// Finds the empty line behind the last chunk.
fn end_of_trailers(bytes: &[u8], from: usize) -> End {
    let mut at = 0;
    while let Some(length) = bytes[at..].iter().position(|byte| *byte == b'\n') {
        let is_empty = bytes[at..at + length].iter().all(|byte| *byte == b'\r');
        at += length + 1;
        if is_empty {
            return End::Framed(from + at);
        }
    }
    End::Cut
}
