//! The server for agents as its clients see it: the real binary, spoken to in raw JSON.
//!
//! Nothing here measures time. Where a test needs an operation that is still going on, it holds the writer's lock.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests, which clippy does not take for tests")]

mod client;
mod garbage;
mod http;
mod lifecycle;
mod sharing;
mod tools;
