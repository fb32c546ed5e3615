//! Where a residual branch is normed, as a value.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

/// What δ is multiplied by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Beta {
    /// A number, mostly 1.
    Fixed(f64),
    /// A learned factor for each dimension, 1e-4 at first (LayerScale, Touvron et al., arXiv 2103.17239).
    Vector,
    /// One learned factor, 0 at first (SkipInit, De & Smith, arXiv 2002.10444).
    Scalar,
}

impl Beta {
    /// Whether there is a parameter.
    #[must_use]
    pub const fn is_learned(self) -> bool {
        !matches!(self, Self::Fixed(_))
    }
}

/// The norms and numbers of one residual branch, `x' = N_join(α·x + δ)`, `δ = β·N_out(f(s·N_in(x)))`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BranchForm {
    /// Whether there is N_in.
    pub norm_in: bool,
    /// Whether there is N_out.
    pub norm_out: bool,
    /// Whether there is N_join.
    pub norm_join: bool,
    /// α, on the stream.
    pub alpha: f64,
    /// β, on what the branch adds.
    pub beta: Beta,
    /// s, on the normed input.
    pub scale: f64,
}

const PRE: BranchForm =
    BranchForm { norm_in: true, norm_out: false, norm_join: false, alpha: 1.0, beta: Beta::Fixed(1.0), scale: 1.0 };
const POST: BranchForm = BranchForm { norm_in: false, norm_join: true, ..PRE };

/// A norm placement. To add one: one variant, one row in [`Placement::form`], one name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Placement {
    /// Norm before the sub-layer: Llama, Mistral, Qwen, DeepSeek.
    Pre,
    /// Norm after the residual addition: BERT and the original transformer (Vaswani et al., arXiv 1706.03762).
    Post,
    /// Post-LN with α = (2L)^¼ on the stream, and weights that start smaller (Wang et al., arXiv 2203.00555).
    DeepNorm,
    /// Post-LN in the first ⌊share·L⌋ blocks, Pre-LN in the rest (Li et al., arXiv 2412.13795).
    MixLn {
        /// Share of the blocks that are Post-LN.
        share: f64,
    },
    /// LayerNorm Scaling: Pre-LN whose norms are multiplied by 1/√(layer + 1) (arXiv 2502.05795).
    Lns,
    /// Norm of what the sub-layer gives: OLMo 2 (arXiv 2501.00656).
    OutputNorm,
    /// Norm before and after the sub-layer: Gemma 2, Peri-LN (arXiv 2502.02732).
    Sandwich,
    /// Pre-LN with a learned factor for each dimension of δ.
    LayerScale,
    /// Pre-LN with one learned factor of δ.
    SkipInit,
}

/// The share of Post-LN blocks that the paper takes.
pub const DEFAULT_MIX_LN_SHARE: f64 = 0.25;

impl Placement {
    /// One of each, in the order of the paper's tables.
    pub const ALL: [Self; 9] = [
        Self::Post,
        Self::DeepNorm,
        Self::MixLn { share: DEFAULT_MIX_LN_SHARE },
        Self::Pre,
        Self::Lns,
        Self::OutputNorm,
        Self::Sandwich,
        Self::LayerScale,
        Self::SkipInit,
    ];

    /// Both branches of block `layer` of `layers`: the row of the placement table.
    #[must_use]
    pub fn form(self, layer: usize, layers: usize) -> BranchForm {
        match self {
            Self::Pre => PRE,
            Self::Post => POST,
            Self::DeepNorm => BranchForm { alpha: (2.0 * layers as f64).powf(0.25), ..POST },
            Self::MixLn { share } => {
                if (layer as f64) < (share * layers as f64).floor() {
                    POST
                } else {
                    PRE
                }
            }
            Self::Lns => BranchForm { scale: lns_scale(layer), ..PRE },
            Self::OutputNorm => BranchForm { norm_in: false, norm_out: true, ..PRE },
            Self::Sandwich => BranchForm { norm_out: true, ..PRE },
            Self::LayerScale => BranchForm { beta: Beta::Vector, ..PRE },
            Self::SkipInit => BranchForm { beta: Beta::Scalar, ..PRE },
        }
    }

    /// The name in flags, recipes and `config.json`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pre => "pre",
            Self::Post => "post",
            Self::DeepNorm => "deepnorm",
            Self::MixLn { .. } => "mix-ln",
            Self::Lns => "lns",
            Self::OutputNorm => "output-norm",
            Self::Sandwich => "sandwich",
            Self::LayerScale => "layerscale",
            Self::SkipInit => "skipinit",
        }
    }
}

/// 1/√(layer + 1), what LayerNorm Scaling multiplies the norms of block `layer` by.
#[must_use]
pub fn lns_scale(layer: usize) -> f64 {
    1.0 / ((layer + 1) as f64).sqrt()
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MixLn { share } if *share != DEFAULT_MIX_LN_SHARE => write!(f, "{}:{share}", self.name()),
            _ => f.write_str(self.name()),
        }
    }
}

impl Serialize for Placement {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A name that is no placement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("placement is unknown ({name}); use one of {}, or mix-ln:SHARE with a share from 0 to 1", known())]
pub struct UnknownPlacement {
    /// As given.
    pub name: String,
}

fn known() -> String {
    Placement::ALL.map(Placement::name).join(", ")
}

impl FromStr for Placement {
    type Err = UnknownPlacement;

    fn from_str(name: &str) -> Result<Self, UnknownPlacement> {
        let unknown = || UnknownPlacement { name: name.to_owned() };
        if let Some(share) = name.strip_prefix("mix-ln:") {
            let share = share.parse().ok().filter(|share| (0.0..=1.0).contains(share)).ok_or_else(unknown)?;
            return Ok(Self::MixLn { share });
        }
        let plain = if matches!(name, "peri" | "peri-ln") { "sandwich" } else { name };
        Self::ALL.into_iter().find(|placement| placement.name() == plain).ok_or_else(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_placement_is_read_as_it_is_written() {
        for placement in Placement::ALL.into_iter().chain([Placement::MixLn { share: 0.5 }]) {
            assert_eq!(placement.to_string().parse(), Ok(placement));
        }
        assert_eq!("peri".parse(), Ok(Placement::Sandwich));
        for wrong in ["LNS", "mix-ln:1.5", "mix-ln:", "layernorm"] {
            let message = wrong.parse::<Placement>().unwrap_err().to_string();
            assert!(message.contains(wrong) && message.contains("deepnorm"), "{message}");
        }
    }

    #[test]
    fn the_numbers_are_those_of_the_papers() {
        assert_eq!(Placement::Lns.form(3, 24).scale, 0.5);
        assert_eq!(Placement::DeepNorm.form(0, 8).alpha, 2.0);
        let mixed: Vec<bool> = (0..6).map(|l| Placement::MixLn { share: 0.25 }.form(l, 6).norm_join).collect();
        assert_eq!(mixed, [true, false, false, false, false, false]);
        for (layer, layers) in [(0, 1), (5, 12)] {
            for placement in Placement::ALL {
                let form = placement.form(layer, layers);
                assert!(form.norm_in || form.norm_out || form.norm_join, "{placement} norms nothing");
            }
        }
    }
}
