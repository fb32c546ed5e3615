//! `depthscope study` as a user meets it: a miniature one from beginning to end, stopped, gone on with, diverging, refused.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, SystemTime},
};

use depthscope::{corpus::builtin::stories, tables::read_log};
use support::program::{Desk, Outcome};

/// Two blocks of 16, some steps, two variants; every number that a test does not replace.
const STUDY: &str = r#"
title = "A miniature"
vocab = 500

[[variant]]
name = "pre"
placement = "pre"
init = "normal"

[[variant]]
name = "lns"
placement = "lns"
init = "normal"

[[size]]
name = "2x16"
recipe = "tiny"
layers = 2
hidden = 16
intermediate = 32
steps = 6
batch_size = 4
seq_len = 32
tune_steps = 3
learning_rates = [1e-2]
seeds = [1, 2]
"#;

const FINE_TUNE: &str = r#"
[fine_tune]
size = "2x16"
examples = 8
steps = 3
batch_size = 2
learning_rate = 1e-2
questions = 2
"#;

const PAPER: &str = r#"
[[paper]]
name = "130M"
source = "elsewhere"
perplexity = { pre = 26.73, lns = 25.76 }
"#;

fn desk(study: &str) -> Desk {
    let desk = Desk::empty();
    desk.write("text.txt", stories(1).take(60).map(|story| story.text + "\n").collect::<String>());
    desk.write("study.toml", study);
    desk
}

const RUN: &str = "study study.toml --text text.txt --out out";

fn rows(desk: &Desk, table: &str) -> Vec<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(desk.path(table)).unwrap();
    let mut lines = text.lines().map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
    let head = lines.next().unwrap();
    lines.map(|line| head.iter().cloned().zip(line).collect()).collect()
}

fn keys(rows: &[BTreeMap<String, String>], columns: &[&str]) -> Vec<String> {
    let key = |row: &BTreeMap<String, String>| {
        columns.iter().map(|&column| row[column].clone()).collect::<Vec<_>>().join(" ")
    };
    rows.iter().map(key).collect()
}

fn number(row: &BTreeMap<String, String>, column: &str) -> f64 {
    row[column].parse().unwrap()
}

fn report(desk: &Desk) -> String {
    std::fs::read_to_string(desk.path("out/report.md")).unwrap()
}

/// When every file of the training runs was last written.
fn written(desk: &Desk) -> BTreeMap<PathBuf, SystemTime> {
    fn visit(folder: &Path, found: &mut BTreeMap<PathBuf, SystemTime>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                visit(&path, found);
            } else {
                let when = path.metadata().unwrap().modified().unwrap();
                found.insert(path, when);
            }
        }
    }
    let mut found = BTreeMap::new();
    visit(&desk.path("out/units"), &mut found);
    found
}

