//! Models that look both ways: masked tokens are predicted, and nothing is asked that needs a next token.

use std::path::Path;

use serde_json::{Value, json};

use super::support::{fixture, program::Desk};

const WORDS: [&str; 8] = ["the", "mill", "is", "in", "a", "valley", "anna", "sees"];

/// The fixture of an encoder, with a tokenizer of whole words that writes \[CLS\] and \[SEP\] around texts.
fn desk() -> Desk {
    let desk = Desk::empty();
    for file in ["config.json", "model.safetensors"] {
        desk.write(&format!("model/{file}"), std::fs::read(fixture("bert").join(file)).unwrap());
    }
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
    let vocab: serde_json::Map<String, Value> =
        special.iter().chain(&WORDS).enumerate().map(|(id, word)| ((*word).to_owned(), json!(id))).collect();
    let added: Vec<Value> = (0..special.len())
        .map(|id| {
            json!({"id": id, "content": special[id], "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true})
        })
        .collect();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}, "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "[UNK]"},
    });
    desk.write("model/tokenizer.json", tokenizer.to_string());
    let text: Vec<&str> = (0..200).map(|at| WORDS[at * at % 17 % WORDS.len()]).collect();
    desk.write("text.txt", text.join(" "));
    desk.tokens(&[vec![2, 5, 6, 7, 8, 9, 3], vec![2, 7, 7, 9, 11, 3]]);
    desk
}

fn found(desk: &Desk, arguments: &str) -> Value {
    let outcome = desk.run(&format!("{arguments} --model model --format json --quiet")).succeeded();
    serde_json::from_str(&outcome.stdout).unwrap()
}

#[test]
fn masked_tokens_of_text_are_predicted_with_and_without_every_block() {
    let (desk, text) = (desk(), "--text text.txt --samples 10 --seq-len 20");
    let run = found(&desk, &format!("scan {text} --parts block,attention"));
    // Of each sequence 18 tokens stand between the special ones, and 15 % of them, 3, are masked.
    let input = &run["manifest"]["input"];
    assert_eq!((&input["sequences"], &input["tokens"], &input["masked"]), (&json!(10), &json!(200), &json!(30)));
    let rows = run["prune"].as_array().unwrap();
    assert_eq!(rows.len(), 2 * 3 * 4);
    for row in rows {
        assert_eq!(row["count"], 30);
        assert!(row["pruned"].as_f64().unwrap().is_finite() && row["ci_low"].is_number(), "{row}");
    }
    assert_eq!(run["layers"][0]["tokens"], 200);
    assert_eq!(
        found(&desk, &format!("variance {text}"))["layers"],
        run["layers"],
        "the same masks, whatever is measured"
    );
    let other = found(&desk, &format!("prune {text} --seed 1"));
    assert_ne!(other["prune"][0]["baseline"], rows[0]["baseline"], "the seed chooses the masks");
    let summary = desk.run(&format!("prune {text} --model model")).succeeded().stdout;
    assert!(summary.contains("30 of them masked"), "{summary}");
}

#[test]
fn token_files_are_masked_too_and_special_tokens_are_not() {
    let run = found(&desk(), "prune --tokens tokens.json");
    assert_eq!(run["manifest"]["input"]["masked"], 2);
    assert_eq!(run["prune"][0]["count"], 2);
}

#[test]
fn a_model_without_a_mask_is_refused_and_one_whose_configuration_names_it_is_not() {
    let desk = desk();
    std::fs::remove_file(desk.path("model/tokenizer.json")).unwrap();
    desk.refuses("prune", &["mask token is unknown", "mask_token_id"]);
    desk.configure(&json!({"mask_token_id": 4, "cls_token_id": 2, "sep_token_id": 3}));
    assert_eq!(found(&desk, "prune --tokens tokens.json")["manifest"]["input"]["masked"], 2);
}

#[test]
fn sequences_of_special_tokens_alone_predict_nothing() {
    let desk = desk();
    desk.tokens(&[vec![2, 3], vec![2, 5, 6, 3]]);
    desk.measure("prune").succeeded().says(&["special tokens alone predict nothing (1 of 2)"]);
    desk.tokens(&[vec![2, 3]]);
    desk.refuses("prune", &["input predicts nothing (each of the 1 sequences has special tokens alone)"]);
}

