//! What the README says is what the program does.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use depthscope::{
    model::families::FAMILIES,
    rows::{AngularRow, LayerRow, Part, Position, PruneMetric, PruneRow},
    tables,
};

fn readme() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap()
}

#[test]
fn the_readme_lists_the_columns_of_every_table() {
    let model = "m".to_owned();
    let layers = tables::layers(&[LayerRow {
        model: model.clone(),
        layer: 0,
        input_variance: 1.0,
        output_variance: 1.0,
        attention_variance: 1.0,
        feed_forward_variance: 1.0,
        output_rms: 1.0,
        attention_ratio: 1.0,
        feed_forward_ratio: 1.0,
        block_influence: 1.0,
        tokens: 1,
    }]);
    let angular = tables::angular(&[AngularRow {
        model: model.clone(),
        start: 0,
        span: 1,
        position: Position::Last,
        distance: 0.5,
        stderr: None,
        count: 1,
    }]);
    let prune = tables::prune(&[PruneRow {
        model,
        first: 0,
        last: 0,
        part: Part::Block,
        metric: PruneMetric::Nll,
        baseline: 1.0,
        pruned: 2.0,
        delta: 1.0,
        ci_low: None,
        ci_high: None,
        count: 1,
        p_value: None,
        p_adjusted: None,
    }]);
    let log = tables::log(&[]);
    let telemetry = tables::telemetry(&[]);
    let (runs, pairs) = (tables::runs(&[]), tables::pairs(&[]));
    let (eval, items) = (tables::eval(&[]), tables::items("", &[]));
    let (tuning, study, fine_tuning) = (tables::tuning(&[]), tables::study(&[]), tables::fine_tuning(&[]));
    for table in [layers, angular, prune, log, telemetry, runs, pairs, tuning, study, fine_tuning, eval, items] {
        let columns: Vec<String> = table.unwrap().get_column_names().iter().map(ToString::to_string).collect();
        assert!(readme().contains(&format!("`{}`", columns.join(", "))), "README lists {columns:?}");
    }
}

#[test]
fn the_readme_lists_every_family() {
    for family in FAMILIES {
        let row = format!("| `{}` | {} |", family.architecture, family.models);
        assert!(readme().contains(&row), "README has the row {row}");
    }
}

#[test]
fn every_flag_in_the_readme_exists() {
    let help: String = ["scan", "verify", "train", "compare", "study", "eval", "tasks show", "doctor"]
        .map(|verb| {
            let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_depthscope"));
            let output = program.args(verb.split(' ')).arg("--help").output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        })
        .concat();
    let readme = readme();
    let flags: Vec<&str> = readme
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_'))
        .filter(|word| word.starts_with("--") && word.chars().any(char::is_alphabetic))
        // Flags of cargo.
        .filter(|flag| !["--release", "--path", "--bench"].contains(flag))
        .collect();
    assert!(flags.len() > 8);
    for flag in flags {
        assert!(help.contains(flag), "{flag} is in the README, but no verb has it");
    }
}

#[test]
fn the_readmes_test_command_is_the_one_that_ci_runs() {
    let ci = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/.ci/run")).unwrap();
    assert!(readme().contains("    cargo test ") && ci.contains("\ncargo test"));
}
