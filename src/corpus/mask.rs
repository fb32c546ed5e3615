//! Hides some tokens of each sequence, for models that look both ways: what stands there is what they predict.
//!
//! 15 % of the positions, at least one, are drawn without replacement, never those of special tokens, and get the mask (Devlin et al., arXiv
//! 1810.04805, §3.1; that a tenth stays and a tenth becomes another token is for training alone, and not done here).

use std::collections::BTreeSet;

use crate::rng::Rng;

/// Share of the positions that are hidden.
pub const MASKED_SHARE: f64 = 0.15;

/// The mask of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    /// The token that hides others.
    pub id: u32,
    /// Tokens that are never hidden.
    pub special: BTreeSet<u32>,
}

/// Sequences with some of their tokens hidden.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Masked {
    /// What a model reads.
    pub ids: Vec<Vec<u32>>,
    /// Of each sequence, hidden positions in order, and the tokens that stand there.
    pub targets: Vec<Vec<(usize, u32)>>,
}

impl Masked {
    /// Number of hidden tokens.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.targets.iter().map(Vec::len).sum()
    }
}

impl Mask {
    /// Hides tokens of every sequence; which ones depends on `seed`, its number and its length. One of special tokens alone keeps them.
    #[must_use]
    pub fn hide(&self, sequences: &[Vec<u32>], seed: u64) -> Masked {
        let of = |(number, ids): (usize, &Vec<u32>)| self.hidden(ids, &mut Rng::for_item(seed, number as u64));
        let (ids, targets) = sequences.iter().enumerate().map(of).unzip();
        Masked { ids, targets }
    }

    fn hidden(&self, ids: &[u32], rng: &mut Rng) -> (Vec<u32>, Vec<(usize, u32)>) {
        let plain = |&at: &usize| ids[at] != self.id && !self.special.contains(&ids[at]);
        let mut open: Vec<usize> = (0..ids.len()).filter(plain).collect();
        rng.shuffle(&mut open);
        open.truncate(((open.len() as f64 * MASKED_SHARE).round() as usize).max(1));
        open.sort_unstable();
        let targets: Vec<(usize, u32)> = open.into_iter().map(|at| (at, ids[at])).collect();
        let mut ids = ids.to_vec();
        for &(at, _) in &targets {
            ids[at] = self.id;
        }
        (ids, targets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask() -> Mask {
        Mask { id: 9, special: [0, 1].into() }
    }

    #[test]
    fn a_share_of_the_plain_tokens_is_hidden_and_remembered() {
        let sequence: Vec<u32> = [0].into_iter().chain((0..40).map(|i| 10 + i)).chain([1]).collect();
        let masked = mask().hide(std::slice::from_ref(&sequence), 3);
        assert_eq!(masked.tokens(), 6);
        let mut restored = masked.ids[0].clone();
        assert_eq!(restored.iter().filter(|&&id| id == 9).count(), 6);
        for &(at, id) in &masked.targets[0] {
            restored[at] = id;
        }
        assert_eq!(restored, sequence);
    }

    #[test]
    fn at_least_one_token_is_hidden_but_never_a_special_one() {
        let masked = mask().hide(&[vec![0, 7, 1], vec![0, 9, 1], vec![0]], 0);
        assert_eq!(masked.targets, [vec![(1, 7)], vec![], vec![]]);
        assert_eq!(masked.ids, [vec![0, 9, 1], vec![0, 9, 1], vec![0]]);
    }

    #[test]
    fn the_seed_chooses_and_sequences_do_not_depend_on_each_other() {
        let long: Vec<u32> = (10..60).collect();
        let both = mask().hide(&[long.clone(), long.clone()], 5);
        assert_ne!(both.targets[0], both.targets[1]);
        assert_eq!(mask().hide(std::slice::from_ref(&long), 5).targets[0], both.targets[0]);
        assert_ne!(mask().hide(&[long], 6).targets[0], both.targets[0]);
    }
}
