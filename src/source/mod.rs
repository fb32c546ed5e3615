//! Where bytes come from.

pub mod hub;
