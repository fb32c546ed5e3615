use std::{fs, path::Path};

use super::*;
use crate::corpus::tasks::{build, file::TaskFile, find, read};

const GOOD: &str = r#"version = "1"
citation = "c"
licence = "l"
kind = "choice"
metrics = ["acc"]
splits = ["test"]
id = "id"
subject = "topic"
prompt = """
{{ question }}
A:"""
options = "[a, b]"
gold = "answer"
[shots]
split = "dev"
sampler = "first_n"
[groups]
all = ["x", "y"]
"#;

const ROWS: &str = r#"{"id": 1, "topic": "x", "question": "Q1", "a": "yes", "b": "no", "answer": 0}
{"id": 2, "topic": "y", "question": "Q2", "a": "yes", "b": "no", "answer": 1}
{"id": 3, "topic": "x", "question": "Q3", "a": "yes", "b": "no", "answer": 1}
"#;

fn parsed(text: &str) -> Result<TaskFile, String> {
    TaskFile::parse("my", "my.toml", text).map_err(|error| error.to_string())
}

fn ask(folder: &Path, file: &TaskFile, selection: &Selection) -> Result<Task, TaskError> {
    let rows = |split: &str| read(file, &find(folder, file, split)?);
    let shots = if selection.shots > 0 { rows("dev")? } else { Vec::new() };
    build(file, "test", rows("test")?, shots, selection)
}

/// The task on these rows, which are its examples too.
fn asked(task: &str, rows: &str, selection: &Selection) -> Result<Task, String> {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("my")).unwrap();
    fs::write(folder.path().join("my/test.jsonl"), rows).unwrap();
    fs::write(folder.path().join("my/dev.jsonl"), rows).unwrap();
    let task = ask(folder.path(), &parsed(task)?, selection);
    task.map_err(|error| error.to_string().replace(&format!("{}/", folder.path().display()), ""))
}

/// Named task on these rows.
fn shipped(name: &str, rows: &str) -> Document {
    let (file, folder) = (TaskFile::load(name).unwrap(), tempfile::tempdir().unwrap());
    let path = folder.path().join("rows.jsonl");
    fs::write(&path, rows).unwrap();
    let rows = read(&file, &Found { split: "test".into(), paths: vec![path] }).unwrap();
    build(&file, "test", rows, Vec::new(), &Selection::default()).unwrap().documents.remove(0)
}

