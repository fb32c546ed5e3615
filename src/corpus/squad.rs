//! SQuAD v1.1 (Rajpurkar et al., arXiv 1606.05250): questions about paragraphs, in which their answers stand, as windows for an encoder.
//!
//! As `transformers`' `run_qa.py`: the question first, then as much of the context as fits into 384 tokens; what does not fit comes again in
//! further windows, 128 tokens of which were in the one before.

use std::{ops::Range, path::Path};

use rayon::prelude::*;
use serde::Deserialize;
use tokenizers::{Encoding, Tokenizer};

use super::{CorpusError, files::open, json::plain};
use crate::foreign::guarded;

/// Tokens of a window, at most.
pub const WINDOW: usize = 384;
/// Context tokens that a window shares with the one before.
pub const STRIDE: usize = 128;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Its name in the data.
    pub id: String,
    /// What is asked.
    pub question: String,
    /// The paragraph that the answer stands in.
    pub context: String,
    /// What is right: any of them.
    pub answers: Vec<String>,
}

/// A question with as much of its context as fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Index of the question.
    pub question: usize,
    /// What is read.
    pub ids: Vec<u32>,
    /// Index of the first token of the context; those before it are of type 0, the others of type 1.
    pub second: usize,
    /// Of each token of the context, its bytes in it; none of others.
    pub offsets: Vec<Option<Range<usize>>>,
}

#[derive(Deserialize)]
struct Row {
    id: String,
    question: String,
    context: String,
    answers: Answers,
}

#[derive(Deserialize)]
struct Answers {
    text: Vec<String>,
}

/// Reads questions, one JSON object a line: `id`, `question`, `context`, `answers.text`.
///
/// # Errors
/// A file that cannot be read, a line that is no question, no question at all.
pub fn read(path: &Path) -> Result<Vec<Question>, CorpusError> {
    let (mut text, at) = (String::new(), path.display().to_string());
    let unreadable = |source| CorpusError::Unreadable { path: path.to_owned(), source };
    if !path.is_file() {
        return Err(CorpusError::Missing { path: path.to_owned() });
    }
    std::io::Read::read_to_string(&mut open(path)?, &mut text).map_err(unreadable)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let question = |(number, line): (usize, &str)| {
        let row: Row = serde_json::from_str(line)
            .map_err(|error| CorpusError::InvalidJson { at: format!("{at}:{}", number + 1), reason: plain(&error) })?;
        let Row { id, question, context, answers } = row;
        Ok(Question { id, question, context, answers: answers.text })
    };
    let questions = lines.map(question).collect::<Result<Vec<_>, CorpusError>>()?;
    if questions.is_empty() { Err(CorpusError::NoTokens { what: "question file", at }) } else { Ok(questions) }
}

/// The windows of every question, in order, of at most `longest` tokens.
///
/// # Errors
/// A question that leaves no room for its context, or that the tokenizer refuses.
pub fn windows(questions: &[Question], tokenizer: &Tokenizer, longest: usize) -> Result<Vec<Window>, CorpusError> {
    let refused = |document, reason| CorpusError::Tokenizer { document, reason };
    // The tokenizer's own truncation stops reading early and loses what should overflow (tokenizers 0.23.2).
    let mut tokenizer = tokenizer.clone();
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None).map_err(|error| refused(0, error.to_string()))?;
    let of = |(index, question): (usize, &Question)| -> Result<Vec<Window>, CorpusError> {
        let pair = (question.question.trim_start(), question.context.as_str());
        let encoding = guarded(|| tokenizer.encode(pair, true).map_err(|error| error.to_string()));
        let encoding = encoding.and_then(|outcome| outcome).map_err(|reason| refused(index, reason))?;
        let no_room = || refused(index, "the question leaves no room for its context".to_owned());
        cut(index, &encoding, WINDOW.min(longest), STRIDE.min(longest / 3)).ok_or_else(no_room)
    };
    let all = questions.par_iter().enumerate().map(of).collect::<Result<Vec<_>, _>>()?;
    Ok(all.into_iter().flatten().collect())
}

/// Windows of a pair: all that is not context stands in each. None if more than `stride` tokens of context do not fit beside it.
fn cut(question: usize, pair: &Encoding, window: usize, stride: usize) -> Option<Vec<Window>> {
    let (ids, offsets) = (pair.get_ids(), pair.get_offsets());
    let inside: Vec<bool> = pair.get_sequence_ids().iter().map(|&sequence| sequence == Some(1)).collect();
    let second = inside.iter().position(|&inside| inside).unwrap_or(ids.len());
    let length = inside.iter().filter(|&&inside| inside).count();
    let room = window.checked_sub(ids.len() - length)?;
    if length > room && room <= stride {
        return None;
    }
    let starts = (0..).map(|number| number * (room.saturating_sub(stride)).max(1));
    let last = length.saturating_sub(room);
    let mut windows = Vec::new();
    for start in starts {
        let context = second + start..second + (start + room).min(length);
        let around = |at: usize| at < second || at >= second + length || context.contains(&at);
        let kept: Vec<usize> = (0..ids.len()).filter(|&at| around(at)).collect();
        windows.push(Window {
            question,
            ids: kept.iter().map(|&at| ids[at]).collect(),
            second,
            offsets: kept.iter().map(|&at| inside[at].then(|| offsets[at].0..offsets[at].1)).collect(),
        });
        if start >= last {
            break;
        }
    }
    Some(windows)
}
