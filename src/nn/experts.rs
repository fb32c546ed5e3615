//! A feed-forward of many experts, of which each token visits a few.

use candle_core::{DType, Result, Tensor};

use super::{Gated, Linear, host::with_f32};

/// `Σ_chosen weight·expert(x) [+ shared(x)]` (Shazeer et al., arXiv 1701.06538; shared experts: Dai et al., arXiv 2401.06066).
///
/// Tokens are gathered by expert, so that the cost follows the experts that are visited.
#[derive(Clone, Debug)]
pub struct Experts {
    /// Who visits whom.
    pub router: Router,
    /// The experts.
    pub experts: Vec<Gated>,
    /// What every token visits.
    pub shared: Option<Shared>,
}

/// An expert that every token visits.
#[derive(Clone, Debug)]
pub struct Shared {
    /// The expert.
    pub expert: Gated,
    /// `[1, hidden]`: its result is multiplied by the sigmoid of this (Qwen2-MoE).
    pub gate: Option<Linear>,
}

/// How experts are chosen and weighted.
#[derive(Clone, Debug)]
pub struct Router {
    /// `[experts, hidden]`.
    pub weight: Linear,
    /// Added to the scores where experts are chosen, not where they are weighted (Wang et al., arXiv 2408.15664).
    pub correction: Option<Vec<f32>>,
    /// The rule.
    pub rule: Routing,
}

/// The rule by which scores become weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Routing {
    /// How logits become scores.
    pub scores: Scores,
    /// Experts that a token visits.
    pub top_k: usize,
    /// Experts are chosen from a few groups only.
    pub groups: Option<Groups>,
    /// Whether the weights of a token's experts add up to 1.
    pub normalised: bool,
    /// What weights are multiplied by.
    pub factor: f64,
}

/// How logits become scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scores {
    /// Softmax over all experts.
    Softmax,
    /// Sigmoid of each.
    Sigmoid,
}

/// Group-limited routing (DeepSeek-V2, arXiv 2405.04434, section 2.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Groups {
    /// Number of groups of equally many experts.
    pub count: usize,
    /// Groups that a token may choose from.
    pub kept: usize,
    /// Best scores of a group that are added up to rank it: 1 or 2.
    pub ranked_by: usize,
}

/// An expert that a token visits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Visit {
    /// The expert.
    pub expert: usize,
    /// What its result is multiplied by.
    pub weight: f32,
}

impl Routing {
    /// The experts of one token, best first, from its router logits.
    #[must_use]
    pub fn visits(&self, logits: &[f32], correction: Option<&[f32]>) -> Vec<Visit> {
        let scores = self.scores.of(logits);
        let mut chosen_by: Vec<f32> = match correction {
            Some(correction) => scores.iter().zip(correction).map(|(score, correction)| score + correction).collect(),
            None => scores.clone(),
        };
        if let Some(groups) = self.groups {
            groups.hide_others(&mut chosen_by);
        }
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|&a, &b| chosen_by[b].total_cmp(&chosen_by[a]));
        order.truncate(self.top_k);
        let sum: f32 = order.iter().map(|&expert| scores[expert]).sum();
        let share = if self.normalised { self.factor as f32 / (sum + 1e-20) } else { self.factor as f32 };
        order.into_iter().map(|expert| Visit { expert, weight: scores[expert] * share }).collect()
    }
}

impl Scores {
    fn of(self, logits: &[f32]) -> Vec<f32> {
        match self {
            Self::Sigmoid => logits.iter().map(|logit| 1.0 / (1.0 + (-logit).exp())).collect(),
            Self::Softmax => {
                let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let exps: Vec<f32> = logits.iter().map(|logit| (logit - largest).exp()).collect();
                let sum: f32 = exps.iter().sum();
                exps.into_iter().map(|exp| exp / sum).collect()
            }
        }
    }
}

impl Groups {
    /// Leaves nothing to choose but in the best groups.
    fn hide_others(self, scores: &mut [f32]) {
        let size = scores.len() / self.count;
        let rank = |group: &[f32]| -> f32 {
            let mut sorted = group.to_vec();
            sorted.sort_by(|a, b| b.total_cmp(a));
            sorted.iter().take(self.ranked_by).sum()
        };
        let ranks: Vec<f32> = scores.chunks(size).map(rank).collect();
        let mut order: Vec<usize> = (0..ranks.len()).collect();
        order.sort_by(|&a, &b| ranks[b].total_cmp(&ranks[a]));
        for &group in &order[self.kept.min(order.len())..] {
            scores[group * size..(group + 1) * size].fill(f32::NEG_INFINITY);
        }
    }
}

