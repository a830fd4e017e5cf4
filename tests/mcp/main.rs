//! The server for agents as its clients see it: the real binary, spoken to in raw JSON.
//!
//! Nothing here measures time. Where a test needs a run that is still going on, it gives the run a thousand times more to do
//! than it will be left to do.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests, which clippy does not take for tests")]

mod client;
mod garbage;
mod http;
mod lifecycle;
mod sharing;
mod tools;
