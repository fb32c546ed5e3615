//! Causal softmax attention. Scores are computed again, tile by tile, rather than kept from the forward pass (Dao et al.,
//! arXiv 2205.14135).

use std::ops::Range;

use candle_core::Result;
use rayon::prelude::*;

use crate::nn::{
    AttentionShape,
    cpu::{
        Accumulate, SoftmaxAttention,
        attention::{QUERIES, Seen},
        simd::{self, Left, Rows, SmallProduct, WIDTH},
    },
};

/// The gradients of one sequence's queries, keys and values, for one key-value head.
pub struct AttentionGradients {
    /// `[length, queries of the group, padded head_dim]`.
    pub query: Vec<f32>,
    /// `[length, padded head_dim]`.
    pub key: Vec<f32>,
    /// `[length, padded head_dim]`.
    pub value: Vec<f32>,
}

/// What the backward pass reads: `q, k, v` and the result `out` of the forward pass with its gradient.
#[derive(Clone, Copy)]
pub struct Operands<'a> {
    q: Rows<'a>,
    k: Rows<'a>,
    v: Rows<'a>,
    out: Rows<'a>,
    d_out: Rows<'a>,
}

/// Gradient of [`SoftmaxAttention`] with respect to `[q | k | v]`, side by side as one product leaves them.
///
/// With P = softmax(q·kᵀ/√d) and D = Σ dO∘O by row: `dV = Pᵀ·dO`, `dS = P∘(dO·Vᵀ − D)/√d`, `dQ = dS·K`, `dK = dSᵀ·Q`.
/// `qkv: [tokens, (heads + 2·kv_heads)·head_dim]`, `out`, `d_out`: `[tokens, heads·head_dim]`. Every row of the result goes through
/// `finish(position, query and key columns)`, which takes the rotation back while the row is at hand.
///
/// # Errors
/// Operands that do not fit.
pub fn causal_attention(
    op: &SoftmaxAttention<'_>,
    qkv: &[f32],
    out: &[f32],
    d_out: &[f32],
    finish: impl Fn(usize, &mut [f32]) + Sync,
) -> Result<Vec<f32>> {
    let AttentionShape { heads, kv_heads, head_dim, .. } = op.shape;
    let (queries, keys, tokens) = (heads * head_dim, kv_heads * head_dim, op.batch.tokens());
    let stride = queries + 2 * keys;
    if op.batch.shares() {
        candle_core::bail!("attention has no gradient where sequences share a stem")
    }
    if qkv.len() != tokens * stride || out.len() != tokens * queries || d_out.len() != out.len() {
        candle_core::bail!("attention gradients do not fit ({} and {} elements, {tokens} tokens)", qkv.len(), out.len())
    }
    let columns = |first: usize| Rows { data: &qkv[first.min(qkv.len())..], stride };
    let (q, k, v) = (columns(0), columns(queries), columns(queries + keys));
    let rows = |data| Rows { data, stride: queries };
    let operands = Operands { q, k, v, out: rows(out), d_out: rows(d_out) };
    let pairs = op.batch.sequences() * kv_heads;
    let gradients: Vec<AttentionGradients> = (0..pairs)
        .into_par_iter()
        .map(|pair| Pair::new(op, operands, pair / kv_heads, pair % kv_heads).run())
        .collect();
    let mut d_qkv = vec![0f32; qkv.len()];
    let places: Vec<(usize, usize)> =
        op.batch.spans().enumerate().flat_map(|(sequence, span)| (0..span.len()).map(move |t| (sequence, t))).collect();
    d_qkv.par_chunks_exact_mut(stride).zip(places).for_each(|(row, (sequence, t))| {
        let of = &gradients[sequence * kv_heads..][..kv_heads];
        gather(row, of, op.shape, t);
        finish(t, &mut row[..queries + keys]);
    });
    Ok(d_qkv)
}

