//! A model that is ready to run, and what its manifest will say.

use std::time::{Instant, SystemTime};

use super::{
    DeviceChoice, DtypeChoice, Manifest, MemorySize, RunError, Warning, device,
    manifest::{MemoryFacts, ModelFacts, TaskFacts},
};
use crate::{
    model::{Decoder, DecoderConfig, ModelError},
    nn::clock::{self, Seconds},
    source::Checkpoint,
    walk::MemoryPlan,
};

/// An open model; time counts from here.
pub struct Opened {
    /// The model. No weight is read yet.
    pub decoder: Decoder,
    /// How its memory is divided.
    pub memory: MemoryPlan,
    /// Memory for all of it, weights included.
    pub budget: MemorySize,
    facts: ModelFacts,
    begun: SystemTime,
    started: Instant,
    clock_before: Seconds,
}

impl Opened {
    /// Opens it as the plan has it.
    ///
    /// # Errors
    /// A device that cannot be used, weights that do not fit the configuration.
    pub fn new(
        checkpoint: Checkpoint,
        config: DecoderConfig,
        (device, dtype, memory): (DeviceChoice, DtypeChoice, Option<MemorySize>),
    ) -> Result<Self, RunError> {
        let (begun, started, clock_before) = (SystemTime::now(), Instant::now(), clock::seconds());
        let device = device.open()?;
        let dtype = dtype.resolve(&device, &checkpoint.tensors);
        let budget = memory.unwrap_or_else(|| MemorySize::free(&device));
        let memory = MemoryPlan::new(&config, dtype.size_in_bytes() as u64, budget.0);
        let facts = ModelFacts::of(&checkpoint, &config).map_err(ModelError::from)?;
        let decoder = Decoder::open(config, checkpoint.tensors, device, dtype, memory.residency)?;
        Ok(Self { decoder, memory, budget, facts, begun, started, clock_before })
    }

    /// What made the results, which are there now.
    pub fn manifest<P, I>(self, plan: P, input: I, tasks: Vec<TaskFacts>, warnings: Vec<Warning>) -> Manifest<P, I> {
        Manifest {
            depthscope: env!("CARGO_PKG_VERSION"),
            target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
            plan,
            model: self.facts,
            input,
            tasks,
            device: device::name(self.decoder.device()),
            dtype: self.decoder.dtype().as_str(),
            memory: MemoryFacts::of(self.memory, self.budget.0),
            started_unix: self.begun.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            wall_seconds: self.started.elapsed().as_secs_f64(),
            seconds: clock::seconds().since(self.clock_before),
            warnings,
        }
    }
}
