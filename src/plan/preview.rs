//! `--plan`: what a run will read, hold and compute, without reading a tensor.

use serde::Serialize;

use super::{
    EvalPlan, Host, MemorySize, Plan, PrunePlan, RunError, Warning,
    ask::{Asking, Keep, Prepared},
    device,
    eval::ReadyEval,
    measure::{Asks, Reading, token_routes},
    run::{Ready, ready},
    squad::SQUAD,
};
use crate::{
    metrics::prune::Removal,
    model::{Decoder, DecoderConfig, LayeredModel, Residency, parameters},
    source::TensorFiles,
    walk::{Forecast, MemoryPlan, ReadAhead, Route, Watch},
};

/// What a run will do.
#[derive(Clone, Debug, Serialize)]
pub struct Preview {
    /// The model as the user named it.
    pub model: String,
    /// The commit on the Hub.
    pub commit: Option<String>,
    /// Number of blocks.
    pub layers: usize,
    /// Number of parameters.
    pub parameters: u64,
    /// `cpu`, `cuda` or `metal`.
    pub device: &'static str,
    /// What it computes in.
    pub dtype: &'static str,
    /// What is read.
    pub read: WillRead,
    /// What is held in memory.
    pub held: WillHold,
    /// What is computed: the text first, if there is one, then each task.
    pub walks: Vec<WillCompute>,
    /// What to know about it.
    pub warnings: Vec<Warning>,
}

/// What a run will read, in bytes.
#[derive(Clone, Debug, Serialize)]
pub struct WillRead {
    /// The weights files.
    pub files: Vec<WeightsFile>,
    /// Their sizes together.
    pub bytes: u64,
    /// The largest block, as it is stored.
    pub largest_block: u64,
    /// All blocks, as they are stored, times how often they are read.
    pub blocks_in_all: u64,
}

/// A weights file.
#[derive(Clone, Debug, Serialize)]
pub struct WeightsFile {
    /// Its path.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

/// What a run will hold in memory, in bytes.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct WillHold {
    /// What it is allowed.
    pub budget: u64,
    /// `resident` or `streamed`.
    pub residency: &'static str,
    /// Whether the next block is read while one computes.
    pub read_ahead: ReadAhead,
    /// Weights in memory at a time.
    pub weights: u64,
    /// What a block needs while it computes.
    pub work: u64,
    /// Room for the streams of all lanes, and what metrics keep of them.
    pub streams: u64,
}

/// One walk over the layers.
#[derive(Clone, Debug, Serialize)]
pub struct WillCompute {
    /// `text`, or the name of a task.
    pub of: String,
    /// Sequences that are read.
    pub sequences: usize,
    /// Their tokens, one by one.
    pub tokens: usize,
    /// The full model and each pruned one.
    pub routes: usize,
    /// How it is cut.
    #[serde(flatten)]
    pub forecast: Forecast,
    /// 2 · (parameters of all blocks / branches) · `work.done`, the head not counted: roughly, because attention itself is not a product with
    /// weights, the two branches differ in size, and of experts all are counted.
    pub flops: f64,
}

/// What [`super::run`] will do.
///
/// # Errors
/// As [`super::run`], but for what shows itself only in weights.
pub fn preview(plan: &Plan, host: &Host<'_>) -> Result<Preview, RunError> {
    let Ready { checkpoint, config, sequences, masked, tasks, squad, warnings } = ready(plan, host)?;
    let model = Opening { name: checkpoint.name, commit: checkpoint.commit, config, tensors: checkpoint.tensors };
    let about = model.open(plan.device, plan.dtype, plan.memory)?;
    let removals = plan.measures.removals(about.decoder.shape().layers);
    let routes: Vec<Route> = removals.iter().map(Removal::route).collect();
    let scored = token_routes(&removals, about.decoder.config());
    let watch = Watch { interrupted: host.interrupted, progress: host.progress };
    let reading = Reading::new(&sequences, masked.as_ref());
    let walk = plan.measures.walk(&about.decoder, &about.memory, &reading, &scored, watch);
    let observed = plan.measures.variance || plan.measures.angular;
    let mut walks = Vec::new();
    if observed || !scored.is_empty() {
        walks.push(about.walk("text", walk.sequences, &scored, walk.forecast(observed)?));
    }
    let items = plan.measures.prune.as_ref().is_some_and(|PrunePlan { items, .. }| *items);
    walks.extend(about.asked(Asks { tasks: &tasks, squad: squad.as_ref() }, &routes, Keep::of(items), watch)?);
    Ok(about.preview(walks, warnings))
}

