//! A training run: recipe and flags to settings and data.

use std::{
    path::{Path, PathBuf},
    time::{Instant, SystemTime},
};

use serde::Serialize;

use super::{
    DEFAULT_TEXT_FIELD, DeviceChoice, HELD_OUT, InputError, RunError, TextSource, Warning, device,
    fine_tune::Start,
    input,
    train_text::{Reading, find_tokenizer, read_tokenizer, tokenizer_bytes},
};
use crate::{
    corpus::{CorpusError, bpe, builtin},
    files::{FileError, write_atomically},
    model::{ModelError, Placement},
    source::{SourceError, hub},
    train::{
        Budget, DataError, Init, OnDivergence, Outcome, Recipe, RecipeError, Settings, TrainError, Watcher,
        run as train,
    },
};

/// Vocabulary of a tokenizer that is trained for a run whose recipe names none.
pub const DEFAULT_TRAINED_VOCAB: usize = 4096;
/// Steps between two checkpoints.
pub const DEFAULT_CHECKPOINT_EVERY: usize = 500;
/// Looks at every layer in a run.
pub const DEFAULT_LOOKS: usize = 20;

/// A run of `train`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrainPlan {
    /// What is trained, with all flags in it.
    pub recipe: Recipe,
    /// The model that it goes on from, as `--model` takes it; sizes and placement are that model's then.
    pub from: Option<String>,
    /// Fine-tuning examples that are read instead of text.
    pub sft: Option<PathBuf>,
    /// What it reads.
    pub text: TextSource,
    /// Field of JSON and parquet rows that holds text.
    pub field: String,
    /// tokenizer.json, or a folder that holds one.
    pub tokenizer: Option<PathBuf>,
    /// The run's folder.
    pub out: PathBuf,
    /// Steps between checkpoints.
    pub checkpoint_every: usize,
    /// Steps between looks at every layer; by default a twentieth of the run.
    pub telemetry_every: Option<usize>,
    /// Steps between readings of the held-out sequences; by default a twentieth of the run.
    pub evaluate_every: Option<usize>,
    /// What happens when it diverges.
    pub on_divergence: OnDivergence,
    /// Goes on with the run in the folder.
    pub resume: bool,
    /// Where it runs.
    pub device: DeviceChoice,
}

impl TrainPlan {
    /// A plan with the defaults.
    #[must_use]
    pub fn new(recipe: Recipe, out: PathBuf) -> Self {
        Self {
            recipe,
            from: None,
            sft: None,
            text: TextSource::BuiltIn,
            field: DEFAULT_TEXT_FIELD.to_owned(),
            tokenizer: None,
            out,
            checkpoint_every: DEFAULT_CHECKPOINT_EVERY,
            telemetry_every: None,
            evaluate_every: None,
            on_divergence: OnDivergence::Stop,
            resume: false,
            device: DeviceChoice::Auto,
        }
    }

    /// What the user should know before it runs.
    #[must_use]
    pub fn warnings(&self) -> Vec<Warning> {
        let both = self.recipe.placement == Placement::Lns && self.recipe.init == Init::Scaled;
        both.then_some(Warning::ScaledTwice).into_iter().collect()
    }
}

