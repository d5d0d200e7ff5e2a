//! The gateway from outside, over in-memory connections: one program, so that it links once.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, also in its helpers")]

mod balancing;
mod batches;
mod calls;
mod faults;
mod forms;
mod forwarding;
mod health;
mod http2;
mod identity;
mod objects;
mod overload;
mod own_endpoints;
mod panics;
mod paths;
mod realtime;
mod refusing;
mod secrets;
mod serving;
mod steps;
mod streaming;
mod support;
mod tls;
mod treatment;
mod unread;
mod uploads;
mod websocket;
