//! Connects to the first of several addresses that answers (after RFC 8305): families alternate, and
//! each address gets a short head start before the next is tried beside it.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::error::is_local;

/// How long an address is alone before the next one is tried too (RFC 8305 §5).
const HEAD_START: Duration = Duration::from_millis(250);

/// Connects to the address that answers first.
///
/// # Errors
/// The last refusal, when every address has refused. One that is about this machine alone gives way to
/// any that is about the host: without IPv6, an address of that family has no local one to come from
/// (the same error as having no free port), and says nothing about why the others failed.
///
/// # Cancel safety
/// Dropping the future ends all attempts.
pub(crate) async fn connect(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    if let [only] = addresses[..] {
        return attempt(only).await;
    }
    let mut waiting = interleave(addresses);
    let mut attempts = JoinSet::new();
    let mut refusal = None;
    loop {
        if let Some(next) = waiting.pop_front() {
            attempts.spawn(attempt(next));
        }
        tokio::select! {
            // The set is empty only when every address has been tried and has refused.
            finished = attempts.join_next() => match finished {
                Some(Ok(Ok(stream))) => return Ok(stream),
                Some(Ok(Err(error))) => refusal = Some(more_telling(refusal, error)),
                Some(Err(panic)) => refusal = Some(io::Error::other(panic)),
                None => return Err(refusal.unwrap_or_else(no_address)),
            },
            () = sleep(HEAD_START), if !waiting.is_empty() => {}
        }
    }
}

fn no_address() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "the host has no address")
}

/// Returns the later of two refusals, unless it is only about this machine and the other is not.
fn more_telling(earlier: Option<io::Error>, later: io::Error) -> io::Error {
    match earlier {
        Some(earlier) if is_local(&later) && !is_local(&earlier) => earlier,
        _ => later,
    }
}

/// Alternates the families, beginning with the resolver's favourite and keeping its order in each.
fn interleave(addresses: Vec<SocketAddr>) -> VecDeque<SocketAddr> {
    let prefers_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut first, mut second): (VecDeque<_>, VecDeque<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == prefers_v6);
    let mut ordered = VecDeque::with_capacity(first.len() + second.len());
    while let Some(address) = first.pop_front() {
        ordered.push_back(address);
        ordered.extend(second.pop_front());
    }
    ordered.extend(second);
    ordered
}

async fn attempt(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    // Nagle's algorithm would hold back a request's last segment for a delayed acknowledgement.
    stream.set_nodelay(true)?;
    // A model may think for minutes without a byte; NAT tables forget silent connections sooner.
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(10));
    #[cfg(unix)]
    let keepalive = keepalive.with_retries(3);
    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_alternate_from_the_resolvers_favourite() {
        fn check(given: &[&str], expected: &[&str]) {
            let parse = |list: &[&str]| list.iter().map(|a| a.parse().unwrap()).collect::<Vec<SocketAddr>>();
            assert_eq!(Vec::from(interleave(parse(given))), parse(expected), "{given:?}");
        }
        check(&[], &[]);
        check(&["1.1.1.1:1"], &["1.1.1.1:1"]);
        check(&["[::1]:1", "[::2]:1", "1.1.1.1:1"], &["[::1]:1", "1.1.1.1:1", "[::2]:1"]);
        check(&["1.1.1.1:1", "[::1]:1", "[::2]:1"], &["1.1.1.1:1", "[::1]:1", "[::2]:1"]);
        check(&["1.1.1.1:1", "1.1.1.2:1", "[::1]:1"], &["1.1.1.1:1", "[::1]:1", "1.1.1.2:1"]);
    }

    #[tokio::test]
    async fn a_refusing_address_gives_way_to_the_next_at_once() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = listener.local_addr().unwrap();
        // Bound but not listening: the kernel refuses, and nobody else can take the port.
        let closed = tokio::net::TcpSocket::new_v4().unwrap();
        closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let refusing = closed.local_addr().unwrap();

        let stream = connect(vec![refusing, refusing, good]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
        assert!(stream.nodelay().unwrap());
        assert!(SockRef::from(&stream).keepalive().unwrap());

        let error = connect(vec![refusing, refusing]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    // Spec: api A-74.
    #[test]
    fn a_refusal_that_is_about_the_host_outlives_one_about_this_machine() {
        use io::ErrorKind::{AddrNotAvailable, ConnectionRefused, NetworkUnreachable};
        fn check(refusals: &[io::ErrorKind], expected: io::ErrorKind) {
            let told = refusals.iter().fold(None, |told, kind| Some(more_telling(told, (*kind).into())));
            assert_eq!(told.unwrap().kind(), expected, "{refusals:?}");
        }
        check(&[AddrNotAvailable], AddrNotAvailable);
        check(&[AddrNotAvailable, ConnectionRefused], ConnectionRefused);
        check(&[ConnectionRefused, AddrNotAvailable], ConnectionRefused);
        check(&[ConnectionRefused, AddrNotAvailable, NetworkUnreachable], NetworkUnreachable);
    }

    // Spec: api A-75.
    #[cfg(target_os = "linux")]
    #[tokio::test(start_paused = true)]
    async fn an_address_that_swallows_everything_gives_way_after_its_head_start() {
        // With room for none to wait, the kernel keeps one connection and drops what follows.
        let hole = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        hole.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        hole.listen(0).unwrap();
        let swallowing = hole.local_addr().unwrap().as_socket().unwrap();
        let _kept = TcpStream::connect(swallowing).await.unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = listener.local_addr().unwrap();

        let begin = tokio::time::Instant::now();
        let stream = connect(vec![swallowing, good]).await.unwrap();
        assert_eq!((stream.peer_addr().unwrap(), begin.elapsed()), (good, HEAD_START));
    }

    #[tokio::test]
    async fn no_address_is_an_error() {
        assert_eq!(connect(Vec::new()).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