#[test]
fn a_study_leaves_tables_charts_and_a_report_and_trains_nothing_twice() {
    let desk = desk(&[STUDY, FINE_TUNE, PAPER].concat());
    let outcome = desk.run(RUN).succeeded();
    let said = outcome.stdout.replace('\n', " ");
    assert!(said.contains("2x16: lns ") && said.contains("out/report.md"), "{}", outcome.stdout);
    assert!(outcome.stderr.contains("run 8 of 8: 2x16/fine-tune/lns"), "{}", outcome.stderr);

    let tuning = rows(&desk, "out/tables/tuning.csv");
    assert_eq!(
        keys(&tuning, &["size", "variant", "learning_rate", "diverged_at"]),
        ["2x16 pre 0.01 ", "2x16 lns 0.01 "]
    );
    assert!(tuning.iter().all(|row| number(row, "held_out_loss") > 1.0));
    let runs = rows(&desk, "out/tables/study.csv");
    assert_eq!(keys(&runs, &["variant", "seed", "tokens"]), ["pre 1 768", "pre 2 768", "lns 1 768", "lns 2 768"]);
    // The losses are those that `compare` finds, whose tables stand beside them.
    let compared = rows(&desk, "out/2x16/tables/runs.csv");
    assert_eq!(keys(&compared, &["run", "group"]), ["pre-1 pre", "pre-2 pre", "lns-1 lns", "lns-2 lns"]);
    assert_eq!(keys(&runs, &["held_out_loss"]), keys(&compared, &["loss"]));

    let answers = rows(&desk, "out/tables/fine_tuning.csv");
    let all: Vec<_> = answers.iter().filter(|row| row["k"].is_empty()).cloned().collect();
    let expected = ["pre plain 12", "pre instruction 12", "lns plain 12", "lns instruction 12"];
    assert_eq!(keys(&all, &["variant", "form", "count"]), expected);
    for row in &all {
        assert_eq!(row["delta_from_pre"].is_empty(), row["variant"] == "pre", "{row:?}");
        assert!((0.0..=1.0).contains(&number(row, "before")) && (0.0..=1.0).contains(&number(row, "after")));
    }
    for file in ["2x16/charts/loss.svg", "2x16/charts/variance_over_training.png", "manifest.json", "study.toml"] {
        assert!(desk.path("out").join(file).is_file(), "{file}");
    }
    let first = report(&desk);
    let mean = number(&compared[0], "perplexity").midpoint(number(&compared[1], "perplexity"));
    for words in [
        "# A miniature",
        "| 2x16 | 2 × 16 |",
        "6 × 4 × 32",
        &format!("| {mean:.2} |"),
        "| 130M |",
        "| 26.73 |",
        "**lns** ",
        "The columns to the right are the paper's (130M: elsewhere)",
        "**1e-2: ",
        "Chance is 0.25",
        "after fine-tuning, **lns** ",
        "0 were cut",
        "(2x16/charts/prune.svg)",
        "depthscope study study.toml --text text.txt --out out",
    ] {
        assert!(first.contains(words), "{words} is not in {first}");
    }
    let linked = first.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
    assert!(linked.map(|file| desk.path("out").join(file)).all(|file| file.is_file()));

    let before = written(&desk);
    let again = desk.run(RUN).succeeded();
    assert!(!again.stderr.contains("run "), "{}", again.stderr);
    assert_eq!(written(&desk), before, "nothing is trained again");
    assert_eq!(report(&desk), first);
}

#[test]
fn a_run_that_diverges_is_recorded_not_repeated_and_the_study_goes_on() {
    let wild = "name = \"wild\"\nrecipe = \"tiny\"\nlayers = 2\nhidden = 16\nintermediate = 32\nsteps = 6\nbatch_size = 4\n\
                seq_len = 32\ntune_steps = 3\nlearning_rates = [1e30]\nseeds = [1]\n";
    let desk = desk(&format!("{}\n[[size]]\n{wild}", STUDY.replace("[1e-2]", "[1e30, 1e-2]").replace("[1, 2]", "[1]")));
    let outcome = desk.run(RUN).succeeded();
    assert!(outcome.stderr.contains("2x16/tune/pre-1e30: diverged at step"), "{}", outcome.stderr);
    let tuning = rows(&desk, "out/tables/tuning.csv");
    for row in &tuning {
        let diverged = number(row, "learning_rate") > 1.0;
        assert_eq!((row["held_out_loss"].is_empty(), !row["diverged_at"].is_empty()), (diverged, diverged), "{row:?}");
    }
    let runs = rows(&desk, "out/tables/study.csv");
    assert_eq!(keys(&runs, &["size", "variant", "learning_rate"])[..2], ["2x16 pre 0.01", "2x16 lns 0.01"]);
    assert!(runs[..2].iter().all(|row| number(row, "perplexity") > 1.0 && row["diverged_at"].is_empty()));
    assert!(runs[2..].iter().all(|row| row["perplexity"].is_empty() && number(row, "diverged_at") >= 1.0), "{runs:?}");
    let kept = desk.json("out/units/wild/pre-1/diverged.json");
    assert!(kept["step"].as_u64().is_some_and(|step| step >= 1) && kept["what"].as_str().is_some(), "{kept}");
    let text = report(&desk);
    for words in ["**1e-2: ", "1e30: diverged at step", "every run of pre diverged", "none came to its end"] {
        assert!(text.contains(words), "{words} is not in {text}");
    }
    assert!(!desk.path("out/wild").exists());
    let before = written(&desk);
    desk.run(&format!("{RUN} --quiet")).succeeded();
    assert_eq!(written(&desk), before, "what diverged is not tried again");
}

