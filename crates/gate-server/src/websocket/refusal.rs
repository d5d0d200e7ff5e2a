//! The end of a session that the gateway refuses after it was agreed to: what the client is told,
//! as a message and as a reason to close.

use bytes::Bytes;

use super::frame::{CloseCode, Opcode, close, frame};
use crate::error::{ApiError, ErrorCode, error_message};

/// Why a session ends here.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) close: CloseCode,
    pub(super) error: ApiError,
    /// What the provider said about it, as a message to the client.
    pub(super) event: Option<Bytes>,
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        let close = match (error.code, error.code.status().as_u16()) {
            (ErrorCode::InvalidJson, _) => CloseCode::InvalidPayload,
            (ErrorCode::RequestTooLarge, _) => CloseCode::TooBig,
            (_, 400..=499) => CloseCode::Policy,
            _ => CloseCode::Internal,
        };
        Self { close, error, event: None }
    }
}

impl Refusal {
    /// Makes a refusal with a reason to close that its code does not tell.
    pub(super) fn closing(close: CloseCode, error: ApiError) -> Self {
        Self { close, error, event: None }
    }

    /// Returns the message that tells the client.
    pub(super) fn message(&self) -> Bytes {
        let event = self.event.clone().unwrap_or_else(|| error_message(self.error.code, &self.error.message));
        frame(Opcode::Text, &event, None)
    }

    /// Returns the frame that closes the session.
    pub(super) fn close(&self) -> Bytes {
        close(self.close, self.error.code.as_str(), None)
    }
}
