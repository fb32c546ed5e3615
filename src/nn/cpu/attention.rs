//! Causal softmax attention over a ragged batch.

use std::ops::Range;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape};
use rayon::prelude::*;

use super::{
    Accumulate, rows,
    simd::{self, Left, Rows, SmallProduct, WIDTH},
};
use crate::nn::{AttentionShape, Ragged};

/// `softmax(q·kᵀ / √head_dim)·v` per head, each query seeing itself and what came before, at most `window` keys.
///
/// `q: [tokens, heads · head_dim]`, `k`, `v`: `[tokens, kv_heads · head_dim]`, which may be columns of wider tensors; the
/// result has the shape of `q`. Scores live in a tile of `QUERIES` rows; keys after a tile's last query and before its first window are never multiplied.
pub struct CausalAttention<'a> {
    /// Heads, groups, window.
    pub shape: AttentionShape,
    /// The sequences, none of which sees another.
    pub batch: &'a Ragged,
}

/// Queries that share one tile of scores.
pub(super) const QUERIES: usize = 48;

impl CustomOp3 for CausalAttention<'_> {
    fn name(&self) -> &'static str {
        "causal-attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_layout: &Layout,
        k: &CpuStorage,
        k_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (q, k, v) = (rows(q, q_layout)?, rows(k, k_layout)?, rows(v, v_layout)?);
        let tokens = self.batch.tokens();
        let AttentionShape { heads, kv_heads, head_dim, .. } = self.shape;
        let fits = |layout: &Layout, heads: usize| layout.dims() == [tokens, heads * head_dim];
        if !(fits(q_layout, heads) && fits(k_layout, kv_heads) && fits(v_layout, kv_heads)) {
            candle_core::bail!("attention operands do not fit (q {:?}, k {:?})", q_layout.shape(), k_layout.shape())
        }
        let packed = self.pack(k, v);
        let mut out = vec![0f32; tokens * heads * head_dim];
        self.tiles(&mut out).into_par_iter().for_each_init(Vec::new, |scores, tile| {
            for head in 0..heads {
                self.head(head, q, &packed, &tile.queries, tile.sequence, scores, tile.out);
            }
        });
        Ok((CpuStorage::F32(out), q_layout.shape().clone()))
    }
}

/// The keys (transposed) and values of one sequence and one key-value head, padded to whole vectors.
struct Packed {
    /// `[head_dim, padded length]`.
    keys: Vec<f32>,
    /// `[length, padded head_dim]`.
    values: Vec<f32>,
}

/// Some consecutive queries of one sequence and where their result goes.
struct Tile<'a> {
    sequence: usize,
    /// Positions in the sequence.
    queries: Range<usize>,
    out: &'a mut [f32],
}