impl Router {
    /// The experts of every row of `x: [tokens, hidden]`.
    ///
    /// # Errors
    /// Shapes that do not fit, or an error of the device.
    pub fn visits(&self, x: &Tensor) -> Result<Vec<Vec<Visit>>> {
        // Which expert is the best is decided in f32 whatever the type of the model.
        let weight = self.weight.weight.to_dtype(DType::F32)?;
        let bias = self.weight.bias.as_ref().map(|bias| bias.to_dtype(DType::F32)).transpose()?;
        let logits = Linear { weight, bias }.forward(&x.to_dtype(DType::F32)?)?;
        let experts = logits.dim(1)?;
        with_f32(&logits, |logits| {
            let token = |logits: &[f32]| self.rule.visits(logits, self.correction.as_deref());
            Ok(logits.chunks_exact(experts).map(token).collect())
        })
    }
}

impl Experts {
    /// Maps each row of `x: [tokens, hidden]`.
    ///
    /// # Errors
    /// Shapes that do not fit, or an error of the device.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let routed = self.routed(x, &self.router.visits(x)?)?;
        match &self.shared {
            Some(shared) => routed + shared.forward(x)?,
            None => Ok(routed),
        }
    }

    /// The weighted sum of what the visited experts give. Every token makes the same number of visits.
    fn routed(&self, x: &Tensor, visits: &[Vec<Visit>]) -> Result<Tensor> {
        let (tokens, hidden) = x.dims2()?;
        let mut by_expert: Vec<Vec<(u32, usize)>> = vec![Vec::new(); self.experts.len()];
        let per_token = visits.first().map_or(0, Vec::len);
        for (token, visits) in visits.iter().enumerate() {
            for (index, visit) in visits.iter().enumerate() {
                by_expert[visit.expert].push((token as u32, token * per_token + index));
            }
        }
        // Where the result of each visit stands once those of all experts lie one after the other.
        let mut place = vec![0u32; tokens * per_token];
        let (mut results, mut row) = (Vec::new(), 0);
        for (expert, visits) in self.experts.iter().zip(&by_expert).filter(|(_, visits)| !visits.is_empty()) {
            let rows: Vec<u32> = visits.iter().map(|(token, _)| *token).collect();
            results.push(expert.forward(&x.index_select(&Tensor::new(rows, x.device())?, 0)?)?);
            for (_, visit) in visits {
                place[*visit] = row;
                row += 1;
            }
        }
        let weights: Vec<f32> = visits.iter().flatten().map(|visit| visit.weight).collect();
        let weights = Tensor::from_vec(weights, (tokens, per_token, 1), x.device())?;
        let results = Tensor::cat(&results, 0)?.index_select(&Tensor::new(place, x.device())?, 0)?;
        let results = results.to_dtype(DType::F32)?.reshape((tokens, per_token, hidden))?;
        results.broadcast_mul(&weights)?.sum(1)?.to_dtype(x.dtype())
    }
}

impl Shared {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = self.expert.forward(x)?;
        match &self.gate {
            Some(gate) => y.broadcast_mul(&candle_nn::ops::sigmoid(&gate.forward(x)?)?),
            None => Ok(y),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Routing = Routing { scores: Scores::Sigmoid, top_k: 2, groups: None, normalised: false, factor: 1.0 };

    fn experts(visits: &[Visit]) -> Vec<usize> {
        visits.iter().map(|visit| visit.expert).collect()
    }

    #[test]
    fn the_correction_chooses_but_does_not_weigh() {
        let logits = [2.0, 1.0, 0.0, -1.0];
        let visits = PLAIN.visits(&logits, Some(&[0.0, 0.0, 0.0, 5.0]));
        assert_eq!(experts(&visits), [3, 0]);
        assert!((visits[0].weight - 1.0 / (1.0 + 1f32.exp())).abs() < 1e-6);
    }

    #[test]
    fn groups_hide_the_best_expert_of_a_weak_group() {
        let groups = Some(Groups { count: 2, kept: 1, ranked_by: 2 });
        let visits = Routing { groups, ..PLAIN }.visits(&[3.0, -9.0, 2.0, 1.5], None);
        assert_eq!(experts(&visits), [2, 3]);
        let by_best = Some(Groups { count: 2, kept: 1, ranked_by: 1 });
        assert_eq!(experts(&Routing { groups: by_best, ..PLAIN }.visits(&[3.0, -9.0, 2.0, 1.5], None)), [0, 1]);
    }

    #[test]
    fn normalised_weights_add_up_to_the_factor() {
        let rule = Routing { scores: Scores::Softmax, normalised: true, factor: 2.5, ..PLAIN };
        let visits = rule.visits(&[0.3, 1.0, 0.2, -4.0], None);
        assert!((visits.iter().map(|visit| visit.weight).sum::<f32>() - 2.5).abs() < 1e-5);
    }
}
