//! What models read: the built-in corpus.

pub mod builtin;
