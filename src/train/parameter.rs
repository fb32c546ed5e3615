//! One trained tensor: its value, what it is computed with, its gradient.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Result, Tensor};

/// One or several tensors of a checkpoint, one under the other, so that one product serves all of them.
///
/// Query, key and value read the same input, gate and up another: stacked they are one matrix each.
pub struct Parameter {
    /// Names and shapes in the checkpoint, in the order of their rows.
    pub parts: Vec<(String, Vec<usize>)>,
    /// The master copy, f32.
    pub value: Tensor,
    /// What the pass computes with: the master itself in f32, a rounded copy in half types.
    pub working: Tensor,
    /// Gradient of the last pass, f32.
    pub gradient: Tensor,
}

impl Parameter {
    /// Takes the named tensors out of a checkpoint.
    pub(super) fn new(
        names: &[String],
        weights: &BTreeMap<String, Tensor>,
        device: &Device,
        dtype: DType,
    ) -> Result<Self> {
        let mut parts = Vec::new();
        let mut rows = Vec::new();
        for name in names {
            let Some(tensor) = weights.get(name) else { candle_core::bail!("weight is missing ({name})") };
            parts.push((name.clone(), tensor.dims().to_vec()));
            rows.push(tensor.to_device(device)?.to_dtype(DType::F32)?);
        }
        // A copy: training changes it in place, and the caller's tensors are the caller's.
        let value = Tensor::cat(&rows, 0)?.force_contiguous()?;
        let gradient = value.zeros_like()?;
        let working = value.to_dtype(dtype)?;
        Ok(Self { parts, value, working, gradient })
    }

    /// Whether it is a matrix; the others are gains and factors, which are not decayed.
    #[must_use]
    pub fn is_matrix(&self) -> bool {
        self.value.rank() > 1
    }

    /// Brings the working copy up to date after a step.
    pub(super) fn refresh(&mut self) -> Result<()> {
        if self.working.dtype() != DType::F32 {
            self.working = self.value.to_dtype(self.working.dtype())?;
        }
        Ok(())
    }

    /// The tensors of the checkpoint in `stacked`, which has this parameter's shape.
    pub(super) fn unstack(&self, stacked: &Tensor) -> Result<Vec<(String, Tensor)>> {
        let mut first = 0;
        let mut tensors = Vec::new();
        for (name, shape) in &self.parts {
            tensors.push((name.clone(), stacked.narrow(0, first, shape[0])?.contiguous()?));
            first += shape[0];
        }
        Ok(tensors)
    }
}
