//! Text, token files, tokenizers.

use polars::prelude::{DataFrame, NamedFrom, ParquetWriter, Series};
use serde_json::json;

use super::support::program::Desk;

/// A desk whose model has a tokenizer of six words.
fn desk() -> Desk {
    let desk = Desk::new();
    let tokenizer = json!({
        "version": "1.0", "added_tokens": [], "normalizer": null, "post_processor": null, "decoder": null,
        "truncation": null, "padding": null, "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1, "c": 2, "d": 3, "far": 40, "?": 4}, "unk_token": "?"},
    });
    desk.write("model/tokenizer.json", tokenizer.to_string());
    desk
}

#[track_caller]
fn refuses_text(desk: &Desk, flags: &str, facts: &[&str]) {
    desk.leaves_nothing(|| desk.run(&format!("scan --model model --out out {flags}")).failed_with(facts));
}

#[test]
fn text_without_words_is_refused() {
    let desk = desk();
    desk.write("empty.txt", "");
    desk.write("blank.txt", " \n\t\n ");
    desk.write("blank.jsonl", "{\"text\": \" \"}\n\n{\"text\": null}\n");
    std::fs::create_dir(desk.path("folder")).unwrap();
    refuses_text(&desk, "--text empty.txt", &["text is empty (1 file(s), 1 blank document(s)); give a file with text"]);
    refuses_text(&desk, "--text blank.txt", &["text is empty"]);
    refuses_text(&desk, "--text blank.jsonl", &["text is empty"]);
    refuses_text(&desk, "--text folder", &["folder has no text files (folder", "name another folder or a file"]);
}

#[test]
fn text_of_one_token_is_refused() {
    let desk = desk();
    desk.write("one.txt", "a");
    desk.write("ones.jsonl", "{\"text\": \"a\"}\n{\"text\": \"b\"}\n");
    refuses_text(&desk, "--text one.txt", &["text is too short", "needs two tokens, give more text"]);
    refuses_text(&desk, "--text ones.jsonl --per-document", &["text is too short (2 document(s)"]);
}

#[test]
fn text_that_is_not_there_or_not_text_is_refused() {
    let desk = desk();
    desk.write("picture.png", "x");
    desk.write("latin.txt", b"caf\xe9 a b");
    desk.write("half.jsonl", "{\"text\": \"a b\"}\n{\"text\": \"a");
    desk.write("half.parquet", "PAR1 and no more");
    desk.write("half.jsonl.zst", b"\x28\xb5\x2f\xfdgarbage");
    desk.write("half.txt.gz", b"\x1f\x8bgarbage");
    for (name, facts) in [
        ("nowhere.txt", &["file is missing (nowhere.txt)", "check the path"][..]),
        ("picture.png", &["unsupported extension (picture.png", ".jsonl.zst", "convert it"]),
        ("latin.txt", &["text is not UTF-8 (latin.txt, first bad byte at offset 3)", "iconv"]),
        ("half.jsonl", &["JSON is invalid (half.jsonl:2", "correct or remove it"]),
        ("half.parquet", &["parquet file could not be read (half.parquet"]),
        ("half.jsonl.zst", &["file could not be read (half.jsonl.zst", "check that it is complete"]),
        ("half.txt.gz", &["file could not be read (half.txt.gz", "check that it is complete"]),
        ("org/data-set", &["data set org/data-set is not in the cache", "unset HF_HUB_OFFLINE"]),
    ] {
        refuses_text(&desk, &format!("--text {name}"), facts);
    }
}

#[test]
fn a_record_without_the_field_is_refused_with_those_it_has() {
    let desk = desk();
    desk.write("t.jsonl", "{\"story\": \"a b\", \"id\": 1}\n");
    desk.write("n.jsonl", "{\"text\": 5}\n");
    let facts = ["field `text` is missing (t.jsonl:1; fields there: ", "story", "choose one with --text-field"];
    refuses_text(&desk, "--text t.jsonl", &facts);
    refuses_text(&desk, "--text t.jsonl --text-field id", &["field `id` is not text (t.jsonl:1: a number)"]);
    refuses_text(&desk, "--text n.jsonl", &["field `text` is not text", "--text-field"]);
}

#[test]
fn text_for_a_model_without_tokenizer_is_refused_with_a_way_out() {
    let desk = Desk::new();
    desk.write("t.txt", "a b c");
    let facts = ["tokenizer is missing (model has no tokenizer.json)", "give token ids with --tokens"];
    refuses_text(&desk, "--text t.txt", &facts);
    refuses_text(&desk, "", &facts);
}

#[test]
fn a_broken_tokenizer_is_refused() {
    let desk = desk();
    desk.write("t.txt", "a b c");
    for tokenizer in
        ["", "{", "[]", "{\"version\": \"1.0\"}", "{\"version\": \"1.0\", \"model\": {\"type\": \"None\"}}"]
    {
        desk.write("model/tokenizer.json", tokenizer);
        refuses_text(&desk, "--text t.txt", &["tokenizer is not valid (model: ", "download tokenizer.json again"]);
    }
}

