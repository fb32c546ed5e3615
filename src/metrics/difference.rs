//! Which of two models predicts better: the difference of their losses on the same sequences.
//!
//! Two questions, two intervals. Would other *text* turn the difference round? Sequences are drawn again, the same for both models (paired
//! bootstrap). Would another *seed*? Each seed that both trained with gives one difference, and Student's t the interval of their mean.
//! The second is usually wider: models that differ in nothing but the seed differ beyond doubt on any fixed text.

use super::bootstrap::Bootstrap;
use crate::walk::SequenceScore;

/// Mean NLL in nats per token and its 95 % interval over sequences.
#[must_use]
pub fn loss(scores: &[SequenceScore], bootstrap: &Bootstrap) -> (f64, Option<(f64, f64)>) {
    let terms: Vec<[f64; 2]> = scores.iter().map(|score| [score.nll, score.tokens as f64]).collect();
    let ratio = |[nll, tokens]: [f64; 2]| nll / tokens;
    (ratio(total(&terms)), bootstrap.interval(&terms, ratio))
}

/// Loss of `second` − loss of `first`, each the mean over its models, and the 95 % paired interval over sequences. All models were
/// scored on the same sequences.
#[must_use]
pub fn difference(
    first: &[&[SequenceScore]],
    second: &[&[SequenceScore]],
    bootstrap: &Bootstrap,
) -> (f64, Option<(f64, f64)>) {
    let sequences = first.iter().chain(second).map(|scores| scores.len()).min().unwrap_or(0);
    let mean = |models: &[&[SequenceScore]], sequence: usize| {
        models.iter().map(|scores| scores[sequence].nll).sum::<f64>() / models.len() as f64
    };
    let terms: Vec<[f64; 2]> = (0..sequences)
        .map(|sequence| [mean(second, sequence) - mean(first, sequence), first[0][sequence].tokens as f64])
        .collect();
    let ratio = |[nll, tokens]: [f64; 2]| nll / tokens;
    (ratio(total(&terms)), bootstrap.interval(&terms, ratio))
}

fn total(terms: &[[f64; 2]]) -> [f64; 2] {
    terms.iter().fold([0.0; 2], |sum, term| [sum[0] + term[0], sum[1] + term[1]])
}

/// 95 % interval of the mean of one number a seed, by Student's t with n − 1 degrees of freedom; absent for fewer than two.
#[must_use]
pub fn over_seeds(numbers: &[f64]) -> Option<(f64, f64)> {
    let count = numbers.len();
    let freedom = count.checked_sub(1).filter(|&freedom| freedom > 0)?;
    let mean = numbers.iter().sum::<f64>() / count as f64;
    let variance = numbers.iter().map(|number| (number - mean).powi(2)).sum::<f64>() / freedom as f64;
    let reach = student(freedom) * (variance / count as f64).sqrt();
    Some((mean - reach, mean + reach))
}

/// The 97.5 % point of Student's t: tabulated where few degrees of freedom bend it, else Fisher's expansion around the normal law
/// (Abramowitz & Stegun, 26.7.5), which is good to 1e-4 from there on.
fn student(freedom: usize) -> f64 {
    const TABLE: [f64; 8] = [12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060];
    const Z: f64 = 1.959_964;
    TABLE.get(freedom - 1).copied().unwrap_or_else(|| {
        let n = freedom as f64;
        let [z3, z5, z7, z9] = [3, 5, 7, 9].map(|power| Z.powi(power));
        Z + (z3 + Z) / (4.0 * n)
            + (5.0 * z5 + 16.0 * z3 + 3.0 * Z) / (96.0 * n * n)
            + (3.0 * z7 + 19.0 * z5 + 17.0 * z3 - 15.0 * Z) / (384.0 * n.powi(3))
            + (79.0 * z9 + 776.0 * z7 + 1482.0 * z5 - 1920.0 * z3 - 945.0 * Z) / (92_160.0 * n.powi(4))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(nll: &[f64]) -> Vec<SequenceScore> {
        nll.iter().map(|&nll| SequenceScore { nll, tokens: 10, ..SequenceScore::default() }).collect()
    }

    #[test]
    fn a_difference_that_every_sequence_shows_is_certain_however_much_sequences_differ() {
        let first = scores(&[10.0, 30.0, 70.0, 20.0]);
        let second = scores(&[11.0, 31.0, 71.0, 21.0]);
        let bootstrap = Bootstrap::new(4, 1);
        let (by, interval) = difference(&[&first], &[&second], &bootstrap);
        let (low, high) = interval.unwrap();
        assert!((by - 0.1).abs() < 1e-12 && (low - 0.1).abs() < 1e-12 && (high - 0.1).abs() < 1e-12);
        let (mean, interval) = loss(&first, &bootstrap);
        assert!((mean - 3.25).abs() < 1e-12);
        assert!(interval.unwrap().1 - interval.unwrap().0 > 2.0, "{interval:?}");
    }

    #[test]
    fn a_group_counts_as_the_mean_of_its_models() {
        let (low, high, other) = (scores(&[10.0, 10.0]), scores(&[20.0, 30.0]), scores(&[15.0, 15.0]));
        let (by, _) = difference(&[&low, &high], &[&other], &Bootstrap::new(2, 1));
        assert!((by - (1.5 - 1.75)).abs() < 1e-12, "{by}");
    }

    #[test]
    fn the_interval_over_seeds_is_students() {
        // mean 2, standard error 1/√3, t(2) = 4.3027.
        let (low, high) = over_seeds(&[1.0, 2.0, 3.0]).unwrap();
        assert!((low - (2.0 - 2.484_14)).abs() < 1e-4 && (high - (2.0 + 2.484_14)).abs() < 1e-4, "{low} {high}");
        assert_eq!(over_seeds(&[1.0]), None);
        for (freedom, exact) in [(9, 2.2622), (12, 2.1788), (30, 2.0423), (1000, 1.9623)] {
            assert!((student(freedom) - exact).abs() < 2e-4, "t({freedom}) = {}", student(freedom));
        }
    }
}
