//! What the source tree promises about itself: who may know whom, who may print, where names of model families live, and how
//! long a file may be.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use depthscope::model::families::FAMILIES;

/// The modules from low to high: each may use those before it and none after it.
const LOW_TO_HIGH: [&str; 18] = [
    "files", "foreign", "rng", "rows", "nn", "source", "corpus", "model", "walk", "metrics", "verify", "tables",
    "charts", "report", "train", "plan", "cli", "main",
];

/// Modules that compute: they know nothing of tables.
const COMPUTING: [&str; 4] = ["nn", "model", "walk", "metrics"];
/// Modules that show: they know nothing of tensors.
const SHOWING: [&str; 4] = ["rows", "tables", "charts", "report"];

/// Words for models that only a family's own file may use in its strings, besides the names of the families themselves.
const FAMILY_WORDS: [&str; 18] = [
    "llama", "mistral", "mixtral", "qwen", "qwen2", "qwen3", "deepseek", "gemma", "gemma2", "gemma3", "olmo", "olmo2",
    "phi", "phi3", "falcon", "gpt2", "gpt_neox", "smollm",
];

/// Lines of a file without its tests.
const LONGEST_FILE: usize = 350;

/// A source file without comments and without its tests.
struct Source {
    path: PathBuf,
    /// The top-level module that it belongs to.
    module: String,
    /// How many modules it is deep: 1 for `walk`, 2 for `walk::lanes`.
    depth: usize,
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    assert!(files.len() > 50, "the source tree was found");
    let source = |path: PathBuf| {
        let inside = path.strip_prefix(&root).unwrap().with_extension("");
        let mut names: Vec<&str> = inside.iter().map(|name| name.to_str().unwrap()).collect();
        if names.len() > 1 && names.last() == Some(&"mod") {
            names.pop();
        }
        Source {
            module: names[0].to_owned(),
            depth: names.len(),
            code: code(&fs::read_to_string(&path).unwrap()),
            path: path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().to_owned(),
        }
    };
    files.into_iter().map(source).filter(|source| source.module != "lib").collect()
}

/// Every Rust file but those that hold only tests.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            files.push(path);
        }
    }
}

/// The text without comments and without `#[cfg(test)]` items.
fn code(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() == "#[cfg(test)]" {
            skip_item(&mut lines);
        } else if !line.trim_start().starts_with("//") {
            code.push_str(line.split(" // ").next().unwrap());
            code.push('\n');
        }
    }
    code
}

/// Formatted code closes an item at the indentation that it opens with.
fn skip_item<'a>(lines: &mut impl Iterator<Item = &'a str>) {
    let Some(first) = lines.by_ref().find(|line| !line.trim_start().starts_with("#[")) else { return };
    let indentation = first.len() - first.trim_start().len();
    if first.trim_end().ends_with(['{', '(']) {
        lines
            .by_ref()
            .find(|line| line.trim_start().starts_with('}') && line.len() - line.trim_start().len() == indentation);
    }
}

/// Top-level modules of this crate that the code names: `crate::walk`, `crate::{walk::…, nn}`, `depthscope::walk`, or enough
/// `super::` to get out of the own module.
fn modules_used(source: &Source) -> BTreeSet<String> {
    let out = "super::".repeat(source.depth);
    let roots = ["crate::", "depthscope::", out.as_str()];
    let after = |root: &str| {
        source.code.match_indices(root).map(|(at, _)| source.code[at + root.len()..].to_owned()).collect::<Vec<_>>()
    };
    roots.iter().flat_map(|root| after(root)).flat_map(|rest| first_names(&rest)).collect()
}

/// `walk::Route` → walk; `{walk::{Route, Site}, nn}` → walk, nn.
fn first_names(path: &str) -> Vec<String> {
    let name = |text: &str| -> String { text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
    let Some(list) = path.strip_prefix('{') else { return vec![name(path)] };
    let mut depth = 0;
    let mut items = vec![String::new()];
    for c in list.chars() {
        match c {
            '}' if depth == 0 => break,
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => items.push(String::new()),
            _ => {}
        }
        items.last_mut().unwrap().push(c);
    }
    items.iter().map(|item| name(item.trim_start_matches([',', ' ', '\n']))).filter(|name| !name.is_empty()).collect()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether `word` stands alone somewhere in `text`.
fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word)
        .any(|(at, _)| !text[..at].ends_with(is_word) && !text[at + word.len()..].starts_with(is_word))
}

/// The string literals of some code, near enough: what stands between quotes on one line.
fn strings(code: &str) -> Vec<&str> {
    code.lines().flat_map(|line| line.split('"').skip(1).step_by(2)).collect()
}

