//! The sequences of a batch, spread over threads.
//!
//! The products of a narrow model are too small to be worth dividing: threads then wait for each other longer than they multiply. Sequences do
//! not see each other, so each thread takes some through all blocks, forward and backward, with gradients of its own, which are added up
//! at the end, always in the same order. What a run computes thus depends on the number of threads, in the last digits, and on nothing else.

use std::{ops::Range, sync::Arc};

use candle_core::{DType, Error, Result, Tensor};
use rayon::{ThreadPool, ThreadPoolBuilder, prelude::*};

use super::{network::Id, parameter::Parameter};
use crate::nn::{
    Ragged,
    cpu::simd,
    host::{HostRows, with_f32_mut},
};

/// Bytes of gradients beside the parameters' own. A wider model has fewer shards, down to one, and then all threads divide each product.
const COPIES: u64 = 512 << 20;

/// Number of shards of so many parameters on the CPU.
pub(super) fn on_host(parameters: u64) -> usize {
    rayon::current_num_threads().min(1 + (COPIES / (4 * parameters).max(1)) as usize)
}

/// Where one thread's pass writes.
pub(super) struct Shard {
    /// Gradient of each parameter; those of the first shard are the parameters' own.
    pub gradients: Vec<Tensor>,
    /// Memory of the logits, from pass to pass.
    pub logits: Vec<f32>,
    /// Rows of the embedding's gradient that are not zero.
    pub touched: Vec<u32>,
    /// In a pool of one thread, every parallel loop is a plain one.
    alone: Arc<ThreadPool>,
}

impl Shard {
    /// As many as there are threads and memory for.
    pub fn of(parameters: &[Parameter]) -> Result<Vec<Self>> {
        let divisible =
            |parameter: &Parameter| parameter.working.device().is_cpu() && parameter.working.dtype() == DType::F32;
        let elements = parameters.iter().map(|parameter| parameter.gradient.elem_count() as u64).sum();
        let most = if parameters.iter().all(divisible) { on_host(elements) } else { 1 };
        let own = parameters.iter().map(|parameter| parameter.gradient.clone()).collect();
        let mut shards = Vec::from([Self::new(own)?]);
        while shards.len() < most {
            let zeros = parameters.iter().map(|parameter| parameter.gradient.zeros_like());
            shards.push(Self::new(zeros.collect::<Result<_>>()?)?);
        }
        Ok(shards)
    }

    fn new(gradients: Vec<Tensor>) -> Result<Self> {
        let alone = ThreadPoolBuilder::new().num_threads(1).build().map_err(Error::wrap)?;
        Ok(Self { gradients, logits: Vec::new(), touched: Vec::new(), alone: Arc::new(alone) })
    }
}

/// Runs of consecutive sequences with about as many tokens each, at most `most`.
pub(super) fn parts(batch: &Ragged, most: usize) -> Vec<Range<usize>> {
    let (tokens, sequences) = (batch.tokens(), batch.sequences());
    let mut ends: Vec<usize> = (1..=most)
        .map(|part| {
            let middle = |sequence: &usize| batch.span(*sequence).start + batch.span(*sequence).len() / 2;
            (0..sequences).take_while(|sequence| middle(sequence) * most < part * tokens).count()
        })
        .collect();
    ends.dedup();
    let starts = std::iter::once(0).chain(ends.clone());
    starts.zip(ends).filter(|(start, end)| start < end).map(|(start, end)| start..end).collect()
}

/// Runs `body(index, shard, part)` for each part in a thread of its own.
pub(super) fn in_parallel<R: Send>(
    shards: &mut [Shard],
    parts: &[Range<usize>],
    body: impl Fn(usize, &mut Shard, Range<usize>) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let mut results: Vec<Option<Result<R>>> = parts.iter().map(|_| None).collect();
    std::thread::scope(|scope| {
        for (index, ((shard, part), result)) in shards.iter_mut().zip(parts).zip(&mut results).enumerate() {
            let (body, alone) = (&body, Arc::clone(&shard.alone));
            scope.spawn(move || *result = Some(alone.install(|| body(index, shard, part.clone()))));
        }
    });
    results.into_iter().flatten().collect()
}

/// Adds the gradients of all shards to those of the first. Of `sparse`, an embedding, only the rows that were touched.
pub(super) fn gather(shards: &mut [Shard], sparse: Option<Id>) -> Result<()> {
    let Some((first, others)) = shards.split_first_mut() else { return Ok(()) };
    first.gradients.par_iter().enumerate().filter(|(id, _)| sparse != Some(*id)).try_for_each(|(id, sum)| {
        others.iter().try_for_each(|other| {
            let part = HostRows::new(&other.gradients[id])?;
            let part = part.elements()?;
            with_f32_mut(sum, |sum| {
                add(sum, part);
                Ok(())
            })
        })
    })?;
    let Some(sparse) = sparse else { return Ok(()) };
    let sum = &first.gradients[sparse];
    let width = sum.dim(1)?;
    for other in others {
        let mut rows = other.touched.clone();
        rows.sort_unstable();
        rows.dedup();
        let part = HostRows::new(&other.gradients[sparse])?;
        let part = part.elements()?;
        with_f32_mut(sum, |sum| {
            for row in rows.iter().map(|&row| row as usize * width) {
                add(&mut sum[row..row + width], &part[row..row + width]);
            }
            Ok(())
        })?;
        first.touched.extend(rows);
    }
    Ok(())
}

fn add(sum: &mut [f32], part: &[f32]) {
    const CHUNK: usize = 1 << 16;
    sum.par_chunks_mut(CHUNK).zip(part.par_chunks(CHUNK)).for_each(|(sum, part)| {
        simd::vectorised(
            #[inline(always)]
            || sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part),
        );
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_whole_sequences_with_about_as_many_tokens() {
        assert_eq!(parts(&Ragged::new([4, 4, 4, 4]), 2), [0..2, 2..4]);
        assert_eq!(parts(&Ragged::new([9, 1, 1, 1, 1, 1, 1, 1]), 2), [0..1, 1..8]);
        assert_eq!(parts(&Ragged::new([5]), 4).len(), 1);
        assert_eq!(parts(&Ragged::new([3, 3]), 4), [0..1, 1..2]);
        for most in 1..6 {
            let parts = parts(&Ragged::new([7, 2, 30, 1, 1, 5, 9]), most);
            assert!(parts.len() <= most);
            assert_eq!(parts.into_iter().flatten().collect::<Vec<_>>(), (0..7).collect::<Vec<_>>());
        }
    }
}
