//! The program as a user meets it: files, tables, documents, summaries.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

#[path = "../support/mod.rs"]
mod support;

mod encoders;
mod known_answers;
mod outputs;
mod plans;
mod preview;
mod tables;
mod texts;
