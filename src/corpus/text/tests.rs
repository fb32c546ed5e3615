use super::*;
use polars::prelude::{Column, DataFrame, ParquetWriter};
use std::fs;
use std::io::Write;
use tempfile::TempDir;

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn with(name: &str, bytes: impl AsRef<[u8]>) -> Self {
        Self::new().and(name, bytes)
    }

    fn and(self, name: &str, bytes: impl AsRef<[u8]>) -> Self {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        self
    }

    /// The documents of one path in the folder, or the message without the folder.
    fn read(&self, name: &str) -> Result<Vec<String>, String> {
        let shorten = |error: CorpusError| error.to_string().replace(&format!("{}/", self.0.path().display()), "");
        documents(&[self.0.path().join(name)], "text").map_err(shorten)?.collect::<Result<_, _>>().map_err(shorten)
    }
}

fn zst(text: &str) -> Vec<u8> {
    zstd::encode_all(text.as_bytes(), 1).unwrap()
}

fn gz(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn parquet(columns: Vec<Column>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let height = columns[0].len();
    ParquetWriter::new(&mut bytes).finish(&mut DataFrame::new(height, columns).unwrap()).unwrap();
    bytes
}

const LINES: &str =
    "{\"text\": \"one\", \"id\": 1}\n\n{\"id\": 2, \"text\": \"two\\nlines\"}\r\n{\"text\": null}\n{\"text\": \" \"}";

#[test]
fn a_text_file_is_one_document_blank_lines_or_not() {
    assert_eq!(Folder::with("a.txt", "\u{FEFF}one\n\ntwo\n").read("a.txt").unwrap(), ["one\n\ntwo\n"]);
    assert_eq!(Folder::with("a.TXT.gz", gz("one")).read("a.TXT.gz").unwrap(), ["one"]);
}

#[test]
fn json_lines_give_one_document_each_plain_or_compressed() {
    let folder = Folder::with("a.jsonl", LINES).and("b.jsonl.gz", gz(LINES)).and("c.jsonl.zst", zst(LINES));
    for name in ["a.jsonl", "b.jsonl.gz", "c.jsonl.zst"] {
        assert_eq!(folder.read(name).unwrap(), ["one", "two\nlines"], "{name}");
    }
}

#[test]
fn json_is_read_in_every_common_shape() {
    for text in [
        r#"[{"text": "one"}, {"text": "two", "n": 1}]"#,
        "[\n  {\n    \"text\": \"one\"\n  },\n  {\"text\": \"two\"}\n]\n",
        r#"["one", "two"]"#,
        r#"{"text": ["one", "two"]}"#,
        "{\n\"version\": 1, \"tags\": [\"x\"], \"data\": [{\"text\": \"one\"}, {\"text\": \"two\"}]\n}",
        "{\"text\": \"one\"}\n{\"text\": \"two\"}\n",
        "\n\"one\"\n\"two\"",
        "{\n\"text\": \"one\"\n}\n{\n\"text\": \"two\"\n}\n",
    ] {
        assert_eq!(Folder::with("a.json", text).read("a.json").unwrap(), ["one", "two"], "{text}");
        assert_eq!(Folder::with("a.json.zst", zst(text)).read("a.json.zst").unwrap(), ["one", "two"], "{text}");
    }
}

#[test]
fn parquet_gives_one_document_per_row_and_none_for_null() {
    let texts: Vec<Option<String>> = (0..2000).map(|i| (i % 10 != 3).then(|| format!("row {i}"))).collect();
    let ids: Vec<i64> = (0..2000).collect();
    let bytes = parquet(vec![Column::new("id".into(), ids), Column::new("text".into(), texts.clone())]);
    let read = Folder::with("a.parquet", bytes).read("a.parquet").unwrap();
    assert_eq!(read, texts.into_iter().flatten().collect::<Vec<_>>());
}

#[test]
fn a_folder_gives_its_text_files_sorted_and_nothing_else() {
    let folder =
        Folder::with("d/b.txt", "two").and("d/a.jsonl", "\"one\"").and("d/c/x.txt", "three").and("d/notes.md", "no");
    let folder = folder.and("d/.hidden.txt", "no").and("d/empty.txt", "").and("e/notes.md", "no");
    assert_eq!(folder.read("d").unwrap(), ["one", "two", "three"]);
    assert_eq!(
        folder.read("e").unwrap_err(),
        "folder has no text files (e; supported: .txt .txt.gz .txt.zst .jsonl .jsonl.gz .jsonl.zst .json .json.gz .json.zst \
         .parquet); name another folder or a file"
    );
}

#[test]
fn files_are_opened_no_earlier_than_needed() {
    let folder = Folder::with("a.jsonl", "\"one\"\nbroken").and("b.txt", b"\xFF");
    let paths = ["a.jsonl", "b.txt"].map(|name| folder.0.path().join(name));
    let mut documents = documents(&paths, "text").unwrap();
    assert_eq!(documents.next().unwrap().unwrap(), "one");
    assert!(documents.next().unwrap().is_err());
    assert!(documents.next().is_none());
}

#[test]
fn a_missing_file_and_an_unsupported_one_are_named() {
    let folder = Folder::with("a.docx", "x");
    assert_eq!(folder.read("b.txt").unwrap_err(), "file is missing (b.txt); check the path");
    assert_eq!(
        folder.read("a.docx").unwrap_err(),
        "file has an unsupported extension (a.docx; supported: .txt .txt.gz .txt.zst .jsonl .jsonl.gz .jsonl.zst .json .json.gz \
         .json.zst .parquet); convert it or rename it"
    );
}

#[test]
fn a_missing_field_is_named_with_those_that_are_there() {
    let columns = vec![Column::new("content".into(), ["x"]), Column::new("id".into(), [1_i64])];
    for (name, bytes, at) in [
        ("a.jsonl", b"{\"text\":\"x\"}\n{\"content\":\"x\",\"id\":1}".to_vec(), "a.jsonl:2"),
        ("a.json", b"[\n{\"text\":\"x\"},\n{\"content\":\"x\",\"id\":1}]".to_vec(), "a.json, element 1"),
        ("a.parquet", parquet(columns), "a.parquet"),
    ] {
        let error = Folder::with(name, bytes).read(name).unwrap_err();
        assert_eq!(
            error,
            format!("field `text` is missing ({at}; fields there: content, id); choose one with --text-field")
        );
    }
    let error = Folder::with("a.jsonl", "{}").read("a.jsonl").unwrap_err();
    assert_eq!(error, "field `text` is missing (a.jsonl:1; fields there: none); choose one with --text-field");
}

#[test]
fn a_field_that_is_not_text_is_named_with_what_it_holds() {
    for (name, bytes, facts) in [
        ("a.jsonl", b"{\"text\": 5}".to_vec(), "a.jsonl:1: a number"),
        ("a.json", b"[{\"text\": {}}]".to_vec(), "a.json:1, element 0: an object"),
        ("a.parquet", parquet(vec![Column::new("text".into(), [1_i64])]), "a.parquet: a column of Int64"),
    ] {
        let error = Folder::with(name, bytes).read(name).unwrap_err();
        assert_eq!(error, format!("field `text` is not text ({facts}); choose another with --text-field"));
    }
    assert_eq!(
        Folder::with("a.json", "[\"x\", [1]]").read("a.json").unwrap_err(),
        "record is neither an object nor a string (a.json:1, element 1: a list); give objects with a text field, or strings"
    );
}

#[test]
fn broken_json_is_named_with_its_line() {
    for (name, text, line) in [
        ("a.jsonl", "{\"text\": \"x\"}\n{\"text\": \n", 2),
        ("a.jsonl", "\n\n{text: 1}", 3),
        ("a.json", "\n[\n{\"text\": \"x\"},\n{\"text\" \"y\"}]", 4),
        ("a.json", "{\"text\": \"x\"}\n{\"text\": \"y\"", 2),
    ] {
        let error = Folder::with(name, text).read(name).unwrap_err();
        assert!(error.starts_with(&format!("JSON is invalid ({name}:{line}: ")), "{error}");
        assert!(error.ends_with("); correct or remove it") && !error.contains(" at line "), "{error}");
    }
}

#[test]
fn text_with_nothing_in_it_is_an_error() {
    let folder =
        Folder::with("a.txt", " \n").and("b.jsonl", "{\"text\": \"\"}\n{\"text\": \"\\n\"}").and("c.json", "[]");
    let message =
        |files, blank| format!("text is empty ({files} file(s), {blank} blank document(s)); give a file with text");
    assert_eq!(folder.read("a.txt").unwrap_err(), message(1, 1));
    assert_eq!(folder.read("b.jsonl").unwrap_err(), message(1, 2));
    assert_eq!(folder.read("c.json").unwrap_err(), message(1, 0));
    assert_eq!(folder.read("").unwrap_err(), message(3, 3));
}

#[test]
fn bytes_that_are_not_utf_8_are_named_with_their_place() {
    for (name, bytes, facts) in [
        ("a.txt", b"caf\xE9".as_slice(), "a.txt, first bad byte at offset 3"),
        ("a.jsonl", b"\"x\"\n\"\xFF\"", "a.jsonl:2, first bad byte at offset 1"),
        ("a.json", b"[\n\"\xFF\"]", "a.json, first bad byte at offset 3"),
    ] {
        let error = Folder::with(name, bytes).read(name).unwrap_err();
        assert_eq!(error, format!("text is not UTF-8 ({facts}); convert it, for example with iconv"));
    }
}

#[test]
fn truncated_and_corrupt_files_are_named() {
    let texts: Vec<String> = (0..500).map(|i| format!("some text {i}")).collect();
    let parquet = parquet(vec![Column::new("text".into(), texts)]);
    let long = "{\"text\": \"a long enough line of text\"}\n".repeat(9000);
    let (zst, gz) = (zst(&long), gz(&long));
    for (name, bytes, begins) in [
        ("a.jsonl.zst", &zst[..zst.len() / 2], "file could not be read (a.jsonl.zst: "),
        ("a.jsonl.zst", b"no zstd".as_slice(), "file could not be read (a.jsonl.zst: "),
        ("a.jsonl.gz", &gz[..gz.len() / 2], "file could not be read (a.jsonl.gz: "),
        ("a.txt.gz", b"no gzip", "file could not be read (a.txt.gz: "),
        ("a.parquet", &parquet[..parquet.len() / 2], "parquet file could not be read (a.parquet: "),
        ("a.parquet", b"", "parquet file could not be read (a.parquet: "),
        ("a.parquet", b"PAR1 no parquet PAR1", "parquet file could not be read (a.parquet: "),
    ] {
        let error = Folder::with(name, bytes).read(name).unwrap_err();
        assert!(error.starts_with(begins) && error.contains("; check that it is complete"), "{error}");
    }
}
