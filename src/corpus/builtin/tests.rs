use super::*;
use sha2::{Digest, Sha256};

#[test]
fn the_first_stories_of_seed_one_are_the_same_for_all_time() {
    let mut stories = stories(1);
    assert_eq!(
        stories.next().unwrap().text,
        "The white cup lies in the bag. Simon took the bucket. Mara took the suitcase. Leo carries the jar. \
         The bag lies in the jar. David carries the green flag. Who has the white cup? The white cup is with Leo. \
         The bucket is with Simon. Who has the suitcase? The suitcase is with Mara. The green flag is with David. \
         Who has the jar? The jar is with Leo. The bag is with Leo."
    );
    let hash = super::stories(1).take(1000).fold(Sha256::new(), |hash, story| hash.chain_update(story.text + "\n"));
    assert_eq!(hash.finalize()[..8], [111, 244, 241, 210, 30, 223, 246, 103]);
}

#[test]
fn story_i_is_the_same_alone_and_in_the_stream() {
    let streamed: Vec<Story> = stories(9).take(20).collect();
    assert_eq!(streamed[17], story(9, 17));
    assert_ne!(streamed[17], story(8, 17));
}

#[test]
fn every_kind_comes_with_every_number_of_steps_it_allows() {
    let mut seen = std::collections::BTreeSet::new();
    seen.extend(stories(2).take(3000).map(|story| (story.kind, story.steps)));
    assert_eq!(seen.len(), 3 * MAX_STEPS + place::MAX_HOLDER_STEPS);
    assert!(seen.iter().all(|&(kind, steps)| steps >= 1 && (kind != Kind::Holder || steps <= 3)));
}

#[test]
fn a_story_has_one_right_answer_and_three_wrong_ones_that_differ() {
    for story in stories(3).take(2000) {
        let mut choices = story.alternatives.clone();
        choices.push(story.answer.clone());
        choices.sort();
        choices.dedup();
        assert_eq!(choices.len(), ALTERNATIVES + 1, "{story:?}");
        if story.kind != Kind::Count {
            assert!(choices.iter().all(|choice| story.context.contains(choice.as_str())), "{story:?}");
        }
        assert!(!story.text.contains("Nobody") && story.text.len() < 1600, "{story:?}");
    }
}

/// The facts that a reader takes from a text, with nothing known of how it was made.
#[derive(Default)]
struct Reader {
    /// Where a thing or person is: a place, container or person.
    at: std::collections::BTreeMap<String, String>,
    related: std::collections::BTreeMap<(String, String), String>,
    counts: std::collections::BTreeMap<String, usize>,
    compared: Vec<(String, String, String)>,
}

impl Reader {
    fn read(&mut self, sentence: &str) {
        let sentence = sentence.strip_prefix("Then ").unwrap_or(sentence);
        let sentence = sentence.strip_prefix("The ").map_or_else(|| sentence.to_owned(), |rest| format!("the {rest}"));
        let words: Vec<&str> = sentence.split(' ').collect();
        let verb = words.iter().position(|word| VERBS.contains(word)).unwrap_or(0);
        let (who, what) = (words[..verb].join(" "), words[verb + 1..].join(" "));
        let number = words[verb + 1..].iter().find_map(|word| word.parse::<usize>().ok());
        if let Some((relation, person)) = what.strip_prefix("the ").and_then(|rest| rest.split_once(" of ")) {
            self.related.insert((person.into(), relation.into()), who);
        } else if let Some((relation, person)) = who.strip_prefix("the ").and_then(|rest| rest.split_once(" of ")) {
            self.related.insert((person.into(), relation.into()), what);
        } else if let Some((person, relation)) = who.split_once("'s ") {
            self.related.insert((person.into(), relation.into()), what);
        } else if let Some((how, other)) = what.split_once(" as ").or_else(|| what.split_once(" than ")) {
            self.compared.push((who, how.into(), other.rsplit(' ').next().unwrap_or_default().into()));
        } else if let Some(number) = number {
            let count = self.counts.entry(who).or_default();
            match words[verb] {
                "has" | "had" => *count = number,
                "lost" | "sold" | "gave" => *count -= number,
                _ => *count += number,
            }
        } else if let Some((thing, person)) = what.split_once(" to ").filter(|_| words[verb] == "gave") {
            self.at.insert(thing.into(), person.into());
        } else if ["has", "had", "took", "carries", "holds"].contains(&words[verb]) {
            self.at.insert(what, who);
        } else if let Some((_, target)) = sentence.split_once(" in ").or_else(|| sentence.split_once(" to ")) {
            self.at.insert(who, target.into());
        } else if let Some((_, target)) = sentence.split_once(" with ") {
            self.at.insert(who, target.into());
        }
    }

