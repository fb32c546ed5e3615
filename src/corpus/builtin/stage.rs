//! What the kinds of story share: who and what has not been named yet, and the merging of facts into a text.

use super::words::{COLOURS, CONTAINERS, OBJECTS, PEOPLE, PLACES};
use crate::rng::Rng;

/// A story before it is written down.
pub(super) struct Draft {
    /// Facts; the sentences of one thread keep their order (what was before what is), threads are merged at random.
    pub threads: Vec<Vec<String>>,
    pub question: String,
    pub lead: String,
    pub answer: String,
    pub alternatives: Vec<String>,
    /// Further questions about the same facts, each with its answer in a sentence.
    pub asides: Vec<String>,
}

/// The names still free in a story, so that nothing is named twice by accident and every answer is the only right one.
pub(super) struct Stage {
    pub rng: Rng,
    people: Vec<&'static str>,
    places: Vec<&'static str>,
    containers: Vec<&'static str>,
    things: Vec<String>,
}

impl Stage {
    pub fn new(mut rng: Rng) -> Self {
        let mut people = PEOPLE.to_vec();
        let mut places = PLACES.to_vec();
        let mut containers = CONTAINERS.to_vec();
        rng.shuffle(&mut people);
        rng.shuffle(&mut places);
        rng.shuffle(&mut containers);
        Self { rng, people, places, containers, things: Vec::new() }
    }

    /// A person not named yet. The story kinds need fewer than there are.
    pub fn person(&mut self) -> &'static str {
        self.people.pop().unwrap_or("Nobody")
    }

    /// A place not named yet.
    pub fn place(&mut self) -> &'static str {
        self.places.pop().unwrap_or("desert")
    }

    /// A container not named yet, with its article.
    pub fn container(&mut self) -> String {
        format!("the {}", self.containers.pop().unwrap_or("trunk"))
    }

    /// A coloured object not named yet, with its article; another of the same colour or the same form may have been.
    pub fn thing(&mut self) -> String {
        loop {
            let thing = format!("the {} {}", self.pick(&COLOURS), self.pick(&OBJECTS));
            if !self.things.contains(&thing) {
                self.things.push(thing.clone());
                return thing;
            }
        }
    }

    /// Any of the choices.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.rng.below(choices.len())]
    }

    /// Merges threads at random, keeping the order within each.
    pub fn interleave(&mut self, threads: Vec<Vec<String>>) -> Vec<String> {
        // A shuffled deck with one card per sentence says whose turn it is: every merge is equally likely.
        let mut turns: Vec<usize> =
            threads.iter().enumerate().flat_map(|(i, thread)| std::iter::repeat_n(i, thread.len())).collect();
        self.rng.shuffle(&mut turns);
        let mut rest: Vec<_> = threads.into_iter().map(Vec::into_iter).collect();
        turns.into_iter().filter_map(|i| rest[i].next()).collect()
    }
}

/// The phrase at the beginning of a sentence.
pub(super) fn capital(phrase: &str) -> String {
    let mut letters = phrase.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
