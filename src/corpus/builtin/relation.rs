//! Who somebody's teacher's friend's neighbour is: composition of functions and nothing else.

use super::stage::{Draft, Stage};
use super::words::RELATIONS;
use super::{ALTERNATIVES, MAX_STEPS};

/// "Who is the … of the … of …?" in `steps` steps.
pub(super) fn relation(stage: &mut Stage, steps: usize) -> Draft {
    let steps = steps.clamp(1, MAX_STEPS);
    let chain: Vec<&str> = (0..=steps).map(|_| stage.person()).collect();
    let asked: Vec<&str> = (0..steps).map(|_| stage.pick(&RELATIONS)).collect();
    let mut threads: Vec<Vec<String>> =
        (0..steps).map(|i| vec![says(stage, chain[i], asked[i], chain[i + 1])]).collect();
    let wrong = [(); ALTERNATIVES].map(|()| stage.person());
    let mut others = Vec::new();
    for other in wrong {
        // Either the same relation of somebody else, or another relation of somebody on the way.
        let on_the_way = stage.rng.below(steps);
        let another = stage.pick(&RELATIONS);
        threads.push(vec![if another == asked[on_the_way] || used(&threads, chain[on_the_way], another) {
            let stranger = stage.person();
            others.push(who_is(&format!("the {} of {stranger}", asked[on_the_way]), other));
            says(stage, stranger, asked[on_the_way], other)
        } else {
            others.push(who_is(&format!("the {another} of {}", chain[on_the_way]), other));
            says(stage, chain[on_the_way], another, other)
        }]);
    }
    let (mut phrase, mut asides) = (chain[0].to_owned(), Vec::new());
    for (i, name) in asked.iter().enumerate() {
        asides.push(who_is(&format!("the {name} of {}", chain[i]), chain[i + 1]));
        phrase = format!("the {name} of {phrase}");
        if i > 0 && i + 1 < steps {
            asides.push(who_is(&phrase, chain[i + 1]));
        }
    }
    if steps == 1 {
        // The only link is the question itself.
        asides.clear();
    }
    asides.extend(others);
    Draft {
        threads,
        question: format!("Who is {phrase}?"),
        lead: format!("{} is", super::stage::capital(&phrase)),
        answer: chain[steps].to_owned(),
        alternatives: wrong.map(str::to_owned).to_vec(),
        asides,
    }
}

/// A question with its answer.
fn who_is(phrase: &str, person: &str) -> String {
    format!("Who is {phrase}? {} is {person}.", super::stage::capital(phrase))
}

/// Whether the story already says who the `relation` of `person` is.
fn used(threads: &[Vec<String>], person: &str, relation: &str) -> bool {
    let (of, s) = (format!("{relation} of {person}"), format!("{person}'s {relation}"));
    threads.iter().flatten().any(|sentence| sentence.contains(&of) || sentence.contains(&s))
}

fn says(stage: &mut Stage, person: &str, relation: &str, other: &str) -> String {
    match stage.rng.below(3) {
        0 => format!("The {relation} of {person} is {other}."),
        1 => format!("{other} is the {relation} of {person}."),
        _ => format!("{person}'s {relation} is {other}."),
    }
}
