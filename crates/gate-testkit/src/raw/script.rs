//! A peer that plays a fixed script over a byte stream: expect, send, wait, hold, close, reset, stall.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, DuplexStream};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::{content_length, end_of, read_more, within};
use crate::PATIENCE;

/// A byte stream that a script can be played on.
pub trait RawPeer: AsyncRead + AsyncWrite + Unpin + Send {
    /// Prepares the connection so that dropping it resets it where the transport knows a reset. An
    /// in-memory stream does not: its peer reads an end and fails to write.
    ///
    /// # Errors
    ///
    /// When the socket refuses the option.
    fn prepare_reset(&mut self) -> io::Result<()>;
}

impl RawPeer for TcpStream {
    fn prepare_reset(&mut self) -> io::Result<()> {
        // With a linger time of zero, close sends RST instead of FIN (RFC 9293 section 3.6.1).
        self.set_zero_linger()
    }
}

impl RawPeer for DuplexStream {
    fn prepare_reset(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(feature = "tls")]
impl RawPeer for tokio_rustls::server::TlsStream<TcpStream> {
    fn prepare_reset(&mut self) -> io::Result<()> {
        self.get_ref().0.set_zero_linger()
    }
}

/// Holds scripts up until it is released. Clones are the same latch.
#[derive(Clone, Debug)]
pub struct Latch(Arc<Semaphore>);

impl Latch {
    /// Makes a latch that holds.
    pub fn new() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    /// Lets every script go on that waits here, now or later.
    pub fn release(&self) {
        self.0.close();
    }

    async fn released(&self) {
        // Nobody ever adds a permit, so that only the closing ends this.
        let _ = self.0.acquire().await;
    }
}

impl Default for Latch {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Clone, Debug)]
enum RawStep {
    ExpectRequest,
    ExpectHead,
    ExpectBytes(usize),
    Send(Vec<u8>),
    Wait(Duration),
    Hold(Latch),
    Close,
    Reset,
    Stall,
}

/// What a script does, in order. After the last step the connection is dropped.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use gate_testkit::raw::{RawClient, RawScript};
///
/// let (client, server) = tokio::io::duplex(1024);
/// let script = RawScript::new().expect_head().send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf");
/// let mut client = RawClient::new(client);
/// let client = async move {
///     client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await?;
///     client.read_response().await
/// };
/// let (transcript, response) = tokio::join!(script.play(server), client);
/// assert_eq!(transcript.received, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
/// assert!(!response?.body.is_clean());
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
#[derive(Clone, Debug, Default)]
pub struct RawScript {
    steps: Vec<RawStep>,
}

impl RawScript {
    /// Makes an empty script.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the next head and the body of the length that it names. A peer that closes TCP with
    /// something unread resets it, so that a script which is to end properly reads all.
    #[must_use]
    pub fn expect_request(self) -> Self {
        self.with(RawStep::ExpectRequest)
    }

    /// Reads to the next empty line, the end of a message's head.
    #[must_use]
    pub fn expect_head(self) -> Self {
        self.with(RawStep::ExpectHead)
    }

    /// Reads this many bytes more.
    #[must_use]
    pub fn expect_bytes(self, count: usize) -> Self {
        self.with(RawStep::ExpectBytes(count))
    }

    /// Sends these bytes and flushes.
    #[must_use]
    pub fn send(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.with(RawStep::Send(bytes.into()))
    }

    /// Pauses, on the runtime's clock.
    #[must_use]
    pub fn wait(self, time: Duration) -> Self {
        self.with(RawStep::Wait(time))
    }

    /// Pauses until the latch is released.
    #[must_use]
    pub fn hold(self, latch: &Latch) -> Self {
        self.with(RawStep::Hold(latch.clone()))
    }

    /// Ends the sending side; later steps can still read.
    #[must_use]
    pub fn close(self) -> Self {
        self.with(RawStep::Close)
    }

    /// Resets the connection, which ends the script.
    #[must_use]
    pub fn reset(self) -> Self {
        self.with(RawStep::Reset)
    }

    /// Sends nothing and reads until the peer closes, for ever if need be.
    #[must_use]
    pub fn stall(self) -> Self {
        self.with(RawStep::Stall)
    }

    fn with(mut self, step: RawStep) -> Self {
        self.steps.push(step);
        self
    }

    /// Plays the script and tells what was received. An expectation that is not met within
    /// [`PATIENCE`](crate::PATIENCE) ends it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection.
    pub async fn play(self, mut peer: impl RawPeer) -> Transcript {
        let mut transcript = Transcript { received: Vec::new(), sent: 0, error: None };
        let mut consumed = 0;
        for step in self.steps {
            let is_reset = matches!(step, RawStep::Reset);
            if let Err(error) = play_step(step, &mut peer, &mut transcript, &mut consumed).await {
                transcript.error = Some(error);
                break;
            }
            if is_reset {
                break;
            }
        }
        transcript
    }
}

async fn play_step(
    step: RawStep,
    peer: &mut impl RawPeer,
    transcript: &mut Transcript,
    consumed: &mut usize,
) -> io::Result<()> {
    let received = &mut transcript.received;
    match step {
        RawStep::ExpectHead => *consumed = expect_head(peer, received, *consumed).await?,
        RawStep::ExpectRequest => {
            let head = expect_head(peer, received, *consumed).await?;
            let body = content_length(received.get(*consumed..head).unwrap_or_default());
            *consumed = expect_bytes(peer, received, head + body).await?;
        }
        RawStep::ExpectBytes(count) => *consumed = expect_bytes(peer, received, *consumed + count).await?,
        RawStep::Send(bytes) => {
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let written = peer.write(rest).await?;
                if written == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                transcript.sent += written;
                rest = rest.get(written..).unwrap_or_default();
            }
            peer.flush().await?;
        }
        RawStep::Wait(time) => tokio::time::sleep(time).await,
        RawStep::Hold(latch) => latch.released().await,
        RawStep::Close => peer.shutdown().await?,
        RawStep::Reset => peer.prepare_reset()?,
        RawStep::Stall => while read_more(peer, received).await? > 0 {},
    }
    Ok(())
}

