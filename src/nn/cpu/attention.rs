//! Softmax attention over a ragged batch.

use std::ops::Range;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape};
use rayon::prelude::*;

use super::{
    Accumulate, rows,
    simd::{self, Left, Rows, SmallProduct, WIDTH},
};
use crate::nn::{AttentionShape, Piece, Ragged, attention::Sight};

/// `softmax(scale·q·kᵀ)·v` per head, scores bounded where there is a soft cap. Each query sees itself and what came before, stem
/// included, at most `window` keys; or its whole sequence.
///
/// `q: [tokens, heads · head_dim]`, `k: [tokens, kv_heads · head_dim]`, `v: [tokens, kv_heads · value_dim]`, which may be columns of wider
/// tensors; the result is `[tokens, heads · value_dim]`. Scores live in a tile of `QUERIES` rows; keys that no query of a tile sees
/// are not multiplied.
pub struct SoftmaxAttention<'a> {
    /// Heads, groups, window.
    pub shape: AttentionShape,
    /// The sequences, none of which sees another.
    pub batch: &'a Ragged,
}

/// Queries that share one tile of scores.
pub(super) const QUERIES: usize = 48;

impl CustomOp3 for SoftmaxAttention<'_> {
    fn name(&self) -> &'static str {
        "softmax-attention"
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
        let AttentionShape { heads, kv_heads, head_dim, value_dim, .. } = self.shape;
        let fits = |layout: &Layout, width: usize| layout.dims() == [tokens, width];
        let all_fit = fits(q_layout, heads * head_dim) && fits(k_layout, kv_heads * head_dim);
        if !(all_fit && fits(v_layout, kv_heads * value_dim)) {
            candle_core::bail!("attention operands do not fit (q {:?}, k {:?})", q_layout.shape(), k_layout.shape())
        }
        let packed = self.pack(k, v);
        let mut out = vec![0f32; tokens * heads * value_dim];
        self.tiles(&mut out).into_par_iter().for_each_init(Vec::new, |scores, mut tile| {
            (0..heads).for_each(|head| self.head(head, q, &packed, scores, &mut tile));
        });
        Ok((CpuStorage::F32(out), Shape::from((tokens, heads * value_dim))))
    }
}

/// The keys (transposed) and values of one sequence and one key-value head, padded to whole vectors.
struct Packed {
    /// `[head_dim, padded length]`.
    keys: Vec<f32>,
    /// `[length, padded value_dim]`.
    values: Vec<f32>,
}

/// Some consecutive queries of one sequence and where their result goes.
struct Tile<'a> {
    sequence: usize,
    /// Own rows of the sequence.
    queries: Range<usize>,
    seen: Vec<Seen>,
    out: &'a mut [f32],
}

/// Keys of one sequence that some query of a tile sees, and where their scores stand in the tile's rows.
pub(super) struct Seen {
    sequence: usize,
    /// Its rows; the first is a multiple of [`WIDTH`].
    keys: Range<usize>,
    /// Position of its row 0 in the sequence that looks.
    at: usize,
    /// Column of the first key's score.
    column: usize,
}

impl Seen {
    /// Keys of a sequence without a stem, seen by itself.
    pub(super) fn own(sequence: usize, keys: Range<usize>) -> Self {
        Self { sequence, keys, at: 0, column: 0 }
    }

    /// Columns of scores, padded to whole vectors.
    fn columns(&self) -> usize {
        self.keys.end.next_multiple_of(WIDTH) - self.keys.start
    }

    /// Fills a row where a query that sees the positions `first..=last` sees nothing.
    #[inline(always)]
    fn fill_unseen(&self, row: &mut [f32], first: usize, last: usize, value: f32) {
        let row = &mut row[self.column..self.column + self.columns()];
        let column =
            |position: usize| position.saturating_sub(self.at).clamp(self.keys.start, self.keys.end) - self.keys.start;
        row[..column(first)].fill(value);
        row[column(last + 1)..].fill(value);
    }
}

