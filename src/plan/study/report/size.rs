//! One size: losses beside the paper's, a sentence for every variant, depth, charts; and the learning rates of all sizes.

use std::fmt::Write;

use super::words::{list, or_dash, range, signed, table, thousands};
use crate::{
    metrics::difference::over_seeds,
    plan::study::{
        Agreement, BASELINE, Difference, Finding, FullRun, PaperSays, SizeFindings, Study, StudyFile, Variant,
    },
    rows::{RunRow, TuningRow},
};

pub(super) fn section(size: &SizeFindings, study: &StudyFile) -> String {
    let mut text = format!("## Perplexity of {}\n\n", size.name);
    text.push_str(&table(&head(study), study.variants.iter().map(|variant| losses(size, study, variant))));
    text.push_str("Losses are nats per token on the held-out text, means over seeds. ");
    text.push_str("Intervals are of 95 %: over seeds Student's t, over text a paired bootstrap over its sequences.");
    let sources = study.paper.iter().map(|column| format!("{}: {}", column.name, column.source));
    if !study.paper.is_empty() {
        let _ = write!(text, " The columns to the right are the paper's ({}).", sources.collect::<Vec<_>>().join("; "));
    }
    text.push_str("\n\n");
    for sentence in sentences(size, study) {
        let _ = writeln!(text, "- {sentence}");
    }
    text.push('\n');
    if size.comparison.is_some() {
        text.push_str(&depth(size, study));
        text.push_str(&charts(&size.name));
    }
    text
}

fn head(study: &StudyFile) -> Vec<String> {
    let delta = format!("Δ loss from {BASELINE}");
    let ours =
        ["variant", "learning rate", "runs", "loss", "perplexity", "over seeds", &delta, "over text", "over seeds"];
    ours.map(str::to_owned).into_iter().chain(study.paper.iter().map(|column| column.name.clone())).collect()
}

fn losses(size: &SizeFindings, study: &StudyFile, variant: &Variant) -> Vec<String> {
    let name = variant.name.as_str();
    let runs: Vec<&FullRun> = size.of(name).collect();
    let measured: Vec<&RunRow> = size.measured(name).collect();
    let mean = |of: fn(&RunRow) -> f64| mean(&measured.iter().map(|row| of(row)).collect::<Vec<_>>());
    let perplexities: Vec<f64> = measured.iter().map(|row| row.perplexity).collect();
    let spread = over_seeds(&perplexities).map_or_else(String::new, |(low, high)| format!("{low:.2} … {high:.2}"));
    let difference = size.from_baseline(name);
    let count = if measured.len() == runs.len() {
        runs.len().to_string()
    } else {
        format!("{} of {}", measured.len(), runs.len())
    };
    let ours = [
        name.to_owned(),
        runs.first().map_or_else(String::new, |run| format!("{:e}", run.row.learning_rate)),
        count,
        or_dash(mean(|row| row.loss), 4),
        or_dash(mean(|row| row.perplexity), 2),
        spread,
        difference.map_or_else(String::new, |difference| signed(difference.by, 4)),
        range(difference.and_then(|difference| difference.over_text), 4),
        range(difference.and_then(|difference| difference.over_seeds), 4),
    ];
    let theirs = study.paper.iter().map(|column| or_dash(column.perplexity.get(name).copied(), 2));
    ours.into_iter().chain(theirs).collect()
}

fn mean(numbers: &[f64]) -> Option<f64> {
    (!numbers.is_empty()).then(|| numbers.iter().sum::<f64>() / numbers.len() as f64)
}

/// For every variant but the baseline, what was found and whether the paper says so.
pub(super) fn sentences(size: &SizeFindings, study: &StudyFile) -> Vec<String> {
    let others = study.variants.iter().filter(|variant| variant.name != BASELINE);
    others.map(|variant| sentence(size, &variant.name, &PaperSays::of(study, &variant.name))).collect()
}

