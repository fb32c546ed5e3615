//! What flags change, and what they do not.

use super::{
    support::{program::Desk, random_model},
    tables::Csv,
};

const TABLES: [(&str, &[&str]); 3] = [
    ("layers", &["output_variance", "attention_ratio", "feed_forward_ratio", "block_influence", "output_rms"]),
    ("angular", &["distance", "stderr"]),
    ("prune", &["baseline", "pruned", "ci_low", "ci_high"]),
];

#[track_caller]
fn assert_near(desk: &Desk, tables: &[(&str, &[&str])], a: &str, b: &str, tolerance: f64) {
    for (name, columns) in tables {
        let [a, b] = [a, b].map(|run| Csv::read(&desk.path(&format!("{run}/tables/{name}.csv"))));
        for column in *columns {
            for (a, b) in a.numbers(column).iter().zip(b.numbers(column)) {
                // A divergence is a small difference of large numbers.
                assert!((a - b).abs() <= tolerance * a.abs().max(1.0), "{name}.{column}: {a} and {b}");
            }
        }
    }
}

fn read(desk: &Desk, run: &str, file: &str) -> Vec<u8> {
    std::fs::read(desk.path(&format!("{run}/{file}"))).unwrap()
}

#[test]
fn the_same_plan_gives_the_same_bytes() {
    let desk = Desk::new();
    for run in ["a", "b"] {
        desk.measure(&format!("scan --parts block,attention --out {run}")).succeeded();
    }
    for name in ["layers", "angular", "prune"] {
        for file in [format!("tables/{name}.csv"), format!("tables/{name}.parquet")] {
            assert_eq!(read(&desk, "a", &file), read(&desk, "b", &file), "{file}");
        }
    }
    for chart in ["variance", "angular", "prune"] {
        let file = format!("charts/{chart}.svg");
        assert_eq!(read(&desk, "a", &file), read(&desk, "b", &file), "{file}");
    }
}

#[test]
fn another_seed_changes_intervals_and_nothing_else() {
    let desk = Desk::new();
    desk.tokens(&random_model::sequences(&[9; 12], 40, 1));
    desk.measure("scan --out a").succeeded();
    desk.measure("scan --out b --seed 18446744073709551615").succeeded();
    for name in ["layers", "angular"] {
        let file = format!("tables/{name}.csv");
        assert_eq!(read(&desk, "a", &file), read(&desk, "b", &file));
    }
    let [a, b] = ["a", "b"].map(|run| Csv::read(&desk.path(&format!("{run}/tables/prune.csv"))));
    let fixed = ["first", "last", "part", "metric", "baseline", "pruned", "delta", "count"];
    assert_eq!(a.keys(&fixed), b.keys(&fixed));
    assert_ne!(a.keys(&["ci_low", "ci_high"]), b.keys(&["ci_low", "ci_high"]));
}

#[test]
fn parts_are_removed_in_the_order_of_the_table_whatever_the_order_of_the_flag() {
    let desk = Desk::new();
    let parts = |flag: &str| {
        desk.measure(&format!("prune --out out --parts {flag}")).succeeded();
        Csv::read(&desk.path("out/tables/prune.csv")).keys(&["part", "first", "last", "metric"])
    };
    let all = parts("block,attention,feed_forward");
    assert_eq!(all.len(), 3 * 5 * 4);
    assert_eq!(
        (all[0].as_str(), all[20].as_str(), all[40].as_str()),
        ("block 0 0 nll", "attention 0 0 nll", "feed_forward 0 0 nll")
    );
    assert_eq!(parts("feed_forward,block,attention,block"), all);
    assert_eq!(parts("attention"), all[20..40]);
}

