//! Where things are and who holds them: thing in container in container, held by a person, who is with a person, who is in
//! a place.

use super::stage::{Draft, Stage, capital};
use super::{ALTERNATIVES, MAX_STEPS};

/// Two containers and a hand.
pub(super) const MAX_HOLDER_STEPS: usize = 3;

/// How many links of each sort lead to the last one, that says the place.
#[derive(Clone, Copy)]
struct Links {
    inside: usize,
    held: usize,
    with: usize,
}

/// All ways to use `count` links before the last: at most two containers, one holder, two companions, and a thing comes to a
/// companion only through a holder.
fn ways(count: usize) -> Vec<Links> {
    let mut ways = Vec::new();
    for inside in 0..=2 {
        for held in 0..=1 {
            for with in 0..=2 {
                let reachable = inside == 0 || with == 0 || held == 1;
                if inside + held + with == count && reachable {
                    ways.push(Links { inside, held, with });
                }
            }
        }
    }
    ways
}

/// "Where is …?" in `steps` steps.
pub(super) fn place(stage: &mut Stage, steps: usize) -> Draft {
    let links = stage.pick(&ways(steps.clamp(1, MAX_STEPS) - 1));
    let by_thing = links.inside + links.held > 0 || (links.with == 0 && stage.rng.one_in(3));
    let start = if by_thing { stage.thing() } else { stage.person().to_owned() };
    let mut threads = Vec::new();
    let mut chain = into_containers(stage, &mut threads, &start, links.inside);
    let mut last = chain.last().unwrap_or(&start).clone();
    let mut person = !by_thing;
    if links.held == 1 {
        let holder = stage.person();
        threads.push(holds(stage, &last, holder));
        last = holder.to_owned();
        chain.push(last.clone());
        person = true;
    }
    for _ in 0..links.with {
        let companion = stage.person();
        threads.push(vec![accompanies(stage, &last, companion)]);
        last = companion.to_owned();
        chain.push(last.clone());
    }
    let (answer, wrong) = (stage.place(), [(); ALTERNATIVES].map(|()| stage.place()));
    let former = stage.pick(&wrong);
    threads.push(if person { visits(stage, &last, answer, former) } else { vec![lies(stage, &last, answer)] });
    let mut asides: Vec<String> = chain.iter().map(|link| where_is(link, answer)).collect();
    for other in wrong {
        let stranger = stage.person();
        threads.push(visits(stage, stranger, other, answer));
        beside(stage, &mut threads, stranger);
        asides.push(where_is(stranger, other));
    }
    Draft {
        threads,
        question: format!("Where is {start}?"),
        lead: format!("{} is in the", capital(&start)),
        answer: answer.to_owned(),
        alternatives: wrong.map(str::to_owned).to_vec(),
        asides,
    }
}

/// A question with its answer.
fn where_is(what: &str, place: &str) -> String {
    format!("Where is {what}? {} is in the {place}.", capital(what))
}

fn who_has(what: &str, person: &str) -> String {
    format!("Who has {what}? {} is with {person}.", capital(what))
}

/// "Who has …?" in `steps` steps.
pub(super) fn holder(stage: &mut Stage, steps: usize) -> Draft {
    let start = stage.thing();
    let mut threads = Vec::new();
    let chain = into_containers(stage, &mut threads, &start, steps.clamp(1, MAX_HOLDER_STEPS) - 1);
    let last = chain.last().unwrap_or(&start).clone();
    let answer = stage.person();
    threads.push(holds(stage, &last, answer));
    let mut asides: Vec<String> = chain.iter().map(|link| who_has(link, answer)).collect();
    let wrong = [(); ALTERNATIVES].map(|()| stage.person());
    for other in wrong {
        let thing = if stage.rng.one_in(3) { stage.container() } else { stage.thing() };
        threads.push(holds(stage, &thing, other));
        asides.push(who_has(&thing, other));
    }
    Draft {
        threads,
        question: format!("Who has {start}?"),
        lead: format!("{} is with", capital(&start)),
        answer: answer.to_owned(),
        alternatives: wrong.map(str::to_owned).to_vec(),
        asides,
    }
}

/// Puts `start` into `count` containers, one in the other, and returns them from the inside out.
fn into_containers(stage: &mut Stage, threads: &mut Vec<Vec<String>>, start: &str, count: usize) -> Vec<String> {
    let (mut last, mut chain) = (start.to_owned(), Vec::new());
    for _ in 0..count {
        let container = stage.container();
        let verb = stage.pick(&["is", "lies", "is hidden"]);
        threads.push(vec![format!("{} {verb} in {container}.", capital(&last))]);
        chain.push(container.clone());
        last = container;
    }
    chain
}

/// Now and then a stranger has a thing or a companion too, so that such links alone do not give the chain away.
fn beside(stage: &mut Stage, threads: &mut Vec<Vec<String>>, stranger: &str) {
    match stage.rng.below(4) {
        0 => {
            let thing = stage.thing();
            threads.push(holds(stage, &thing, stranger));
        }
        1 => {
            let companion = stage.person();
            threads.push(vec![accompanies(stage, companion, stranger)]);
        }
        _ => {}
    }
}

fn holds(stage: &mut Stage, thing: &str, person: &str) -> Vec<String> {
    match stage.rng.below(5) {
        0 => vec![format!("{person} has {thing}.")],
        1 => vec![format!("{person} took {thing}.")],
        2 => vec![format!("{person} carries {thing}.")],
        3 => vec![format!("{person} holds {thing}.")],
        _ => {
            let giver = stage.person();
            vec![format!("{giver} had {thing}."), format!("{giver} gave {thing} to {person}.")]
        }
    }
}

// Never "followed": it would be unclear whether the follower comes along when the other moves on.
fn accompanies(stage: &mut Stage, person: &str, companion: &str) -> String {
    let verb = stage.pick(&["is", "stays", "travels"]);
    format!("{person} {verb} with {companion}.")
}

fn visits(stage: &mut Stage, person: &str, place: &str, former: &str) -> Vec<String> {
    match stage.rng.below(8) {
        // Mostly in the words of the answer.
        0..5 => vec![format!("{person} is in the {place}.")],
        5 => vec![format!("{person} went to the {place}.")],
        6 => vec![format!("{person} walked to the {place}.")],
        _ => vec![format!("{person} was in the {former}."), format!("Then {person} went to the {place}.")],
    }
}

fn lies(stage: &mut Stage, thing: &str, place: &str) -> String {
    let verb = stage.pick(&["is", "lies", "was left"]);
    format!("{} {verb} in the {place}.", capital(thing))
}
