//! Multiple-choice questions of the built-in corpus, as token sequences: each option after the same text.
//!
//! The likelihood of a whole sequence is that of the shared text times that of the option after it; the first factor is the same for all
//! options of an item, so the most likely sequence names the most likely option.

use tokenizers::Tokenizer;

use super::{
    CorpusError,
    builtin::{ALTERNATIVES, MAX_STEPS, Story, story},
    tokenise::Encoder,
};
use crate::rng::Rng;

/// Options of every item; a blind choice is right once in so many.
pub const OPTIONS: usize = ALTERNATIVES + 1;

/// How a question is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// As stories have it: facts, question, and the answer sentence up to the answer.
    Plain,
    /// As an instruction that names the options: `… Where is Anna? Options: mill, barn, hall, cave. Answer:`.
    Instruction,
}

impl Form {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Plain, Self::Instruction];

    /// The name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Instruction => "instruction",
        }
    }

    fn prompt(self, story: &Story, options: &[String]) -> String {
        let Story { context, question, lead, .. } = story;
        match self {
            Self::Plain => format!("{context} {question} {lead}"),
            Self::Instruction => format!("{context} {question} Options: {}. Answer:", options.join(", ")),
        }
    }
}

/// One question: the option that is right, and how many facts it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Everything before the option.
    pub prompt: String,
    /// Answers, in no telling order.
    pub options: Vec<String>,
    /// Index of the right one.
    pub gold: usize,
    /// k, number of facts that have to be put together.
    pub steps: usize,
}

/// Items and their sequences, [`OPTIONS`] an item.
#[derive(Clone, Debug)]
pub struct Questions {
    /// The items.
    pub items: Vec<Item>,
    /// Token ids of every option of every item, in that order.
    pub sequences: Vec<Vec<u32>>,
}

impl Item {
    /// The prompt with one of its options after it.
    #[must_use]
    pub fn with(&self, option: &str) -> String {
        format!("{} {option}", self.prompt)
    }
}

/// `per_steps` questions for each k = 1 … 6 from the stories of `seed`, in the order of k.
///
/// # Errors
/// A tokenizer that refuses them.
pub fn composition(seed: u64, per_steps: usize, form: Form, tokenizer: &Tokenizer) -> Result<Questions, CorpusError> {
    let of_steps = |steps| items(seed, form).filter(move |item| item.steps == steps);
    let items: Vec<Item> = (1..=MAX_STEPS).flat_map(|steps| of_steps(steps).take(per_steps)).collect();
    let encoder = Encoder::new(tokenizer)?;
    let texts = items.iter().flat_map(|item| item.options.iter().map(|option| item.with(option)));
    let encode = |(document, text): (usize, String)| {
        encoder.encode(&text, usize::MAX).map_err(|reason| CorpusError::Tokenizer { document, reason })
    };
    let sequences = texts.enumerate().map(encode).collect::<Result<_, _>>()?;
    Ok(Questions { items, sequences })
}

/// The question of every story of `seed`, without end. Item `i` has the same options in the same order in both forms.
pub fn items(seed: u64, form: Form) -> impl Iterator<Item = Item> {
    (0..).map(move |index| {
        let story = story(seed, index);
        let mut options = story.alternatives.clone();
        options.push(story.answer.clone());
        Rng::for_item(seed ^ OPTION_ORDER, index).shuffle(&mut options);
        let gold = options.iter().position(|option| *option == story.answer).unwrap_or_default();
        Item { prompt: form.prompt(&story, &options), options, gold, steps: story.steps }
    })
}

/// Apart from the stream that made the story.
const OPTION_ORDER: u64 = 0x6f70_7469_6f6e;

#[cfg(test)]
mod tests {
    use super::*;

    fn questions() -> Questions {
        let tokenizer = Tokenizer::from_bytes(crate::corpus::builtin::TOKENIZER).unwrap();
        composition(3, 40, Form::Plain, &tokenizer).unwrap()
    }

    #[test]
    fn there_are_as_many_questions_of_every_k() {
        let Questions { items, sequences } = questions();
        for steps in 1..=MAX_STEPS {
            assert_eq!(items.iter().filter(|item| item.steps == steps).count(), 40);
        }
        assert_eq!(sequences.len(), items.len() * OPTIONS);
    }

    #[test]
    fn options_of_an_item_share_all_tokens_but_the_last() {
        let Questions { items, sequences } = questions();
        for (item, options) in items.iter().zip(sequences.chunks(OPTIONS)) {
            let prefix = &options[0][..options[0].len() - 1];
            assert!(options.iter().all(|ids| ids[..ids.len() - 1] == *prefix), "{item:?}");
            let last: std::collections::BTreeSet<u32> = options.iter().map(|ids| ids[ids.len() - 1]).collect();
            assert_eq!(last.len(), OPTIONS, "{item:?}");
        }
    }

    #[test]
    fn an_instruction_names_the_options_of_the_plain_question_and_never_says_which_is_right() {
        for (plain, told) in items(3, Form::Plain).zip(items(3, Form::Instruction)).take(200) {
            assert_eq!((&plain.options, plain.gold, plain.steps), (&told.options, told.gold, told.steps));
            let (facts, question) = told.prompt.rsplit_once("? ").unwrap();
            assert!(plain.prompt.starts_with(&format!("{facts}? ")), "{told:?}");
            assert_eq!(question, format!("Options: {}. Answer:", told.options.join(", ")));
        }
    }

    #[test]
    fn the_place_of_the_right_option_tells_nothing() {
        let items = questions().items;
        for place in 0..OPTIONS {
            let share = items.iter().filter(|item| item.gold == place).count() as f64 / items.len() as f64;
            assert!((0.17..0.33).contains(&share), "option {place} is right in {share}");
        }
    }
}
