//! What is measured: one file per metric. A metric turns what it sees of a walk into rows; it never prints or writes.

pub mod accuracy;
pub mod angular;
pub mod answers;
pub mod bootstrap;
pub mod difference;
pub mod growth;
pub mod item_rows;
pub mod paired;
pub mod prune;
pub mod squad;
pub mod squad_rows;
pub mod task_rows;
pub mod variance;
mod verdict;

pub use verdict::{Finding, Verdict};