impl SoftmaxAttention<'_> {
    fn pack(&self, k: Rows<'_>, v: Rows<'_>) -> Vec<Packed> {
        let AttentionShape { kv_heads, head_dim, value_dim, .. } = self.shape;
        let pairs = self.batch.sequences() * kv_heads;
        (0..pairs)
            .into_par_iter()
            .map(|pair| {
                let (span, head) = (self.batch.span(pair / kv_heads), pair % kv_heads);
                let (padded, padded_dim) = (span.len().next_multiple_of(WIDTH), value_dim.next_multiple_of(WIDTH));
                let mut packed =
                    Packed { keys: vec![0.0; head_dim * padded], values: vec![0.0; span.len() * padded_dim] };
                for (t, row) in span.enumerate() {
                    for (d, &key) in k.data[row * k.stride + head * head_dim..][..head_dim].iter().enumerate() {
                        packed.keys[d * padded + t] = key;
                    }
                    let values = &v.data[row * v.stride + head * value_dim..][..value_dim];
                    packed.values[t * padded_dim..][..value_dim].copy_from_slice(values);
                }
                packed
            })
            .collect()
    }

    fn tiles<'a>(&self, mut out: &'a mut [f32]) -> Vec<Tile<'a>> {
        let width = self.shape.heads * self.shape.value_dim;
        let mut tiles = Vec::new();
        for (sequence, span) in self.batch.spans().enumerate() {
            for first in (0..span.len()).step_by(QUERIES) {
                let queries = first..(first + QUERIES).min(span.len());
                let (head, rest) = out.split_at_mut(queries.len() * width);
                let seen = self.seen(sequence, &queries);
                tiles.push(Tile { sequence, queries, seen, out: head });
                out = rest;
            }
        }
        tiles
    }

    /// What a tile's queries see, side by side: of the stem and of the sequence itself.
    fn seen(&self, sequence: usize, queries: &Range<usize>) -> Vec<Seen> {
        let first = self.first_key(self.batch.depth(sequence) + queries.start);
        let own = Piece { sequence, length: self.last_row(sequence, queries.end - 1) + 1 };
        let (mut seen, mut at, mut column) = (Vec::new(), 0, 0);
        for &Piece { sequence, length } in self.batch.stem(sequence).iter().chain([&own]) {
            let begin = first.saturating_sub(at) / WIDTH * WIDTH;
            if begin < length {
                let keys = Seen { sequence, keys: begin..length, at, column };
                column += keys.columns();
                seen.push(keys);
            }
            at += length;
        }
        seen
    }

    fn head(&self, head: usize, q: Rows<'_>, packed: &[Packed], scores: &mut Vec<f32>, tile: &mut Tile<'_>) {
        let AttentionShape { heads, kv_heads, head_dim, value_dim, .. } = self.shape;
        let Tile { sequence, queries, seen, out } = tile;
        let packed = |seen: &Seen| &packed[seen.sequence * kv_heads + head / (heads / kv_heads)];
        let first_row = self.batch.span(*sequence).start + queries.start;
        let q = Rows { data: &q.data[first_row * q.stride + head * head_dim..], stride: q.stride };
        let padded_dim = value_dim.next_multiple_of(WIDTH);
        let (rows, columns) = (queries.len(), seen.last().map_or(0, |last| last.column + last.columns()));
        scores.resize(QUERIES * (columns + padded_dim), 0.0);
        let (scores, mixed) = scores.split_at_mut(QUERIES * columns);
        for part in seen.iter() {
            let stride = self.batch.span(part.sequence).len().next_multiple_of(WIDTH);
            SmallProduct {
                a: Left::Plain(q),
                b: Rows { data: &packed(part).keys[part.keys.start..], stride },
                c: &mut scores[part.column..],
                c_stride: columns,
                shape: (rows, head_dim, part.columns()),
                accumulate: Accumulate::Set,
            }
            .run();
        }
        let depth = self.batch.depth(*sequence);
        let last = |query: usize| depth + self.last_row(*sequence, query);
        let sums = self.softmax(scores, columns, queries.clone().map(|query| (depth + query, last(query))), seen);
        for (index, part) in seen.iter().enumerate() {
            SmallProduct {
                a: Left::Plain(Rows { data: &scores[part.column..], stride: columns }),
                b: Rows { data: &packed(part).values[part.keys.start * padded_dim..], stride: padded_dim },
                c: &mut *mixed,
                c_stride: padded_dim,
                shape: (rows, part.keys.len(), padded_dim),
                accumulate: if index == 0 { Accumulate::Set } else { Accumulate::Add },
            }
            .run();
        }
        for (row, sum) in sums.iter().enumerate().take(rows) {
            let out = &mut out[(row * heads + head) * value_dim..][..value_dim];
            for (out, &mixed) in out.iter_mut().zip(&mixed[row * padded_dim..]) {
                *out = mixed / sum;
            }
        }
    }

    /// The first key that the query at `position` sees.
    pub(super) fn first_key(&self, position: usize) -> usize {
        self.shape.window.map_or(0, |window| (position + 1).saturating_sub(window))
    }

    /// The last row of its own sequence that a query at row `query` of it sees.
    fn last_row(&self, sequence: usize, query: usize) -> usize {
        match self.shape.sight {
            Sight::Back => query,
            Sight::Both => self.batch.span(sequence).len() - 1,
        }
    }

    /// Turns scores into unnormalised weights e^{s − max} in place; unseen keys get 0. Returns each row's sum. `looks` are the position of
    /// each query and the last one that it sees.
    pub(super) fn softmax(
        &self,
        scores: &mut [f32],
        columns: usize,
        looks: impl Iterator<Item = (usize, usize)>,
        seen: &[Seen],
    ) -> [f32; QUERIES] {
        let AttentionShape { scale, soft_cap, .. } = self.shape;
        let (scale, soft_cap) = (scale as f32, soft_cap.map(|cap| cap as f32));
        let mut sums = [1f32; QUERIES];
        simd::vectorised(
            #[inline(always)]
            || {
                for ((row, (position, last)), sum) in scores.chunks_exact_mut(columns).zip(looks).zip(&mut sums) {
                    let scale = soft_cap.map_or(scale, |cap| capped(row, scale, cap));
                    // Whole rows, whose lengths are whole vectors, beat exact ones with a tail.
                    let first = self.first_key(position);
                    for part in seen {
                        part.fill_unseen(row, first, last, f32::NEG_INFINITY);
                    }
                    let largest = simd::max(row);
                    for score in row.iter_mut() {
                        *score = simd::exp((*score - largest) * scale);
                    }
                    for part in seen {
                        part.fill_unseen(row, first, last, 0.0);
                    }
                    *sum = simd::sum_by(row, |weight| weight) as f32;
                }
            },
        );
        sums
    }
}

/// Bounds scores: `cap·tanh(scale·s / cap)`. Returns the scale that is left to apply: none.
#[inline(always)]
fn capped(row: &mut [f32], scale: f32, cap: f32) -> f32 {
    let inner = scale / cap;
    for score in row {
        *score = cap * simd::tanh(*score * inner);
    }
    1.0
}
