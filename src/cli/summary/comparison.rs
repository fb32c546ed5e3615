//! Models side by side: a line for each, a verdict for every two groups.

use std::{fmt::Write, path::PathBuf};

use super::{files, short, wrapped};
use crate::{
    plan::Comparison,
    rows::{PairRow, RunRow},
};

/// The whole summary.
pub fn render(found: &Comparison, written: Option<&[PathBuf]>) -> String {
    let mut text = header(found);
    text.push('\n');
    table(&mut text, &found.runs);
    for pair in &found.pairs {
        text.push('\n');
        text.push_str(&wrapped(&verdict(pair, &found.runs)));
    }
    text.push('\n');
    text.push_str(&wrapped(&files(written)));
    text
}

fn header(found: &Comparison) -> String {
    let input = &found.manifests[0].input;
    wrapped(&format!(
        "{} models on {} tokens in {} sequences of {}",
        found.runs.len(),
        input.tokens,
        input.sequences,
        found.plan.input.describe()
    ))
}

/// Characters of a name; the rest of the line has room for no more.
const NAME: usize = 20;

fn table(text: &mut String, runs: &[RunRow]) {
    let width = runs.iter().map(|run| run.run.chars().count()).max().unwrap_or(0).clamp(4, NAME);
    let _ = writeln!(
        text,
        "{:<width$} {:>8} {:>17} {:>8} {:>8} {:>8}  ineffective",
        "", "loss", "95 % interval", "σ² grows", "angle", "Δ NLL"
    );
    for run in runs {
        let name: String = run.run.chars().skip(run.run.chars().count().saturating_sub(width)).collect();
        let interval = run.ci_low.zip(run.ci_high);
        let interval = interval.map_or_else(String::new, |(low, high)| format!("{} … {}", short(low), short(high)));
        let _ = writeln!(
            text,
            "{name:<width$} {:>8} {interval:>17} {:>8} {:>8} {:>8}  {} of {}",
            short(run.loss),
            format!("{}×", short(run.variance_growth)),
            short(run.deeper_angle),
            short(run.deeper_cost),
            run.ineffective,
            run.layers
        );
    }
    text.push_str("angle: mean over the deeper half; Δ NLL: median cost of a block of that half\n");
}

/// Who predicts better, how sure that is, and what depth does in both.
fn verdict(pair: &PairRow, runs: &[RunRow]) -> String {
    let PairRow { first, second, difference, .. } = pair;
    let (better, worse) = if *difference < 0.0 { (second, first) } else { (first, second) };
    let by = short(difference.abs());
    let Some((low, high)) = pair.ci_low.zip(pair.ci_high) else {
        return format!("{better}'s loss is {by} below {worse}'s, on a single sequence: that decides nothing.");
    };
    // From the better one's side, so that both ends count what it gains.
    let gain = |(low, high): (f64, f64)| if *difference < 0.0 { (-high, -low) } else { (low, high) };
    let over_text = gain((low, high));
    let over_seeds = pair.seeds_low.zip(pair.seeds_high).map(gain);
    let certain = over_text.0 > 0.0 && over_seeds.is_none_or(|over| over.0 > 0.0);
    let statement = if certain {
        format!("{better} predicts better than {worse}: its loss is {by} lower")
    } else {
        format!("{first} and {second} cannot be told apart: {better}'s loss is {by} lower")
    };
    let range = |(low, high): (f64, f64)| format!("{} … {}", short(low), short(high));
    let seeds = match over_seeds {
        Some(over) => format!("; over {} seeds: {}). ", pair.seeds, range(over)),
        None if certain => "; one seed each: another could turn it round). ".to_owned(),
        None => "). ".to_owned(),
    };
    format!("{statement} (95 % interval over sequences: {}{seeds}{}", range(over_text), depth(first, second, runs))
}

fn depth(first: &str, second: &str, runs: &[RunRow]) -> String {
    let mean = |group: &str, value: fn(&RunRow) -> f64| {
        let of_group: Vec<f64> = runs.iter().filter(|run| run.group == group).map(value).collect();
        of_group.iter().sum::<f64>() / of_group.len() as f64
    };
    let both = |value: fn(&RunRow) -> f64| [first, second].map(|group| short(mean(group, value)));
    let [grows, grows_too] = both(|run| run.variance_growth);
    let [angle, angle_too] = both(|run| run.deeper_angle);
    let [cost, cost_too] = both(|run| run.deeper_cost);
    let idle = |run: &RunRow| 100.0 * run.ineffective as f64 / run.layers as f64;
    let [idle, idle_too] = [first, second].map(|group| format!("{:.0} %", mean(group, idle)));
    format!(
        "From first to last block variance grows {grows}-fold in {first} and {grows_too}-fold in {second}; a block of the deeper \
         half turns the stream by {angle} and {angle_too}, and costs {cost} and {cost_too} when removed; {idle} and {idle_too} of the \
         layers are ineffective."
    )
}
