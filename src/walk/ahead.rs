//! Reading ahead: while a block computes, the next one is read on a thread of its own.

use std::{
    panic::resume_unwind,
    sync::Arc,
    thread::{Scope, ScopedJoinHandle, scope},
};

use super::WalkError;
use crate::model::{Block, LayeredModel, ModelError};

/// Whether the next block is read while one computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadAhead {
    /// A block is read when its turn comes: one is in memory at a time.
    #[default]
    Off,
    /// The next block is read meanwhile: two are in memory at a time.
    NextBlock,
}

/// Hands the blocks of a model to `visit`, first to last. `visit` drops each before it is given the next.
///
/// # Errors
/// The first of `visit`, or of reading a block, which is then not visited. What is being read ahead at an error is waited for, and no
/// further block is read.
pub fn each_block(
    model: &dyn LayeredModel,
    ahead: ReadAhead,
    mut visit: impl FnMut(usize, Arc<Block>) -> Result<(), WalkError>,
) -> Result<(), WalkError> {
    let layers = model.shape().layers;
    if ahead == ReadAhead::Off {
        return (0..layers).try_for_each(|layer| visit(layer, model.block(layer)?));
    }
    scope(|threads| {
        let mut coming = (layers > 0).then(|| read(threads, model, 0));
        let mut layer = 0;
        while let Some(reading) = coming {
            let block = reading.join().unwrap_or_else(|panic| resume_unwind(panic))?;
            coming = (layer + 1 < layers).then(|| read(threads, model, layer + 1));
            visit(layer, block)?;
            layer += 1;
        }
        Ok(())
    })
}

fn read<'s>(
    threads: &'s Scope<'s, '_>,
    model: &'s dyn LayeredModel,
    layer: usize,
) -> ScopedJoinHandle<'s, Result<Arc<Block>, ModelError>> {
    threads.spawn(move || model.block(layer))
}
