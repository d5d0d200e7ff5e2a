//! Reads token usage from the bytes of an answer while they pass, and defines the record of a
//! finished request. It changes no byte, keeps no text, and does no I/O.
//!
//! A [`Meter`] follows one answer. It is a state machine over the bytes, not a parser of collected
//! events, so it needs the same few hundred bytes of memory for a stream of words as for one event
//! of many megabytes, and no heap at all; and however the answer is cut into frames, it says the
//! same.
//!
//! ```
//! use gate_usage::{ContentType, Dialect, Meter, UsageSource};
//!
//! let mut meter = Meter::new(Dialect::ChatCompletions, ContentType::EventStream);
//! meter.push(b"data: {\"choices\":[],\"usage\":{\"prompt_tok");
//! meter.push(b"ens\":3,\"completion_tokens\":4}}\n\ndata: [DONE]\n\n");
//! meter.finish();
//!
//! let (usage, source) = meter.result();
//! assert_eq!((usage.input_tokens, usage.output_tokens), (Some(3), Some(4)));
//! assert_eq!(source, UsageSource::Provider);
//! assert!(meter.has_terminal());
//! ```
//!
//! Inside, each layer knows only its own business: `sse` cuts a stream into the fields of events,
//! `glance` passes over the many events that say nothing, `json` finds the usage in the others, with
//! `token` for what lies in one piece, `counts` knows what the vendors call the numbers and what they
//! include, and `dialect` where an operation keeps them and how its streams end. An [`Estimate`] is for
//! answers that report nothing.

mod attempts;
mod counts;
mod dialect;
mod estimate;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod glance;
mod json;
mod meter;
mod record;
mod sse;
mod token;
mod usage;
mod word;

pub use attempts::{Attempt, AttemptOutcome, Attempts};
pub use dialect::Dialect;
pub use estimate::Estimate;
pub use meter::{ContentType, Meter};
pub use record::{EndReason, RecordSink, RequestRecord, StepTimes};
pub use usage::{Usage, UsageSource};
