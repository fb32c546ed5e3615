//! Log-likelihoods and metrics of the embedded model, against lm-evaluation-harness on the same rows (`tests/eval/generate.py`); and the command.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::{
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use depthscope::{
    plan::{DeviceChoice, DtypeChoice, EvalPlan, Evaluation, Host, TaskPlan, evaluate},
    source::hub::Silent,
};
use serde_json::Value;
use support::program::Desk;

/// Of a log-likelihood, in nats; and of a metric, relative to it.
const CLOSE: f64 = 1e-3;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

/// The plan of `task/shots` in `expected.json`. Tasks that the harness has not are files here.
fn plan(key: &str) -> EvalPlan {
    let (name, shots) = key.split_once('/').unwrap();
    let file = folder(&format!("eval/tasks/{name}.toml"));
    let own = file.exists();
    let task = TaskPlan {
        task: if own { file.to_string_lossy().into_owned() } else { name.to_owned() },
        data: Some(folder(if own { "eval/rows" } else { "tasks/rows" })),
        subjects: if name == "mmlu" {
            ["abstract_algebra", "us_foreign_policy"].map(String::from).into()
        } else {
            vec![]
        },
        shots: shots.parse().unwrap(),
        ..TaskPlan::default()
    };
    let (device, dtype) = (DeviceChoice::Cpu, DtypeChoice::Auto);
    EvalPlan { model: "embedded:pre".to_owned(), tasks: vec![task], items: true, device, dtype, memory: None, seed: 0 }
}

fn found(plan: &EvalPlan) -> Evaluation {
    static NEVER: AtomicBool = AtomicBool::new(false);
    evaluate(plan, &Host { interrupted: &NEVER, progress: &|_| (), downloads: &Silent }).unwrap()
}

/// The harness's name of a measure.
fn measure(name: &str) -> &str {
    match name {
        "acc" => "accuracy",
        "acc_norm" => "accuracy_norm",
        name => name,
    }
}

#[test]
fn every_likelihood_of_an_option_or_window_and_every_metric_is_that_of_lm_evaluation_harness() {
    let expected = support::json(&folder("eval/expected.json"));
    let tasks: Vec<(&String, &Value)> =
        expected.as_object().unwrap().iter().filter(|(key, _)| key.contains('/')).collect();
    assert!(tasks.len() > 20);
    for (key, expected) in tasks {
        let found = found(&plan(key));
        let items = found.items.unwrap();
        let mut rows = items.iter();
        for item in expected["items"].as_array().unwrap() {
            for (option, expected) in item[3].as_array().unwrap().iter().enumerate() {
                let row = rows.next().unwrap();
                let what = format!("{key}: {row:?}");
                assert_eq!(
                    (row.subject.as_deref(), row.item, row.option),
                    (item[0].as_str(), item[1].as_u64().unwrap() as usize, option),
                    "{what}"
                );
                assert_eq!(row.gold.map(|gold| gold as u64), item[2].as_u64(), "{what}");
                assert!((row.loglikelihood - expected.as_f64().unwrap()).abs() < CLOSE, "{what} is not {expected}");
            }
        }
        assert!(rows.next().is_none(), "{key}");
        assert_eq!(found.tasks[0].truncated as u64, expected["truncated"].as_u64().unwrap(), "{key}");
        for metric in expected["metrics"].as_array().unwrap() {
            let (subject, name, value) = (metric[0].as_str(), metric[1].as_str().unwrap(), metric[2].as_f64().unwrap());
            let row =
                found.eval.iter().find(|row| row.subject.as_deref() == subject && row.metric.name() == measure(name));
            let row = row.unwrap_or_else(|| panic!("{key}: {metric} is missing"));
            assert!((row.value - value).abs() <= CLOSE * value, "{key}: {row:?} is not {metric}");
            assert_eq!(row.count, metric[3].as_u64().unwrap(), "{key}: {metric}");
        }
    }
}

#[test]
fn the_command_prints_values_and_writes_tables() {
    let desk = Desk::empty();
    let eval = "eval --task composition --limit 4";
    let outcome = desk.run(&format!("{eval} --items --out out")).succeeded();
    for words in ["composition: 24 items of generated, 0-shot, chance 0.25", "accuracy", "k=6", "95 % interval"] {
        assert!(outcome.stdout.contains(words), "{words}\n{}", outcome.stdout);
    }
    let items = std::fs::read_to_string(desk.path("out/tables/items.csv")).unwrap();
    assert!(items.starts_with("model,first,last,part,task,subject,item,option,loglikelihood,gold\n"), "{items}");
    assert_eq!(items.lines().count(), 1 + 24 * 4);
    assert!(items.lines().nth(1).unwrap().starts_with("embedded:pre,,,none,composition,k=1,0,0,-"), "{items}");
    let eval_table = std::fs::read_to_string(desk.path("out/tables/eval.csv")).unwrap();
    assert!(eval_table.starts_with("model,task,subject,metric,value,ci_low,ci_high,count\n"), "{eval_table}");
    let json: Value = serde_json::from_str(&desk.run(&format!("{eval} --format json")).succeeded().stdout).unwrap();
    assert_eq!(json["tasks"][0]["items"], 24);
    assert!(json["items"].is_null() && json["eval"].as_array().unwrap().len() == 7);
    desk.run("angular --task composition").failed_with(&["--task asks questions of removals"]);
    desk.run("eval --model not-there --task nosuch").failed_with(&["task is unknown (nosuch)"]);
}

#[test]
fn a_sweep_keeps_every_option_of_every_removal_and_tests_what_changed() {
    let desk = Desk::empty();
    let prune = "prune --samples 2 --seq-len 32 --task composition --limit 5";
    let outcome = desk.run(&format!("{prune} --items --out out")).succeeded();
    for words in ["beyond doubt", "block evaluations", "By group: k=1 0."] {
        assert!(outcome.stdout.contains(words), "{words}\n{}", outcome.stdout);
    }
    let items = std::fs::read_to_string(desk.path("out/tables/items.csv")).unwrap();
    assert_eq!(items.lines().count(), 1 + (24 + 1) * 30 * 4);
    assert!(items.contains("\nembedded:pre,23,23,block,composition,k=6,4,3,-"), "{items}");
    let table = std::fs::read_to_string(desk.path("out/tables/prune.csv")).unwrap();
    assert!(table.lines().next().unwrap().ends_with(",count,p_value,p_adjusted"), "{table}");
    desk.run(&format!("{prune} --quiet --out plain")).succeeded();
    let without_items = std::fs::read_to_string(desk.path("plain/tables/prune.csv")).unwrap();
    assert_eq!(without_items, table, "logits alone choose the same options");
    let tested = |line: &&str| line.contains(",accuracy:composition,") && !line.ends_with(",,");
    assert_eq!(table.lines().filter(tested).count(), 24);
    assert!(desk.path("out/charts/accuracy.svg").exists() && desk.path("out/charts/accuracy-lines.png").exists());
}
