//! The beginning of a request's first line, kept for the account of a request that the HTTP parser
//! refuses. It decides nothing: what a request means is the parser's to say.

use http::{Method, Uri};

/// What is kept, in bytes: a method and any usual path. Each connection holds as much.
const KEPT_BYTES: usize = 256;

/// The first byte of a TLS handshake, and of no request.
const TLS_HANDSHAKE: u8 = 0x16;

/// What came first of the newest request of a connection.
#[derive(Debug, Default)]
pub(crate) struct RequestLine {
    kept: Vec<u8>,
    /// How many requests of the connection had begun before it.
    before: usize,
}

impl RequestLine {
    /// Begins another one, behind so many requests.
    pub(crate) fn begin(&mut self, bytes: &[u8], before: usize) {
        self.kept.clear();
        self.before = before;
        self.add(bytes);
    }

    /// Adds what comes behind.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        let room = KEPT_BYTES - self.kept.len();
        self.kept.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }

    /// Returns what is known of the request that follows so many others: nothing where it came
    /// together with one of those.
    pub(crate) fn known(&self, before: usize) -> Known {
        if self.before == before { Known::of(&self.kept) } else { Known::default() }
    }
}

/// What a refused request can be told by.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// Whether it is no request at all, but TLS on a port that speaks none.
    pub(crate) is_tls: bool,
    /// Both or neither: where one is odd, this may be the middle of something else.
    pub(crate) target: Option<(Method, String)>,
}

impl Known {
    fn of(bytes: &[u8]) -> Self {
        let is_tls = bytes.first() == Some(&TLS_HANDSHAKE);
        Self { is_tls, target: Self::target(bytes) }
    }

    /// Reads a usual method and a path. Whatever is neither could be a key in the wrong place, and what
    /// stands behind a `?` as well.
    fn target(bytes: &[u8]) -> Option<(Method, String)> {
        let mut words = bytes.trim_ascii_start().splitn(3, |byte| byte.is_ascii_whitespace());
        let method = Method::from_bytes(words.next()?).ok().filter(is_usual)?;
        let target = words.next()?;
        let end = target.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(target.len());
        let path = target.get(..end)?;
        if path.starts_with(b"/") {
            return Some((method, String::from_utf8_lossy(path).into_owned()));
        }
        let uri = Uri::try_from(path).ok().filter(|uri| uri.scheme().is_some())?;
        Some((method, uri.path().to_owned()))
    }
}

/// Tells a method that HTTP itself defines (RFC 9110 §9, RFC 5789).
fn is_usual(method: &Method) -> bool {
    use http::method::Method as M;
    [M::GET, M::HEAD, M::POST, M::PUT, M::PATCH, M::DELETE, M::OPTIONS, M::TRACE, M::CONNECT].contains(method)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Spec: monitoring L-29.
    #[test]
    fn a_request_is_known_by_a_usual_method_and_a_path() {
        fn check(bytes: &[u8], expected: Option<(Method, &str)>) {
            let known = Known::of(bytes);
            let expected = expected.map(|(method, path)| (method, path.to_owned()));
            assert_eq!(known.target, expected, "{}", bytes.escape_ascii());
            assert!(!known.is_tls);
        }
        check(b"GET /v1/models HTTP/1.1\r\nhost: a\r\n", Some((Method::GET, "/v1/models")));
        check(b"\r\nPOST /v1/x", Some((Method::POST, "/v1/x")));
        check(b"GET /v1/files/\xff HTTP/1.1", Some((Method::GET, "/v1/files/\u{fffd}")));
        check(b"GET /v1/models?key=secret HTTP/1.1", Some((Method::GET, "/v1/models")));
        check(b"GET /v1/models#secret HTTP/1.1", Some((Method::GET, "/v1/models")));
        check(b"PUT http://u:secret@host/v1/x?y HTTP/1.1", Some((Method::PUT, "/v1/x")));
        // A piece of a head or of a body, and what merely looks like a line.
        check(b"authorization: Bearer secret\r\n", None);
        check(b"x-api-key /secret\r\n", None);
        check(b"GET secret HTTP/1.1", None);
        check(b"this is no HTTP\r\n", None);
        check(b"GET", None);
        check(b"", None);
    }

    // Spec: monitoring L-29.
    #[test]
    fn a_handshake_of_tls_is_told_apart() {
        assert_eq!(Known::of(b"\x16\x03\x01\x02 /x"), Known { is_tls: true, target: None });
    }

    // Spec: monitoring L-29.
    #[test]
    fn what_belongs_to_an_earlier_request_is_not_taken_for_this_one() {
        let mut line = RequestLine::default();
        line.begin(b"GET /v1/mod", 3);
        line.add(b"els HTTP/1.1");
        assert_eq!(line.known(3).target, Some((Method::GET, "/v1/models".to_owned())));
        assert_eq!(line.known(4), Known::default());
    }

    #[test]
    fn little_of_a_line_is_kept() {
        let mut line = RequestLine::default();
        line.begin(b"GET /", 0);
        for _ in 0..3 {
            line.add(&[b'x'; 200]);
        }
        let target = line.known(0).target;
        assert_eq!(target.map(|(_, path)| path.len()), Some(KEPT_BYTES - 4));
    }
}