/// Puts together one token's row of `[dq | dk | dv]`.
fn gather(row: &mut [f32], gradients: &[AttentionGradients], shape: AttentionShape, t: usize) {
    let AttentionShape { heads, kv_heads, head_dim, .. } = shape;
    let (share, padded) = (heads / kv_heads, head_dim.next_multiple_of(WIDTH));
    let (dq, rest) = row.split_at_mut(heads * head_dim);
    let (dk, dv) = rest.split_at_mut(kv_heads * head_dim);
    for (head, dq) in dq.chunks_exact_mut(head_dim).enumerate() {
        let from = (t * share + head % share) * padded;
        dq.copy_from_slice(&gradients[head / share].query[from..][..head_dim]);
    }
    for ((of, dk), dv) in gradients.iter().zip(dk.chunks_exact_mut(head_dim)).zip(dv.chunks_exact_mut(head_dim)) {
        dk.copy_from_slice(&of.key[t * padded..][..head_dim]);
        dv.copy_from_slice(&of.value[t * padded..][..head_dim]);
    }
}

/// One sequence and one key-value head.
struct Pair<'a> {
    op: &'a SoftmaxAttention<'a>,
    operands: Operands<'a>,
    sequence: usize,
    span: Range<usize>,
    kv_head: usize,
    /// Columns of a padded head.
    wide: usize,
    /// Length of the sequence, padded.
    long: usize,
    /// kᵀ, vᵀ: `[head_dim, long]`.
    keys_t: Vec<f32>,
    values_t: Vec<f32>,
    /// k: `[length, wide]`.
    keys: Vec<f32>,
}

/// Scratch memory of one tile.
#[derive(Default)]
struct Tile {
    weights: Vec<f32>,
    d_scores: Vec<f32>,
    q: Vec<f32>,
    d_out: Vec<f32>,
    d_q: Vec<f32>,
}

impl<'a> Pair<'a> {
    fn new(op: &'a SoftmaxAttention<'a>, operands: Operands<'a>, sequence: usize, kv_head: usize) -> Self {
        let head_dim = op.shape.head_dim;
        let span = op.batch.span(sequence);
        let (wide, long) = (head_dim.next_multiple_of(WIDTH), span.len().next_multiple_of(WIDTH));
        let (mut keys_t, mut values_t) = (vec![0f32; head_dim * long], vec![0f32; head_dim * long]);
        let mut keys = vec![0f32; span.len() * wide];
        for (t, row) in span.clone().enumerate() {
            let key = head_of(operands.k, row, kv_head, head_dim);
            let value = head_of(operands.v, row, kv_head, head_dim);
            for d in 0..head_dim {
                keys_t[d * long + t] = key[d];
                values_t[d * long + t] = value[d];
            }
            keys[t * wide..][..head_dim].copy_from_slice(key);
        }
        Self { op, operands, sequence, span, kv_head, wide, long, keys_t, values_t, keys }
    }

    fn run(&self) -> AttentionGradients {
        let AttentionShape { heads, kv_heads, .. } = self.op.shape;
        let (share, length) = (heads / kv_heads, self.span.len());
        let mut gradients = AttentionGradients {
            query: vec![0.0; length * share * self.wide],
            key: vec![0.0; length * self.wide],
            value: vec![0.0; length * self.wide],
        };
        let mut tile = Tile::default();
        for head in 0..share {
            for first in (0..length).step_by(QUERIES) {
                let queries = first..(first + QUERIES).min(length);
                self.tile(self.kv_head * share + head, queries.clone(), &mut tile, &mut gradients);
                for (t, d_q) in queries.zip(tile.d_q.chunks_exact(self.wide)) {
                    gradients.query[(t * share + head) * self.wide..][..self.wide].copy_from_slice(d_q);
                }
            }
        }
        gradients
    }

