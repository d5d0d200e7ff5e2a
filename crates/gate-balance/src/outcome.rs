//! What became of one attempt, and what that says about the target.

use std::fmt;
use std::time::Duration;

/// What became of one attempt. What is nobody's fault there, such as a client that left or a lack of
/// sockets here, is no outcome: the attempt is dropped unsettled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The head of an answer came. An error event before the first content of a stream is reported as
    /// the status that it stands for, such as 529.
    Answered {
        /// Its status.
        status: u16,
        /// How long the provider asks to wait, as [`parse_retry_after`](crate::parse_retry_after) reads it.
        retry_after: Option<Duration>,
        /// From the start of the attempt until the head.
        latency: Duration,
    },
    /// A 401 or 403 that answers a key of the gateway. One that answers the client's own is `Answered`.
    KeyRefused {
        /// Its status.
        status: u16,
    },
    /// No byte was sent: the name has no address, or no connection came about.
    Unreachable,
    /// No byte was sent, since the server could not prove who it is. Asking it again proves no more.
    Distrusted,
    /// No byte was sent: all connections that the provider may have are in use. Its keys share them.
    Busy,
    /// Something was sent, and no answer came: a reset, a timeout, or bytes that are no HTTP.
    Lost,
}

/// What was wrong with a target, for its health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It could not be connected to.
    Unreachable,
    /// It could not prove who it is.
    Distrusted,
    /// It took a request and did not answer.
    Lost,
    /// It broke off an answer.
    Broke,
    /// It refused the gateway's key, with this status.
    KeyRefused(u16),
    /// It answered with this status.
    Status(u16),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable => f.write_str("cannot be connected to"),
            Self::Distrusted => f.write_str("its certificate is not trusted"),
            Self::Lost => f.write_str("did not answer"),
            Self::Broke => f.write_str("broke off an answer"),
            Self::KeyRefused(status) => write!(f, "refused the gateway's key with status {status}"),
            Self::Status(status) => write!(f, "answered with status {status}"),
        }
    }
}

/// What an outcome says about the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It works. A 400 says so too: somebody was there and read the request.
    Success,
    /// It does not.
    Failure(Fault),
    /// Nothing: it is busy, or does not like our key, and may be well.
    Neither,
}

impl Outcome {
    /// Returns what this says about the target.
    pub fn verdict(&self) -> Verdict {
        match *self {
            Self::Answered { status: 429, .. } | Self::KeyRefused { .. } | Self::Busy => Verdict::Neither,
            Self::Answered { status, .. } if status >= 500 => Verdict::Failure(Fault::Status(status)),
            Self::Answered { status, .. } if is_elsewhere(status) => Verdict::Failure(Fault::Status(status)),
            Self::Answered { .. } => Verdict::Success,
            Self::Unreachable => Verdict::Failure(Fault::Unreachable),
            Self::Distrusted => Verdict::Failure(Fault::Distrusted),
            Self::Lost => Verdict::Failure(Fault::Lost),
        }
    }

    /// Returns what went wrong, also where that does not count against the target.
    pub fn fault(&self) -> Option<Fault> {
        match (self.verdict(), *self) {
            (Verdict::Failure(fault), _) => Some(fault),
            (Verdict::Neither, Self::Answered { status, .. }) => Some(Fault::Status(status)),
            (Verdict::Neither, Self::KeyRefused { status }) => Some(Fault::KeyRefused(status)),
            _ => None,
        }
    }

    /// Returns whether this is the head of an answer that is good if it comes to its end. Of an error the
    /// head says all.
    pub(crate) fn is_beginning(&self) -> bool {
        matches!(*self, Self::Answered { status, .. } if status < 400 && !is_elsewhere(status))
    }

    /// Returns whether a head came that is no answer at all: a redirect, which is not followed, or a status
    /// that does not exist. For the client it is 502.
    pub(crate) fn is_no_answer(&self) -> bool {
        matches!(*self, Self::Answered { status, .. } if status > 599 || is_elsewhere(status))
    }

    /// Returns whether there is an answer that the client can have.
    pub(crate) fn is_answer(&self) -> bool {
        matches!(self, Self::Answered { .. } | Self::KeyRefused { .. })
    }
}

/// Tells whether a status sends its reader to somewhere else. "Not modified" does not.
fn is_elsewhere(status: u16) -> bool {
    matches!(status, 300..=303 | 305..=399)
}
