//! Examples that stand before a question.

use std::collections::BTreeMap;

use super::{Row, Sampler, ShotSource, TaskError, form::Form, python_random::PythonRandom};

/// The examples of one subject.
pub(super) struct Examples<'a, 'e, 's> {
    form: &'a Form<'e, 's>,
    source: &'a ShotSource,
    pool: Vec<&'a Row>,
    wanted: usize,
    subject: Option<&'a str>,
    random: PythonRandom,
    /// Examples that were written already: most tasks show the same few again and again.
    written: BTreeMap<usize, String>,
}

impl<'a, 'e, 's> Examples<'a, 'e, 's> {
    pub fn new(
        form: &'a Form<'e, 's>,
        source: &'a ShotSource,
        pool: Vec<&'a Row>,
        wanted: usize,
        subject: Option<&'a str>,
        seed: u64,
    ) -> Self {
        // As there, every subject begins anew.
        let random = PythonRandom::new(seed);
        Self { form, source, pool, wanted, subject, random, written: BTreeMap::new() }
    }

    /// The text before the question about `row`.
    pub fn before(&mut self, row: &Row) -> Result<String, TaskError> {
        let mut text = String::new();
        for index in self.chosen(row)? {
            if !self.written.contains_key(&index) {
                self.written.insert(index, self.form.example(self.pool[index])?);
            }
            text.push_str(&self.written[&index]);
            text.push_str(&self.source.separator);
        }
        Ok(text)
    }

    fn chosen(&mut self, row: &Row) -> Result<Vec<usize>, TaskError> {
        let all = 0..self.pool.len();
        let others = |drawn: Vec<usize>, pool: &[&Row]| -> Vec<usize> {
            drawn.into_iter().filter(|&index| !pool[index].same(row)).collect()
        };
        let leave_out = self.source.leave_out_self;
        let chosen = match self.source.sampler {
            Sampler::FirstN if leave_out => others(all.collect(), &self.pool),
            Sampler::FirstN => all.collect(),
            Sampler::Random => {
                let one_more = self.wanted + usize::from(leave_out);
                self.enough(self.pool.len(), one_more)?;
                let drawn = self.random.sample(self.pool.len(), one_more);
                let drawn = if leave_out { others(drawn, &self.pool) } else { drawn };
                if drawn.len() < self.wanted {
                    // The pool has the row more than once.
                    let pool = others(all.collect(), &self.pool);
                    self.enough(pool.len(), self.wanted)?;
                    self.random.sample(pool.len(), self.wanted).into_iter().map(|index| pool[index]).collect()
                } else {
                    drawn
                }
            }
        };
        self.enough(chosen.len(), self.wanted)?;
        Ok(chosen.into_iter().take(self.wanted).collect())
    }

    fn enough(&self, there: usize, wanted: usize) -> Result<(), TaskError> {
        if there >= wanted {
            return Ok(());
        }
        let subject = self.subject.map(str::to_owned);
        Err(TaskError::FewShots { wanted, there, split: self.source.split.clone(), subject })
    }
}
