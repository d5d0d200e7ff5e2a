//! A client's body that is passed on while it arrives: it is counted and watched, and never held.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use gate_upstream::RequestBodyError;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::error::{ApiError, ErrorCode};
use crate::failure;
use crate::form::{FormError, FormScanner};
use crate::pace::{Late, Pace};

/// A client's body that two can reach: the upload that passes it on, and the handler, which reads
/// what is left of it when the request was refused. They never read at the same time.
pub(crate) struct ClientBody<B>(Arc<Mutex<B>>);

impl<B> Clone for ClientBody<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B> ClientBody<B> {
    pub(crate) fn new(body: B) -> Self {
        Self(Arc::new(Mutex::new(body)))
    }

    /// A body that panicked is as broken as one that failed, and says so itself.
    fn lock(&self) -> MutexGuard<'_, B> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: Body> ClientBody<B> {
    /// Tells whether it is known that nothing more comes. A body of known length need not say so by
    /// [`Body::is_end_stream`], and whoever knows its length does not ask it again.
    pub(crate) fn is_over(&self) -> bool {
        let body = self.lock();
        body.is_end_stream() || body.size_hint().exact() == Some(0)
    }
}

impl<B: Body + Unpin> Body for ClientBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut *self.lock()).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.lock().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.lock().size_hint()
    }
}

/// Why an upload failed: always the client's doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UploadFault {
    /// The connection ended, or its framing is none.
    Broke,
    /// Nothing came for too long, or too little.
    Late(Late),
    /// It is larger than the limit in bytes.
    TooLarge(u64),
    /// It is a form that cannot be passed on.
    Form(FormError),
}

impl UploadFault {
    /// Returns the client's error.
    pub(crate) fn to_api_error(self) -> ApiError {
        match self {
            Self::Broke => failure::request_body_broke(),
            Self::Late(late) => late.to_api_error(),
            Self::TooLarge(limit) => too_large(limit),
            Self::Form(error) => error.to_api_error(),
        }
        .closing()
    }
}

/// The refusal of an upload that is, or says that it is, over the limit.
pub(crate) fn too_large(limit: u64) -> ApiError {
    let message =
        format!("the upload has more than {limit} bytes; `[llm.limits] max_upload_size_mb` sets the limit");
    ApiError::new(ErrorCode::RequestTooLarge, message).closing()
}

/// What is known about an upload by those who do not see it pass.
#[derive(Debug, Default)]
pub(crate) struct UploadProgress {
    bytes: AtomicU64,
    is_whole: AtomicBool,
    fault: OnceLock<UploadFault>,
}

impl UploadProgress {
    /// Returns how many bytes have come.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Returns why it failed, if it did.
    pub(crate) fn fault(&self) -> Option<UploadFault> {
        self.fault.get().copied()
    }

    /// Returns whether all of it has come.
    pub(crate) fn is_whole(&self) -> bool {
        self.is_whole.load(Relaxed)
    }

    pub(crate) fn set_whole(&self) {
        self.is_whole.store(true, Relaxed);
    }

    /// Counts bytes and returns how many there are now.
    pub(crate) fn add(&self, bytes: usize) -> u64 {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.bytes.fetch_add(bytes, Relaxed).saturating_add(bytes)
    }
}

/// What an upload may do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UploadLimits {
    /// The most bytes.
    pub(crate) bytes: Option<u64>,
    /// How fast the client must be. The time in which the provider takes nothing is not counted.
    pub(crate) pace: Pace,
}

/// The rest of a client's body on its way to a provider.
///
/// After an error it has ended. The provider then sees a request that breaks off, and so nothing
/// that it could take for a whole one.
pub(crate) struct Upload<B> {
    body: ClientBody<B>,
    limits: UploadLimits,
    /// Set only while the client is waited for.
    wait: Option<Wait>,
    /// Reads on in a form, whose `model` must not come twice.
    form: Option<FormScanner>,
    progress: Arc<UploadProgress>,
}

/// A wait for the client.
struct Wait {
    since: Instant,
    /// When it is late, and in what way.
    end: Pin<Box<Sleep>>,
    late: Late,
}

impl<B: Body<Data = Bytes> + Unpin> Upload<B> {
    pub(crate) fn new(
        body: ClientBody<B>,
        limits: UploadLimits,
        form: Option<FormScanner>,
        progress: Arc<UploadProgress>,
    ) -> Self {
        Self { body, limits, wait: None, form, progress }
    }

    fn check(&mut self, data: &Bytes) -> Result<(), UploadFault> {
        let total = self.progress.add(data.len());
        if let Some(limit) = self.limits.bytes.filter(|limit| total > *limit) {
            return Err(UploadFault::TooLarge(limit));
        }
        if let Some(form) = &mut self.form {
            form.push(data).map_err(UploadFault::Form)?;
        }
        // With the last piece, not after it: then the provider would have the whole.
        if self.body.is_over() { self.end() } else { Ok(()) }
    }

    fn end(&self) -> Result<(), UploadFault> {
        if let Some(form) = &self.form {
            form.finish().map_err(UploadFault::Form)?;
        }
        self.progress.set_whole();
        Ok(())
    }

    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<UploadFault> {
        let wait = self.wait.get_or_insert_with(|| {
            let ((patience, late), since) = (self.limits.pace.patience(), Instant::now());
            Wait { since, end: Box::pin(sleep_until(since + patience)), late }
        });
        wait.end.as_mut().poll(cx).map(|()| UploadFault::Late(wait.late))
    }

    fn fail(&self, fault: UploadFault) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        // The first fault is the cause.
        let _ = self.progress.fault.set(fault);
        Poll::Ready(Some(Err(RequestBodyError)))
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Upload<B> {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let this = self.get_mut();
        if this.progress.fault().is_some() {
            return Poll::Ready(Some(Err(RequestBodyError)));
        }
        loop {
            let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
                return match this.poll_late(cx) {
                    Poll::Ready(fault) => this.fail(fault),
                    Poll::Pending => Poll::Pending,
                };
            };
            let waited = this.wait.take().map_or(Duration::ZERO, |wait| wait.since.elapsed());
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => {
                    this.limits.pace.came(data.len(), waited);
                    return match this.check(&data) {
                        Ok(()) => Poll::Ready(Some(Ok(Frame::data(data)))),
                        Err(fault) => this.fail(fault),
                    };
                }
                // Trailers are never passed on.
                Some(Ok(Err(_))) => {}
                Some(Err(_)) => return this.fail(UploadFault::Broke),
                None => {
                    return match this.end() {
                        Ok(()) => Poll::Ready(None),
                        Err(fault) => this.fail(fault),
                    };
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        // A form without its end is found by asking once more.
        self.form.is_none() && self.progress.fault().is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> fmt::Debug for Upload<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").field("progress", &self.progress).finish_non_exhaustive()
    }
}
