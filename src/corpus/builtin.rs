//! The built-in corpus: micro-stories in plain English that a small model can read, with something for depth to do.
//!
//! A story states facts about people, places and things, then asks a question whose answer needs `steps` of these facts put
//! together (k = 1 … 6), and answers it:
//!
//! > Greta is with Paul. The red key is in the box. Paul went to the mill. Greta took the box. Hugo is in the barn.
//! > Where is the red key? The red key is in the mill. Where is Hugo? Hugo is in the barn.
//!
//! Facts that do not matter stand between those that do, and every wrong answer of a question about places or people is
//! itself named in the story, so that picking a word that occurs is worth no more than chance. Grammar is learned quickly,
//! looking up one fact soon after, putting many together slowly.
//!
//! The stream has no end, no licence and known answers. Story `i` of a seed is the same for all time (a test holds its
//! hash), and can be made without those before it.

mod count;
mod place;
mod relation;
mod stage;
mod words;

use crate::rng::Rng;
use stage::{Draft, Stage};

/// The tokenizer of the built-in corpus: byte-level, so it takes any text, with a token for each of its words.
pub const TOKENIZER: &[u8] = include_bytes!("../../data/tokenizers/builtin.json");

/// The largest number of facts that a question needs.
pub const MAX_STEPS: usize = 6;

/// Number of wrong answers that a story offers beside the right one: the chance of a blind choice is 1/4.
pub const ALTERNATIVES: usize = 3;

/// Largest number of further questions in a story.
const MOST_ASIDES: usize = 16;

/// What a story asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Where a person or thing is, through containers, holders and companions.
    Place,
    /// Who holds a thing, through containers (at most three steps).
    Holder,
    /// Who somebody's teacher's friend's … is.
    Relation,
    /// How many things somebody has, after k − 1 additions, subtractions or doublings.
    Count,
}

impl Kind {
    /// The name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Place => "place",
            Self::Holder => "holder",
            Self::Relation => "relation",
            Self::Count => "count",
        }
    }
}

/// One micro-story with its question and answers.
///
/// `text` is `"{context} {question} {lead} {answer}. {asides}"`; a multiple-choice question gives a model everything up to the lead
/// and compares `answer` with `alternatives` there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Story {
    /// The whole story.
    pub text: String,
    /// The facts, those that matter and those that do not.
    pub context: String,
    /// The question.
    pub question: String,
    /// The beginning of the answer sentence, without the answer.
    pub lead: String,
    /// The answer: one word or number.
    pub answer: String,
    /// [`ALTERNATIVES`] wrong answers of the same type, distinct, in no telling order.
    pub alternatives: Vec<String>,
    /// Further questions about the same facts, each with its answer, or the answers alone: most of what a small model learns from.
    pub asides: Vec<String>,
    /// What is asked for.
    pub kind: Kind,
    /// Number of facts that have to be put together, 1 to [`MAX_STEPS`].
    pub steps: usize,
}

/// The endless stream of stories of a seed.
///
/// ```
/// use depthscope::corpus::builtin::stories;
/// let story = stories(1).next().unwrap();
/// assert!(story.text.contains(&format!("{} {} {}.", story.question, story.lead, story.answer)));
/// ```
pub fn stories(seed: u64) -> impl Iterator<Item = Story> {
    (0..).map(move |index| story(seed, index))
}

/// Story `index` of a seed, without making those before it.
#[must_use]
pub fn story(seed: u64, index: u64) -> Story {
    let mut rng = Rng::for_item(seed, index);
    let steps = draw_steps(&mut rng);
    let kinds: &[Kind] = if steps <= place::MAX_HOLDER_STEPS {
        &[Kind::Place, Kind::Holder, Kind::Relation, Kind::Count]
    } else {
        &[Kind::Place, Kind::Relation, Kind::Count]
    };
    let kind = kinds[rng.below(kinds.len())];
    let mut stage = Stage::new(rng);
    let draft = match kind {
        Kind::Place => place::place(&mut stage, steps),
        Kind::Holder => place::holder(&mut stage, steps),
        Kind::Relation => relation::relation(&mut stage, steps),
        Kind::Count => count::count(&mut stage, steps),
    };
    tell(stage, draft, kind, steps)
}

/// Few steps come more often, because they are what the many are learned from.
fn draw_steps(rng: &mut Rng) -> usize {
    const STEPS: [usize; 16] = [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 4, 4, 5, 5, 6];
    STEPS[rng.below(STEPS.len())]
}

/// Writes a draft down.
fn tell(mut stage: Stage, draft: Draft, kind: Kind, steps: usize) -> Story {
    let mut sentences = stage.interleave(draft.threads);
    if stage.rng.one_in(3) {
        sentences.insert(0, stage.pick(&words::OPENINGS).to_owned());
    }
    let context = sentences.join(" ");
    let Draft { question, lead, answer, mut alternatives, asides, .. } = draft;
    stage.rng.shuffle(&mut alternatives);
    // What is looked up in one step or two is asked again and again: looking up comes before putting together.
    let rounds = if steps <= 2 { 3 } else { 1 };
    let mut asides: Vec<String> = std::iter::repeat_n(asides, rounds)
        .flat_map(|mut round| {
            stage.rng.shuffle(&mut round);
            round
        })
        .collect();
    asides.truncate(1 + stage.rng.below(MOST_ASIDES));
    for aside in &mut asides {
        // Half of them without the question: a plain statement in the words of the answers is the easiest thing to learn.
        if let Some((_, told)) = aside.split_once("? ").filter(|_| stage.rng.one_in(2)) {
            *aside = told.to_owned();
        }
    }
    let text = [format!("{context} {question} {lead} {answer}."), asides.join(" ")].join(" ");
    let text = text.trim_end().to_owned();
    Story { text, context, question, lead, answer, alternatives, asides, kind, steps }
}

#[cfg(test)]
mod tests;
