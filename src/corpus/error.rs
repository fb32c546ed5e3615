//! Everything that can be wrong with input text and token files.

use super::files::SUPPORTED;
use std::path::PathBuf;
use thiserror::Error;

/// Why text or tokens could not be read. Every message names the place and a remedy.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CorpusError {
    /// Nothing lies at the path.
    #[error("file is missing ({}); check the path", path.display())]
    Missing {
        /// As the user gave it.
        path: PathBuf,
    },
    /// The operating system or a decompressor reports an error.
    #[error("file could not be read ({}: {source}); check that it is complete and that you may read it", path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// What was reported.
        source: std::io::Error,
    },
    /// The extension names no format that can be read.
    #[error("file has an unsupported extension ({}; supported: {}); convert it or rename it", path.display(), SUPPORTED.join(" "))]
    Unsupported {
        /// The file.
        path: PathBuf,
    },
    /// A folder without a single file of a supported format.
    #[error("folder has no text files ({}; supported: {}); name another folder or a file", path.display(), SUPPORTED.join(" "))]
    NoTextFiles {
        /// The folder.
        path: PathBuf,
    },
    /// A line of a fine-tuning file.
    #[error("example is not usable ({}, line {line}: {reason}); correct or remove it", path.display())]
    Dialogue {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// Tokens could not be kept.
    #[error("token file cannot be written ({}: {source}); free space there, or set DEPTHSCOPE_CACHE to another folder", path.display())]
    Store {
        /// The file.
        path: PathBuf,
        /// What was reported.
        source: std::io::Error,
    },
    /// Bytes that are not UTF-8.
    #[error("text is not UTF-8 ({at}, first bad byte at offset {offset}); convert it, for example with iconv")]
    NotUtf8 {
        /// File, or file and line.
        at: String,
        /// Offset from the beginning of the file or line.
        offset: usize,
    },
    /// Something that does not parse as JSON.
    #[error("JSON is invalid ({at}: {reason}); correct or remove it")]
    InvalidJson {
        /// File and line.
        at: String,
        /// The parser's words.
        reason: String,
    },
    /// A parquet file that cannot be read.
    #[error("parquet file could not be read ({}: {reason}); check that it is complete", path.display())]
    InvalidParquet {
        /// The file.
        path: PathBuf,
        /// The reader's words.
        reason: String,
    },
    /// A record without the text field.
    #[error("field `{field}` is missing ({at}; fields there: {}); choose one with --text-field", listed(present))]
    MissingField {
        /// File, and line or element.
        at: String,
        /// The field asked for.
        field: String,
        /// The fields that are there.
        present: Vec<String>,
    },
    /// A text field that holds something else.
    #[error("field `{field}` is not text ({at}: {found}); choose another with --text-field")]
    NotText {
        /// File, and line or element.
        at: String,
        /// The field asked for.
        field: String,
        /// What it holds.
        found: String,
    },
    /// A JSON value that is neither a record nor text.
    #[error("record is neither an object nor a string ({at}: {found}); give objects with a text field, or strings")]
    NotARecord {
        /// File, and line or element.
        at: String,
        /// What it is.
        found: String,
    },
    /// Files without a single document that is not blank.
    #[error("text is empty ({files} file(s), {blank} blank document(s)); give a file with text")]
    Empty {
        /// Number of files read.
        files: usize,
        /// Number of documents that hold nothing but white space.
        blank: usize,
    },
    /// Text of fewer tokens than a prediction needs.
    #[error(
        "text is too short ({documents} document(s), {tokens} token(s) in the longest); a prediction needs two tokens, give more text"
    )]
    TooShort {
        /// Number of documents read.
        documents: usize,
        /// Tokens of the longest of them, or of all of them packed.
        tokens: usize,
    },
    /// A request for sequences that cannot be.
    #[error("{flag} is too small ({value}); use {least} or more")]
    TooSmall {
        /// The flag.
        flag: &'static str,
        /// What was asked for.
        value: usize,
        /// The smallest value that makes sense.
        least: usize,
    },
    /// The tokenizer refuses a document.
    #[error("document could not be tokenised (document {document}: {reason}); check the model's tokenizer.json")]
    Tokenizer {
        /// 0-based number of the document.
        document: usize,
        /// The tokenizer's words.
        reason: String,
    },
    /// A token file of another shape.
    #[error("token file is not a list of lists of token ids ({at}: {found}); write it as [[1, 2, 3], [4, 5]]")]
    NotTokens {
        /// File, and sequence and position where they are known.
        at: String,
        /// What is there instead.
        found: String,
    },
    /// A token file without sequences, or a sequence without tokens.
    #[error("{what} is empty ({at}); remove it or give it token ids")]
    NoTokens {
        /// `token file` or `sequence`.
        what: &'static str,
        /// File, and the sequence.
        at: String,
    },
    /// A token that the model does not have.
    #[error(
        "token id is outside the vocabulary (sequence {sequence}, position {position}: id {id}, vocabulary {vocab}); \
         use this model's own tokenizer"
    )]
    OutsideVocabulary {
        /// 0-based sequence.
        sequence: usize,
        /// 0-based position in it.
        position: usize,
        /// The id.
        id: u32,
        /// The model's vocabulary size.
        vocab: usize,
    },
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
