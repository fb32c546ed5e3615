//! What is asked, as tokens: of each request, what a model reads and which tokens of it are scored.
//!
//! As lm-evaluation-harness 0.4.13 does it with Hugging Face models (`api/model.py`, `models/huggingface.py`), in every turn: blanks at the
//! end of a context belong to the continuation; the continuation's tokens are those of context + continuation beyond the number of the
//! context's own; special tokens are added as the tokenizer adds them; what is too long loses its left end, whatever stands there.

use std::{ops::Range, sync::Arc};

use rayon::prelude::*;
use tokenizers::Tokenizer;

use super::{
    CorpusError,
    tasks::{Document, Kind, Request, Task},
    tokenise::Encoder,
};

/// Everything that a task asks, as tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requests {
    /// Token ids; the last of each is only predicted.
    pub sequences: Vec<Vec<u32>>,
    /// Index of the first token of each that is scored, at least 1.
    pub firsts: Vec<usize>,
    /// The sequences of every request, requests in the order of the documents: one, or for [`Kind::Text`] one for each window of the context.
    pub of_request: Vec<Range<usize>>,
    /// Requests whose context lost its left end.
    pub truncated: usize,
}

/// Why a request cannot be scored.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The tokenizer.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// The tokenizer refused a text.
    #[error("request cannot be tokenised ({at}: {reason}); use the model's own tokenizer.json")]
    Tokenizer {
        /// Which request.
        at: String,
        /// What the tokenizer said.
        reason: String,
    },
    /// Nothing is scored.
    #[error(
        "continuation has no token of its own ({at}); give it text that the tokenizer does not swallow, or leave the item out"
    )]
    EmptyContinuation {
        /// Which request.
        at: String,
    },
    /// Nothing to condition on.
    #[error("context has no token ({at}, and the tokenizer has no token to begin a text with); give the task a prompt")]
    EmptyContext {
        /// Which request.
        at: String,
    },
    /// More is scored than the model can see.
    #[error(
        "continuation is longer than the model's context ({at}: {tokens} tokens > {context}); use a model with a longer context"
    )]
    TooLong {
        /// Which request.
        at: String,
        /// Tokens of the continuation.
        tokens: usize,
        /// Positions of the model.
        context: usize,
    },
}

/// How texts become tokens.
pub struct Reader {
    encoder: Encoder,
    /// What stands before a text that has nothing before it, and how it is written.
    prefix: Option<(u32, String)>,
    /// Positions that a model has.
    context: usize,
}

/// The tokens of one request before they are cut to the model's context.
struct Pair {
    context: Vec<u32>,
    continuation: Vec<u32>,
}

/// One request's sequences with their first scored tokens, and whether something was cut off.
type Scored = (Vec<(Vec<u32>, usize)>, bool);

impl Reader {
    /// `begin` is what `tokenizer_config.json` and `config.json` name as the token that texts begin with, or else end with; see [`Begin`].
    ///
    /// # Errors
    /// A tokenizer that refuses any text.
    pub fn new(tokenizer: &Tokenizer, begin: &Begin<'_>, context: usize) -> Result<Self, CorpusError> {
        let encoder = Encoder::new(tokenizer)?;
        let prefix = begin.token(tokenizer, encoder.before.first().copied());
        let prefix = prefix.map(|id| (id, tokenizer.decode(&[id], false).unwrap_or_default()));
        Ok(Self { encoder, prefix, context })
    }

    /// All requests of a task.
    ///
    /// # Errors
    /// A request without a context or a continuation, or with a continuation that is longer than the model's context.
    pub fn requests(&self, task: &Task) -> Result<Requests, RequestError> {
        let of_document = |document: &Document| self.document(task, document);
        let scored: Vec<Vec<Scored>> = task.documents.par_iter().map(of_document).collect::<Result<_, _>>()?;
        let mut requests = Requests { sequences: vec![], firsts: vec![], of_request: vec![], truncated: 0 };
        for (windows, truncated) in scored.into_iter().flatten() {
            let first = requests.sequences.len();
            for (ids, scored_from) in windows {
                requests.sequences.push(ids);
                requests.firsts.push(scored_from);
            }
            requests.of_request.push(first..requests.sequences.len());
            requests.truncated += usize::from(truncated);
        }
        Ok(requests)
    }

    fn document(&self, task: &Task, document: &Document) -> Result<Vec<Scored>, RequestError> {
        let mut known: Option<(Arc<str>, Vec<u32>)> = None;
        let one = |(option, request): (usize, &Request)| {
            let at = || at(task, document, option);
            if task.kind == Kind::Text {
                let tokens = self
                    .encode(&request.continuation)
                    .map_err(|reason| RequestError::Tokenizer { at: at(), reason })?;
                return self.windows(&tokens).ok_or_else(|| RequestError::EmptyContext { at: at() });
            }
            let pair = self.pair(request, &mut known).map_err(|reason| RequestError::Tokenizer { at: at(), reason })?;
            let Pair { context, continuation } = &pair;
            match continuation.len() {
                0 => Err(RequestError::EmptyContinuation { at: at() }),
                _ if context.is_empty() => Err(RequestError::EmptyContext { at: at() }),
                tokens if tokens > self.context => {
                    Err(RequestError::TooLong { at: at(), tokens, context: self.context })
                }
                _ => Ok(self.cut(pair)),
            }
        };
        document.requests.iter().enumerate().map(one).collect()
    }

