//! Upstreams that exist only here: demo providers for trying the gateway, scripted ones for testing it.
//!
//! | module       | what it is for                                                                      |
//! |--------------|-------------------------------------------------------------------------------------|
//! | [`demo`]     | an HTTP server that answers like both vendors, deterministically, without a key     |
//! | [`mock`]     | a scripted HTTP upstream that records what it received, over memory or TCP          |
//! | [`raw`]      | peers that read and write bytes, for what an HTTP library would refuse to do        |
//! | [`fixtures`] | request and response bodies of each dialect                                         |
//!
//! Nothing here leaves the machine, and no task outlives the value or future that started it.

mod body;
pub mod demo;
pub mod fixtures;
pub mod mock;
pub mod raw;
mod serve;

pub use body::{Broken, ScriptBody, Step};

use std::time::Duration;

/// How long this crate's waiting functions wait for a peer before they call the test failed: 30 s.
///
/// Under a paused clock it passes at once when nothing else can happen, so that a test which would
/// hang fails instead.
pub const PATIENCE: Duration = Duration::from_secs(30);