/// Fails with every file for which `fault` has something to say.
fn no_file(fault: impl Fn(&Source) -> Option<String>) {
    let faults: Vec<String> = sources()
        .iter()
        .filter_map(|source| fault(source).map(|fault| format!("{}: {fault}", source.path.display())))
        .collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn the_reading_of_sources_sees_what_it_should() {
    let source =
        |depth, code: &str| Source { path: PathBuf::new(), module: String::new(), depth, code: code.to_owned() };
    let used = |depth, code: &str| modules_used(&source(depth, code)).into_iter().collect::<Vec<_>>();
    assert_eq!(
        used(1, "use crate::{\n    model::{Block, nn},\n    rows,\n};\ncrate::walk::x();"),
        ["model", "rows", "walk"]
    );
    assert_eq!(used(2, "use super::super::charts; use super::lanes;"), ["charts"]);
    let text = "use a;\n// crate::b\nlet x = 1; // crate::c\n#[cfg(test)]\nmod tests {\n    crate::d\n}\ncrate::e\n";
    assert_eq!(code(text), "use a;\nlet x = 1;\ncrate::e\n");
    assert!(has_word("use polars::x", "polars") && !has_word("use polars_io::x", "polars"));
    assert_eq!(strings("f(\"a b\", c, \"d\")"), ["a b", "d"]);
}

#[test]
fn low_modules_never_use_high_ones() {
    let rank = |module: &str| {
        LOW_TO_HIGH
            .iter()
            .position(|name| *name == module)
            .unwrap_or_else(|| panic!("{module} has no place in LOW_TO_HIGH"))
    };
    no_file(|source| {
        let above: Vec<String> = modules_used(source)
            .into_iter()
            .filter(|used| *used != source.module && rank(used) >= rank(&source.module))
            .collect();
        (!above.is_empty()).then(|| format!("{} uses {above:?}, which stand above it", source.module))
    });
}

#[test]
fn modules_that_compute_know_no_tables_and_modules_that_show_know_no_tensors() {
    no_file(|source| {
        let banned: &[&str] = match source.module.as_str() {
            module if COMPUTING.contains(&module) => &["polars", "plotters"],
            module if SHOWING.contains(&module) => &["candle_core", "candle_nn", "candle_transformers"],
            _ => &[],
        };
        let used: Vec<_> = banned.iter().filter(|name| has_word(&source.code, name)).collect();
        (!used.is_empty()).then(|| format!("{} must not use {used:?}", source.module))
    });
}

#[test]
fn only_the_command_line_prints() {
    no_file(|source| {
        let prints = ["print!", "println!", "eprint!", "eprintln!", "dbg!"];
        let direct = ["stdout()", "stderr()"];
        let used: Vec<_> = prints
            .iter()
            .filter(|name| has_word(&source.code, name.trim_end_matches('!')) && source.code.contains(*name))
            .chain(direct.iter().filter(|name| source.code.contains(*name)))
            .collect();
        (!used.is_empty() && !["cli", "main"].contains(&source.module.as_str())).then(|| format!("uses {used:?}"))
    });
}

#[test]
fn names_of_families_stand_only_in_their_own_folder() {
    no_file(|source| {
        let texts: Vec<String> = strings(&source.code).iter().map(|text| text.to_lowercase()).collect();
        let architecture = FAMILIES.iter().map(|family| family.architecture.to_lowercase());
        let words: Vec<String> = FAMILY_WORDS.map(str::to_owned).into_iter().chain(architecture).collect();
        let named: Vec<_> = words.iter().filter(|word| texts.iter().any(|text| has_word(text, word))).collect();
        let at_home = source.path.starts_with("src/model/families");
        (!named.is_empty() && !at_home).then(|| format!("names {named:?}"))
    });
}

#[test]
fn the_program_does_not_unwrap() {
    no_file(|source| {
        let used: Vec<_> = [".unwrap()", ".expect(", "panic!(", "todo!(", "unimplemented!("]
            .into_iter()
            .filter(|call| source.code.contains(call))
            .collect();
        (!used.is_empty()).then(|| format!("has {used:?}"))
    });
}

#[test]
fn a_file_is_short_enough_to_read() {
    no_file(|source| {
        let lines = source.code.lines().count();
        (lines > LONGEST_FILE).then(|| format!("{lines} lines of code, {LONGEST_FILE} at most"))
    });
}

#[test]
fn every_operation_of_candle_without_a_gradient_is_banned() {
    let banned = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("clippy.toml")).unwrap();
    for path in [
        "candle_nn::ops::softmax_last_dim",
        "candle_nn::ops::rms_norm",
        "candle_nn::ops::layer_norm",
        "candle_nn::ops::sdpa",
        "candle_nn::rotary_emb::rope",
        "candle_nn::rotary_emb::rope_i",
        "candle_nn::rotary_emb::rope_thd",
        "candle_nn::LayerNorm::new",
        "candle_nn::RmsNorm::new",
        "std::env::set_var",
    ] {
        let entry = banned.lines().find(|line| line.contains(&format!("path = \"{path}\"")));
        assert!(entry.is_some_and(|entry| entry.contains("reason = \"")), "{path} is not banned with a reason");
    }
}
