//! Our logits, from the walk that every measurement uses.

use candle_core::{DType, Tensor};

use super::VerifyError;
use crate::{
    model::{Decoder, Residency},
    walk::{Batch, Budget, Ending, Observer, ReadAhead, Site, Walk, WalkError, Watch},
};

/// Logits of every position of one sequence. It is the first `share` of the work.
pub fn logits(decoder: &Decoder, tokens: &[u32], watch: &Watch<'_>, share: f64) -> Result<Vec<Vec<f32>>, VerifyError> {
    let mut logits = Logits(Vec::new());
    let budget = Budget {
        bytes: u64::MAX,
        element_bytes: decoder.dtype().size_in_bytes() as u64,
        kept_streams: 0,
        group_tokens: tokens.len(),
        residency: Residency::Resident,
        read_ahead: ReadAhead::Off,
    };
    let progress = |done: f64| (watch.progress)(share * done);
    let walk = Walk {
        model: decoder,
        sequences: &[tokens.to_vec()],
        removals: &[],
        ending: Ending::Drop,
        budget,
        watch: Watch { interrupted: watch.interrupted, progress: &progress },
    };
    walk.run(&mut [&mut logits])?;
    Ok(logits.0)
}

struct Logits(Vec<Vec<f32>>);

impl Observer for Logits {
    fn wants(&self, site: Site) -> bool {
        site == Site::Logits
    }

    fn observe(&mut self, _site: Site, tensor: &Tensor, _batch: &Batch) -> Result<(), WalkError> {
        self.0 = tensor.to_dtype(DType::F32)?.to_vec2()?;
        Ok(())
    }
}