#[test]
fn a_window_removes_consecutive_blocks() {
    let desk = Desk::new();
    let outcome = desk.measure("prune --window 2 --out out").succeeded();
    let prune = Csv::read(&desk.path("out/tables/prune.csv"));
    let windows: Vec<String> = prune.keys(&["first", "last"]).into_iter().step_by(4).collect();
    assert_eq!(windows, ["0 1", "1 2", "2 3", "3 4"]);
    assert!(outcome.stdout.contains("\n  0–1 ") && outcome.stdout.contains("\n  3–4 "), "{}", outcome.stdout);
    let all = desk.measure("prune --window 5 --out all").succeeded();
    assert!(!all.stdout.contains("ineffective"), "windows have no verdict: {}", all.stdout);
}

#[test]
fn the_tolerance_decides_what_counts_as_ineffective() {
    let desk = Desk::new();
    let ineffective = |tolerance: &str| {
        let outcome = desk.measure(&format!("prune --format json --tolerance {tolerance}")).succeeded();
        let document: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
        let findings = document["verdict"]["findings"].as_array().unwrap().clone();
        findings.iter().filter(|finding| *finding == "ineffective").count()
    };
    assert_eq!(ineffective("10"), 5);
    assert!(ineffective("0") < 5);
}

#[test]
fn a_tiny_memory_budget_gives_the_same_numbers() {
    let desk = Desk::new();
    desk.measure("scan --window 2 --parts block,attention --out roomy").succeeded();
    desk.measure("scan --window 2 --parts block,attention --out tiny --memory 1").succeeded();
    let residency = |run: &str| desk.json(&format!("{run}/manifest.json"))["memory"]["residency"].clone();
    assert_eq!((residency("roomy"), residency("tiny")), ("resident".into(), "streamed".into()));
    assert_near(&desk, &TABLES, "roomy", "tiny", 1e-5);
}

#[test]
fn half_precision_is_near_full_precision() {
    let desk = Desk::new();
    desk.measure("scan --out f32 --dtype f32").succeeded();
    for (dtype, tolerance) in [("bf16", 0.1), ("f16", 0.02)] {
        desk.measure(&format!("scan --out {dtype} --dtype {dtype}")).succeeded();
        assert_eq!(desk.json(&format!("{dtype}/manifest.json"))["dtype"], dtype);
        let measured: [(&str, &[&str]); 3] =
            [TABLES[0], ("angular", &["distance"]), ("prune", &["baseline", "pruned"])];
        assert_near(&desk, &measured, "f32", dtype, tolerance);
    }
}

#[test]
fn a_single_sequence_has_no_interval_and_a_warning() {
    let desk = Desk::new();
    desk.tokens(&[vec![1, 2, 3, 4]]);
    let outcome = desk.measure("scan --out out").succeeded();
    assert!(outcome.stderr.contains("warning: uncertainty is unknown (a single sequence)"), "{}", outcome.stderr);
    let prune = Csv::read(&desk.path("out/tables/prune.csv"));
    assert!(prune.rows.iter().all(|row| row["ci_low"].is_empty() && row["ci_high"].is_empty()));
    assert!(outcome.stdout.replace('\n', " ").contains("5 cannot be decided"), "{}", outcome.stdout);
}

#[test]
fn sequences_of_one_token_change_no_cost_and_no_interval() {
    let desk = Desk::new();
    let mut sequences = random_model::sequences(&[6, 7], 40, 2);
    desk.tokens(&sequences);
    desk.measure("prune --out a").succeeded();
    sequences.splice(1..1, [vec![5], vec![6], vec![7]]);
    desk.tokens(&sequences);
    let outcome = desk.measure("prune --out b").succeeded();
    assert!(outcome.stderr.contains("sequences of one token predict nothing (3 of 5)"), "{}", outcome.stderr);
    let [a, b] = ["a", "b"].map(|run| Csv::read(&desk.path(&format!("{run}/tables/prune.csv"))));
    for column in ["baseline", "pruned", "ci_low", "ci_high"] {
        for (a, b) in a.numbers(column).iter().zip(b.numbers(column)) {
            assert!((a - b).abs() <= 1e-5 * a.abs().max(1.0), "{column}: {a} and {b}");
        }
    }
}
