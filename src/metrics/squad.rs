//! Answers that stand in a text: found from marked starts and ends, judged by exact match and F1.
//!
//! Of the 20 likeliest starts and ends of every window, pairs that lie in the context, in order, at most 30 tokens long, are ranked by the sum
//! of their logits; the best over the windows of a question is its answer (`transformers`' `run_qa.py`). Exact match: after lower-casing,
//! without punctuation, articles and superfluous blanks, the answer is one of the right ones. F1: harmonic mean of precision and recall of the
//! words, the best over the right ones. Both as the official `evaluate-v1.1.py` (Rajpurkar et al., arXiv 1606.05250), but as shares, not per cent.

use std::collections::BTreeMap;

use crate::{
    corpus::squad::{Question, Window},
    walk::Marks,
};

/// Tokens of an answer, at most.
const LONGEST: usize = 30;
/// What the reference answers where no pair is possible.
const NOTHING: &str = "empty";

/// How good an answer is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    /// 1 if it is one of the right ones, else 0.
    pub exact: f64,
    /// Share of words that it has in common with the nearest right one.
    pub f1: f64,
}

/// The answer to every question, of the marks of every window.
#[must_use]
pub fn answers<'a>(questions: &'a [Question], windows: &[Window], marks: &[Marks]) -> Vec<&'a str> {
    let mut best: Vec<(f32, &str)> = vec![(f32::NEG_INFINITY, NOTHING); questions.len()];
    for (window, marks) in windows.iter().zip(marks) {
        let Some((score, bytes)) = span(window, marks) else { continue };
        let best = &mut best[window.question];
        if score > best.0 {
            *best = (score, &questions[window.question].context[bytes]);
        }
    }
    best.into_iter().map(|(_, answer)| answer).collect()
}

/// The best pair of a window, and its bytes in the context.
fn span(window: &Window, marks: &Marks) -> Option<(f32, std::ops::Range<usize>)> {
    let mut best: Option<(f32, std::ops::Range<usize>)> = None;
    for &(start, start_logit) in &marks.starts {
        for &(end, end_logit) in &marks.ends {
            let (Some(first), Some(last)) = (&window.offsets[start], &window.offsets[end]) else { continue };
            if end < start || end - start + 1 > LONGEST {
                continue;
            }
            let score = start_logit + end_logit;
            if best.as_ref().is_none_or(|(least, _)| score > *least) {
                best = Some((score, first.start..last.end));
            }
        }
    }
    best
}

/// How good `answer` is, where each of `right` is.
#[must_use]
pub fn score(answer: &str, right: &[String]) -> Score {
    let answer = normalised(answer);
    right.iter().map(|right| normalised(right)).fold(Score::default(), |best, right| Score {
        exact: best.exact.max(f64::from(u8::from(answer == right))),
        f1: best.f1.max(f1(&answer, &right)),
    })
}

fn f1(answer: &str, right: &str) -> f64 {
    let (words, wanted) = (counted(answer), counted(right));
    let common: usize = words.iter().map(|(word, &count)| count.min(wanted.get(word).copied().unwrap_or(0))).sum();
    if common == 0 {
        return 0.0;
    }
    let share = |words: &BTreeMap<&str, usize>| common as f64 / words.values().sum::<usize>() as f64;
    let (precision, recall) = (share(&words), share(&wanted));
    2.0 * precision * recall / (precision + recall)
}

fn counted(text: &str) -> BTreeMap<&str, usize> {
    let mut words = BTreeMap::new();
    for word in text.split_whitespace() {
        *words.entry(word).or_default() += 1;
    }
    words
}

/// Lower case, without ASCII punctuation, articles and superfluous blanks.
fn normalised(text: &str) -> String {
    let lower: String = text.to_lowercase().chars().filter(|c| !c.is_ascii_punctuation()).collect();
    without_articles(&lower).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A blank for every article that stands as a word: between characters that are no part of one (`\b(a|an|the)\b`).
fn without_articles(text: &str) -> String {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut words = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let inside = is_word(first);
        let end = rest.find(|c| is_word(c) != inside).unwrap_or(rest.len());
        let (part, after) = rest.split_at(end);
        words.push_str(if matches!(part, "a" | "an" | "the") { " " } else { part });
        rest = after;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn right(answers: &[&str]) -> Vec<String> {
        answers.iter().map(|&answer| answer.to_owned()).collect()
    }

    #[test]
    fn case_punctuation_articles_and_blanks_do_not_count() {
        assert_eq!(normalised("The  Mill's (an old) one—the A."), "mills old one—");
        assert_eq!(normalised("theatre a-b banana"), "theatre ab banana");
        assert_eq!(score("the Mill!", &right(&["a mill", "x"])), Score { exact: 1.0, f1: 1.0 });
    }

    #[test]
    fn f1_counts_common_words_and_takes_the_nearest_answer() {
        let found = score("old red mill", &right(&["mill", "red mill by the river", "none"]));
        // Of three words two are right, of four wanted two are found: 2·(2/3)·(2/4) / (2/3 + 2/4) = 4/7.
        assert!(found.exact == 0.0 && (found.f1 - 4.0 / 7.0).abs() < 1e-12, "{found:?}");
        assert_eq!(score("nothing", &right(&["mill"])), Score::default());
    }

    #[test]
    fn the_best_pair_in_order_and_in_the_context_is_the_answer() {
        let question = Question { id: "q".into(), question: "?".into(), context: "ab cd ef".into(), answers: vec![] };
        let offsets = vec![None, Some(0..2), Some(3..5), Some(6..8)];
        let window = Window { question: 0, ids: vec![0; 4], second: 1, offsets };
        let marks =
            Marks { starts: vec![(0, 9.0), (3, 5.0), (1, 4.0)], ends: vec![(1, 8.0), (0, 7.0), (2, 3.0), (3, 2.0)] };
        // 3..1 would be best, but ends before it starts; 0 is no context: 1..=1 has 12.
        assert_eq!(answers(std::slice::from_ref(&question), std::slice::from_ref(&window), &[marks]), ["ab"]);
        let none = Marks { starts: vec![(0, 1.0)], ends: vec![(3, 1.0)] };
        assert_eq!(answers(&[question], &[window], &[none]), ["empty"]);
    }
}
