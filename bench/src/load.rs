//! The load generator: closed loop, open loop and streams, each for one window of time.
//!
//! It runs on the one thread of its caller. Latencies of the open loop count from the moment at
//! which a request was due, so a system that falls behind cannot hide it (no coordinated omission).

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::http::{self, BodyReader, EventCounter, Head, broken};

/// How long a client waits before it begins another stream after one that broke.
const PAUSE: Duration = Duration::from_millis(50);

/// What is sent, where, and how long.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The system under test.
    pub address: SocketAddr,
    /// The whole request, head and body.
    pub request: Rc<[u8]>,
    pub shape: Shape,
    pub warm_up: Duration,
    pub measured: Duration,
}

/// How requests follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// So many clients, each with one request at a time.
    Closed { clients: usize },
    /// So many requests a second, whether answers come or not.
    Open { per_second: u32 },
    /// So many streams at a time, each of so many events; a client whose stream ends begins another.
    Streams { streams: usize, events: u64 },
}

/// What was seen in the measured part of a window.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub requests: u64,
    pub events: u64,
    /// Errors, other statuses than 200, and streams that are not whole.
    pub failed: u64,
    /// Nanoseconds to the whole answer; of a stream, to its first event.
    pub latencies: Vec<u64>,
    /// Nanoseconds between two events of a stream.
    pub gaps: Vec<u64>,
    /// The first fault, for whoever has to find it.
    pub first_fault: Option<String>,
}

/// What the tasks of a window share.
struct Window {
    plan: Plan,
    is_measured: Cell<bool>,
    in_flight: Cell<usize>,
    tally: RefCell<Tally>,
    idle: RefCell<Vec<Connection>>,
}

/// Runs one window. `mark` is called when the measured part begins, and when it ends.
///
/// # Errors
/// The thread that paces the open loop cannot be started.
pub(crate) fn run<M>(plan: Plan, mut mark: impl FnMut() -> M) -> io::Result<(Tally, M, M)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tasks = LocalSet::new();
    let (warm_up, measured, shape) = (plan.warm_up, plan.measured, plan.shape);
    let window = Rc::new(Window {
        plan,
        is_measured: Cell::new(false),
        in_flight: Cell::new(0),
        tally: RefCell::default(),
        idle: RefCell::default(),
    });
    let marks = tasks.block_on(&runtime, async {
        start(&window, shape)?;
        tokio::time::sleep(warm_up).await;
        window.is_measured.set(true);
        let begin = mark();
        tokio::time::sleep(measured).await;
        let end = mark();
        window.is_measured.set(false);
        window.finish_open(shape).await;
        Ok::<_, io::Error>((begin, end))
    })?;
    // The tasks own clones of the window; with them it ends.
    drop(tasks);
    Ok((window.tally.take(), marks.0, marks.1))
}

fn start(window: &Rc<Window>, shape: Shape) -> io::Result<()> {
    match shape {
        Shape::Closed { clients } => {
            for _ in 0..clients {
                tokio::task::spawn_local(closed_client(Rc::clone(window)));
            }
        }
        Shape::Open { per_second } => {
            let due = pace(per_second, window.plan.warm_up + window.plan.measured)?;
            tokio::task::spawn_local(open_loop(Rc::clone(window), due));
        }
        Shape::Streams { streams, events } => {
            let ramp = window.plan.warm_up / 2;
            for index in 0..streams {
                // `streams` is at least one here, and indices are small.
                let delay = ramp.mul_f64(index as f64 / streams as f64);
                tokio::task::spawn_local(stream_client(Rc::clone(window), delay, events));
            }
        }
    }
    Ok(())
}

/// Starts a thread that says when requests are due: the runtime's own timer counts in milliseconds.
fn pace(per_second: u32, length: Duration) -> io::Result<mpsc::UnboundedReceiver<Instant>> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let interval = Duration::from_secs(1) / per_second.max(1);
    let thread = std::thread::Builder::new().name("pace".to_owned());
    thread.spawn(move || {
        let start = Instant::now();
        let mut due = start;
        while due - start < length {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if sender.send(due).is_err() {
                return;
            }
            due += interval;
        }
    })?;
    Ok(receiver)
}

async fn closed_client(window: Rc<Window>) {
    let mut connection = None;
    loop {
        let begin = Instant::now();
        let result = exchange(&mut connection, &window, |_| {}).await;
        window.note(window.is_measured.get(), begin, result);
    }
}

async fn open_loop(window: Rc<Window>, mut due: mpsc::UnboundedReceiver<Instant>) {
    while let Some(due) = due.recv().await {
        let window = Rc::clone(&window);
        let is_measured = window.is_measured.get();
        window.in_flight.set(window.in_flight.get() + usize::from(is_measured));
        tokio::task::spawn_local(async move {
            let mut connection = window.idle.borrow_mut().pop();
            let result = exchange(&mut connection, &window, |_| {}).await;
            window.note(is_measured, due, result);
            window.idle.borrow_mut().extend(connection);
            window.in_flight.set(window.in_flight.get() - usize::from(is_measured));
        });
    }
}

