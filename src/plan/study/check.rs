//! Values of a study's file that cannot be carried out.

use std::collections::BTreeSet;

use super::{BASELINE, FineTune, StudyFile};
use crate::corpus::bpe::SMALLEST_VOCAB;

/// Folders of `--out` that are no size's.
const RESERVED: [&str; 3] = ["units", "tables", "charts"];

/// A key, and what is wrong with its value.
type Fault = (String, String);

impl StudyFile {
    /// The first value that cannot be carried out: hours later is too late to learn of it.
    pub(super) fn check(&self) -> Result<(), Fault> {
        require(self.vocab >= SMALLEST_VOCAB, "vocab", || format!("{} < {SMALLEST_VOCAB}", self.vocab))?;
        distinct("variant.name", self.variants.iter().map(|variant| &variant.name))?;
        let baseline = self.variants.iter().any(|variant| variant.name == BASELINE);
        require(baseline, "variant.name", || {
            format!("none is called {BASELINE}, and it is what others are compared with")
        })?;
        distinct("size.name", self.sizes.iter().map(|size| &size.name))?;
        for name in self.variants.iter().map(|variant| &variant.name).chain(self.sizes.iter().map(|size| &size.name)) {
            let good = !name.is_empty()
                && !name.starts_with('.')
                && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
            require(good, "name", || format!("{name:?} is no name for a folder; take letters, digits, - and _"))?;
        }
        for size in &self.sizes {
            let key = |key: &str| format!("size {}, {key}", size.name);
            require(!RESERVED.contains(&size.name.as_str()), &key("name"), || "the folder has another use".to_owned())?;
            distinct(&key("learning_rates"), size.learning_rates.iter().map(ToString::to_string))?;
            distinct(&key("seeds"), &size.seeds)?;
            require(size.tune_steps > 0, &key("tune_steps"), || "0 is out of its range".to_owned())?;
            for variant in &self.variants {
                for &rate in &size.learning_rates {
                    let recipe = size.recipe(variant, rate, 0).map_err(|error| (key("recipe"), error.to_string()))?;
                    recipe.decoder(self.vocab).map_err(|error| (key("recipe"), error.to_string()))?;
                }
            }
        }
        self.fine_tune.as_ref().map_or(Ok(()), |fine_tune| self.check_fine_tune(fine_tune))?;
        for (variant, perplexity) in self.paper.iter().flat_map(|column| &column.perplexity) {
            let known = self.variants.iter().any(|other| other.name == *variant);
            require(known, "paper.perplexity", || format!("{variant:?} is none of the variants"))?;
            require(*perplexity > 0.0, "paper.perplexity", || format!("{perplexity} is out of its range"))?;
        }
        Ok(())
    }

    fn check_fine_tune(&self, fine_tune: &FineTune) -> Result<(), Fault> {
        let FineTune { size, models, examples, steps, batch_size, learning_rate, questions, seq_len } = fine_tune;
        let names: Vec<&str> = self.sizes.iter().map(|size| size.name.as_str()).collect();
        require(names.contains(&size.as_str()), "fine_tune.size", || {
            format!("{size:?} is none of the sizes ({})", names.join(", "))
        })?;
        for name in models.keys() {
            let known = self.variants.iter().any(|variant| variant.name == *name);
            require(known, "fine_tune.models", || format!("{name:?} is none of the variants"))?;
        }
        let baseline = models.is_empty() || models.contains_key(BASELINE);
        require(baseline, "fine_tune.models", || format!("there is none for {BASELINE}"))?;
        for (key, good, value) in [
            ("fine_tune.examples", *examples > 1, *examples as f64),
            ("fine_tune.steps", *steps > 0, *steps as f64),
            ("fine_tune.batch_size", *batch_size > 0, *batch_size as f64),
            ("fine_tune.learning_rate", *learning_rate > 0.0 && learning_rate.is_finite(), *learning_rate),
            ("fine_tune.questions", *questions > 0, *questions as f64),
            ("fine_tune.seq_len", *seq_len != Some(0), 0.0),
        ] {
            require(good, key, || format!("{value} is out of its range"))?;
        }
        Ok(())
    }
}

fn require(good: bool, key: &str, problem: impl FnOnce() -> String) -> Result<(), Fault> {
    if good { Ok(()) } else { Err((key.to_owned(), problem())) }
}

/// At least one, and none twice.
fn distinct<T: Ord + std::fmt::Display>(key: &str, values: impl IntoIterator<Item = T>) -> Result<(), Fault> {
    let mut seen = BTreeSet::new();
    for value in values {
        if seen.contains(&value) {
            return Err((key.to_owned(), format!("{value} is there twice")));
        }
        seen.insert(value);
    }
    require(!seen.is_empty(), key, || "there is none".to_owned())
}
