//! Text in every format, cut by a tokenizer of forty words.

use std::{fs::File, io::Write};

use polars::prelude::{DataFrame, NamedFrom, ParquetWriter, Series};
use serde_json::{Value, json};

use super::support::program::{Desk, Outcome};

/// Documents of 7, 9 and 12 words.
fn documents() -> Vec<String> {
    let words = |count: usize, from: usize| {
        (from..from + count).map(|i| format!("w{}", i * 7 % 40)).collect::<Vec<_>>().join(" ")
    };
    vec![words(7, 0), words(9, 100), words(12, 200)]
}

fn desk() -> Desk {
    let desk = Desk::new();
    let vocab: serde_json::Map<String, Value> = (0..40).map(|id| (format!("w{id}"), json!(id))).collect();
    let tokenizer = json!({
        "version": "1.0", "added_tokens": [], "normalizer": null, "post_processor": null, "decoder": null,
        "truncation": null, "padding": null, "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "w0"},
    });
    desk.write("model/tokenizer.json", tokenizer.to_string());
    desk
}

/// One file of each format, with the same words in the same order.
fn write_formats(desk: &Desk) -> [&'static str; 8] {
    let documents = documents();
    let lines: String = documents.iter().map(|text| json!({"id": 1, "text": text}).to_string() + "\n").collect();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gz.write_all(lines.as_bytes()).unwrap();
    desk.write("t.txt", documents.join("\n\n"));
    desk.write("t.jsonl", &lines);
    desk.write("t.jsonl.gz", gz.finish().unwrap());
    desk.write("t.jsonl.zst", zstd::encode_all(lines.as_bytes(), 3).unwrap());
    desk.write(
        "t.json",
        serde_json::to_string_pretty(&json!([{"text": documents[0]}, {"text": documents[1]}, {"text": documents[2]}]))
            .unwrap(),
    );
    let mut table = DataFrame::new(3, vec![Series::new("text".into(), &documents).into()]).unwrap();
    ParquetWriter::new(File::create(desk.path("t.parquet")).unwrap()).finish(&mut table).unwrap();
    for (name, text) in ["folder/a.txt", "folder/b/c.txt", "folder/d.txt"].iter().zip(&documents) {
        desk.write(name, text);
    }
    desk.write("folder/readme.md", "not text to be read");
    desk.write("folder/.hidden.txt", "w1 w2");
    ["t.txt", "t.jsonl", "t.jsonl.gz", "t.jsonl.zst", "t.json", "t.parquet", "folder", "./folder"]
}

fn read(desk: &Desk, source: &str, flags: &str) -> (Outcome, Value) {
    let outcome = desk.run(&format!("variance --model model --format json --text {source} {flags}")).succeeded();
    let document: Value = serde_json::from_str(&outcome.stdout).unwrap();
    (outcome, document["manifest"]["input"].clone())
}

#[test]
fn every_format_gives_the_same_tokens() {
    let desk = desk();
    for source in write_formats(&desk) {
        let (_, input) = read(&desk, source, "--seq-len 7 --samples 4");
        assert_eq!((&input["sequences"], &input["tokens"]), (&json!(4), &json!(28)), "{source}");
        let words = documents().join(" ");
        let ids: Vec<u32> = words.split(' ').map(|word| word[1..].parse().unwrap()).collect();
        desk.tokens(&ids.chunks(7).map(<[u32]>::to_vec).collect::<Vec<_>>());
        let document = desk.measure("variance --format json").succeeded().stdout;
        let tokens: Value = serde_json::from_str(&document).unwrap();
        assert_eq!(input["sha256"], tokens["manifest"]["input"]["sha256"], "{source}");
    }
}

#[test]
fn documents_are_packed_or_kept_apart() {
    let desk = desk();
    write_formats(&desk);
    let (_, packed) = read(&desk, "t.jsonl", "--pack --seq-len 8 --samples 3");
    assert_eq!((&packed["sequences"], &packed["tokens"]), (&json!(3), &json!(24)));
    assert_eq!(read(&desk, "t.jsonl", "--seq-len 8 --samples 3").1, packed);
    let (_, apart) = read(&desk, "t.jsonl", "--per-document --seq-len 10 --samples 3");
    assert_eq!((&apart["sequences"], &apart["tokens"]), (&json!(3), &json!(7 + 9 + 10)));
    let (_, longest) = read(&desk, "t.jsonl", "--per-document --seq-len 18446744073709551615 --samples 3");
    assert_eq!(longest["tokens"], json!(7 + 9 + 12));
}

#[test]
fn another_field_can_hold_the_text() {
    let desk = desk();
    desk.write("t.jsonl", "{\"text\": 5, \"story\": \"w1 w2 w3\"}\n{\"story\": \"w4 w5\"}\n");
    let (_, input) = read(&desk, "t.jsonl", "--text-field story --per-document --samples 2");
    assert_eq!((&input["documents"], &input["tokens"]), (&json!(2), &json!(5)));
}

#[test]
fn less_text_than_asked_for_is_a_warning() {
    let desk = desk();
    write_formats(&desk);
    let (outcome, input) = read(&desk, "t.txt", "--seq-len 10 --samples 50");
    assert_eq!(input["sequences"], json!(2));
    outcome.says(&["warning: text is shorter than asked for (2 of 50 sequences)", "lower --samples or --seq-len"]);
}
