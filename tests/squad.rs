//! Answers of a tiny encoder against transformers and an independent writing of the official evaluation (`tests/squad/generate.py`).
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::path::{Path, PathBuf};

use candle_core::DType;
use depthscope::{
    corpus::squad::{Question, Window, read, windows},
    metrics::{
        prune,
        squad::{answers, score},
    },
    model::Residency::{Resident, Streamed},
    rows::Part,
    walk::{Budget, Ending, Site},
};
use serde_json::Value;
use support::{Recorder, json, open, roomy, walk_to};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/squad")
}

/// The questions, their windows, and what is expected of them.
fn case() -> (Vec<Question>, Vec<Window>, Value) {
    let questions = read(&folder().join("rows/squad/validation.jsonl")).unwrap();
    let tokenizer = tokenizers::Tokenizer::from_file(folder().join("model/tokenizer.json")).unwrap();
    let windows = windows(&questions, &tokenizer, 32).unwrap();
    (questions, windows, json(&folder().join("expected.json")))
}

fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(values) => values.iter().flat_map(numbers).collect(),
        value => vec![value.as_f64().unwrap()],
    }
}

#[test]
fn windows_are_those_of_transformers() {
    let (_, windows, expected) = case();
    let wanted: Vec<(usize, &Value)> = expected["windows"]
        .as_array()
        .unwrap()
        .iter()
        .enumerate()
        .flat_map(|(question, windows)| windows.as_array().unwrap().iter().map(move |window| (question, window)))
        .collect();
    assert_eq!(windows.len(), wanted.len());
    for (window, (question, wanted)) in windows.iter().zip(wanted) {
        assert_eq!(window.question, question);
        assert_eq!(window.ids.iter().map(|&id| f64::from(id)).collect::<Vec<_>>(), numbers(&wanted["ids"]));
        let types: Vec<f64> = (0..window.ids.len()).map(|at| f64::from(u8::from(at >= window.second))).collect();
        assert_eq!(types, numbers(&wanted["types"]));
    }
}

#[test]
fn logits_answers_and_their_scores_are_those_of_transformers_for_every_removal() {
    let (questions, windows, expected) = case();
    let models = expected["models"].as_array().unwrap();
    let ids: Vec<Vec<u32>> = windows.iter().map(|window| window.ids.clone()).collect();
    let seconds: Vec<usize> = windows.iter().map(|window| window.second).collect();
    let routes: Vec<_> = prune::removals(3, 1, &[Part::Block]).iter().map(prune::Removal::route).collect();
    // The second budget holds a few sequences and two routes at a time.
    let small = Budget { bytes: 40_000, group_tokens: 64, ..roomy(DType::F32) };
    for (residency, budget) in [(Resident, roomy(DType::F32)), (Streamed, small)] {
        let model = open(&folder().join("model"), "config.json", DType::F32, residency);
        let mut recorder = Recorder::default();
        let ending = Ending::MarkSpans { seconds: &seconds };
        let scores = walk_to(ending, &model, &ids, &routes, budget, &mut [&mut recorder]).unwrap();
        let (found, wanted) = (recorder.site(Site::Logits), numbers(&models[0]["logits"]));
        assert_eq!(found.len(), wanted.len());
        let apart = |(found, wanted): (&f32, &f64)| (f64::from(*found) - wanted).abs();
        assert!(found.iter().zip(&wanted).map(apart).fold(0.0, f64::max) < 1e-4);
        assert_eq!(scores.marks.len(), models.len());
        for (marks, wanted) in scores.marks.iter().zip(models) {
            let mut logits =
                wanted["logits"].as_array().unwrap().iter().flat_map(|windows| windows.as_array().unwrap());
            for marks in marks {
                let logits = numbers(logits.next().unwrap());
                for (column, places) in [&marks.starts, &marks.ends].into_iter().enumerate() {
                    assert!(
                        places.iter().all(|&(at, logit)| (f64::from(logit) - logits[2 * at + column]).abs() < 1e-4)
                    );
                }
            }
            let texts = answers(&questions, &windows, marks);
            assert_eq!(Value::from(texts.clone()), wanted["texts"], "without {}", wanted["removed"]);
            let judged: Vec<_> =
                texts.iter().zip(&questions).map(|(text, question)| score(text, &question.answers)).collect();
            assert_eq!(judged.iter().map(|of| of.exact).collect::<Vec<_>>(), numbers(&wanted["exact"]));
            for (found, wanted) in judged.iter().map(|of| of.f1).zip(numbers(&wanted["f1"])) {
                assert!((found - wanted).abs() < 1e-12, "{found} is not {wanted}");
            }
        }
    }
}
