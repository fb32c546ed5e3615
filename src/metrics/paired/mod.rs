//! Does a removal change which questions a model answers rightly? Tests, intervals and power for two models on the same items.
//!
//! Both models answer the same items, so only those that one of them alone gets right tell them apart: [`Discordance`] counts them. From
//! these counts come a p-value ([`mcnemar`]) that many removals share fairly ([`holm`]), an interval of the difference that can also show
//! that there is none to speak of ([`tango`]), what so many items could have shown at all ([`power`]), and a finding ([`Effect`]).

mod effect;
pub mod holm;
pub mod mcnemar;
mod normal;
pub mod power;
pub mod tango;

pub use effect::Effect;

/// Chance of calling any difference real in a family of removals that make none (the family-wise error), and, for each removal, of calling
/// one equivalent that is not.
pub const SIGNIFICANCE: f64 = 0.05;

/// Items that only one of two models answers rightly; the two counts add up to `items` at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Discordance {
    /// Items that only the full model gets right (lost by the removal).
    pub full_only: u64,
    /// Items that only the pruned model gets right (won by the removal).
    pub pruned_only: u64,
    /// All items, those both or neither get right included.
    pub items: u64,
}

impl Discordance {
    /// Counts them. Each slice says of the same items in the same order whether that model gets them right; items that one of the slices
    /// lacks are left out.
    #[must_use]
    pub fn new(full: &[bool], pruned: &[bool]) -> Self {
        full.iter().zip(pruned).fold(Self::default(), |counts, (&full, &pruned)| Self {
            full_only: counts.full_only + u64::from(full && !pruned),
            pruned_only: counts.pruned_only + u64::from(pruned && !full),
            items: counts.items + 1,
        })
    }

    /// Accuracy of the pruned model − accuracy of the full one, as a share of the items (0.01 is one percentage point): (`pruned_only` −
    /// `full_only`) / `items`. Negative for a drop, 0 without items.
    #[must_use]
    pub fn delta(self) -> f64 {
        (self.pruned_only as f64 - self.full_only as f64) / self.items.max(1) as f64
    }

    /// Share ψ of discordant items: (`full_only` + `pruned_only`) / `items`, 0 without items.
    #[must_use]
    pub fn share(self) -> f64 {
        (self.full_only as f64 + self.pruned_only as f64) / self.items.max(1) as f64
    }

    /// The same counts with the models' parts exchanged.
    #[must_use]
    fn swapped(self) -> Self {
        Self { full_only: self.pruned_only, pruned_only: self.full_only, items: self.items }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_items_that_one_model_alone_gets_right_are_discordant() {
        let (full, pruned) = ([true, true, true, false, false], [true, false, false, true, false]);
        let counts = Discordance::new(&full, &pruned);
        assert_eq!(counts, Discordance { full_only: 2, pruned_only: 1, items: 5 });
        assert_eq!((counts.delta(), counts.share()), (-0.2, 0.6));
        assert_eq!(Discordance::new(&pruned, &full), counts.swapped());
    }

    #[test]
    fn no_items_differ_in_nothing() {
        let counts = Discordance::new(&[], &[]);
        assert_eq!((counts.delta(), counts.share()), (0.0, 0.0));
    }
}
