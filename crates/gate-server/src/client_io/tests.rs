//! Each clock of a connection, on a paused clock and an in-memory peer.

use std::future::poll_fn;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};

use super::*;

const CLOCKS: ClientClocks = ClientClocks {
    header: Duration::from_secs(10),
    idle: Duration::from_secs(75),
    write: Some(Duration::from_secs(60)),
    max_head_bytes: 64 * 1024,
    max_headers: 100,
};

type Halves = (ClientIo<DuplexStream>, ClientWatch<DuplexStream>);

fn connect(buffer: usize) -> (DuplexStream, Halves, Activity) {
    let (peer, ours) = duplex(buffer);
    let activity = Activity::default();
    (peer, watched((ours, None), CLOCKS, activity.clone()), activity)
}

/// Waits for the watch, and returns what it says and after how many seconds.
async fn ended<T: AsyncRead + Unpin>(watch: &mut ClientWatch<T>) -> (Ended, u64) {
    let started = Instant::now();
    let ended = poll_fn(|cx| watch.poll(cx)).await;
    (ended, started.elapsed().as_secs())
}

/// Tells that the watch sees nothing wrong for a long time.
async fn is_content(watch: &mut ClientWatch<DuplexStream>) -> bool {
    tokio::time::timeout(Duration::from_secs(1000), ended(watch)).await.is_err()
}

// Spec: security S-9.
#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_closed() {
    let (_peer, (_io, mut watch), _) = connect(64);
    assert_eq!(ended(&mut watch).await, (Ended::Silent, 10));
}

// Spec: security S-9.
#[tokio::test(start_paused = true)]
async fn a_head_must_be_whole_in_time_however_it_drips() {
    let (mut peer, (mut io, mut watch), _) = connect(64);
    let drip = async {
        loop {
            tokio::time::sleep(Duration::from_secs(4)).await;
            peer.write_all(b"x").await.unwrap();
            io.read_exact(&mut [0; 1]).await.unwrap();
        }
    };
    // The first byte comes after 4 s and starts the 10 s of the head.
    let outcome = tokio::select! { outcome = ended(&mut watch) => Some(outcome), () = drip => None };
    assert_eq!(outcome, Some((Ended::Silent, 14)));
}

// Spec: security S-9.
#[tokio::test(start_paused = true)]
async fn between_requests_the_idle_limit_counts() {
    let (mut peer, (mut io, mut watch), activity) = connect(64);
    peer.write_all(b"GET").await.unwrap();
    io.read_exact(&mut [0; 3]).await.unwrap();
    let busy = activity.busy();
    assert!(is_content(&mut watch).await, "while a request is being answered nothing is overdue");
    drop(busy);
    assert_eq!(ended(&mut watch).await, (Ended::Idle, 75));
}

// Spec: security S-9.
#[tokio::test(start_paused = true)]
async fn the_next_head_has_its_own_time() {
    let (mut peer, (mut io, mut watch), activity) = connect(64);
    peer.write_all(b"a").await.unwrap();
    io.read_exact(&mut [0; 1]).await.unwrap();
    let busy = activity.busy();
    assert!(is_content(&mut watch).await);
    drop(busy);
    let next = async {
        tokio::time::sleep(Duration::from_secs(50)).await;
        peer.write_all(b"b").await.unwrap();
        io.read_exact(&mut [0; 1]).await.unwrap();
        std::future::pending::<()>().await;
    };
    let outcome = tokio::select! { outcome = ended(&mut watch) => Some(outcome), () = next => None };
    assert_eq!(outcome, Some((Ended::Silent, 60)));
}

// Spec: security S-10.
#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_cut_off() {
    let (_peer, (mut io, mut watch), activity) = connect(4);
    let _busy = activity.busy();
    let write = async {
        io.write_all(b"full").await.unwrap();
        io.write_all(b"more").await.unwrap();
    };
    let outcome = tokio::select! { biased; () = write => None, outcome = ended(&mut watch) => Some(outcome) };
    assert_eq!(outcome, Some((Ended::Stalled, 60)));
}

// Spec: security S-10.
#[tokio::test(start_paused = true)]
async fn a_client_that_reads_slowly_is_not_idle_before_the_last_byte() {
    let (mut peer, (mut io, mut watch), activity) = connect(4);
    // hyper drops the body once it has buffered the rest of it: that is no idle connection yet.
    drop(activity.busy());
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(50)).await;
            peer.read_u8().await.unwrap();
        }
    });
    let write = io.write_all(b"0123456789");
    let outcome = tokio::select! { biased; _ = write => None, outcome = ended(&mut watch) => Some(outcome) };
    assert_eq!(outcome, None);
    // From then on it idles like any other.
    assert_eq!(ended(&mut watch).await, (Ended::Idle, 75));
}

// Spec: api A-31.
#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_is_seen_behind_bytes_that_nobody_reads() {
    for surplus in [&b""[..], b"\r\n", b"GET / HTTP/1.1\r\n\r\n"] {
        let (mut peer, (mut io, mut watch), activity) = connect(64);
        let busy = activity.busy();
        peer.write_all(surplus).await.unwrap();
        assert!(is_content(&mut watch).await);
        // What was read ahead is still there for whoever reads on.
        let mut read = vec![0; surplus.len()];
        io.read_exact(&mut read).await.unwrap();
        assert_eq!(read, surplus);
        drop(peer);
        assert_eq!(ended(&mut watch).await, (Ended::Gone, 0));
        drop(busy);
    }
}

/// A client that says nothing, and counts how often it is asked.
#[derive(Default)]
struct Asked(usize);