/// What [`super::evaluate`] will do.
///
/// # Errors
/// As [`super::evaluate`], but for what shows itself only in weights.
pub fn preview_eval(plan: &EvalPlan, host: &Host<'_>) -> Result<Preview, RunError> {
    let ReadyEval { checkpoint, config, tasks, squad, warnings } = super::eval::ready(plan, host)?;
    let model = Opening { name: checkpoint.name, commit: checkpoint.commit, config, tensors: checkpoint.tensors };
    let about = model.open(plan.device, plan.dtype, plan.memory)?;
    let watch = Watch { interrupted: host.interrupted, progress: host.progress };
    let walks = about.asked(Asks { tasks: &tasks, squad: squad.as_ref() }, &[], Keep::of(plan.items), watch)?;
    Ok(about.preview(walks, warnings))
}

struct Opening {
    name: String,
    commit: Option<String>,
    config: DecoderConfig,
    tensors: TensorFiles,
}

/// A model that is open, and none of whose weights is read.
struct About {
    name: String,
    commit: Option<String>,
    decoder: Decoder,
    memory: MemoryPlan,
    budget: MemorySize,
}

impl Opening {
    fn open(
        self,
        device: super::DeviceChoice,
        dtype: super::DtypeChoice,
        memory: Option<MemorySize>,
    ) -> Result<About, RunError> {
        let device = device.open()?;
        let dtype = dtype.resolve(&device, &self.tensors);
        let budget = memory.unwrap_or_else(|| MemorySize::free(&device));
        let memory = MemoryPlan::new(&self.config, dtype.size_in_bytes() as u64, budget.0);
        let decoder = Decoder::open(self.config, self.tensors, device, dtype, memory.residency)?;
        Ok(About { name: self.name, commit: self.commit, decoder, memory, budget })
    }
}

impl About {
    fn walk(&self, of: &str, sequences: &[Vec<u32>], routes: &[Route], forecast: Forecast) -> WillCompute {
        let config = self.decoder.config();
        let of_blocks: u64 = config.block_tensors().flatten().map(|shape| shape.iter().product::<usize>() as u64).sum();
        WillCompute {
            of: of.to_owned(),
            sequences: sequences.len(),
            tokens: sequences.iter().map(Vec::len).sum(),
            routes: routes.len() + 1,
            forecast,
            flops: forecast.work.done as f64 * of_blocks as f64 / config.blocks.len() as f64,
        }
    }

    fn asked(
        &self,
        asks: Asks<'_>,
        routes: &[Route],
        keep: Keep,
        watch: Watch<'_>,
    ) -> Result<Vec<WillCompute>, RunError> {
        let asking = Asking { decoder: &self.decoder, memory: self.budget, watch };
        let squad = asks.squad.map(|squad| {
            let walk = squad.walk(&asking, routes);
            Ok(self.walk(SQUAD, walk.sequences, routes, walk.forecast(false)?))
        });
        let asked = |prepared: &Prepared| {
            let forecast = asking.walk(prepared, routes, keep).forecast(false)?;
            Ok(self.walk(&prepared.task.name, &prepared.requests.sequences, routes, forecast))
        };
        squad.into_iter().chain(asks.tasks.iter().map(asked)).collect()
    }

    fn preview(self, walks: Vec<WillCompute>, warnings: Vec<Warning>) -> Preview {
        let stored = self.decoder.stored_block_bytes();
        // What stays in memory is read once, whatever is walked.
        let times = match self.memory.residency {
            Residency::Resident => 1,
            Residency::Streamed => walks.iter().map(|walk| walk.forecast.passes() as u64).sum(),
        };
        let weights = self.decoder.files().files();
        let files: Vec<WeightsFile> =
            weights.map(|(name, bytes)| WeightsFile { name: name.to_owned(), bytes }).collect();
        let MemoryPlan { residency, read_ahead, weight_bytes, work_bytes, stream_bytes, .. } = self.memory;
        Preview {
            layers: self.decoder.shape().layers,
            parameters: parameters(self.decoder.config()),
            device: device::name(self.decoder.device()),
            dtype: self.decoder.dtype().as_str(),
            read: WillRead {
                bytes: files.iter().map(|file| file.bytes).sum(),
                files,
                largest_block: stored.iter().copied().max().unwrap_or(0),
                blocks_in_all: stored.iter().sum::<u64>() * times,
            },
            held: WillHold {
                budget: self.budget.0,
                residency: residency.name(),
                read_ahead,
                weights: weight_bytes,
                work: work_bytes,
                streams: stream_bytes,
            },
            model: self.name,
            commit: self.commit,
            walks,
            warnings,
        }
    }
}
