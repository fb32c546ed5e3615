//! Tensors as slices on the host.

use std::{cell::Cell, ops::Deref};

use candle_core::{CpuStorage, DType, InplaceOp1, Layout, Result, Storage, Tensor};

/// The elements of a tensor in f32, row-major, on the host. Nothing is copied if they lie so on the CPU already.
pub enum HostRows<'a> {
    /// They do.
    Borrowed {
        /// Keeps them in place.
        storage: Box<dyn Deref<Target = Storage> + 'a>,
        /// First and end element.
        range: (usize, usize),
    },
    /// They were brought there.
    Copied(Vec<f32>),
}

impl<'a> HostRows<'a> {
    /// Of this tensor.
    ///
    /// # Errors
    /// An error of the device.
    pub fn new(tensor: &'a Tensor) -> Result<Self> {
        let (storage, layout) = tensor.storage_and_layout();
        let on_host = matches!((&*storage, tensor.dtype()), (Storage::Cpu(_), DType::F32));
        if let Some(range) = layout.contiguous_offsets().filter(|_| on_host) {
            return Ok(Self::Borrowed { storage: Box::new(storage), range });
        }
        drop(storage);
        Ok(Self::Copied(tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?))
    }

    /// As a slice.
    ///
    /// # Errors
    /// Never for a tensor that [`HostRows::new`] took.
    pub fn elements(&self) -> Result<&[f32]> {
        match self {
            Self::Copied(elements) => Ok(elements),
            Self::Borrowed { storage, range: (start, end) } => match &***storage {
                Storage::Cpu(storage) => Ok(&storage.as_slice::<f32>()?[*start..*end]),
                _ => candle_core::bail!("tensor is not on the host"),
            },
        }
    }
}

/// Runs `body` on the elements of a tensor; see [`HostRows`].
///
/// # Errors
/// An error of the device, or of `body`.
pub fn with_f32<R>(tensor: &Tensor, body: impl FnOnce(&[f32]) -> Result<R>) -> Result<R> {
    body(HostRows::new(tensor)?.elements()?)
}

/// Runs `body` on the elements of a dense f32 tensor on the host, which it may change in place.
///
/// # Errors
/// Another type, layout or device, or an error of `body`.
pub fn with_f32_mut<R>(tensor: &Tensor, body: impl FnOnce(&mut [f32]) -> Result<R>) -> Result<R> {
    let result = Cell::new(None);
    let change = Change(Cell::new(Some(|elements: &mut [f32]| {
        result.set(Some(body(elements)?));
        Ok(())
    })));
    tensor.inplace_op1(&change)?;
    drop(change);
    result.into_inner().ok_or_else(|| candle_core::Error::Msg("tensor was not changed".to_owned()))
}

/// A closure as an operation in place.
struct Change<F>(Cell<Option<F>>);

impl<F: FnOnce(&mut [f32]) -> Result<()>> InplaceOp1 for Change<F> {
    fn name(&self) -> &'static str {
        "change-in-place"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let (Some((start, end)), CpuStorage::F32(elements)) = (layout.contiguous_offsets(), storage) else {
            candle_core::bail!("tensor is not dense f32")
        };
        self.0.take().map_or(Ok(()), |body| body(&mut elements[start..end]))
    }
}
