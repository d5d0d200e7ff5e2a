//! The binary as a process: how it starts, what it prints, how it ends.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, also in its helpers")]

mod commands;
mod doctor;
mod lifecycle;
mod logs;
mod secrets;
mod slow_sockets;
mod support;
mod tls;