/// Why a run of `train` failed.
#[derive(Debug, thiserror::Error)]
pub enum TrainRunError {
    /// The recipe.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// Its sizes.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The text.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The amount of it.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The device.
    #[error(transparent)]
    Device(#[from] RunError),
    /// The run.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// A file of the run's folder.
    #[error(transparent)]
    File(#[from] FileError),
    /// The folder holds a run already.
    #[error("folder holds a run already ({}); add --resume to go on with it, or choose another --out", out.display())]
    Exists {
        /// The folder.
        out: PathBuf,
    },
    /// What is resumed is something else.
    #[error("run cannot be resumed ({}: it was started with another {what}); give the same flags, or choose another --out", out.display())]
    Other {
        /// The folder.
        out: PathBuf,
        /// What differs.
        what: String,
    },
    /// The model that is trained further.
    #[error(transparent)]
    From(#[from] SourceError),
    /// The tokenizer cannot be read, or has more tokens than the model.
    #[error("tokenizer cannot be used ({problem}); give another --tokenizer")]
    Tokenizer {
        /// What is wrong.
        problem: String,
    },
}

impl From<CorpusError> for TrainRunError {
    fn from(error: CorpusError) -> Self {
        Self::Input(error.into())
    }
}

/// What was trained, and with what outcome.
#[derive(Debug, Serialize)]
pub struct Trained {
    /// What made it.
    pub manifest: TrainManifest,
    /// What came of it.
    #[serde(skip)]
    pub outcome: Outcome,
}

/// Everything that a run's numbers depend on.
#[derive(Clone, Debug, Serialize)]
pub struct TrainManifest {
    /// Version of the program.
    pub depthscope: &'static str,
    /// Processor and system.
    pub target: String,
    /// What was asked for.
    pub plan: TrainPlan,
    /// Size and cost.
    pub budget: Budget,
    /// SHA-256 of the tokens.
    pub data: String,
    /// Tokens of one epoch.
    pub data_tokens: usize,
    /// Sequences held out.
    pub held_out_sequences: usize,
    /// Where it ran.
    pub device: String,
    /// What passes computed in.
    pub dtype: &'static str,
    /// When it began.
    pub started_unix: u64,
    /// Seconds of this process; a resumed run has spent more.
    pub wall_seconds: f64,
    /// The step that it was resumed from.
    pub resumed_from: Option<usize>,
    /// Steps skipped by policy.
    pub skipped: u64,
    /// Held-out loss after the last step, nats per token.
    pub held_out_loss: Option<f64>,
}

/// What a run would cost. Reads the tokenizer, but no text.
///
/// # Errors
/// Sizes that make no model, a tokenizer that cannot be used.
pub fn dry_run(plan: &TrainPlan) -> Result<Budget, TrainRunError> {
    if let Some(start) = Start::open(plan, &hub::Silent)? {
        let recipe = start.recipe(&plan.recipe)?.checked()?;
        return Ok(Budget::of(&recipe, &start.config));
    }
    let vocab = match (&plan.tokenizer, &plan.text) {
        (None, TextSource::Named(_)) => plan.recipe.model.vocab.unwrap_or(DEFAULT_TRAINED_VOCAB),
        (None, TextSource::BuiltIn) => read_tokenizer(builtin::TOKENIZER)?.get_vocab_size(true),
        (Some(path), _) => read_tokenizer(&tokenizer_bytes(path)?)?.get_vocab_size(true),
    };
    let recipe = plan.recipe.clone().checked()?;
    Ok(Budget::of(&recipe, &recipe.decoder(vocab)?))
}

/// Carries out a plan.
///
/// # Errors
/// Whatever keeps the text from being read or the run from its last step. What is in the folder stays usable.
pub fn run_train(
    plan: &TrainPlan,
    downloads: &dyn hub::Progress,
    watcher: &mut dyn Watcher,
    warn: &mut Vec<Warning>,
) -> Result<Trained, TrainRunError> {
    let start = Start::open(plan, downloads)?;
    let recipe = match &start {
        Some(start) => start.recipe(&plan.recipe)?,
        None => plan.recipe.clone(),
    };
    let recipe = recipe.checked()?;
    check_folder(plan, &recipe)?;
    let (begun, started) = (SystemTime::now(), Instant::now());
    let paths = match (&plan.sft, &plan.text) {
        (None, TextSource::Named(name)) => Some(input::paths(name, downloads, warn)?),
        _ => None,
    };
    let tokenizer_bytes = match &start {
        Some(start) if plan.tokenizer.is_none() => start.tokenizer.clone(),
        _ => find_tokenizer(plan, &recipe, paths.as_deref())?,
    };
    let tokenizer = read_tokenizer(&tokenizer_bytes)?;
    let config = match &start {
        Some(start) => start.config.clone(),
        None => recipe.decoder(tokenizer.get_vocab_size(true))?,
    };
    if tokenizer.get_vocab_size(true) > config.vocab {
        let problem = format!("it has {} tokens, the model {}", tokenizer.get_vocab_size(true), config.vocab);
        return Err(TrainRunError::Tokenizer { problem });
    }
    let end_of_text = match &start {
        Some(start) => start.end_of_text,
        None => tokenizer.token_to_id(bpe::END_OF_TEXT).or_else(|| tokenizer.token_to_id("</s>")),
    };
    let reading = Reading { plan, recipe: &recipe, start: start.as_ref(), tokenizer: &tokenizer, end_of_text };
    let data = reading.data(paths.as_deref(), &tokenizer_bytes, warn)?;
    let device = plan.device.open()?;
    write_recipe(plan, &recipe, &tokenizer_bytes)?;
    if plan.sft.is_none() {
        // `compare` scores every token of it, and of examples only the responses count.
        write_json(plan, HELD_OUT, &data.held_out_ids())?;
    }
    let every = (recipe.steps / DEFAULT_LOOKS).max(1);
    let tokenizer_config = start.as_ref().and_then(|start| start.tokenizer_config.clone());
    let settings = Settings {
        start: start.map(Start::weights).transpose()?,
        tokenizer: tokenizer_bytes,
        end_of_text,
        out: plan.out.clone(),
        checkpoint_every: plan.checkpoint_every,
        telemetry_every: plan.telemetry_every.unwrap_or(every),
        evaluate_every: plan.evaluate_every.unwrap_or(every),
        on_divergence: plan.on_divergence,
        dtype: recipe.dtype.on(&device),
        recipe,
        config,
        device,
    };
    let outcome = train(&settings, &data, watcher)?;
    if let Some(config) = tokenizer_config.filter(|_| !outcome.stopped) {
        write_json(plan, "model/tokenizer_config.json", &config)?;
    }
    let manifest = TrainManifest {
        depthscope: env!("CARGO_PKG_VERSION"),
        target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        plan: plan.clone(),
        budget: Budget::of(&settings.recipe, &settings.config),
        data: data.hash(),
        data_tokens: data.tokens(),
        held_out_sequences: data.held_out_sequences(),
        device: device::name(&settings.device).to_owned(),
        dtype: settings.dtype.as_str(),
        started_unix: begun.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        wall_seconds: started.elapsed().as_secs_f64(),
        resumed_from: outcome.resumed_from,
        skipped: outcome.skipped,
        held_out_loss: outcome.log.last().and_then(|row| row.held_out_loss),
    };
    let text = serde_json::to_vec_pretty(&manifest).unwrap_or_default();
    write_atomically(&plan.out.join("manifest.json"), |file| std::io::Write::write_all(file, &text))?;
    Ok(Trained { manifest, outcome })
}

const RECIPE: &str = "recipe.toml";
pub(super) const TOKENIZER: &str = "tokenizer.json";

fn check_folder(plan: &TrainPlan, recipe: &Recipe) -> Result<(), TrainRunError> {
    let out = plan.out.clone();
    if !plan.resume && out.join(RECIPE).exists() {
        return Err(TrainRunError::Exists { out });
    }
    differs(&out, recipe)?.map_or(Ok(()), |what| Err(TrainRunError::Other { out, what }))
}

/// What the run in the folder, if there is one, was started with that `recipe` has not.
pub(super) fn differs(out: &Path, recipe: &Recipe) -> Result<Option<String>, TrainRunError> {
    let recorded = out.join(RECIPE);
    if !recorded.exists() {
        return Ok(None);
    }
    let before = Recipe::load(&recorded.to_string_lossy())?;
    if before == *recipe {
        return Ok(None);
    }
    let (before, now) = (before.to_toml()?, recipe.to_toml()?);
    let differs = before.lines().find(|line| !now.lines().any(|other| other == *line));
    Ok(Some(differs.map_or_else(|| "recipe".to_owned(), |line| format!("recipe, which says {line}"))))
}

/// The recipe of a run: with the model's sizes and placement where it goes on from one.
pub(super) fn resolved(plan: &TrainPlan, downloads: &dyn hub::Progress) -> Result<Recipe, TrainRunError> {
    let recipe = match Start::open(plan, downloads)? {
        Some(start) => start.recipe(&plan.recipe)?,
        None => plan.recipe.clone(),
    };
    Ok(recipe.checked()?)
}

fn write_json(plan: &TrainPlan, name: &str, value: &impl Serialize) -> Result<(), FileError> {
    let text = serde_json::to_vec(value).unwrap_or_default();
    write_atomically(&plan.out.join(name), |file| std::io::Write::write_all(file, &text))
}

fn write_recipe(plan: &TrainPlan, recipe: &Recipe, tokenizer: &[u8]) -> Result<(), TrainRunError> {
    let text = recipe.to_toml()?;
    write_atomically(&plan.out.join(TOKENIZER), |file| std::io::Write::write_all(file, tokenizer))?;
    Ok(write_atomically(&plan.out.join(RECIPE), |file| std::io::Write::write_all(file, text.as_bytes()))?)
}