#[cfg(unix)]
#[test]
fn a_study_that_is_stopped_goes_on_where_it_was() {
    let one = STUDY.split("[[variant]]\nname = \"lns\"").next().unwrap();
    let long = [one, &STUDY[STUDY.find("[[size]]").unwrap()..]].concat();
    let long = long.replace("steps = 6", "steps = 150").replace("seeds = [1, 2]", "seeds = [1]");
    let desk = desk(&long);
    let mut program = desk.program();
    program.args(RUN.split(' ')).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = program.spawn().unwrap();
    while !desk.path("out/units/2x16/pre-1/recipe.toml").exists() {
        assert_eq!(child.try_wait().unwrap(), None, "it ends before it is stopped");
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let outcome: Outcome = child.wait_with_output().unwrap().into();
    assert_eq!(outcome.code, Some(130), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("study is stopped (1 of 2 runs are done)"), "{}", outcome.stderr);
    assert!(!desk.path("out/report.md").exists());
    let tuned = written(&desk);
    let outcome = desk.run(RUN).succeeded();
    assert!(
        outcome.stderr.contains("run 2 of 2: 2x16/pre-1") && !outcome.stderr.contains("tune/pre"),
        "{}",
        outcome.stderr
    );
    let kept = |(path, _): &(&PathBuf, &SystemTime)| path.to_string_lossy().contains("/tune/");
    let after = written(&desk);
    assert!(tuned.iter().filter(kept).count() > 5);
    assert!(tuned.iter().filter(kept).all(|(path, when)| after.get(path) == Some(when)));
    // The same run in one go has the same losses.
    desk.run(&format!("{RUN}-whole --quiet")).succeeded();
    let losses = |out: &str| {
        let log = read_log(&desk.path(out).join("units/2x16/pre-1/tables")).unwrap();
        log.iter().map(|row| (row.step, row.loss.to_bits())).collect::<Vec<_>>()
    };
    assert_eq!(losses("out").len(), 150);
    assert_eq!(losses("out"), losses("out-whole"));
}

#[test]
fn what_is_no_study_is_refused_and_leaves_nothing() {
    let whole = [STUDY, FINE_TUNE].concat();
    for (from, to, facts) in [
        ("tune_steps", "tuning_steps", ["study.toml", "tuning_steps"]),
        ("placement = \"lns\"", "placement = \"lnz\"", ["study.toml", "lnz"]),
        ("size = \"2x16\"", "size = \"3x16\"", ["fine_tune.size", "none of the sizes (2x16)"]),
        ("[1e-2]", "[]", ["learning_rates", "there is none"]),
        ("[1, 2]", "[]", ["seeds", "there is none"]),
    ] {
        let text = whole.replace(from, to);
        assert_ne!(text, whole);
        let desk = desk(&text);
        desk.leaves_nothing(|| desk.run(RUN).failed_with(&facts));
    }
    let desk = desk(&whole);
    desk.leaves_nothing(|| {
        desk.run("study nosuch --text text.txt --out out").failed_with(&[
            "study is unknown",
            "nosuch",
            "norm-placements",
        ]);
        desk.run("study study.toml --text nosuch.txt --out out").failed_with(&["nosuch.txt"]);
        let no_text = desk.run("study study.toml --out out");
        assert!(no_text.code == Some(2) && no_text.stderr.contains("--text"), "{}", no_text.stderr);
    });
}

#[test]
fn a_folder_that_holds_another_study_is_left_alone() {
    let short = STUDY.replace("seeds = [1, 2]", "seeds = [1]");
    let desk = desk(&short);
    desk.run(&format!("{RUN} --quiet")).succeeded();
    let before = written(&desk);
    desk.write("study.toml", short.replace("steps = 6", "steps = 7"));
    desk.run(RUN).failed_with(&["pre-1", "steps = 6", "--out"]);
    desk.write("study.toml", short.replace("vocab = 500", "vocab = 400"));
    desk.run(RUN).failed_with(&["another vocab", "--out"]);
    desk.write("study.toml", &short);
    desk.write("text.txt", stories(2).take(60).map(|story| story.text + "\n").collect::<String>());
    desk.run(RUN).failed_with(&["another text", "--out"]);
    assert_eq!(written(&desk), before);
}
