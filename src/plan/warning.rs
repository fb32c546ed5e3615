//! What a user should know although the run goes on.

use serde::Serialize;

use crate::source::hub::Origin;

/// Something that makes results weaker than they look, with what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Warning {
    /// Positions that the model was not trained for.
    #[error(
        "sequences are longer than the model's context ({longest} > {context} tokens); keep them within it, with --seq-len {context}"
    )]
    BeyondContext {
        /// Longest sequence.
        longest: usize,
        /// What the model was trained for.
        context: usize,
    },
    /// Less text than asked for.
    #[error(
        "text is shorter than asked for ({found} of {wanted} sequences); add text, or lower --samples or --seq-len"
    )]
    FewSamples {
        /// Asked for.
        wanted: usize,
        /// There.
        found: usize,
    },
    /// Nothing to resample.
    #[error("uncertainty is unknown (a single sequence); use two or more for intervals and a verdict")]
    OneSequence,
    /// Sequences that predict nothing.
    #[error("sequences of one token predict nothing ({count} of {sequences}); only variance and angles use them")]
    SingleTokens {
        /// How many.
        count: usize,
        /// Of how many.
        sequences: usize,
    },
    /// Sequences in which nothing can be masked.
    #[error(
        "sequences of special tokens alone predict nothing ({count} of {sequences}); only variance and angles use them"
    )]
    NothingMasked {
        /// How many.
        count: usize,
        /// Of how many.
        sequences: usize,
    },
    /// LayerNorm Scaling and scaled initialisation do the same thing twice.
    #[error(
        "lns is combined with scaled initialisation, which the paper advises against (arXiv 2502.05795); use --init normal"
    )]
    ScaledTwice,
    /// Examples longer than a sequence.
    #[error(
        "examples are longer than a sequence ({count} of more than {seq_len} tokens) and lose their ends; give a larger --seq-len"
    )]
    CutExamples {
        /// How many.
        count: usize,
        /// Tokens that one may have.
        seq_len: usize,
    },
    /// Contexts that do not fit.
    #[error(
        "task {task}: contexts are longer than the model's ({requests} of {of} requests, {context} tokens) and lose their left ends; \
         use fewer --shots, or a model with a longer context"
    )]
    CutContexts {
        /// The task.
        task: String,
        /// Requests that lost something.
        requests: usize,
        /// Of how many.
        of: usize,
        /// Positions of the model.
        context: usize,
    },
    /// The Hub could not be asked whether a branch has moved.
    #[error("Hub did not answer ({repo}); the cached revision is used, which may be older")]
    HubUnanswered {
        /// Which repository.
        repo: String,
    },
}

impl Warning {
    pub(super) fn of_origin(origin: Origin, repo: &str) -> Option<Self> {
        (origin == Origin::Unanswered).then(|| Self::HubUnanswered { repo: repo.to_owned() })
    }
}