#[test]
fn tasks_are_not_put_to_an_encoder() {
    let desk = desk();
    let facts = ["task cannot be put to an encoder (composition asks for next tokens, model looks both ways)"];
    desk.refuses("prune --task composition", &facts);
    desk.leaves_nothing(|| desk.run("eval --model model --task composition").failed_with(&facts));
}

#[test]
fn a_head_that_marks_answers_has_no_loss() {
    let desk = desk();
    desk.configure(&json!({"architectures": ["BertForQuestionAnswering"]}));
    desk.refuses("prune", &["model predicts no tokens (model marks where answers start and end)"]);
}

/// The fixture of `tests/squad`: a model that marks answers, and questions.
fn answering() -> Desk {
    let (desk, from) = (Desk::empty(), Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/squad"));
    let files = ["model/config.json", "model/model.safetensors", "model/tokenizer.json", "rows/squad/validation.jsonl"];
    for file in files {
        desk.write(file, std::fs::read(from.join(file)).unwrap());
    }
    desk
}

fn expected() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/squad/expected.json");
    super::support::json(&path)["models"].as_array().unwrap().clone()
}

fn mean(values: &Value) -> f64 {
    let values: Vec<f64> = values.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect();
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn squad_is_answered_with_and_without_every_block() {
    let (desk, models) = (answering(), expected());
    let run = found(&desk, "prune --task squad --data rows --seq-len 20 --out out");
    let rows = run["prune"].as_array().unwrap();
    assert_eq!(rows.len(), 2 * 3, "exact match and F1 of every block, and no loss");
    for row in rows {
        let removed = usize::try_from(row["first"].as_u64().unwrap()).unwrap();
        let column = if row["metric"] == "exact_match:squad" { "exact" } else { "f1" };
        for (found, model) in [("baseline", &models[0]), ("pruned", &models[removed + 1])] {
            assert!((row[found].as_f64().unwrap() - mean(&model[column])).abs() < 1e-12, "{row}");
        }
        assert_eq!((&row["count"], row["p_adjusted"].is_number()), (&json!(20), column == "exact"));
        assert!(row["ci_low"].is_number());
    }
    assert!(desk.path("out/tables/prune.csv").is_file() && desk.path("out/charts/accuracy.svg").is_file());
    assert_eq!(run["manifest"]["tasks"][0]["documents"], 20);
    let summary = desk.run("prune --model model --task squad --data rows --seq-len 20").succeeded().stdout;
    assert!(summary.contains("exact match") && summary.contains("20 items of validation"), "{summary}");
}

#[test]
fn squad_is_put_to_the_whole_model() {
    let (desk, models) = (answering(), expected());
    let rows = found(&desk, "eval --task squad --data rows")["eval"].clone();
    assert_eq!((&rows[0]["metric"], &rows[1]["metric"]), (&json!("exact_match"), &json!("f1")));
    assert!((rows[0]["value"].as_f64().unwrap() - mean(&models[0]["exact"])).abs() < 1e-12);
    assert!((rows[1]["value"].as_f64().unwrap() - mean(&models[0]["f1"])).abs() < 1e-12);
    assert_eq!(found(&desk, "eval --task squad --data rows --limit 7")["eval"][0]["count"], 7);
}

#[test]
fn squad_is_refused_without_rows_without_marks_and_with_examples() {
    let desk = answering();
    let fails = |arguments: &str, facts: &[&str]| {
        desk.leaves_nothing(|| desk.run(&format!("{arguments} --model model")).failed_with(facts));
    };
    fails("eval --task squad", &["rows of squad are missing (no --data)"]);
    fails("eval --task squad --data nowhere", &["rows of squad are missing (nowhere/squad/validation.jsonl)"]);
    fails("eval --task squad --data rows --shots 2", &["flag does not go with squad (--shots"]);
    desk.configure(&json!({"architectures": ["BertForMaskedLM"]}));
    fails("eval --task squad --data rows", &["model does not answer squad (model marks no starts and ends)"]);
}