#[test]
fn a_tokenizer_that_its_library_panics_on_is_refused_like_any_other() {
    let desk = desk();
    desk.write("t.txt", "a b c");
    let mut tokenizer = desk.json("model/tokenizer.json");
    tokenizer["post_processor"] = json!({
        "type": "TemplateProcessing", "pair": [], "special_tokens": {},
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    });
    desk.write("model/tokenizer.json", tokenizer.to_string());
    refuses_text(&desk, "--text t.txt", &["tokenizer.json"]);
}

#[test]
fn a_parquet_file_that_its_library_panics_on_is_refused_like_any_other() {
    let desk = desk();
    let mut table = DataFrame::new(2, vec![Series::new("text".into(), ["a b", "c d"]).into()]).unwrap();
    let mut bytes = Vec::new();
    ParquetWriter::new(&mut bytes).finish(&mut table).unwrap();
    // Every byte of the footer in turn: some make the reader return an error, some make it panic, some change nothing.
    let footer = bytes.len() - 8 - u32::from_le_bytes(*bytes[..bytes.len() - 4].last_chunk().unwrap()) as usize;
    for position in (footer..bytes.len() - 8).step_by(3) {
        let mut damaged = bytes.clone();
        damaged[position] ^= 0x41;
        desk.write("t.parquet", &damaged);
        let outcome = desk.run("variance --model model --text t.parquet").says(&[]);
        assert!(matches!(outcome.code, Some(0 | 2)), "byte {position}: {outcome:?}");
    }
}

#[test]
fn a_tokenizer_of_another_model_is_noticed() {
    let desk = desk();
    desk.write("t.txt", "a b far d");
    let facts =
        ["token id is outside the vocabulary (sequence 0, position 2: id 40, vocabulary 40)", "model's own tokenizer"];
    refuses_text(&desk, "--text t.txt", &facts);
}

#[test]
fn token_files_of_another_shape_are_refused() {
    let desk = Desk::new();
    for (tokens, facts) in [
        ("", &["JSON is invalid (tokens.json:1"][..]),
        ("[[1, 2", &["JSON is invalid (tokens.json:1"]),
        ("once upon a time", &["JSON is invalid (tokens.json:1"]),
        ("[]", &["token file is empty (tokens.json)"]),
        ("[[]]", &["sequence is empty (tokens.json, sequence 0)"]),
        ("[[1, 2], []]", &["sequence is empty (tokens.json, sequence 1)"]),
        ("[1, 2]", &["not a list of lists", "sequence 0: a number", "write it as [[1, 2, 3], [4, 5]]"]),
        ("{\"tokens\": [[1]]}", &["not a list of lists", "an object"]),
        ("[[1, -1]]", &["sequence 0, position 1: -1"]),
        ("[[1, 1.5]]", &["sequence 0, position 1: 1.5"]),
        ("[[1, 99999999999999999999]]", &["sequence 0, position 1: "]),
        ("[[1, 2], [3, 40]]", &["outside the vocabulary (sequence 1, position 1: id 40, vocabulary 40)"]),
        ("[[4294967295, 1]]", &["outside the vocabulary (sequence 0, position 0: id 4294967295"]),
    ] {
        desk.write("tokens.json", tokens);
        desk.refuses("scan --out out", facts);
    }
    desk.write("tokens.json", b"[[1, \xff]]");
    desk.refuses("scan", &["text is not UTF-8 (tokens.json"]);
    std::fs::remove_file(desk.path("tokens.json")).unwrap();
    desk.refuses("scan", &["file is missing (tokens.json)"]);
    std::fs::create_dir(desk.path("tokens.json")).unwrap();
    desk.refuses("scan", &["file could not be read (tokens.json"]);
}

#[test]
fn sequences_of_one_token_each_predict_nothing() {
    let desk = Desk::new();
    desk.tokens(&[vec![1], vec![2]]);
    for verb in ["scan", "prune"] {
        let facts = ["input predicts nothing (each of the 2 sequences has a single token)", "give longer sequences"];
        desk.refuses(&format!("{verb} --out out"), &facts);
    }
    desk.measure("variance").succeeded();
    desk.measure("angular").succeeded();
}

#[test]
fn some_sequences_of_one_token_are_a_warning() {
    let desk = Desk::new();
    desk.tokens(&[vec![1], vec![2, 3], vec![4, 5, 6]]);
    desk.measure("scan").succeeded().says(&["warning: sequences of one token predict nothing (1 of 3)"]);
}

#[test]
fn sequences_beyond_the_context_are_a_warning() {
    let desk = Desk::new();
    desk.configure(&json!({"max_position_embeddings": 10}));
    let facts = ["warning: sequences are longer than the model's context (16 > 10 tokens)", "--seq-len 10"];
    let outcome = desk.measure("scan --format json --out out").succeeded().says(&facts);
    assert!(outcome.stdout.starts_with('{'));
    assert_eq!(desk.json("out/manifest.json")["warnings"][0]["beyond_context"]["longest"], 16);
    let built_in = Desk::empty();
    built_in
        .run("variance --pack --samples 1 --seq-len 4000")
        .succeeded()
        .says(&["warning: sequences are longer", "(4000 > "]);
}
