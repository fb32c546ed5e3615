//! How much is computed at once: the memory budget decides, never the caller.

use candle_core::DType;

use super::ReadAhead;
use crate::{
    model::{BlockConfig, DecoderConfig, ModelShape, Residency, parameters},
    nn::AttentionShape,
};

/// What a walk may hold and what holding costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Bytes for the streams of all lanes and what observers keep.
    pub bytes: u64,
    /// Bytes of one element of the stream.
    pub element_bytes: u64,
    /// Streams per token that observers keep until the end of the pass, in f32.
    pub kept_streams: u64,
    /// Tokens that a block is given at once.
    pub group_tokens: usize,
    /// Whether blocks stay in memory: if they do, little is gained by many sequences in one pass.
    pub residency: Residency,
    /// Whether the next block is read while one computes: only where blocks do not stay.
    pub read_ahead: ReadAhead,
}

/// Sequences that make one pass over the layers, in segments that go through a block together; and how many routes share the
/// pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passes {
    /// Each pass is a list of segments, each a list of sequences.
    pub chunks: Vec<Vec<Vec<usize>>>,
    /// Routes that fit into one pass, the full one included.
    pub routes: usize,
}

impl Budget {
    /// Bytes that one token costs with this many lanes.
    fn token_bytes(&self, shape: ModelShape, lanes: usize) -> u64 {
        // Two streams beyond the lanes: the input and the output of the group at hand.
        (lanes as u64 + 2) * shape.hidden as u64 * self.element_bytes + self.kept_streams * shape.hidden as u64 * 4
    }

    /// Cuts a run into passes. A single sequence is never cut: if even one does not fit with all its lanes, the routes are
    /// spread over several passes instead.
    #[must_use]
    pub fn passes(&self, shape: ModelShape, sizes: &[Size], routes: usize) -> Passes {
        let longest = sizes.iter().map(|size| size.length).max().unwrap_or(0).max(1) as u64;
        let fits = |routes: usize| longest * self.token_bytes(shape, routes) <= self.bytes;
        let routes = (2..=routes).rev().find(|&routes| fits(routes)).unwrap_or(routes.min(2));
        let chunk_tokens = usize::try_from(self.bytes / self.token_bytes(shape, routes).max(1)).unwrap_or(usize::MAX);
        let tokens = |first: bool, size: &Size| if first { size.length } else { size.length - size.shared };
        let segments = cut((0..sizes.len()).collect(), self.group_tokens.min(chunk_tokens), |first, &at| {
            tokens(first, &sizes[at])
        });
        let per_chunk = match self.residency {
            Residency::Resident => 1,
            Residency::Streamed => chunk_tokens,
        };
        let of_segment = |_: bool, segment: &Vec<usize>| {
            segment.iter().enumerate().map(|(index, &at)| tokens(index == 0, &sizes[at])).sum()
        };
        Passes { chunks: cut(segments, per_chunk, of_segment), routes }
    }
}

/// What a sequence takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Its tokens.
    pub length: usize,
    /// Those of them that are there already if the sequence before it is in the same segment.
    pub shared: usize,
}

/// Consecutive items in groups of at most `limit`, at least one each; `size` is told whether an item is its group's first.
fn cut<T>(items: Vec<T>, limit: usize, size: impl Fn(bool, &T) -> usize) -> Vec<Vec<T>> {
    let mut groups: Vec<Vec<T>> = Vec::new();
    let mut filled = 0;
    for item in items {
        match groups.last_mut() {
            Some(group) if filled + size(false, &item) <= limit => {
                filled += size(false, &item);
                group.push(item);
            }
            _ => {
                filled = size(true, &item);
                groups.push(vec![item]);
            }
        }
    }
    groups
}

/// How the memory of a run is divided between weights, working space and streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Whether the weights stay.
    pub residency: Residency,
    /// Whether the next block is read while one computes.
    pub read_ahead: ReadAhead,
    /// Weights that are in memory at a time.
    pub weight_bytes: u64,
    /// What one block needs while it computes.
    pub work_bytes: u64,
    /// What is left for streams.
    pub stream_bytes: u64,
    /// Tokens that a block is given at once.
    pub group_tokens: usize,
}

/// Tokens a block is given at once where memory allows: enough for matrix products to run at full speed.
const GROUP_TOKENS: usize = 2048;
/// The same of sequences that share what they begin with, which every group computes anew: the larger, the less often.
const TREE_TOKENS: usize = 8192;
/// Fewest tokens worth a product.
const FEWEST_GROUP_TOKENS: usize = 128;

impl MemoryPlan {
    /// Divides `budget` bytes. Weights stay if they take at most half of it; else the next block is read ahead if two take at most two
    /// thirds; a budget that is too small for one block is exceeded rather than refused.
    #[must_use]
    pub fn new(config: &DecoderConfig, element_bytes: u64, budget: u64) -> Self {
        Self::with_groups_of(GROUP_TOKENS, config, element_bytes, budget)
    }

    /// The same for sequences that share what they begin with.
    #[must_use]
    pub fn for_trees(config: &DecoderConfig, element_bytes: u64, budget: u64) -> Self {
        Self::with_groups_of(TREE_TOKENS, config, element_bytes, budget)
    }

    /// What is left for streams of elements of this type, where no observer keeps any.
    #[must_use]
    pub fn budget(&self, dtype: DType) -> Budget {
        Budget {
            bytes: self.stream_bytes,
            element_bytes: dtype.size_in_bytes() as u64,
            kept_streams: 0,
            group_tokens: self.group_tokens,
            residency: self.residency,
            read_ahead: self.read_ahead,
        }
    }

