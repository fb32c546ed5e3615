//! Models that are made so that the answer is known.

use super::{
    support::{program::Desk, random_model::Shape},
    tables::Csv,
};

/// Four layers, the last of which adds nothing.
fn with_an_idle_last_layer() -> Desk {
    Desk::with(Shape { layers: 4, ..Shape::TINY }, &|name, values| {
        if name.starts_with("model.layers.3.") && (name.contains("o_proj") || name.contains("down_proj")) {
            values.fill(0.0);
        }
    })
}

#[test]
fn removing_a_layer_that_adds_nothing_costs_nothing() {
    let desk = with_an_idle_last_layer();
    desk.measure("prune --parts block,attention,feed_forward --out out").succeeded();
    let prune = Csv::read(&desk.path("out/tables/prune.csv"));
    let idle: Vec<_> = prune.rows.iter().filter(|row| row["first"] == "3").collect();
    assert_eq!(idle.len(), 3 * 4);
    for row in idle {
        let number = |column: &str| row[column].parse::<f64>().unwrap();
        match row["metric"].as_str() {
            "nll" | "perplexity" => {
                for column in ["delta", "ci_low", "ci_high"] {
                    assert_eq!(number(column), 0.0, "{row:?}");
                }
            }
            "kl" => assert!(number("pruned") <= 1e-6, "{row:?}"),
            _ => assert_eq!(number("pruned"), 1.0),
        }
    }
    let costs: Vec<f64> =
        prune.rows.iter().filter(|row| row["metric"] == "nll").map(|row| row["delta"].parse().unwrap()).collect();
    assert!(costs[..3].iter().all(|cost| *cost != 0.0), "{costs:?}");
}

#[test]
fn a_layer_that_adds_nothing_has_no_size_and_no_influence() {
    let desk = with_an_idle_last_layer();
    desk.measure("scan --out out").succeeded();
    let layers = Csv::read(&desk.path("out/tables/layers.csv"));
    for column in ["attention_variance", "feed_forward_variance", "attention_ratio", "feed_forward_ratio"] {
        let values = layers.numbers(column);
        assert_eq!(values[3], 0.0, "{column}");
        assert!(values[..3].iter().all(|value| *value > 0.0), "{column}");
    }
    assert_eq!(layers.numbers("input_variance")[3], layers.numbers("output_variance")[3]);
    assert!(layers.numbers("block_influence")[3].abs() < 1e-12);
    let angular = Csv::read(&desk.path("out/tables/angular.csv"));
    let distances = angular.numbers("distance");
    for (key, distance) in angular.keys(&["start", "span"]).iter().zip(distances) {
        // arccos takes the last bit of a cosine near 1 to the root of it.
        assert_eq!(distance < 1e-7, key == "3 1", "{key}: {distance}");
    }
}

#[test]
fn a_layer_that_adds_nothing_counts_as_ineffective() {
    let desk = with_an_idle_last_layer();
    let outcome = desk.measure("scan --format json").succeeded();
    let document: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(document["verdict"]["findings"][3], "ineffective");
    let summary = desk.measure("scan").succeeded().stdout.replace('\n', " ");
    assert!(summary.contains(" of 4 layers are ineffective"), "{summary}");
}

#[test]
fn a_model_that_knows_nothing_has_the_perplexity_of_its_vocabulary() {
    let desk = Desk::with(Shape::TINY, &|name, values| {
        if name == "lm_head.weight" {
            values.fill(0.0);
        }
    });
    desk.measure("prune --out out").succeeded();
    let prune = Csv::read(&desk.path("out/tables/prune.csv"));
    for row in prune.rows.iter().filter(|row| row["metric"] == "perplexity") {
        for column in ["baseline", "pruned"] {
            assert!((row[column].parse::<f64>().unwrap() - 40.0).abs() < 1e-4, "{row:?}");
        }
    }
}

#[test]
fn questions_are_asked_of_every_removal_and_chance_is_a_quarter() {
    let desk = Desk::empty();
    desk.run("train --recipe tiny --steps 1 --quiet --out run").succeeded();
    let prune = "prune --model run/model --samples 2 --seq-len 32 --task composition --limit 2";
    desk.run(&format!("{prune} --quiet --out asked")).succeeded();
    let table = std::fs::read_to_string(desk.path("asked/tables/prune.csv")).unwrap();
    let rows = |metric: &str| table.lines().filter(|line| line.contains(&format!(",{metric},"))).count();
    let layers = rows("nll");
    assert_eq!(rows("accuracy:composition"), layers);
    for k in 1..=6 {
        assert_eq!(rows(&format!("accuracy:composition:k={k}")), layers);
    }
    let summary = desk.run(prune).succeeded().stdout;
    assert!(summary.contains("chance 0.25") && summary.contains("k=6 "), "{summary}");
    desk.run("prune --limit 3").failed_with(&["--task"]);
}