async fn expect_head(peer: &mut impl RawPeer, received: &mut Vec<u8>, from: usize) -> io::Result<usize> {
    within(PATIENCE, "read a head", expect(peer, received, |bytes| end_of(b"\r\n\r\n", bytes, from))).await
}

async fn expect_bytes(peer: &mut impl RawPeer, received: &mut Vec<u8>, end: usize) -> io::Result<usize> {
    within(PATIENCE, "read bytes", expect(peer, received, |bytes| (bytes.len() >= end).then_some(end))).await
}

/// Reads until `find` returns an offset in what was received.
async fn expect(
    peer: &mut impl RawPeer,
    received: &mut Vec<u8>,
    find: impl Fn(&[u8]) -> Option<usize>,
) -> io::Result<usize> {
    loop {
        if let Some(end) = find(received) {
            return Ok(end);
        }
        if read_more(peer, received).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// What a played script saw.
#[derive(Debug)]
pub struct Transcript {
    /// Every byte that was read, in order.
    pub received: Vec<u8>,
    /// How many bytes the connection took.
    pub sent: usize,
    /// Why the script ended early, if it did: the peer closed, reset or kept silent.
    pub error: Option<io::Error>,
}

impl Transcript {
    /// Returns what was received as text; bytes that are no UTF-8 are replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.received).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;
    use tokio::time::Instant;

    #[tokio::test]
    async fn expectations_are_met_in_order_across_reads() {
        let (mut client, server) = tokio::io::duplex(3);
        let script = RawScript::new().expect_head().send("one").expect_bytes(4).send("two").stall();
        let client = async move {
            let mut answer = [0; 3];
            client.write_all(b"GET /\r\n\r\nbo").await.unwrap();
            client.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"one");
            client.write_all(b"dy").await.unwrap();
            client.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"two");
            client.write_all(b"rest").await.unwrap();
        };
        let (transcript, ()) = tokio::join!(script.play(server), client);
        assert_eq!(transcript.text(), "GET /\r\n\r\nbodyrest");
        assert!(transcript.error.is_none());
    }

    #[tokio::test]
    async fn a_request_is_read_to_the_end_of_its_body_and_a_latch_holds_until_it_is_released() {
        let (mut client, server) = tokio::io::duplex(64);
        let latch = Latch::new();
        let script = RawScript::new().expect_request().send("one").hold(&latch).send("two").expect_request();
        let client = async {
            let mut answer = [0; 3];
            client.write_all(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nbo").await.unwrap();
            client.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"one");
            tokio::task::yield_now().await;
            let early = tokio::time::timeout(Duration::ZERO, client.read_u8()).await;
            assert!(early.is_err(), "the latch does not hold");
            latch.release();
            client.read_exact(&mut answer).await.unwrap();
            client.write_all(b"GET /\r\n\r\n").await.unwrap();
        };
        let (transcript, ()) = tokio::join!(script.play(server), client);
        assert!(
            transcript.error.is_none() && transcript.text().ends_with("boGET /\r\n\r\n"),
            "{transcript:?}"
        );
        assert_eq!(transcript.sent, 6);
    }

    #[tokio::test]
    async fn what_a_peer_did_not_take_is_not_counted_as_sent() {
        let (client, server) = tokio::io::duplex(64);
        let script = RawScript::new().send(vec![b'x'; 1000]);
        let leaves = async {
            tokio::task::yield_now().await;
            drop(client);
        };
        let (transcript, ()) = tokio::join!(script.play(server), leaves);
        assert_eq!((transcript.sent, transcript.error.unwrap().kind()), (64, io::ErrorKind::BrokenPipe));
    }

    #[tokio::test]
    async fn a_peer_that_leaves_ends_the_script_with_what_came() {
        let (mut client, server) = tokio::io::duplex(64);
        client.write_all(b"GET /").await.unwrap();
        drop(client);
        let transcript = RawScript::new().expect_head().send("never").play(server).await;
        assert_eq!(transcript.text(), "GET /");
        assert_eq!(transcript.error.unwrap().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_is_given_up() {
        let (_client, server) = tokio::io::duplex(64);
        let error = RawScript::new().expect_bytes(1).play(server).await.error.unwrap();
        assert_eq!(error.to_string(), "waited 30s in vain to read bytes");
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_takes_virtual_time() {
        let started = Instant::now();
        let (_client, server) = tokio::io::duplex(64);
        RawScript::new().wait(Duration::from_secs(9)).play(server).await;
        assert_eq!(started.elapsed(), Duration::from_secs(9));
    }

    #[tokio::test]
    async fn a_close_ends_the_stream_and_a_reset_breaks_it() {
        async fn read_all(script: RawScript) -> io::Result<usize> {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let mut client = TcpStream::connect(listener.local_addr()?).await?;
            let (server, _) = listener.accept().await?;
            let transcript = script.play(server).await;
            assert!(transcript.error.is_none(), "{transcript:?}");
            client.read_to_end(&mut Vec::new()).await
        }
        assert_eq!(read_all(RawScript::new().send("bye").close()).await.unwrap(), 3);
        let error = read_all(RawScript::new().reset().send("never")).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}