impl CausalAttention<'_> {
    fn pack(&self, k: Rows<'_>, v: Rows<'_>) -> Vec<Packed> {
        let AttentionShape { kv_heads, head_dim, .. } = self.shape;
        let pairs = self.batch.sequences() * kv_heads;
        (0..pairs)
            .into_par_iter()
            .map(|pair| {
                let (span, head) = (self.batch.span(pair / kv_heads), pair % kv_heads);
                let (padded, padded_dim) = (span.len().next_multiple_of(WIDTH), head_dim.next_multiple_of(WIDTH));
                let mut packed =
                    Packed { keys: vec![0.0; head_dim * padded], values: vec![0.0; span.len() * padded_dim] };
                for (t, row) in span.enumerate() {
                    for (d, &key) in k.data[row * k.stride + head * head_dim..][..head_dim].iter().enumerate() {
                        packed.keys[d * padded + t] = key;
                    }
                    let values = &v.data[row * v.stride + head * head_dim..][..head_dim];
                    packed.values[t * padded_dim..][..head_dim].copy_from_slice(values);
                }
                packed
            })
            .collect()
    }

    fn tiles<'a>(&self, mut out: &'a mut [f32]) -> Vec<Tile<'a>> {
        let width = self.shape.heads * self.shape.head_dim;
        let mut tiles = Vec::new();
        for (sequence, span) in self.batch.spans().enumerate() {
            for first in (0..span.len()).step_by(QUERIES) {
                let queries = first..(first + QUERIES).min(span.len());
                let (head, rest) = out.split_at_mut(queries.len() * width);
                tiles.push(Tile { sequence, queries, out: head });
                out = rest;
            }
        }
        tiles
    }

    #[allow(clippy::too_many_arguments, reason = "one tile of one head; a struct would only rename them")]
    fn head(
        &self,
        head: usize,
        q: Rows<'_>,
        packed: &[Packed],
        queries: &Range<usize>,
        sequence: usize,
        scores: &mut Vec<f32>,
        out: &mut [f32],
    ) {
        let AttentionShape { heads, kv_heads, head_dim, .. } = self.shape;
        let span = self.batch.span(sequence);
        let Packed { keys, values } = &packed[sequence * kv_heads + head / (heads / kv_heads)];
        let (padded, padded_dim) = (span.len().next_multiple_of(WIDTH), head_dim.next_multiple_of(WIDTH));
        let (first_key, end_key) = (self.first_key(queries.start) / WIDTH * WIDTH, queries.end.next_multiple_of(WIDTH));
        let (rows, columns) = (queries.len(), end_key - first_key);
        scores.resize(QUERIES * (columns + padded_dim), 0.0);
        let (scores, mixed) = scores.split_at_mut(QUERIES * columns);
        SmallProduct {
            a: Left::Plain(Rows {
                data: &q.data[(span.start + queries.start) * q.stride + head * head_dim..],
                stride: q.stride,
            }),
            b: Rows { data: &keys[first_key..], stride: padded },
            c: scores,
            c_stride: columns,
            shape: (rows, head_dim, columns),
            accumulate: Accumulate::Set,
        }
        .run();
        let sums: [f32; QUERIES] = self.softmax(scores, columns, queries, first_key);
        SmallProduct {
            a: Left::Plain(Rows { data: scores, stride: columns }),
            b: Rows { data: &values[first_key * padded_dim..], stride: padded_dim },
            c: mixed,
            c_stride: padded_dim,
            shape: (rows, queries.end - first_key, padded_dim),
            accumulate: Accumulate::Set,
        }
        .run();
        for (row, sum) in sums.iter().enumerate().take(rows) {
            let out = &mut out[row * heads * head_dim + head * head_dim..][..head_dim];
            for (out, &mixed) in out.iter_mut().zip(&mixed[row * padded_dim..]) {
                *out = mixed / sum;
            }
        }
    }

    /// The first key that the query at `position` sees.
    pub(super) fn first_key(&self, position: usize) -> usize {
        self.shape.window.map_or(0, |window| (position + 1).saturating_sub(window))
    }

    /// Turns scores into unnormalised weights e^{s − max} in place; unseen keys get 0. Returns each row's sum.
    pub(super) fn softmax(
        &self,
        scores: &mut [f32],
        columns: usize,
        queries: &Range<usize>,
        first_key: usize,
    ) -> [f32; QUERIES] {
        let scale = 1.0 / (self.shape.head_dim as f32).sqrt();
        let mut sums = [1f32; QUERIES];
        simd::vectorised(
            #[inline(always)]
            || {
                for ((row, position), sum) in scores.chunks_exact_mut(columns).zip(queries.clone()).zip(&mut sums) {
                    // Whole rows, whose lengths are whole vectors, beat exact ones with a tail.
                    let (first, end) = (self.first_key(position) - first_key, position + 1 - first_key);
                    row[..first].fill(f32::NEG_INFINITY);
                    row[end..].fill(f32::NEG_INFINITY);
                    let largest = simd::max(row);
                    for score in row.iter_mut() {
                        *score = simd::exp((*score - largest) * scale);
                    }
                    row[..first].fill(0.0);
                    row[end..].fill(0.0);
                    *sum = simd::sum_by(row, |weight| weight) as f32;
                }
            },
        );
        sums
    }
}
