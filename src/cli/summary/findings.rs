//! What the numbers say, in sentences.

use super::short;
use crate::{
    metrics::Verdict,
    plan::Run,
    rows::{AngularRow, Growth},
};

pub fn growth(Growth { exponential, power }: &Growth) -> String {
    let better = if exponential.aic < power.aic { "an exponential" } else { "a power" };
    let gap = (exponential.aic - power.aic).abs();
    let strength = if gap < 2.0 { "hardly better" } else { "better" };
    format!(
        "Output variance against l = layer + 1: {}·e^({}·l) with R² {:.3}, AIC {:.1}; {}·l^{} with R² {:.3}, AIC {:.1}. \
         It is described {strength} by {better}.",
        short(exponential.a),
        short(exponential.b),
        exponential.r2,
        exponential.aic,
        short(power.a),
        short(power.b),
        power.r2,
        power.aic
    )
}

/// The blocks that Gromov et al. would cut, for a few spans.
pub fn cheapest(best: &[AngularRow]) -> String {
    let layers = best.len();
    let spans = [1, 2, 4, 8, 16, 32];
    let windows =
        spans.into_iter().filter(|&span| span == 1 || span <= layers / 2).filter_map(|span| best.get(span - 1)).map(
            |row| {
                let last = row.start + row.span - 1;
                if row.span == 1 {
                    format!("layer {} ({})", row.start, short(row.distance))
                } else {
                    format!("layers {}–{last} ({})", row.start, short(row.distance))
                }
            },
        );
    format!("Smallest angular distance at the last token: {}.", windows.collect::<Vec<_>>().join(", "))
}

/// Sequences below which a bootstrap's intervals cover clearly less than they say.
const ENOUGH: usize = 8;

pub fn verdict(verdict: &Verdict, run: &Run) -> String {
    let Verdict { ineffective: idle, ineffective_in_deeper_half: idle_deep, .. } = *verdict;
    let (undecided, undecided_deep) = verdict.undecided();
    let (layers, deep) = (verdict.findings.len(), verdict.deeper_half().len());
    let tolerance = verdict.tolerance * 100.0;
    let statement = format!(
        "{idle} of {layers} layers are ineffective: removing one raises the NLL by less than {tolerance} %, upper end of the \
         95 % interval. {idle_deep} of them are among the deeper {deep}."
    );
    let rest =
        if undecided == 0 { String::new() } else { format!(" {undecided} cannot be decided with this much text.") };
    let reading = match run.manifest.input.sequences {
        0 | 1 => "",
        few if few < ENOUGH => " So few sequences give intervals that are too narrow to read more into this.",
        _ if 2 * idle_deep > deep => " This is the Curse of Depth: most of the deeper half does next to nothing.",
        _ if 2 * (idle_deep + undecided_deep) <= deep => {
            " This does not confirm the Curse of Depth: most of the deeper half matters."
        }
        _ => " This neither confirms nor refutes the Curse of Depth.",
    };
    statement + &rest + reading
}
