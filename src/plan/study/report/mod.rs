//! A study in Markdown: what it cost, what it found, whether that is what the paper says, and how to do it again.

mod fine_tuning;
mod size;
mod words;

use std::fmt::Write;

use super::{SizeFindings, Study};
use words::{duration, table, thousands};

impl Study {
    /// The whole report in Markdown; its links are to what `study --out` writes.
    #[must_use]
    pub fn report(&self) -> String {
        let file = &self.plan.study;
        let mut text = format!("# {}\n\n{}", file.title, budget(self));
        for size in &self.sizes {
            text.push_str(&size::section(size, file));
        }
        text.push_str(&size::tuning(self));
        if let Some(found) = &self.fine_tuned {
            text.push_str(&fine_tuning::section(found, file));
        }
        text.push_str(&again(self));
        text
    }

    /// What was found of each variant at each size, a sentence each, in plain text.
    #[must_use]
    pub fn sentences(&self) -> Vec<String> {
        let of_size = |size| size::sentences(size, &self.plan.study);
        let all = self.sizes.iter().flat_map(|size| of_size(size).into_iter().map(move |text| (&size.name, text)));
        all.map(|(size, text)| format!("{size}: {}", text.replace("**", ""))).collect()
    }
}

fn budget(study: &Study) -> String {
    let mut text = String::from("## Budget\n\n");
    let tokens = study.sizes.iter().map(|size| size.tokens).sum();
    let tuned = study.fine_tuned.as_ref();
    let seconds = study.sizes.iter().map(|size| size.seconds).chain(tuned.map(|found| found.seconds)).sum();
    let _ = writeln!(
        text,
        "{} training runs, {} of them to try learning rates, read {} tokens of {} (SHA-256 `{}`), cut by a byte-level BPE tokenizer of {} tokens that was learned from it. \
         All runs of a size read the same tokens, those with the same seed in the same order; variants differ in norm placement, \
         initialisation and learning rate, and in nothing else. A learning rate is tried with the first seed, on a schedule of its own \
         length; the rate with the lowest held-out loss is taken for the full runs. The steps of all runs{} took {} on \
         a machine that may have had other things to do.\n",
        study.tuning().count() + study.runs().count(),
        study.tuning().count(),
        thousands(tokens),
        study.plan.text,
        study.text.sha256,
        thousands(study.text.vocab as u64),
        if tuned.is_some() { " and of fine-tuning" } else { "" },
        duration(seconds),
    );
    let head = [
        "size",
        "blocks × width",
        "parameters",
        "without embedding and output",
        "steps × sequences × tokens",
        "tokens of a full run",
        "tokens of all runs",
        "operations of all runs",
        "time",
    ];
    text.push_str(&table(&head.map(str::to_owned), study.sizes.iter().map(cost)));
    text
}

fn cost(size: &SizeFindings) -> Vec<String> {
    let budget = &size.budget;
    vec![
        size.name.clone(),
        format!("{} × {}", size.model.layers, size.model.hidden),
        thousands(budget.parameters),
        thousands(budget.parameters - budget.vocabulary_parameters),
        format!("{} × {} × {}", size.steps, size.batch_size, size.seq_len),
        thousands(budget.tokens),
        thousands(size.tokens),
        format!("{:.2e}", size.flops),
        duration(size.seconds),
    ]
}

fn again(study: &Study) -> String {
    let Study { depthscope, plan, .. } = study;
    format!(
        "## Again\n\n    depthscope study {} --text {} --out {}\n\nwith depthscope {depthscope}. The study is in `study.toml`, every number in \
         `tables/` and in the folder of its size, every training run in `units/`, an ordinary folder of `depthscope train`. A study \
         that is stopped goes on when the command is given again.\n",
        plan.name,
        plan.text,
        plan.out.display()
    )
}
