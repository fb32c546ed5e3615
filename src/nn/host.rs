//! Tensors as slices on the host.

use std::ops::Deref;

use candle_core::{DType, Result, Storage, Tensor};

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