    /// Some consecutive queries of one head.
    fn tile(&self, head: usize, queries: Range<usize>, tile: &mut Tile, gradients: &mut AttentionGradients) {
        let head_dim = self.op.shape.head_dim;
        let first_key = self.op.first_key(queries.start) / WIDTH * WIDTH;
        let (rows, columns) = (queries.len(), queries.end.next_multiple_of(WIDTH) - first_key);
        let seen = queries.end - first_key;
        let token = self.span.start + queries.start;
        for buffer in [&mut tile.weights, &mut tile.d_scores] {
            buffer.resize(QUERIES * columns, 0.0);
        }
        tile.d_q.resize(QUERIES * self.wide, 0.0);
        pack(&mut tile.q, self.operands.q, token, head, rows, head_dim, self.wide);
        pack(&mut tile.d_out, self.operands.d_out, token, head, rows, head_dim, self.wide);
        let (q, d_out) = (Rows { data: &tile.q, stride: self.wide }, Rows { data: &tile.d_out, stride: self.wide });
        let keys_t = Rows { data: &self.keys_t[first_key..], stride: self.long };
        let values_t = Rows { data: &self.values_t[first_key..], stride: self.long };
        let wide = (rows, head_dim, columns);
        small(Left::Plain(q), keys_t, &mut tile.weights, columns, wide, Accumulate::Set);
        let keys = [Seen::own(self.sequence, first_key..queries.end)];
        let sums =
            self.op.softmax(&mut tile.weights[..rows * columns], columns, queries.map(|query| (query, query)), &keys);
        small(Left::Plain(d_out), values_t, &mut tile.d_scores, columns, wide, Accumulate::Set);
        self.d_scores(head, token, rows, columns, &sums, tile);
        let (weights, d_scores) =
            (Rows { data: &tile.weights, stride: columns }, Rows { data: &tile.d_scores, stride: columns });
        let keys = Rows { data: &self.keys[first_key * self.wide..], stride: self.wide };
        small(Left::Plain(d_scores), keys, &mut tile.d_q, self.wide, (rows, seen, self.wide), Accumulate::Set);
        let (q, d_out) = (Rows { data: &tile.q, stride: self.wide }, Rows { data: &tile.d_out, stride: self.wide });
        let tall = (seen, rows, self.wide);
        let from = first_key * self.wide;
        small(Left::Transposed(d_scores), q, &mut gradients.key[from..], self.wide, tall, Accumulate::Add);
        small(Left::Transposed(weights), d_out, &mut gradients.value[from..], self.wide, tall, Accumulate::Add);
    }

    /// Normalises the weights and turns dO·Vᵀ into the gradient of the scores.
    fn d_scores(&self, head: usize, token: usize, rows: usize, columns: usize, sums: &[f32], tile: &mut Tile) {
        let head_dim = self.op.shape.head_dim;
        let scale = 1.0 / (head_dim as f32).sqrt();
        let Tile { weights, d_scores, d_out, .. } = tile;
        simd::vectorised(
            #[inline(always)]
            || {
                let both = weights.chunks_exact_mut(columns).zip(d_scores.chunks_exact_mut(columns));
                for (row, (weights, d_scores)) in both.enumerate().take(rows) {
                    let out = head_of(self.operands.out, token + row, head, head_dim);
                    let mean = simd::sum_of_products(out, &d_out[row * self.wide..][..head_dim]) as f32;
                    let share = 1.0 / sums[row];
                    for (weight, d_score) in weights.iter_mut().zip(d_scores) {
                        *weight *= share;
                        *d_score = *weight * (*d_score - mean) * scale;
                    }
                }
            },
        );
    }
}

fn small(
    a: Left<'_>,
    b: Rows<'_>,
    c: &mut [f32],
    c_stride: usize,
    shape: (usize, usize, usize),
    accumulate: Accumulate,
) {
    SmallProduct { a, b, c, c_stride, shape, accumulate }.run();
}

fn head_of(rows: Rows<'_>, row: usize, head: usize, head_dim: usize) -> &[f32] {
    &rows.data[row * rows.stride + head * head_dim..][..head_dim]
}

/// Copies one head's columns of `rows` tokens into padded rows.
fn pack(into: &mut Vec<f32>, from: Rows<'_>, token: usize, head: usize, rows: usize, head_dim: usize, wide: usize) {
    into.resize(QUERIES * wide, 0.0);
    for (row, into) in into.chunks_exact_mut(wide).enumerate().take(rows) {
        into[..head_dim].copy_from_slice(head_of(from, token + row, head, head_dim));
    }
}
