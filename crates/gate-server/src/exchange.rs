//! The account of one request, settled exactly once: when its answer ends, breaks or is dropped.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use gate_usage::{EndReason, RecordSink, RequestRecord};
use http::{Method, StatusCode};
use tokio::time::Instant;

use crate::error::ErrorCode;
use crate::makers::Birth;
use crate::panics;
use crate::request_id::RequestId;
use crate::request_line::Known;
use crate::upload::UploadProgress;

/// The longest part of a path that is kept, in bytes.
const MAX_PATH: usize = 1024;

/// Where records go.
pub(crate) type Sinks = Arc<[Box<dyn RecordSink>]>;

/// One request from its head to the last byte of its answer.
///
/// It is dropped with whatever holds it (the handler while it waits, the body while it streams),
/// and hyper drops those when the client leaves. So `Drop` is the one place that sees every end.
pub(crate) struct Exchange {
    pub(crate) record: RequestRecord,
    pub(crate) id: RequestId,
    started: Instant,
    /// The request's body, of which more may come while it is passed on.
    pub(crate) upload: Option<Arc<UploadProgress>>,
    /// Whether the answer may be a new object, whose maker is to be remembered.
    pub(crate) birth: Option<Birth>,
    /// How long others were waited for: the client's body, providers.
    waited: Duration,
    /// How it ended, once that is known; a drop before means that the client is gone.
    end: Option<EndReason>,
    /// When the client left an answer that is read on without it.
    left: Option<Instant>,
    sinks: Sinks,
}

impl Exchange {
    /// Opens the account of a request.
    pub(crate) fn begin(method: &Method, path: &str, sinks: Sinks) -> Box<Self> {
        let started_at = SystemTime::now();
        let id = RequestId::new(started_at);
        // Records wait in queues; a path may be as long as a head.
        let end = path.floor_char_boundary(MAX_PATH);
        let path = path.get(..end).unwrap_or_default();
        Self::open(id, (method.clone(), path.into(), started_at), sinks)
    }

    /// Opens the account of a request that never began, of which little is known.
    pub(crate) fn refused(known: Known, sinks: &Sinks) -> Box<Self> {
        let started_at = SystemTime::now();
        let id = RequestId::new(started_at);
        let (method, path) = known.target.unzip();
        let mut exchange = Self::open(id, (Method::GET, Arc::default(), started_at), Arc::clone(sinks));
        exchange.record.method = method;
        exchange.record.path = path.map(Into::into);
        exchange
    }

    fn open(
        id: RequestId,
        (method, path, started_at): (Method, Arc<str>, SystemTime),
        sinks: Sinks,
    ) -> Box<Self> {
        Box::new(Self {
            record: RequestRecord::new(id.to_shared(), method, path, started_at),
            id,
            started: Instant::now(),
            upload: None,
            birth: None,
            waited: Duration::ZERO,
            end: None,
            left: None,
            sinks,
        })
    }

    /// Returns the time since the request's head was read.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Returns the time from the request's head to a moment that is known already.
    pub(crate) fn elapsed_at(&self, moment: Instant) -> Duration {
        moment - self.started
    }

    /// Notes a time that was spent waiting for others, whatever came of it.
    pub(crate) fn wait(&mut self, time: Duration) {
        self.waited += time;
    }

    /// Ends the clock of the gateway's own share at the head of the answer, and returns the whole
    /// time until then.
    pub(crate) fn settle_steps(&mut self) -> Duration {
        let elapsed = self.elapsed();
        self.record.steps.gateway = Some(elapsed.saturating_sub(self.waited));
        elapsed
    }

    /// Notes the status that the client gets.
    pub(crate) fn set_status(&mut self, status: StatusCode) {
        self.record.status = Some(status.as_u16());
    }

    /// Notes that the answer is an error of the gateway.
    pub(crate) fn fail(&mut self, code: ErrorCode) {
        if self.left.is_none() {
            self.record.error_code = Some(code.as_str());
        }
    }

    /// Notes bytes that are handed to the client's connection.
    pub(crate) fn sent(&mut self, data: &Bytes) {
        if self.left.is_none() {
            self.record.bytes_out += u64::try_from(data.len()).unwrap_or(u64::MAX);
        }
    }

    /// Notes that the client is gone, while the answer is read on for its usage. All else that
    /// comes of the answer is then nobody's affair.
    pub(crate) fn client_left(&mut self) {
        self.end(EndReason::ClientGone);
        self.left.get_or_insert_with(Instant::now);
    }

    /// Notes how the answer ends. The first word counts: what follows is its consequence.
    pub(crate) fn end(&mut self, reason: EndReason) {
        if reason == EndReason::Complete
            && let Some(birth) = &mut self.birth
        {
            birth.finish();
        }
        self.end.get_or_insert(reason);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.record.end = self.end.unwrap_or(EndReason::ClientGone);
        self.record.duration = self.left.unwrap_or_else(Instant::now) - self.started;
        // A session counts for itself what it takes in.
        if let Some(upload) = &self.upload {
            self.record.bytes_in = upload.bytes();
        }
        for sink in self.sinks.iter() {
            // A sink is not ours, and a panic within `drop` can end the process.
            if panics::guarded(self.id.clone(), || sink.record(&self.record)).is_err() {
                log::error!("{}: a record sink panicked over this record", self.id.as_str());
            }
        }
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange")
            .field("record", &self.record)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}
