//! How many: small sums, told either as a comparison of several people or as what happens to one.

use super::stage::{Draft, Stage};
use super::words::ITEMS;
use super::{ALTERNATIVES, MAX_STEPS};

/// No number in a story is larger.
const LARGEST: usize = 20;

/// "How many … does … have?" in `steps` steps: one number, and `steps` − 1 changes of it.
pub(super) fn count(stage: &mut Stage, steps: usize) -> Draft {
    let changes = steps.clamp(1, MAX_STEPS) - 1;
    let item = stage.pick(&ITEMS);
    let (mut threads, mut asides, person, number) =
        if stage.rng.one_in(2) { compared(stage, item, changes) } else { happened(stage, item, changes) };
    for _ in 0..2 {
        let (stranger, amount) = (stage.person(), 1 + stage.rng.below(LARGEST));
        let thing = if stage.rng.one_in(2) { item } else { stage.pick(&ITEMS) };
        threads.push(vec![format!("{stranger} has {}.", some(amount, thing))]);
        asides.push(how_many(thing, stranger, amount));
    }
    Draft {
        threads,
        question: format!("How many {item}s does {person} have?"),
        lead: format!("{person} has"),
        answer: number.to_string(),
        alternatives: near(stage, number).map(|n| n.to_string()).to_vec(),
        asides,
    }
}

/// Threads, asides, who is asked about, and the answer.
type Told = (Vec<Vec<String>>, Vec<String>, &'static str, usize);

/// A question with its answer.
fn how_many(item: &str, person: &str, number: usize) -> String {
    format!("How many {item}s does {person} have? {person} has {number}.")
}

/// Several people, each with a number that is told by another's.
fn compared(stage: &mut Stage, item: &str, changes: usize) -> Told {
    let (mut person, mut number) = (stage.person(), 1 + stage.rng.below(10));
    let mut threads = vec![vec![format!("{person} has {}.", some(number, item))]];
    let mut asides = Vec::new();
    for _ in 0..changes {
        asides.push(how_many(item, person, number));
        let next = stage.person();
        let by = 1 + stage.rng.below(5);
        let things = if by == 1 { item.to_owned() } else { format!("{item}s") };
        let sentence = match stage.rng.below(4) {
            0 => format!("{next} has as many {item}s as {person}."),
            1 if number * 2 <= LARGEST => {
                number *= 2;
                format!("{next} has twice as many {item}s as {person}.")
            }
            2 if number > by => {
                number -= by;
                format!("{next} has {by} {things} fewer than {person}.")
            }
            _ if number + by <= LARGEST => {
                number += by;
                format!("{next} has {by} {things} more than {person}.")
            }
            _ => format!("{next} has as many {item}s as {person}."),
        };
        threads.push(vec![sentence]);
        person = next;
    }
    (threads, asides, person, number)
}

/// One person, who finds and loses things in turn.
fn happened(stage: &mut Stage, item: &str, changes: usize) -> Told {
    let (person, mut number) = (stage.person(), 1 + stage.rng.below(10));
    let verb = if changes == 0 { "has" } else { "had" };
    let mut thread = vec![format!("{person} {verb} {}.", some(number, item))];
    for _ in 0..changes {
        let by = 1 + stage.rng.below(5);
        let loses = number > by && (stage.rng.one_in(2) || number + by > LARGEST);
        // Whoever has 20 can always lose up to five, so one of the two always fits.
        let verb =
            if loses { stage.pick(&["lost", "sold", "gave away"]) } else { stage.pick(&["found", "bought", "got"]) };
        number = if loses { number - by } else { number + by };
        thread.push(format!("{person} {verb} {}.", some(by, item)));
    }
    (vec![thread], Vec::new(), person, number)
}

fn some(number: usize, item: &str) -> String {
    format!("{number} {item}{}", if number == 1 { "" } else { "s" })
}

/// Wrong numbers close to the right one: whether a number occurs in the story says nothing then.
fn near(stage: &mut Stage, number: usize) -> [usize; ALTERNATIVES] {
    let mut close: Vec<usize> =
        (number.saturating_sub(3).max(1)..=(number + 3).min(LARGEST)).filter(|&n| n != number).collect();
    stage.rng.shuffle(&mut close);
    std::array::from_fn(|i| close[i])
}