    /// With special tokens, unless the text begins with one already.
    fn encode(&self, text: &str) -> Result<Vec<u32>, String> {
        let begun =
            self.prefix.as_ref().is_some_and(|(_, written)| !written.is_empty() && text.starts_with(written.as_str()));
        self.encoder.whole(text, !begun)
    }

    /// `known` is the context that was encoded last: options of a document share theirs.
    fn pair(&self, request: &Request, known: &mut Option<(Arc<str>, Vec<u32>)>) -> Result<Pair, String> {
        if request.context.is_empty() {
            let mut continuation = self.encoder.whole(&request.continuation, false)?;
            let context = match &self.prefix {
                // A continuation that begins with that token itself conditions on it.
                Some((prefix, _)) if continuation.first() == Some(prefix) => vec![continuation.remove(0)],
                prefix => prefix.iter().map(|(prefix, _)| *prefix).collect(),
            };
            return Ok(Pair { context, continuation });
        }
        let kept = request.context.trim_end_matches(is_python_space);
        let whole = self.encode(&format!("{}{}", request.context, request.continuation))?;
        let context = match known {
            Some((text, ids)) if *text == request.context => ids.clone(),
            _ => {
                let ids = self.encode(kept)?;
                known.insert((request.context.clone(), ids)).1.clone()
            }
        };
        let continuation = whole.get(context.len()..).unwrap_or_default().to_vec();
        Ok(Pair { context, continuation })
    }

    /// At most `context` tokens are read, those on the right.
    fn cut(&self, Pair { mut context, continuation }: Pair) -> Scored {
        let scored = continuation.len();
        context.extend(continuation);
        let excess = context.len().saturating_sub(self.context + 1);
        context.drain(..excess);
        let first = context.len() - scored;
        (vec![(context, first)], excess > 0)
    }

    /// A text in windows of the whole context: every token is scored once. The last window begins early enough to be full.
    fn windows(&self, tokens: &[u32]) -> Option<Scored> {
        let (prefix, _) = self.prefix.as_ref()?;
        let mut windows = Vec::new();
        let mut scored = tokens.len().min(self.context);
        if scored > 0 {
            windows.push(([&[*prefix], &tokens[..scored]].concat(), 1));
        }
        while scored < tokens.len() {
            let end = (scored + self.context).min(tokens.len());
            let begin = end - self.context - 1;
            windows.push((tokens[begin..end].to_vec(), scored - begin));
            scored = end;
        }
        Some((windows, false))
    }
}

/// Where a request comes from, for errors.
fn at(task: &Task, document: &Document, option: usize) -> String {
    let subject = document.subject.as_ref().map(|subject| format!(", subject {subject}")).unwrap_or_default();
    format!("task {}{subject}, item {}, option {option}", task.name, document.item)
}

/// What Python's `str.rstrip` takes away: Rust's white space and four control characters.
fn is_python_space(char: char) -> bool {
    char.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&char)
}

/// What names the token that a text begins with.
#[derive(Clone, Copy, Debug)]
pub struct Begin<'a> {
    /// `tokenizer_config.json`, if there is one.
    pub tokenizer: Option<&'a serde_json::Value>,
    /// `config.json`.
    pub model: &'a serde_json::Value,
}

