//! The text of a training run: its tokenizer and its tokens.

use std::path::{Path, PathBuf};

use tokenizers::Tokenizer;

use super::{DEFAULT_TRAINED_VOCAB, TrainPlan, TrainRunError, Warning, fine_tune::Start, input, train::TOKENIZER};
use crate::{
    corpus::{self, CorpusError, TokenStore, bpe, builtin, dialogue},
    files::write_atomically,
    foreign::guarded,
    source::hub,
    train::{Data, Recipe, Sequences},
};

/// Tokens of the built-in corpus that are made at most; a longer run reads them again.
pub const MOST_BUILT_IN_TOKENS: usize = 1 << 26;
/// Seed of the stories for training, the same whatever a run's own seed: runs are compared on the same text. Those for measuring
/// are elsewhere.
const TRAINING_SEED: u64 = 1 << 33;

/// What decides what a run reads.
pub(super) struct Reading<'a> {
    pub plan: &'a TrainPlan,
    pub recipe: &'a Recipe,
    pub start: Option<&'a Start>,
    pub tokenizer: &'a Tokenizer,
    pub end_of_text: Option<u32>,
}

impl Reading<'_> {
    /// Fine-tuning examples if there are any, else text.
    pub fn data(
        &self,
        paths: Option<&[PathBuf]>,
        tokenizer_bytes: &[u8],
        warn: &mut Vec<Warning>,
    ) -> Result<Data, TrainRunError> {
        let Self { plan, tokenizer, end_of_text, .. } = *self;
        let Recipe { seq_len, batch_size, seed, sequences, .. } = *self.recipe;
        let Some(file) = &plan.sft else {
            let store = token_store(plan, self.recipe, paths, tokenizer, tokenizer_bytes, end_of_text)?;
            let data = match sequences {
                Sequences::Packed => Data::new(store, seq_len, batch_size, seed),
                Sequences::Documents => Data::of_documents(store, seq_len, batch_size, seed),
            };
            return Ok(data?);
        };
        let template = self.start.and_then(|start| start.template.as_ref());
        let examples = dialogue::examples(file, tokenizer, template, end_of_text)?;
        let count = examples.iter().filter(|example| example.ids.len() > seq_len + 1).count();
        if count > 0 {
            warn.push(Warning::CutExamples { count, seq_len });
        }
        Ok(Data::of_examples(examples, seq_len, batch_size, seed)?)
    }
}

/// Learns a tokenizer from text and writes it as `out`, or as tokenizer.json in the folder `out`.
///
/// # Errors
/// Text that cannot be read, a vocabulary that is too small, a file that cannot be written.
pub fn train_tokenizer(
    text: &str,
    field: &str,
    vocab: usize,
    out: &Path,
    downloads: &dyn hub::Progress,
    warn: &mut Vec<Warning>,
) -> Result<(PathBuf, usize), TrainRunError> {
    let paths = input::paths(text, downloads, warn)?;
    let tokenizer = bpe::train_bpe(corpus::documents(&paths, field)?, vocab)?;
    let json = tokenizer.to_string(false).map_err(|error| unusable(&error.to_string()))?;
    let named = out.extension().is_some_and(|extension| extension == "json");
    let file = if named { out.to_owned() } else { out.join(TOKENIZER) };
    write_atomically(&file, |out| std::io::Write::write_all(out, json.as_bytes()))?;
    Ok((file, tokenizer.get_vocab_size(true)))
}

/// The one that is named; that of the run which is resumed; the built-in one for the built-in corpus; else one trained on the text.
pub(super) fn find_tokenizer(
    plan: &TrainPlan,
    recipe: &Recipe,
    paths: Option<&[PathBuf]>,
) -> Result<Vec<u8>, TrainRunError> {
    let kept = plan.out.join(TOKENIZER);
    match (&plan.tokenizer, paths) {
        (Some(path), _) => tokenizer_bytes(path),
        _ if plan.resume && kept.exists() => tokenizer_bytes(&kept),
        (None, None) => Ok(builtin::TOKENIZER.to_vec()),
        (None, Some(paths)) => {
            let vocab = recipe.model.vocab.unwrap_or(DEFAULT_TRAINED_VOCAB);
            let tokenizer = bpe::train_bpe(corpus::documents(paths, &plan.field)?, vocab)?;
            let json = tokenizer.to_string(false).map_err(|error| unusable(&error.to_string()))?;
            Ok(json.into_bytes())
        }
    }
}

fn unusable(problem: &str) -> TrainRunError {
    TrainRunError::Tokenizer { problem: problem.to_owned() }
}

pub(super) fn tokenizer_bytes(path: &Path) -> Result<Vec<u8>, TrainRunError> {
    let file = if path.is_dir() { path.join(TOKENIZER) } else { path.to_owned() };
    std::fs::read(&file).map_err(|error| unusable(&format!("{}: {error}", file.display())))
}

pub(super) fn read_tokenizer(bytes: &[u8]) -> Result<Tokenizer, TrainRunError> {
    let read = guarded(|| Tokenizer::from_bytes(bytes)).map_err(|problem| unusable(&problem))?;
    read.map_err(|error| unusable(&error.to_string()))
}

fn token_store(
    plan: &TrainPlan,
    recipe: &Recipe,
    paths: Option<&[PathBuf]>,
    tokenizer: &Tokenizer,
    tokenizer_bytes: &[u8],
    end_of_text: Option<u32>,
) -> Result<TokenStore, TrainRunError> {
    let folder = cache_folder();
    let tokenizer_hash = corpus::hash_of(&[tokenizer_bytes]);
    let store = |key: String, limit, documents: Box<dyn FnOnce() -> Documents + '_>| {
        TokenStore::open_or_make(&folder, &key, tokenizer, end_of_text, limit, documents)
    };
    let Some(paths) = paths else {
        // A tenth more than the run reads, of which a part is held out.
        let limit = (recipe.steps * recipe.tokens_per_step()).saturating_mul(11) / 10;
        let limit = limit.clamp(1 << 16, MOST_BUILT_IN_TOKENS);
        let seed = TRAINING_SEED;
        let first: String = builtin::stories(seed).take(64).map(|story| story.text).collect();
        let key = corpus::hash_of(&[tokenizer_hash.as_bytes(), first.as_bytes(), &limit.to_le_bytes()]);
        let stories = move || -> Documents { Ok(Box::new(builtin::stories(seed).map(|story| Ok(story.text)))) };
        return Ok(store(key, limit, Box::new(stories))?);
    };
    let content = corpus::content_hash(paths)?;
    let key = corpus::hash_of(&[tokenizer_hash.as_bytes(), content.as_bytes(), plan.field.as_bytes()]);
    let documents = || -> Documents { Ok(Box::new(corpus::documents(paths, &plan.field)?)) };
    Ok(store(key, usize::MAX, Box::new(documents))?)
}

type Documents = Result<Box<dyn Iterator<Item = Result<String, CorpusError>>>, CorpusError>;

/// `DEPTHSCOPE_CACHE`, or `depthscope` in the user's cache folder, or in that for temporary files.
fn cache_folder() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("DEPTHSCOPE_CACHE").unwrap_or_else(|| {
        set("XDG_CACHE_HOME")
            .or_else(|| set("HOME").map(|home| home.join(".cache")))
            .unwrap_or_else(std::env::temp_dir)
            .join("depthscope")
    })
}
