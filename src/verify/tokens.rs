//! What is compared when the user gives no text.

use crate::rng::Rng;

/// `length` token ids below `vocab`, each equally likely; the same for the same seed on every machine.
#[must_use]
pub fn default_tokens(vocab: usize, seed: u64, length: usize) -> Vec<u32> {
    let mut rng = Rng::new(seed);
    (0..length).map(|_| u32::try_from(rng.below(vocab)).unwrap_or(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_tokens_are_in_the_vocabulary_and_depend_on_the_seed_alone() {
        let tokens = default_tokens(50, 7, 200);
        assert_eq!(tokens.len(), 200);
        assert!(tokens.iter().all(|&id| id < 50));
        assert_eq!(tokens, default_tokens(50, 7, 200));
        assert_ne!(tokens, default_tokens(50, 8, 200));
    }
}
