//! What models read: text files cut into token sequences, token files, and the built-in corpus.
//!
//! ```text
//! paths ─► documents (text.rs) ─► sequences (tokenise.rs) ─┐
//! token file ─────────────────────► token_file (tokens.rs) ┴► Sequences
//! ```

pub mod bpe;
pub mod builtin;
pub mod dialogue;
mod error;
mod files;
mod json;
pub mod mask;
mod parquet;
pub mod requests;
mod sequences;
pub mod squad;
pub mod task;
pub mod tasks;
pub mod text;
pub mod token_store;
pub mod tokenise;
pub mod tokens;

pub use error::CorpusError;
pub use files::SUPPORTED;
pub use sequences::{Sequences, hash};
pub use text::{Documents, documents};
pub use token_store::{TokenStore, content_hash, hash_of};
pub use tokenise::{Cut, Framing, Packing, tokenise};
pub use tokens::{check_vocab, token_file};
