//! Documents to token sequences: in parallel, in order, and no more of them than are needed.

use super::sequences::hash;
use super::{CorpusError, Sequences};
use crate::foreign::guarded;
use rayon::prelude::*;
use tokenizers::Tokenizer;

/// A document of more bytes than this is tokenised piece by piece, so that a book of which the beginning is wanted costs no more
/// than that, and one that is wanted whole uses all cores. Pieces end at line ends; a tokenizer that begins every text with a
/// blank (Llama 2) puts one there.
const PIECE: usize = 128 * 1024;

/// Documents or pieces taken at once: the first time, and at most. In between the number doubles.
const BATCH: (usize, usize) = (4, 1024);

/// How documents become sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Documents one after the other, each with the special tokens its tokenizer adds, cut into sequences of exactly the
    /// asked length; what is left at the end is dropped. Text too short for one such sequence gives a single shorter one.
    Packed,
    /// One sequence per document, cut off at the asked length; those of fewer than two tokens are left out.
    PerDocument,
}

/// Where the special tokens of the tokenizer stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Around every document.
    Documents,
    /// Around every sequence, which is that much shorter inside: encoders know no others.
    Sequences,
}

/// What sequences are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// How documents become sequences.
    pub packing: Packing,
    /// Where special tokens stand.
    pub framing: Framing,
    /// Tokens per sequence (at most, for [`Packing::PerDocument`]).
    pub seq_len: usize,
    /// Number of sequences; `usize::MAX` for all there are.
    pub samples: usize,
    /// Written after each packed document if the tokenizer adds no special token by itself, as GPT-2's training did with its
    /// end-of-text token; take it from the model's `eos_token_id`. Without it such documents run into each other.
    pub separator: Option<u32>,
}

/// Tokenises documents until there are enough sequences.
///
/// The sequences depend neither on the number of threads nor on `samples`, except for how many there are. Truncation and padding
/// that the tokenizer's file asks for are not applied.
///
/// # Errors
/// Whatever `documents` gives; a document the tokenizer refuses; fewer than two tokens per sequence, asked for or found.
pub fn tokenise<D>(documents: D, tokenizer: &Tokenizer, cut: &Cut) -> Result<Sequences, CorpusError>
where
    D: IntoIterator<Item = Result<String, CorpusError>>,
{
    let mut encoder = Encoder::new(tokenizer)?;
    let frame = match cut.framing {
        Framing::Documents => Frame::default(),
        Framing::Sequences => encoder.unframed(),
    };
    check(cut, &frame)?;
    let mut sequences = Sequencer::new(*cut, frame, &encoder);
    let (mut documents, mut batch) = (documents.into_iter(), BATCH.0);
    while !sequences.is_done() {
        let mut failure = None;
        let good = |document: Result<String, CorpusError>| document.map_err(|error| failure = Some(error)).ok();
        let texts: Vec<String> = documents.by_ref().take(batch).map_while(good).collect();
        let limit = sequences.limit();
        let documents_tokens: Vec<_> = texts.par_iter().map(|text| encoder.encode(text, limit)).collect();
        for tokens in documents_tokens {
            let document = sequences.documents;
            sequences.push(tokens.map_err(|reason| CorpusError::Tokenizer { document, reason })?);
        }
        match failure {
            // What comes after the last document that is needed may be broken: whether it was looked at is chance.
            Some(error) if !sequences.is_done() => return Err(error),
            _ if texts.is_empty() => break,
            _ => batch = (batch * 2).min(BATCH.1),
        }
    }
    sequences.finish()
}

fn check(cut: &Cut, frame: &Frame) -> Result<(), CorpusError> {
    for (flag, value, least) in [("--seq-len", cut.seq_len, (frame.tokens() + 1).max(2)), ("--samples", cut.samples, 1)]
    {
        if value < least {
            return Err(CorpusError::TooSmall { flag, value, least });
        }
    }
    Ok(())
}

/// What is written around every sequence.
#[derive(Default)]
struct Frame {
    before: Vec<u32>,
    after: Vec<u32>,
}

impl Frame {
    fn tokens(&self) -> usize {
        self.before.len() + self.after.len()
    }

    fn around(&self, ids: &[u32]) -> Vec<u32> {
        [&self.before, ids, &self.after].concat()
    }
}

/// A tokenizer, and what it writes around every text.
pub(super) struct Encoder {
    tokenizer: Tokenizer,
    pub(super) before: Vec<u32>,
    after: Vec<u32>,
    /// Whether it writes that.
    framed: bool,
}