    /// The last person or place on the way from `start`, and the number of facts used.
    fn follow(&self, start: &str, kind: Kind) -> (String, usize) {
        let (mut last, mut steps) = (start.to_owned(), 0);
        while let Some(next) = self.at.get(&last) {
            (last, steps) = (next.clone(), steps + 1);
            if kind == Kind::Holder && last.starts_with(char::is_uppercase) {
                break;
            }
        }
        (last.trim_start_matches("the ").to_owned(), steps)
    }

    /// The answer to a question, and the number of facts used.
    fn answer(&self, question: &str, kind: Kind, context: &str) -> (String, usize) {
        let asked = question.trim_end_matches('?');
        match kind {
            Kind::Place => self.follow(asked.trim_start_matches("Where is "), kind),
            Kind::Holder => self.follow(asked.trim_start_matches("Who has "), kind),
            Kind::Relation => {
                let mut path: Vec<&str> = asked.trim_start_matches("Who is the ").split(" of ").collect();
                let mut person = path.pop().unwrap().to_owned();
                let steps = path.len();
                for relation in path.into_iter().rev() {
                    person = self.related[&(person, relation.trim_start_matches("the ").to_owned())].clone();
                }
                (person, steps)
            }
            Kind::Count => {
                let person = asked.trim_end_matches(" have").rsplit(' ').next().unwrap();
                let (number, steps) = self.count(person);
                let changes = context.matches(&format!("{person} ")).count();
                (number.to_string(), steps.max(changes))
            }
        }
    }

    fn count(&self, person: &str) -> (usize, usize) {
        let Some((_, how, other)) = self.compared.iter().find(|(who, ..)| who == person) else {
            return (self.counts[person], 1);
        };
        let (number, steps) = self.count(other);
        let by = how.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0);
        let number = match how.split(' ').next_back() {
            Some("more") => number + by,
            Some("fewer") => number - by,
            _ if how.starts_with("twice") => number * 2,
            _ => number,
        };
        (number, steps + 1)
    }
}

const VERBS: [&str; 21] = [
    "is", "was", "has", "had", "took", "carries", "holds", "gave", "lies", "went", "walked", "stays", "travels",
    "lost", "sold", "found", "bought", "got", "lay", "rained", "were",
];

/// What an answer in a sentence answers.
fn question_of(told: &str, kind: Kind) -> String {
    let plain = |subject: &str| match subject.strip_prefix("The ") {
        Some(rest) => format!("the {rest}"),
        None => subject.to_owned(),
    };
    let before = |verb: &str| told.split_once(verb).map(|(subject, _)| plain(subject)).unwrap();
    match kind {
        Kind::Place => format!("Where is {}", before(" is in the ")),
        Kind::Holder => format!("Who has {}", before(" is with ")),
        Kind::Relation => format!("Who is {}", before(" is ")),
        // Of what is not said in the answer; everybody has one kind of thing.
        Kind::Count => format!("How many things does {} have", before(" has ")),
    }
}

#[test]
fn a_reader_who_knows_only_the_text_finds_the_answer_in_as_many_steps() {
    for story in stories(4).take(4000) {
        let mut reader = Reader::default();
        for sentence in story.context.split_terminator('.') {
            reader.read(sentence.trim());
        }
        let (answer, steps) = reader.answer(&story.question, story.kind, &story.context);
        assert_eq!((answer.as_str(), steps), (story.answer.as_str(), story.steps), "{}", story.text);
        for aside in &story.asides {
            let (_, told) = aside.split_once("? ").unwrap_or(("", aside));
            let question = question_of(told, story.kind);
            assert!(
                story.kind == Kind::Count || aside.starts_with(&question) || aside == told,
                "{aside} asks for something else"
            );
            let (answer, _) = reader.answer(&question, story.kind, &story.context);
            assert!(told.ends_with(&format!(" {answer}.")), "{aside} in {}", story.text);
            assert_ne!(told, format!("{} {}.", story.lead, story.answer), "the question itself");
        }
    }
}
