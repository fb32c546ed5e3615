//! Contexts and continuations of every task, against what lm-evaluation-harness makes of the same rows; and the command line.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "support/hub_server.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod hub_server;
#[path = "support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};

use depthscope::{
    corpus::tasks::{Document, Kind, Task, TaskFile},
    plan::{TaskPlan, load_task},
    source::hub::Silent,
};
use hub_server::{HubServer, Repo};
use serde_json::{Value, json};
use support::program::Desk;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tasks").join(name)
}

fn expected() -> Value {
    support::json(&folder("expected.json"))
}

fn plan(task: &str, shots: usize) -> TaskPlan {
    TaskPlan { task: task.to_owned(), data: Some(folder("rows")), shots, ..TaskPlan::default() }
}

fn load(plan: &TaskPlan) -> Result<Task, String> {
    load_task(plan, &Silent, &mut Vec::new()).map_err(|error| error.to_string())
}

/// A document as `generate.py` writes it.
fn written(document: &Document, kind: Kind) -> Value {
    let requests: Vec<[&str; 2]> =
        document.requests.iter().map(|request| [&*request.context, &*request.continuation]).collect();
    let Document { subject, item, gold, .. } = document;
    let mut written = json!({ "subject": subject, "item": item, "gold": gold, "requests": requests });
    if kind == Kind::Text {
        let size = document.requests[0].size;
        written["size"] = json!({ "words": size.words, "bytes": size.bytes });
    }
    written
}

#[test]
fn every_context_and_continuation_is_that_of_lm_evaluation_harness() {
    let expected = expected();
    let expected = expected.as_object().unwrap();
    for (key, documents) in expected {
        let (name, shots) = key.split_once('/').unwrap();
        let task = load(&plan(name, shots.parse().unwrap())).unwrap();
        let found: Vec<Value> = task.documents.iter().map(|document| written(document, task.kind)).collect();
        let documents = documents.as_array().unwrap();
        assert!(documents.len() >= 3, "{key}");
        assert_eq!(found.len(), documents.len(), "{key}");
        for (found, expected) in found.iter().zip(documents) {
            assert_eq!(found, expected, "{key}");
        }
    }
    for name in TaskFile::names().into_iter().filter(|name| *name != "composition") {
        assert!(expected.contains_key(&format!("{name}/0")), "{name} has no fixture");
    }
}

#[test]
fn a_task_of_ones_own_works_by_path_from_every_format() {
    let desk = Desk::empty();
    desk.write(
        "tasks/colours.toml",
        "version = \"1\"\ncitation = \"me\"\nlicence = \"CC0\"\nkind = \"choice\"\nmetrics = [\"acc\"]\nsplits = [\"test\"]\n\
         subject = \"kind\"\nprompt = \"{{ thing }} is\"\noptions = \"[a, b]\"\ngold = \"answer\"\n",
    );
    let lines = "{\"kind\": \"x\", \"thing\": \"Snow\", \"a\": \"white\", \"b\": \"red\", \"answer\": 0}\n\
                 {\"kind\": \"y\", \"thing\": \"Blood\", \"a\": \"white\", \"b\": \"red\", \"answer\": 1}\n";
    let show = || {
        let shown = desk.run("tasks show tasks/colours.toml --data data --format json").succeeded();
        let task: Value = serde_json::from_str(&shown.stdout).unwrap();
        task["documents"].clone()
    };
    desk.write("data/colours/test.csv", "kind,thing,a,b,answer\nx,Snow,white,red,0\ny,Blood,white,red,1\n");
    let from_csv = show();
    assert_eq!(from_csv[1]["requests"][1]["context"], "Blood is");
    assert_eq!(from_csv[1]["requests"][1]["continuation"], " red");
    assert_eq!(from_csv[1]["gold"], 1);
    desk.write("data/colours/test.json", format!("[{}]", lines.trim().replace('\n', ",\n")));
    assert_eq!(show(), from_csv);
    desk.write("data/colours/test.jsonl", lines);
    assert_eq!(show(), from_csv);
    let one = desk.run("tasks show tasks/colours.toml --data data --subjects y").succeeded();
    assert_eq!(one.stdout, "──── colours, y, item 0\nBlood is\n  0 \" white\"\n► 1 \" red\"\n\n");
    one.says(&["colours: 1 documents of 1 subjects, split test, 0 examples before each"]);
    desk.run("tasks show tasks/colours.toml --data data --shots 1").failed_with(&["task has no examples to show"]);
    desk.run("tasks show tasks/colours.toml").failed_with(&["task has no source of rows", "--data"]);
}

#[test]
fn the_tasks_are_listed_and_mistakes_are_refused() {
    let desk = Desk::empty();
    let listed = desk.run("tasks").succeeded().stdout;
    assert!(TaskFile::names().iter().all(|name| listed.contains(name)), "{listed}");
    assert!(listed.contains("cais/mmlu") && listed.contains("acc_norm"), "{listed}");
    desk.run("tasks show nosuch").failed_with(&["task is unknown (nosuch); use one of mmlu", "composition"]);
    let shown = desk.run("tasks show composition --subjects k=2 --n 1").succeeded().stdout;
    assert!(shown.starts_with("──── composition, k=2, item 0\n") && shown.contains("► "), "{shown}");
    desk.run("tasks show composition --subjects k=9").failed_with(&["subject is unknown (k=9); use some of k=1"]);
    std::fs::create_dir_all(desk.path("data/other")).unwrap();
    desk.run("tasks show piqa --data data").failed_with(&["data folder of the task is missing", "there is other"]);
    desk.write("data/piqa/train.jsonl", "{}\n");
    desk.run("tasks show piqa --data data").failed_with(&["split is missing (validation", "there is train.jsonl"]);
    desk.write(
        "data/piqa/validation.jsonl",
        "{\"goal\": \"g\", \"sol1\": \"a\", \"sol2\": \"b\", \"label\": 0}\n{\"goal\": 1\n",
    );
    desk.run("tasks show piqa --data data").failed_with(&["JSON is invalid (data/piqa/validation.jsonl:2"]);
}

#[test]
fn without_a_folder_rows_come_from_the_hub_every_shard_of_them() {
    let shard = |name: &str| format!("{{\"context\": \"{name} is\", \"continuation\": \"here\"}}\n");
    let server = HubServer::start([Repo::dataset("org/words")
        .file("data/test-00000-of-00002.jsonl", shard("Ann"))
        .file("data/test-00001-of-00002.jsonl", shard("Ben"))
        .file("data/train-00000-of-00001.jsonl", shard("Cy"))]);
    let desk = Desk::empty();
    desk.write(
        "words.toml",
        "version = \"1\"\ncitation = \"me\"\nlicence = \"CC0\"\nkind = \"continuation\"\nmetrics = [\"acc\"]\n\
         splits = [\"test\"]\nprompt = \"{{ context }}\"\ntarget = \"' ' ~ continuation\"\n\
         [hub]\nrepo = \"org/words\"\nfiles = \"data/{split}-\"\n\
         [shots]\nsplit = \"train\"\nsampler = \"first_n\"\n",
    );
    let mut program = desk.program();
    program.args(["tasks", "show", "words.toml", "--shots", "1"]);
    program.env("HF_HUB_OFFLINE", "0").env("HF_ENDPOINT", server.endpoint());
    let shown: support::program::Outcome = program.output().unwrap().into();
    let text =
        |item: usize, name: &str| format!("──── words, item {item}\nCy is  here\n\n{name} is\n  0 \" here\"\n\n");
    assert_eq!(shown.succeeded().stdout, text(0, "Ann") + &text(1, "Ben"));
}