impl Encoder {
    pub(super) fn new(tokenizer: &Tokenizer) -> Result<Self, CorpusError> {
        let refused = |reason| CorpusError::Tokenizer { document: 0, reason };
        let mut tokenizer = tokenizer.clone();
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|error| refused(error.to_string()))?;
        let probe = said(|| tokenizer.encode("a", true)).map_err(refused)?;
        let special: Vec<bool> = probe.get_special_tokens_mask().iter().map(|&mask| mask == 1).collect();
        let first = special.iter().take_while(|&&special| special).count();
        let last = special.iter().skip(first).rev().take_while(|&&special| special).count();
        let ids = probe.get_ids();
        let (before, after) = (ids[..first].to_vec(), ids[ids.len() - last..].to_vec());
        Ok(Self { tokenizer, before, after, framed: true })
    }

    /// What it would write around texts, which it does not from now on.
    fn unframed(&mut self) -> Frame {
        self.framed = false;
        Frame { before: std::mem::take(&mut self.before), after: std::mem::take(&mut self.after) }
    }

    /// `separator`, where the tokenizer does not mark the ends of documents itself.
    pub(super) fn needed(&self, separator: Option<u32>) -> Option<u32> {
        separator.filter(|_| self.framed && self.before.is_empty() && self.after.is_empty())
    }

    /// All tokens of a text, which is tokenised in one piece.
    pub(super) fn whole(&self, text: &str, with_special: bool) -> Result<Vec<u32>, String> {
        Ok(said(|| self.tokenizer.encode_fast(text, with_special))?.get_ids().to_vec())
    }

    /// The first tokens of a document: all of them, or at least `limit`.
    pub(super) fn encode(&self, text: &str, limit: usize) -> Result<Vec<u32>, String> {
        if text.len() <= PIECE {
            return Ok(said(|| self.tokenizer.encode_fast(text, self.framed))?.get_ids().to_vec());
        }
        let (pieces, mut ids) = (pieces(text), self.before.clone());
        let (mut next, mut batch) = (0, 1);
        while next < pieces.len() && ids.len() < limit {
            let end = (next + batch).min(pieces.len());
            let encoded = pieces[next..end]
                .par_iter()
                .map(|&piece| said(|| self.tokenizer.encode_fast(piece, false)))
                .collect::<Result<Vec<_>, _>>()?;
            ids.extend(encoded.iter().flat_map(tokenizers::Encoding::get_ids));
            (next, batch) = (end, (batch * 2).min(BATCH.1));
        }
        if next == pieces.len() {
            ids.extend(&self.after);
        }
        Ok(ids)
    }
}

/// What the tokenizer says; files that it should have refused make it panic.
fn said<T>(call: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    guarded(call).and_then(|outcome| outcome.map_err(|error| error.to_string()))
}

/// Cuts a long text where most tokenizers cut anyway: after a line, before a word, in need between two characters.
fn pieces(mut text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    while text.len() > PIECE {
        let least = text.floor_char_boundary(PIECE);
        let window = &text[least..text.floor_char_boundary(2 * PIECE)];
        let end = least + window.find('\n').map(|i| i + 1).or_else(|| window.find(' ')).unwrap_or(0);
        let (piece, rest) = text.split_at(end);
        pieces.push(piece);
        text = rest;
    }
    pieces.push(text);
    pieces
}

/// Makes sequences of the tokens of documents.
struct Sequencer {
    cut: Cut,
    frame: Frame,
    separator: Option<u32>,
    /// Sequences, for [`Packing::PerDocument`].
    ids: Vec<Vec<u32>>,
    /// All tokens, for [`Packing::Packed`].
    stream: Vec<u32>,
    documents: usize,
    truncated: usize,
    skipped: usize,
}

impl Sequencer {
    /// From here on the length of a sequence is that inside its frame.
    fn new(mut cut: Cut, frame: Frame, encoder: &Encoder) -> Self {
        let separator = encoder.needed(cut.separator);
        cut.seq_len -= frame.tokens();
        Self { cut, frame, separator, ids: Vec::new(), stream: Vec::new(), documents: 0, truncated: 0, skipped: 0 }
    }

    fn is_done(&self) -> bool {
        match self.cut.packing {
            Packing::Packed => self.stream.len() >= self.cut.samples.saturating_mul(self.cut.seq_len),
            Packing::PerDocument => self.ids.len() >= self.cut.samples,
        }
    }

    /// The number of tokens that are of use from any one document.
    fn limit(&self) -> usize {
        match self.cut.packing {
            Packing::Packed => self.cut.samples.saturating_mul(self.cut.seq_len) - self.stream.len(),
            // One more, to know whether something was cut off.
            Packing::PerDocument => self.cut.seq_len.saturating_add(1),
        }
    }

    /// Takes the next document; those after the last that is needed are not counted.
    fn push(&mut self, mut tokens: Vec<u32>) {
        if self.is_done() {
            return;
        }
        self.documents += 1;
        match self.cut.packing {
            Packing::Packed => {
                self.stream.append(&mut tokens);
                self.stream.extend(self.separator);
            }
            Packing::PerDocument if self.frame.tokens() + tokens.len() < 2 || tokens.is_empty() => self.skipped += 1,
            Packing::PerDocument => {
                self.truncated += usize::from(tokens.len() > self.cut.seq_len);
                tokens.truncate(self.cut.seq_len);
                self.ids.push(tokens);
            }
        }
    }

    fn finish(mut self) -> Result<Sequences, CorpusError> {
        let Cut { packing, seq_len, samples, .. } = self.cut;
        if packing == Packing::Packed {
            self.ids = self.stream.chunks_exact(seq_len).take(samples).map(<[u32]>::to_vec).collect();
            if self.ids.is_empty() && self.frame.tokens() + self.stream.len() >= 2 && !self.stream.is_empty() {
                self.ids.push(std::mem::take(&mut self.stream));
            }
        }
        if self.ids.is_empty() {
            let tokens = self.stream.len().max(usize::from(self.skipped > 0));
            return Err(CorpusError::TooShort { documents: self.documents, tokens });
        }
        if self.frame.tokens() > 0 {
            for ids in &mut self.ids {
                *ids = self.frame.around(ids);
            }
        }
        let wanted = if samples == usize::MAX { self.ids.len() } else { samples };
        let hash = hash(&self.ids);
        let Self { ids, documents, truncated, skipped, .. } = self;
        Ok(Sequences { ids, wanted, documents, truncated, skipped, hash })
    }
}

#[cfg(test)]
mod tests;