impl AsyncRead for Asked {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.0 += 1;
        Poll::Pending
    }
}

#[tokio::test]
async fn the_watch_asks_for_what_hyper_has_not_asked_for_in_the_same_turn() {
    let activity = Activity::default();
    let (mut io, mut watch) = watched((Asked::default(), None), CLOCKS, activity.clone());
    let _busy = activity.busy();
    // Whether hyper asks in each turn, and how often somebody has asked after it.
    for (hyper_asks, asked) in [(true, 1), (true, 2), (false, 3), (false, 4), (true, 5)] {
        poll_fn(|cx| {
            if hyper_asks {
                assert!(Pin::new(&mut io).poll_read(cx, &mut ReadBuf::new(&mut [0; 8])).is_pending());
            }
            assert!(watch.poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        assert_eq!(watch.connection.lock().unwrap().io.0, asked);
    }
}

#[tokio::test(start_paused = true)]
async fn only_so_much_is_read_ahead() {
    let (mut peer, (_io, mut watch), activity) = connect(4 * READ_AHEAD);
    let _busy = activity.busy();
    peer.write_all(&vec![b'x'; 4 * READ_AHEAD]).await.unwrap();
    assert!(is_content(&mut watch).await);
    assert!(watch.connection.lock().unwrap().ahead.len() <= READ_AHEAD);
}

// Spec: security S-59.
#[tokio::test]
async fn a_client_that_leaves_behind_more_than_is_read_ahead_is_told_by_its_socket() {
    for sends in [READ_AHEAD - 1, READ_AHEAD, READ_AHEAD + 1, 2 * READ_AHEAD] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (ours, _) = listener.accept().await.unwrap();
        let activity = Activity::default();
        let (mut io, mut watch) = watched((ours, Some(has_left)), CLOCKS, activity.clone());
        let _busy = activity.busy();
        let sent = vec![b'x'; sends];
        peer.write_all(&sent).await.unwrap();
        // A client that is still there stays, and loses nothing of what it has sent.
        let is_there = tokio::time::timeout(2 * leaving::INTERVAL, ended(&mut watch)).await.is_err();
        assert!(is_there, "{sends}");
        let mut read = vec![0; 1];
        io.read_exact(&mut read).await.unwrap();
        peer.write_all(b"y").await.unwrap();
        assert!(tokio::time::timeout(leaving::INTERVAL, ended(&mut watch)).await.is_err(), "{sends}");
        peer.shutdown().await.unwrap();
        assert_eq!(ended(&mut watch).await.0, Ended::Gone, "{sends}");
        io.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, [&sent[..], b"y"].concat(), "{sends}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_hyper_reads_is_not_read_from_under_it() {
    let (mut peer, (mut io, mut watch), activity) = connect(1024);
    let _busy = activity.busy();
    peer.write_all(&[b'x'; 1024]).await.unwrap();
    // In the middle of a body the watch takes nothing, and asks for another turn.
    io.read_exact(&mut [0; 512]).await.unwrap();
    poll_fn(|cx| {
        assert!(watch.poll(cx).is_pending());
        assert!(watch.connection.lock().unwrap().ahead.is_empty());
        Poll::Ready(())
    })
    .await;
    // hyper waits for more: it will see what comes.
    io.read_exact(&mut [0; 512]).await.unwrap();
    poll_fn(|cx| {
        let mut room = [0; 8];
        assert!(Pin::new(&mut io).poll_read(cx, &mut ReadBuf::new(&mut room)).is_pending());
        Poll::Ready(())
    })
    .await;
    peer.write_all(b"more").await.unwrap();
    assert!(poll_fn(|cx| Poll::Ready(watch.poll(cx))).await.is_pending());
    assert!(watch.connection.lock().unwrap().ahead.is_empty());
    // Nobody reads: then only the watch can see the client leave.
    drop(peer);
    assert_eq!(ended(&mut watch).await, (Ended::Gone, 0));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_in_its_body_is_seen_when_hyper_does_not_read_on() {
    let (mut peer, (mut io, mut watch), activity) = connect(1024);
    let _busy = activity.busy();
    peer.write_all(&[b'x'; 1024]).await.unwrap();
    io.read_exact(&mut [0; 512]).await.unwrap();
    drop(peer);
    // Nothing wakes the task but the watch itself.
    let outcome = tokio::time::timeout(Duration::from_secs(1), ended(&mut watch)).await;
    assert_eq!(outcome, Ok((Ended::Gone, 0)));
}

// Spec: api A-59.
#[tokio::test(start_paused = true)]
async fn what_an_answer_leaves_unread_is_read_away_for_a_while() {
    let (mut peer, (mut io, _watch), activity) = connect(64);
    activity.leave_unread();
    let started = Instant::now();
    let send = async {
        loop {
            peer.write_all(&[b'x'; 64]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    };
    tokio::select! { () = async { io.shutdown().await.unwrap() } => {}, () = send => {} }
    assert_eq!(started.elapsed().as_millis(), 2000);

    let (mut peer, (mut io, _watch), activity) = connect(64);
    activity.leave_unread();
    let started = Instant::now();
    let send = async {
        peer.write_all(&[b'x'; 1000]).await.unwrap();
        assert_eq!(peer.read(&mut [0; 8]).await.unwrap(), 0);
        drop(peer);
    };
    let (outcome, ()) = tokio::join!(io.shutdown(), send);
    outcome.unwrap();
    assert_eq!(started.elapsed(), Duration::ZERO, "a client that leaves ends the wait");
}