fn sentence(size: &SizeFindings, variant: &str, says: &PaperSays) -> String {
    let runs: Vec<&FullRun> = size.of(variant).collect();
    let steps: Vec<String> = runs.iter().filter_map(|run| run.row.diverged_at).map(thousands).collect();
    if size.measured(BASELINE).next().is_none() {
        return format!("**{variant}** has nothing to be compared with: every run of {BASELINE} diverged.");
    }
    let Some(difference) = size.from_baseline(variant) else {
        let found = format!("**{variant}** is worse than {BASELINE}: every run diverged, at step {}.", list(&steps));
        return found + &paper(says, Finding::Worse);
    };
    let lost = match steps.len() {
        0 => String::new(),
        lost => format!(" {lost} of its {} runs diverged, at step {}, and are left out.", runs.len(), list(&steps)),
    };
    let finding = difference.finding();
    format!("**{variant}** {}.{lost}{}", found(&difference), paper(says, finding))
}

fn found(difference: &Difference) -> String {
    let is = match difference.finding() {
        Finding::Better => "is better than",
        Finding::Worse => "is worse than",
        Finding::Undecided => "cannot be told from",
    };
    let direction = if difference.by < 0.0 { "lower" } else { "higher" };
    let over_text = match difference.over_text {
        Some(interval) => format!("over text {}", range(Some(interval), 4)),
        None => "on a single sequence".to_owned(),
    };
    let over_seeds = match difference.over_seeds {
        Some(interval) => format!("over {} seeds {}", difference.seeds, range(Some(interval), 4)),
        None => "on one seed, and another could turn it round".to_owned(),
    };
    format!(
        "{is} {BASELINE}: its loss is {:.4} nats {direction} (95 % interval {over_text}; {over_seeds})",
        difference.by.abs()
    )
}

fn paper(says: &PaperSays, finding: Finding) -> String {
    let side = |word: &str, columns: &[String]| (!columns.is_empty()).then(|| format!("{word} at {}", list(columns)));
    let ordering: Vec<String> =
        [side("better", &says.better), side("worse", &says.worse)].into_iter().flatten().collect();
    let ordering = list(&ordering);
    match says.agreement(finding) {
        Agreement::Silent => " The paper has no number for it.".to_owned(),
        Agreement::Confirmed => format!(" The paper's ordering ({ordering}) is confirmed."),
        Agreement::NotConfirmed => {
            format!(" The paper's ordering ({ordering}) is not confirmed: here it is the reverse.")
        }
        Agreement::Undecided => format!(" Whether the paper's ordering ({ordering}) holds is undecided here."),
        Agreement::Split => {
            let like = if finding == Finding::Better { &says.better } else { &says.worse };
            format!(" The paper has it {ordering}; here it is as at {}.", list(like))
        }
    }
}

/// What depth does in each variant, means over its runs.
fn depth(size: &SizeFindings, study: &StudyFile) -> String {
    let ineffective = format!("ineffective of {} layers", size.model.layers);
    let head = [
        "variant",
        "σ² of the last output ÷ first",
        "angle, deeper half",
        "Δ NLL of removing a block, deeper half",
        &ineffective,
    ];
    let rows = study.variants.iter().filter_map(|variant| {
        let measured: Vec<&RunRow> = size.measured(&variant.name).collect();
        let mean = |of: fn(&RunRow) -> f64| mean(&measured.iter().map(|row| of(row)).collect::<Vec<_>>());
        Some(vec![
            variant.name.clone(),
            format!("{:.2}", mean(|row| row.variance_growth)?),
            format!("{:.4}", mean(|row| row.deeper_angle)?),
            format!("{:.4}", mean(|row| row.deeper_cost)?),
            format!("{:.1}", mean(|row| row.ineffective as f64)?),
        ])
    });
    let mut text = table(&head.map(str::to_owned), rows);
    text.push_str("Angle: between input and output of a block at the last token, in units of π, mean. Δ NLL: nats per token, median.\n\n");
    text
}

fn charts(size: &str) -> String {
    let named = [
        ("loss", "Held-out loss during training"),
        ("variance_over_training", "Output variance of the last layer during training"),
        ("variance", "Output variance by layer"),
        ("angular", "Angular distance from each block's input to its output"),
        ("prune", "Loss increase when one block is removed"),
    ];
    let mut text = String::new();
    for (chart, title) in named {
        let _ = writeln!(text, "![{title}]({size}/charts/{chart}.svg)\n");
    }
    text
}

