//! What cannot be measured is refused: exit code 2, one message with the fact and a remedy, and nothing left behind.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

#[path = "../support/mod.rs"]
mod support;

mod configurations;
mod flags;
#[cfg(unix)]
mod outputs;
mod texts;
mod verify;
mod weights;