async fn stream_client(window: Rc<Window>, delay: Duration, expected: u64) {
    tokio::time::sleep(delay).await;
    let mut connection = None;
    loop {
        let begin = Instant::now();
        let mut counter = EventCounter::default();
        let (mut seen, mut last) = (0, None::<Instant>);
        let result = exchange(&mut connection, &window, |part| {
            let count = counter.push(part);
            if count == 0 {
                return;
            }
            seen += count;
            let now = Instant::now();
            let before = last.replace(now);
            let is_measured = window.is_measured.get();
            let mut tally = window.tally.borrow_mut();
            tally.events += if is_measured { count } else { 0 };
            match before {
                // Streams are long beside a window: the first events of the ramp count as well.
                None => tally.latencies.push(nanoseconds(now - begin)),
                Some(before) if is_measured => tally.gaps.push(nanoseconds(now - before)),
                Some(_) => {}
            }
        })
        .await;
        let result = result.and_then(|()| {
            if seen == expected { Ok(()) } else { Err(broken(&format!("{seen} of {expected} events"))) }
        });
        match result {
            Ok(()) => window.tally.borrow_mut().requests += u64::from(window.is_measured.get()),
            // A stream that broke while others were still starting is broken all the same.
            Err(error) => {
                window.tally.borrow_mut().fail(&error);
                // Whoever refuses streams is not to be asked all the time.
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Sends the request and reads the answer, over a new connection where there is none.
async fn exchange(
    connection: &mut Option<Connection>,
    window: &Window,
    on_content: impl FnMut(&[u8]),
) -> io::Result<()> {
    let mut open = match connection.take() {
        Some(open) => open,
        None => Connection::open(window.plan.address).await?,
    };
    open.exchange(&window.plan.request, on_content).await?;
    *connection = Some(open);
    Ok(())
}

impl Window {
    fn note(&self, is_measured: bool, begin: Instant, result: io::Result<()>) {
        if !is_measured {
            return;
        }
        let mut tally = self.tally.borrow_mut();
        match result {
            Ok(()) => {
                tally.requests += 1;
                tally.latencies.push(nanoseconds(begin.elapsed()));
            }
            Err(error) => tally.fail(&error),
        }
    }

    /// Waits for what an open loop has sent; what is still out then has failed.
    async fn finish_open(&self, shape: Shape) {
        if !matches!(shape, Shape::Open { .. }) {
            return;
        }
        for _ in 0..200 {
            if self.in_flight.get() == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let left = u64::try_from(self.in_flight.get()).unwrap_or(u64::MAX);
        self.tally.borrow_mut().failed += left;
    }
}

impl Tally {
    fn fail(&mut self, error: &io::Error) {
        self.failed += 1;
        self.first_fault.get_or_insert_with(|| error.to_string());
    }
}

/// A kept-alive connection to the system under test.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// Nobody listens, or no more connections can be had.
    pub(crate) async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; 16 * 1024] })
    }

    /// Sends a request, and hands out the content of its answer as it comes.
    ///
    /// # Errors
    /// The connection breaks, or the answer is not 200. The connection is of no use then.
    pub(crate) async fn exchange(
        &mut self,
        request: &[u8],
        mut on_content: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        self.stream.write_all(request).await?;
        let mut filled = 0;
        let head = loop {
            filled += self.read(filled).await?;
            if let Some(head) = Head::parse(self.buffer.get(..filled).unwrap_or_default())? {
                break head;
            }
        };
        match http::status(&self.buffer) {
            200 => {}
            status => return Err(broken(&format!("answered {status}"))),
        }
        let mut body = BodyReader::new(head.framing);
        body.push(self.buffer.get(head.length..filled).unwrap_or_default(), &mut on_content)?;
        while !body.is_at_end() {
            let count = self.read(0).await?;
            body.push(self.buffer.get(..count).unwrap_or_default(), &mut on_content)?;
        }
        Ok(())
    }

    async fn read(&mut self, from: usize) -> io::Result<usize> {
        match self.stream.read(self.buffer.get_mut(from..).unwrap_or_default()).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => Ok(count),
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::http::chat_request;
    use crate::mock;

    /// Starts the mock on a thread of its own, as a window blocks its thread.
    fn mock() -> SocketAddr {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime
                .block_on(async { mock::serve(tokio::net::TcpListener::from_std(listener).unwrap()).await })
        });
        address
    }

    #[test]
    fn each_shape_of_load_is_answered_by_the_mock() {
        let address = mock();
        for (shape, is_stream, user) in [
            (Shape::Closed { clients: 4 }, false, ""),
            (Shape::Open { per_second: 200 }, false, "latency_ms=2"),
            (Shape::Streams { streams: 5, events: 10 }, true, "events=10 interval_ms=2"),
        ] {
            let plan = Plan {
                address,
                request: chat_request("gpt-4", 1024, is_stream, user).into(),
                shape,
                warm_up: Duration::from_millis(50),
                measured: Duration::from_millis(300),
            };
            let (tally, (), ()) = run(plan, || ()).unwrap();
            assert_eq!((tally.failed, tally.first_fault.as_deref()), (0, None), "{shape:?}");
            assert!(tally.requests > 0 && !tally.latencies.is_empty(), "{shape:?}: {tally:?}");
            assert_eq!(tally.events > 0, is_stream, "{shape:?}");
        }
    }

    #[test]
    fn a_stream_that_ends_early_has_failed() {
        let plan = Plan {
            address: mock(),
            request: chat_request("gpt-4", 1024, true, "events=5 interval_ms=1").into(),
            shape: Shape::Streams { streams: 1, events: 6 },
            warm_up: Duration::from_millis(20),
            measured: Duration::from_millis(300),
        };
        let (tally, (), ()) = run(plan, || ()).unwrap();
        assert_eq!((tally.requests, tally.first_fault.as_deref()), (0, Some("5 of 6 events")));
        assert!(tally.failed > 0);
    }
}
