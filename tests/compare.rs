//! `depthscope compare` as a user meets it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use support::program::Desk;

const TRAIN: &str = "train --recipe tiny --batch-size 4 --seq-len 32 --quiet";

#[test]
fn more_training_is_better_on_the_text_that_both_held_out_and_seeds_are_one_group() {
    let desk = Desk::empty();
    for (steps, seed) in [(2, 1), (2, 2), (40, 1), (40, 2)] {
        let out = format!("s{steps}-{seed}");
        desk.run(&format!("{TRAIN} --steps {steps} --seed {seed} --out {out}")).succeeded();
    }
    let outcome = desk.run("compare s2-1 s2-2 s40-1 s40-2 --format json --out compared --quiet").succeeded();
    let found: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(found["plan"]["input"]["tokens"]["file"], "s2-1/held_out.json");
    let pair = &found["pairs"][0];
    assert_eq!(
        (pair["first"].as_str(), pair["second"].as_str(), pair["seeds"].as_u64()),
        (Some("s2"), Some("s40"), Some(2))
    );
    assert!(pair["difference"].as_f64().unwrap() < -0.5 && pair["ci_high"].as_f64().unwrap() < -0.5, "{pair}");
    assert!(pair["seeds_low"].as_f64().unwrap() < pair["difference"].as_f64().unwrap(), "{pair}");
    // The loss is that which `scan` finds on the same text.
    let scanned = desk.run("prune --model s40-2/model --tokens s2-1/held_out.json --format json --quiet").succeeded();
    let scanned: serde_json::Value = serde_json::from_str(&scanned.stdout).unwrap();
    assert_eq!(found["runs"][3]["loss"], scanned["prune"][0]["baseline"]);
    for file in [
        "tables/runs.csv",
        "tables/pairs.parquet",
        "tables/prune.csv",
        "charts/loss.svg",
        "charts/prune.png",
        "manifest.json",
    ] {
        assert!(desk.path("compared").join(file).is_file(), "{file}");
    }
}

#[test]
fn a_verdict_names_the_better_one_and_says_that_one_seed_is_one_seed() {
    let desk = Desk::empty();
    for steps in [2, 40] {
        desk.run(&format!("{TRAIN} --steps {steps} --out s{steps}")).succeeded();
    }
    let outcome = desk.run("compare s2 s40/model embedded:pre --samples 8 --seq-len 32").succeeded();
    let text = outcome.stdout.replace('\n', " ");
    for words in ["model predicts better than s2:", "embedded:pre predicts better than s2:", "one seed each", "of 24"] {
        assert!(text.contains(words), "{words} is not in {}", outcome.stdout);
    }
    assert!(outcome.stdout.lines().all(|line| line.chars().count() <= 80), "{}", outcome.stdout);
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let desk = Desk::empty();
    desk.write("page.txt", "The quick brown fox jumps over the lazy dog. ".repeat(200));
    desk.run(&format!("{TRAIN} --text page.txt --steps 1 --out other")).succeeded();
    desk.run("compare embedded:pre other --samples 2").failed_with(&["different tokens", "other", "same tokenizer"]);
    desk.run("compare other other").failed_with(&["named twice", "other"]);
    desk.run("compare other nosuch").failed_with(&["nosuch", "does not exist"]);
}
