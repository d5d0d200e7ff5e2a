//! What holds for the bytes of any answer of a provider: the same is read of it however it is cut, and a
//! connection is kept only behind a whole answer with nothing after it.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use http::{HeaderMap, Method, Version};
use tokio::io::{AsyncWrite, duplex};

use super::{Head, Message};
use crate::RequestBody;
use crate::connection::Connection;
use crate::fuzzing::pieces::{pieces, settings_and_bytes};
use crate::transport::Transport;

/// Room for any answer, so that it can be written before it is read.
const ROOM: usize = 1 << 24;

/// What was read of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Read {
    /// `None` if it was refused.
    pub(crate) head: Option<(u16, Version, HeaderMap)>,
    pub(crate) body: Vec<u8>,
    /// Whether the body ended in due form.
    pub(crate) is_whole: bool,
}

/// Checks one answer. The input is a line of settings, then the answer. The settings are the sizes of the
/// pieces that it comes in, and the first of them is `h` where HEAD was asked for.
pub fn upstream_answer(input: &[u8]) {
    let (settings, answer) = settings_and_bytes(input);
    let method = if settings.first() == Some(&b'h') { Method::HEAD } else { Method::GET };
    let whole = read(&method, &[answer]);
    assert_eq!(read(&method, &pieces(answer, settings)), whole, "in pieces, and whole");
}

/// Reads an answer that comes in pieces, behind which the server closes.
pub(crate) fn read(method: &Method, pieces: &[&[u8]]) -> Read {
    let (client, mut server) = duplex(ROOM);
    let mut connection = Connection::new(Transport::Memory(client), None);
    let head = format!("{method} / HTTP/1.1\r\n\r\n").into();
    connection.machine.begin(Message { method: method.clone(), head, body: RequestBody::empty() });
    let mut reader = Reader { connection, head: None, body: Vec::new(), end: None };
    reader.read_on();
    for piece in pieces {
        let mut cx = Context::from_waker(Waker::noop());
        let written = Pin::new(&mut server).poll_write(&mut cx, piece);
        assert!(matches!(written, Poll::Ready(Ok(length)) if length == piece.len()), "{written:?}");
        reader.read_on();
    }
    let may_follow = reader.connection.is_reusable();
    drop(server);
    reader.read_on();
    let Reader { head, body, end, .. } = reader;
    let is_whole = end.is_some_and(|is_whole| is_whole);
    assert!(end.is_some(), "a connection that has ended says so");
    assert!(!may_follow || is_whole, "a connection with half an answer is kept");
    let head = head.map(|head| (head.status.as_u16(), head.version, head.headers));
    Read { head, body, is_whole }
}

struct Reader {
    connection: Connection,
    head: Option<Head>,
    body: Vec<u8>,
    /// Whether the answer was whole, once it has ended.
    end: Option<bool>,
}

impl Reader {
    /// Reads what has come.
    fn read_on(&mut self) {
        let (machine, mut cx) = (&mut self.connection.machine, Context::from_waker(Waker::noop()));
        while self.end.is_none() {
            if self.head.is_none() {
                match machine.poll_head(&mut cx) {
                    Poll::Ready(Ok(head)) => self.head = Some(head),
                    Poll::Ready(Err(_)) => self.end = Some(false),
                    Poll::Pending => return,
                }
                continue;
            }
            match machine.poll_data(&mut cx) {
                Poll::Ready(Some(Ok(data))) => {
                    assert!(!data.is_empty(), "an empty piece");
                    self.body.extend_from_slice(&data);
                }
                Poll::Ready(Some(Err(_))) => self.end = Some(false),
                Poll::Ready(None) => self.end = Some(true),
                Poll::Pending => return,
            }
        }
    }
}
