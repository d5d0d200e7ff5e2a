//! Names of language models: the grammar and its parser; it knows no configuration and does no I/O.
//!
//! ```text
//! model-ref = 1*256 name-byte
//! name-byte = %x21 / %x23-26 / %x28-3B / %x3D / %x3F-5B / %x5D / %x5F / %x61-7A / %x7E
//!           ; printable ASCII but for space  " ' ` \ < > { } | ^
//! ```
//!
//! A ref comes in three forms, all of them plain dotted text:
//!
//! | form            | example              |
//! |-----------------|----------------------|
//! | short           | `gpt-4`              |
//! | qualified       | `openai.gpt-4`       |
//! | fully qualified | `openai.azure.gpt-4` |
//!
//! Dots also occur inside the names of models (`gpt-4.1`, `glm-4.5`), so the text alone does not
//! say where the provider's path ends. This crate therefore never decides: [`ModelRef::splits`]
//! offers every way to read the ref, longest provider path first, and the provider tree picks.
//!
//! ```
//! use gate_model_ref::{ModelRef, ProviderKind};
//!
//! let name = ModelRef::parse("openai.gpt-4.1")?;
//! assert_eq!(name.kind(), Some(ProviderKind::OpenAi));
//! let splits: Vec<_> = name.splits().map(|s| (s.path, s.rest)).collect();
//! assert_eq!(splits, [("openai.gpt-4", "1"), ("openai", "gpt-4.1")]);
//! # Ok::<(), gate_model_ref::ParseError>(())
//! ```

mod error;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod kind;
mod model_ref;

pub use error::{ParseError, ParseErrorKind};
pub use kind::{ParseKindError, ProviderKind};
pub use model_ref::{ModelRef, Split, Splits};