/// Held-out loss of every rate that was tried, the one that was taken in bold.
pub(super) fn tuning(study: &Study) -> String {
    let mut text = String::from("## Learning rates\n\n");
    let head = ["size", "variant", "held-out loss by learning rate", ""].map(str::to_owned);
    let mut rows = Vec::new();
    for size in &study.sizes {
        for variant in &study.plan.study.variants {
            let taken = size.of(&variant.name).next().map(|run| run.row.learning_rate);
            let tried: Vec<&TuningRow> = size.tuning.iter().filter(|row| row.variant == variant.name).collect();
            let cells: Vec<String> = tried.iter().map(|row| rate(row, taken)).collect();
            rows.push(vec![size.name.clone(), variant.name.clone(), cells.join(" · "), edge(&tried, taken).to_owned()]);
        }
    }
    text.push_str(&table(&head, rows.into_iter()));
    text
}

fn rate(row: &TuningRow, taken: Option<f64>) -> String {
    let found = match (row.diverged_at, row.held_out_loss) {
        (Some(step), _) => format!("diverged at step {step}"),
        (None, loss) => or_dash(loss, 4),
    };
    let cell = format!("{:e}: {found}", row.learning_rate);
    if Some(row.learning_rate) == taken { format!("**{cell}**") } else { cell }
}

/// A rate at the end of its grid may not be the best there is.
fn edge(tried: &[&TuningRow], taken: Option<f64>) -> &'static str {
    let rates = || tried.iter().map(|row| row.learning_rate);
    let Some(taken) = taken else { return "" };
    if tried.iter().all(|row| row.held_out_loss.is_none()) {
        "none came to its end"
    } else if tried.len() == 1 {
        "the only one tried"
    } else if rates().all(|rate| rate <= taken) {
        "the highest of its grid"
    } else if rates().all(|rate| rate >= taken) {
        "the lowest of its grid"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_worded_with_its_intervals_and_what_it_rests_on() {
        let difference = |over_text, over_seeds| Difference { by: -0.1, over_text, over_seeds, seeds: 3 };
        let better = found(&difference(Some((-0.2, -0.05)), Some((-0.15, -0.01))));
        for words in ["is better than pre", "0.1000 nats lower", "over text −0.2000 … −0.0500", "over 3 seeds −0.1500"]
        {
            assert!(better.contains(words), "{better}");
        }
        let one = found(&difference(Some((-0.2, -0.05)), None));
        assert!(one.contains("is better than pre") && one.contains("on one seed, and another could"), "{one}");
        let unsure = found(&difference(Some((-0.2, 0.05)), None));
        assert!(unsure.contains("cannot be told from pre"), "{unsure}");
    }

    #[test]
    fn what_the_paper_says_is_named_with_its_columns() {
        let says = |better: &[&str], worse: &[&str]| {
            let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            PaperSays { better: owned(better), worse: owned(worse) }
        };
        for (says, finding, words) in [
            (says(&["130M", "1B"], &[]), Finding::Better, "(better at 130M and 1B) is confirmed"),
            (says(&["130M"], &[]), Finding::Worse, "(better at 130M) is not confirmed"),
            (says(&[], &["1B"]), Finding::Undecided, "(worse at 1B) holds is undecided"),
            (says(&["130M"], &["1B"]), Finding::Worse, "better at 130M and worse at 1B; here it is as at 1B"),
            (says(&[], &[]), Finding::Worse, "no number"),
        ] {
            let sentence = paper(&says, finding);
            assert!(sentence.contains(words), "{sentence}");
        }
    }

    #[test]
    fn a_rate_at_the_end_of_its_grid_is_said_to_be() {
        let row = |learning_rate, held_out_loss| TuningRow {
            size: "s".into(),
            variant: "v".into(),
            learning_rate,
            held_out_loss,
            diverged_at: None,
        };
        let (low, middle, high) = (row(1e-3, Some(3.0)), row(3e-3, Some(2.0)), row(1e-2, None));
        let all = [&low, &middle, &high];
        assert_eq!(edge(&all, Some(3e-3)), "");
        assert_eq!(edge(&all, Some(1e-3)), "the lowest of its grid");
        assert_eq!(edge(&all[..2], Some(3e-3)), "the highest of its grid");
        assert_eq!(edge(&[&high], Some(1e-2)), "none came to its end");
        assert_eq!(rate(&middle, Some(3e-3)), "**3e-3: 2.0000**");
    }
}