impl Begin<'_> {
    /// `bos_token`, or else `eos_token`, of the tokenizer's configuration, as Hugging Face has it; without that file, what the tokenizer
    /// puts before every text, or what the model's configuration says.
    fn token(&self, tokenizer: &Tokenizer, added: Option<u32>) -> Option<u32> {
        let written = |config: &serde_json::Value, key: &str| {
            let token = &config[key];
            token.as_str().or_else(|| token["content"].as_str()).and_then(|token| tokenizer.token_to_id(token))
        };
        let number = |key: &str| {
            let id = &self.model[key];
            id.as_u64().or_else(|| id[0].as_u64()).and_then(|id| u32::try_from(id).ok())
        };
        let named =
            self.tokenizer.and_then(|config| written(config, "bos_token").or_else(|| written(config, "eos_token")));
        named.or(added).or_else(|| number("bos_token_id")).or_else(|| number("eos_token_id"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::corpus::{builtin::TOKENIZER, tasks::TextSize};

    fn reader(context: usize) -> (Tokenizer, Reader) {
        let tokenizer = Tokenizer::from_bytes(TOKENIZER).unwrap();
        let begin = Begin { tokenizer: None, model: &json!({ "eos_token_id": 2 }) };
        let reader = Reader::new(&tokenizer, &begin, context).unwrap();
        (tokenizer, reader)
    }

    fn task(kind: Kind, requests: &[(&str, &str)]) -> Task {
        let request = |&(context, continuation): &(&str, &str)| Request {
            context: context.into(),
            continuation: continuation.into(),
            size: TextSize::of(continuation),
        };
        let requests = requests.iter().map(request).collect();
        let document = Document { subject: Some("s".to_owned()), item: 7, requests, gold: Some(0) };
        let (name, split) = ("t".to_owned(), "test".to_owned());
        Task { name, kind, metrics: vec![], split, shots: 0, groups: BTreeMap::default(), documents: vec![document] }
    }

    /// What is scored, as text.
    fn scored(tokenizer: &Tokenizer, requests: &Requests) -> Vec<String> {
        let tail = |(ids, &first): (&Vec<u32>, &usize)| tokenizer.decode(&ids[first..], false).unwrap();
        requests.sequences.iter().zip(&requests.firsts).map(tail).collect()
    }

    #[test]
    fn blanks_at_the_end_of_a_context_are_scored_with_the_continuation() {
        let (tokenizer, reader) = reader(100);
        let asked = task(
            Kind::Choice,
            &[("Anna is in the", " hall"), ("Anna is in the ", "hall"), ("Anna is in the \n", "hall")],
        );
        let requests = reader.requests(&asked).unwrap();
        assert_eq!(scored(&tokenizer, &requests), [" hall", " hall", " \nhall"]);
        assert_eq!(requests.sequences[0], requests.sequences[1]);
        assert_eq!((requests.truncated, requests.of_request), (0, vec![0..1, 1..2, 2..3]));
    }

    #[test]
    fn a_context_that_is_too_long_loses_its_left_end_and_is_counted() {
        let (tokenizer, long) = reader(100);
        let text = "Anna is in the hall. Ben is in the barn. Anna is in the";
        let asked = task(Kind::Choice, &[(text, " hall")]);
        let whole = long.requests(&asked).unwrap();
        let (_, short) = reader(6);
        let cut = short.requests(&asked).unwrap();
        assert_eq!((cut.truncated, cut.sequences[0].len()), (1, 7), "six are read, the seventh is predicted");
        assert!(whole.sequences[0].ends_with(&cut.sequences[0]));
        assert_eq!(scored(&tokenizer, &cut), [" hall"]);
    }

    #[test]
    fn what_cannot_be_scored_is_named() {
        let (_, reader) = reader(6);
        let error = |requests: &[(&str, &str)]| reader.requests(&task(Kind::Choice, requests)).unwrap_err().to_string();
        let empty = error(&[("Anna", " is"), ("Anna", "")]);
        assert!(
            empty.contains("no token of its own") && empty.contains("task t, subject s, item 7, option 1"),
            "{empty}"
        );
        let long = error(&[("Anna", " is in the hall. Ben is in the barn.")]);
        assert!(long.contains("longer than the model's context") && long.contains("> 6"), "{long}");
    }

    #[test]
    fn a_text_is_scored_in_full_windows_each_token_once() {
        let (tokenizer, reader) = reader(8);
        let text = "Anna is in the hall. Ben is in the barn. Anna is in the hall.";
        let requests = reader.requests(&task(Kind::Text, &[("", text)])).unwrap();
        let all = tokenizer.encode(text, true).unwrap().get_ids().to_vec();
        let tails = requests.sequences.iter().zip(&requests.firsts).flat_map(|(ids, &first)| ids[first..].to_vec());
        assert_eq!(tails.collect::<Vec<_>>(), all);
        assert!(requests.sequences.iter().all(|ids| ids.len() == 9), "a window reads eight tokens");
        assert!(requests.sequences.len() >= 2 && requests.of_request.len() == 1);
    }

    #[test]
    fn the_token_that_begins_a_text_is_the_tokenizers_before_the_models() {
        let tokenizer = Tokenizer::from_bytes(TOKENIZER).unwrap();
        let token = |id: u32| tokenizer.id_to_token(id).unwrap();
        let model = json!({ "bos_token_id": 7, "eos_token_id": [8, 9] });
        let of = |tokenizer_config: Option<serde_json::Value>, added| {
            Begin { tokenizer: tokenizer_config.as_ref(), model: &model }.token(&tokenizer, added)
        };
        assert_eq!(of(Some(json!({ "bos_token": token(5) })), Some(1)), Some(5));
        assert_eq!(of(Some(json!({ "bos_token": null, "eos_token": { "content": token(6) } })), None), Some(6));
        assert_eq!((of(None, Some(1)), of(None, None)), (Some(1), Some(7)));
    }
}