    fn with_groups_of(most: usize, config: &DecoderConfig, element_bytes: u64, budget: u64) -> Self {
        let all = parameters(config) * element_bytes;
        // Loading a tensor holds it once more, widened to f32, before it has its final type.
        let residency = if all <= budget / 2 { Residency::Resident } else { Residency::Streamed };
        // Blocks that are read one after the other share the room in which a tensor is widened.
        let streamed = |blocks: u64| blocks * largest_block(config) * element_bytes + largest_matrix(config) * 4;
        let (read_ahead, weight_bytes) = match residency {
            Residency::Resident => (ReadAhead::Off, all),
            Residency::Streamed if streamed(2) <= budget / 3 * 2 => (ReadAhead::NextBlock, streamed(2)),
            Residency::Streamed => (ReadAhead::Off, streamed(1)),
        };
        let left = budget.saturating_sub(weight_bytes);
        let per_token = work_floats(config) * 4;
        let affordable = usize::try_from(left / 2 / per_token).unwrap_or(usize::MAX);
        let group_tokens = affordable.clamp(FEWEST_GROUP_TOKENS, most);
        let work_bytes = group_tokens as u64 * per_token;
        let stream_bytes = left.saturating_sub(work_bytes);
        Self { residency, read_ahead, weight_bytes, work_bytes, stream_bytes, group_tokens }
    }
}

fn largest_block(config: &DecoderConfig) -> u64 {
    config.block_tensors().map(|shapes| shapes.map(|shape| elements(&shape)).sum()).max().unwrap_or(0)
}

fn largest_matrix(config: &DecoderConfig) -> u64 {
    config.block_tensors().flatten().map(|shape| elements(&shape)).max().unwrap_or(0)
}

fn elements(shape: &[usize]) -> u64 {
    shape.iter().product::<usize>() as u64
}

/// Floats that a token needs inside a block: stream, normed stream, delta; then either queries, keys, values and their
/// rotated and packed copies, or what is between the maps of the feed-forward.
fn work_floats(config: &DecoderConfig) -> u64 {
    let of = |block: &BlockConfig| {
        let AttentionShape { heads, kv_heads, head_dim, value_dim, .. } = block.attention.shape;
        let attention = 3 * heads * head_dim.max(value_dim) + 5 * kv_heads * head_dim.max(value_dim);
        attention.max(block.feed_forward.floats_per_token(config.hidden))
    };
    (config.blocks.iter().map(of).max().unwrap_or(1) + 4 * config.hidden) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::attention::Sight;

    const SHAPE: ModelShape = ModelShape { layers: 4, hidden: 10, vocab: 50, context: 100, sight: Sight::Back };

    fn plain(lengths: &[usize]) -> Vec<Size> {
        lengths.iter().map(|&length| Size { length, shared: 0 }).collect()
    }

    fn budget(bytes: u64, residency: Residency) -> Budget {
        Budget { bytes, element_bytes: 4, kept_streams: 0, group_tokens: 8, residency, read_ahead: ReadAhead::Off }
    }

    #[test]
    fn every_sequence_is_in_exactly_one_segment_within_the_budget() {
        let lengths = [3, 5, 8, 1, 20, 2, 2];
        for bytes in [1, 1_000, 4_000, 1_000_000] {
            let passes = budget(bytes, Residency::Streamed).passes(SHAPE, &plain(&lengths), 5);
            let seen: Vec<usize> = passes.chunks.iter().flatten().flatten().copied().collect();
            assert_eq!(seen, [0, 1, 2, 3, 4, 5, 6]);
            for segment in passes.chunks.iter().flatten().filter(|segment| segment.len() > 1) {
                assert!(segment.iter().map(|&s| lengths[s]).sum::<usize>() <= 8);
            }
        }
    }

    #[test]
    fn what_is_shared_with_the_sequence_before_takes_no_room_but_at_the_head_of_a_segment() {
        let sizes = [4, 3, 3, 3, 3].map(|shared| Size { length: 5, shared });
        let passes = budget(1 << 20, Residency::Resident).passes(SHAPE, &sizes, 3);
        assert_eq!(passes.chunks, [[vec![0, 1]], [vec![2, 3]], [vec![4]]], "5 + 2, and one more would be 9 of 8");
    }

    #[test]
    fn a_resident_model_takes_one_segment_at_a_time_and_a_streamed_one_all_that_fits() {
        let lengths = [4; 10];
        assert_eq!(budget(1 << 20, Residency::Resident).passes(SHAPE, &plain(&lengths), 3).chunks.len(), 5);
        assert_eq!(budget(1 << 20, Residency::Streamed).passes(SHAPE, &plain(&lengths), 3).chunks.len(), 1);
    }

    #[test]
    fn routes_are_spread_over_passes_when_one_sequence_with_all_lanes_is_too_much() {
        let token = 40;
        let passes = budget(20 * token * (7 + 2), Residency::Streamed).passes(SHAPE, &plain(&[20]), 30);
        assert_eq!(passes.routes, 7);
        assert_eq!(budget(1, Residency::Streamed).passes(SHAPE, &plain(&[20]), 30).routes, 2);
        assert_eq!(budget(1, Residency::Streamed).passes(SHAPE, &plain(&[20]), 1).routes, 1);
    }
}