#[test]
fn every_task_that_comes_with_it_is_valid() {
    for name in TaskFile::names() {
        let file = TaskFile::load(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(!file.citation.is_empty() && !file.licence.is_empty() && !file.version.is_empty(), "{name}");
        assert_eq!(file.hub.is_none(), file.generated.is_some(), "{name}");
    }
    let mmlu = TaskFile::load("mmlu").unwrap();
    assert_eq!(mmlu.groups.values().map(Vec::len).collect::<Vec<_>>(), [13, 13, 12, 19]);
}

#[test]
fn subjects_limits_and_examples_are_those_asked_for() {
    let first = Selection { limit: Some(1), ..Selection::default() };
    let task = asked(GOOD, ROWS, &first).unwrap();
    let places: Vec<_> = task.documents.iter().map(|document| (document.subject.as_deref(), document.item)).collect();
    assert_eq!(places, [(Some("x"), 0), (Some("y"), 0)]);
    assert_eq!(task.groups["all"], ["x", "y"]);
    let shots = Selection { shots: 1, subjects: vec!["x".into()], ..Selection::default() };
    let task = asked(GOOD, ROWS, &shots).unwrap();
    assert_eq!(task.documents.len(), 2);
    assert_eq!(&*task.documents[1].requests[1].context, "Q1\nA: yes\n\nQ3\nA:");
    assert_eq!(&*task.documents[1].requests[1].continuation, " no");
    assert_eq!(task.documents[1].requests[1].size, TextSize { characters: 2, bytes: 2, words: 1 });
    assert_eq!(task.documents[1].gold, Some(1));
}

#[test]
fn a_document_can_be_left_out_of_its_own_examples() {
    let task = GOOD.replace("[groups]", "leave_out_self = true\n[groups]");
    let shots = Selection { shots: 1, subjects: vec!["x".into()], ..Selection::default() };
    let contexts = |task: &str| -> Vec<String> {
        let documents = asked(task, ROWS, &shots).unwrap().documents;
        documents.iter().map(|document| document.requests[0].context.to_string()).collect()
    };
    assert_eq!(contexts(&task), ["Q3\nA: no\n\nQ1\nA:", "Q1\nA: yes\n\nQ3\nA:"]);
    assert_eq!(contexts(&task.replace("first_n", "random")), contexts(&task), "there is only one other");
}

#[test]
fn mistakes_in_a_task_file_are_named_with_their_line() {
    for (from, to, facts) in [
        ("licence", "license", ["my.toml:3", "license"]),
        ("\"choice\"", "\"choise\"", ["my.toml:4", "choise"]),
        ("[\"acc\"]", "[\"perplexity\"]", ["perplexity", "acc_norm"]),
        ("[\"acc\"]", "[]", ["metrics", "acc_norm"]),
        ("[\"test\"]", "[]", ["splits", "names none"]),
        ("gold = \"answer\"", "", ["kind `choice`", "needs `gold`"]),
        ("gold =", "target = \"a\"\ngold =", ["my.toml:13", "`target` means nothing"]),
        ("{{ question }}", "{{ question }\n}}", ["my.toml:10", "`prompt`"]),
        ("A:\"\"\"", "{% if %}\"\"\"", ["my.toml:11", "`prompt`"]),
        ("[a, b]", "[a, b", ["my.toml:12", "`options`"]),
        ("[\"x\", \"y\"]", "[\"x\", \"x\"]", ["[groups]", "x twice"]),
        ("subject = \"topic\"", "", ["[groups]", "needs `subject`"]),
        ("first_n", "last_n", ["my.toml:16", "last_n"]),
        ("[shots]", "[hub]\nrepo = \"o/n\"\nfiles = \"x\"\n[shots]", ["hub.files", "{split}"]),
        ("[shots]", "[pages]\nfield = \"p\"\nbegin = \"(\"\n[shots]", ["my.toml:16", "pages.begin"]),
    ] {
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(text, GOOD, "{from}");
        let message = parsed(&text).unwrap_err();
        assert!(message.contains("my.toml") && facts.iter().all(|fact| message.contains(fact)), "{message}");
    }
}

#[test]
fn mistakes_in_rows_are_named_with_their_line() {
    for (from, to, facts) in [
        ("\"answer\": 1", "\"answer\": 2", ["answer is outside the options (my/test.jsonl:2: 2", "my.toml:13"]),
        ("\"answer\": 1", "\"answer\": -1", ["my/test.jsonl:2: -1", "2 options"]),
        (
            "\"answer\": 1",
            "\"answer\": \"B\"",
            ["wrong kind of value (my.toml:13, `gold`: string B", "my/test.jsonl:2"],
        ),
        (
            "\"b\": \"no\"",
            "\"c\": \"no\"",
            ["column `b` is missing (my/test.jsonl:1", "columns there: a, answer, c, id"],
        ),
        ("\"b\": \"no\"", "\"b\": 5", ["`options`: sequence", "a list of texts"]),
        ("\"question\"", "\"q\"", ["column `question` is missing", "`prompt` at my.toml:10"]),
        ("\"id\": 2", "\"id\": 1", ["id is not unique (`1`: my/test.jsonl:1 and my/test.jsonl:2)", "my.toml"]),
        ("\"topic\": \"y\"", "\"topic\": \"z\"", ["subject is in no group (z, my/test.jsonl:2)", "[groups]"]),
        ("{\"id\": 2", "{\"id\" 2", ["JSON is invalid (my/test.jsonl:2", "column 7"]),
        ("{\"id\": 3", "[1]\n{\"id\": 3", ["row is not an object (my/test.jsonl:3: a list)", "write rows as"]),
        (ROWS, " \n", ["split is empty (test of my: my/test.jsonl)", "give files with rows"]),
    ] {
        let rows = ROWS.replacen(from, to, 1);
        assert_ne!(rows, ROWS, "{from}");
        let message = asked(GOOD, &rows, &Selection::default()).unwrap_err();
        assert!(facts.iter().all(|fact| message.contains(fact)), "{message}");
    }
    let failing = GOOD.replace("{{ question }}", "{{ question }}\n{{ question|nosuch }}");
    let message = asked(&failing, ROWS, &Selection::default()).unwrap_err();
    assert!(message.contains("my.toml:11") && message.contains("nosuch"), "{message}");
    let failing = GOOD.replace("{{ question }}", "{{ question }}\n{{ question.nosuch() }}");
    let message = asked(&failing, ROWS, &Selection::default()).unwrap_err();
    assert!(message.contains("my.toml:11") && message.contains("row my/test.jsonl:1"), "{message}");
}

#[test]
fn what_cannot_be_selected_is_refused() {
    let unknown = Selection { subjects: vec!["z".into()], ..Selection::default() };
    let message = asked(GOOD, ROWS, &unknown).unwrap_err();
    assert_eq!(message, "subject is unknown (z); use some of x, y");
    let shots = Selection { shots: 2, ..Selection::default() };
    let message = asked(GOOD, ROWS, &shots).unwrap_err();
    assert_eq!(message, "examples are too few (2 wanted, 1 in dev for y); lower --shots");
}

#[test]
fn rows_that_somebody_prepared_give_the_same_as_those_of_the_hub() {
    let hub = r#"{"activity_label": "Tea", "ctx_a": "He [x] boils", "ctx_b": "WATER", "endings": ["a  b", "c"], "label": "1"}"#;
    let prepared = r#"{"query": "Tea: He  boils Water", "choices": ["a b", "c"], "gold": 1}"#;
    let [hub, prepared] = [hub, prepared].map(|row| shipped("hellaswag", row));
    assert_eq!(&*hub.requests[0].context, "Tea: He boils Water");
    assert_eq!((hub.requests[0].continuation.clone(), hub.gold), (" a b".into(), Some(1)));
    assert_eq!(hub.requests[1], Request { context: hub.requests[0].context.clone(), ..prepared.requests[1].clone() });
    let [hub, prepared] = [r#"{"text": "one two  three"}"#, r#"{"context": "one two ", "continuation": "three"}"#]
        .map(|row| shipped("lambada_openai", row));
    assert_eq!(hub, prepared);
    assert_eq!((&*hub.requests[0].context, &*hub.requests[0].continuation), ("one two ", " three"));
    let [hub, authors] = [r#""label": 1"#, r#""answer": true"#]
        .map(|answer| shipped("boolq", &format!(r#"{{"passage": "p", "question": "q", {answer}}}"#)));
    assert_eq!(hub, authors);
}

#[test]
fn plain_text_is_cut_at_its_headings() {
    let (file, folder) = (TaskFile::load("wikitext").unwrap(), tempfile::tempdir().unwrap());
    let path = folder.path().join("test.txt");
    fs::write(&path, " \n = One = \n \n a , b \n \n = = Part = = \n c \n = Two = \n d \n").unwrap();
    let rows = read(&file, &Found { split: "test".into(), paths: vec![path] }).unwrap();
    let task = build(&file, "test", rows, Vec::new(), &Selection::default()).unwrap();
    let texts: Vec<&str> = task.documents.iter().map(|document| &*document.requests[0].continuation).collect();
    assert_eq!(texts, [" = One =\n\na, b\n\n== Part ==\nc ", " = Two =\nd\n"]);
    let size = task.documents[1].requests[0].size;
    assert_eq!((size.words, size.bytes), (6, " = Two = \n d \n".len()));
    let piqa = TaskFile::load("piqa").unwrap();
    let text = Found { split: "test".into(), paths: vec![folder.path().join("test.txt")] };
    let message = read(&piqa, &text).unwrap_err().to_string();
    assert!(message.contains("no [pages]"), "{message}");
}

#[test]
fn structs_and_lists_come_out_of_parquet() {
    use polars::prelude::{DataFrame, IntoColumn, IntoSeries, NamedFrom, ParquetWriter, Series, StructChunked};
    let texts = ["iron", "ice"].map(|text| Series::new("".into(), [text, "wood"]));
    let labels = [["A", "B"], ["1", "2"]].map(|labels| Series::new("".into(), labels));
    let fields = [Series::new("text".into(), texts), Series::new("label".into(), labels)];
    let choices = StructChunked::from_series("choices".into(), 2, fields.iter()).unwrap();
    let text = |name: &str, values: [&str; 2]| Series::new(name.into(), values).into_column();
    let columns = vec![
        text("id", ["a", "b"]),
        text("question", ["Metal?", "Cold?"]),
        choices.into_series().into_column(),
        text("answerKey", ["B", "1"]),
    ];
    let mut frame = DataFrame::new(2, columns).unwrap();
    let (file, folder) = (TaskFile::load("arc_easy").unwrap(), tempfile::tempdir().unwrap());
    let path = folder.path().join("test-00000-of-00001.parquet");
    ParquetWriter::new(fs::File::create(&path).unwrap()).finish(&mut frame).unwrap();
    let rows = read(&file, &Found { split: "test".into(), paths: vec![path] }).unwrap();
    let task = build(&file, "test", rows, Vec::new(), &Selection::default()).unwrap();
    let golds: Vec<_> = task.documents.iter().map(|document| document.gold).collect();
    assert_eq!(golds, [Some(1), Some(0)]);
    assert_eq!(&*task.documents[1].requests[0].context, "Question: Cold?\nAnswer:");
    assert_eq!(&*task.documents[1].requests[1].continuation, " wood");
}

#[test]
fn generated_questions_have_a_place_in_every_subject() {
    let file = TaskFile::load("composition").unwrap();
    let task = generate(&file, Generated::Composition, 3, 2, &Selection::default()).unwrap();
    assert_eq!(task.subjects(), ["k=1", "k=2", "k=3", "k=4", "k=5", "k=6"]);
    assert_eq!(task.documents.len(), 12);
    for document in &task.documents {
        assert_eq!(document.requests.len(), crate::corpus::task::OPTIONS);
        assert!(document.gold.is_some_and(|gold| gold < document.requests.len()));
        assert!(document.requests.iter().all(|request| request.continuation.starts_with(' ')));
    }
    let shots = Selection { shots: 1, ..Selection::default() };
    assert!(generate(&file, Generated::Composition, 3, 2, &shots).is_err());
}
