//! `--plan`: what a run says that it will do is what it does, and it does nothing.

use super::support::{program::Desk, random_model::Shape};

fn document(desk: &Desk, arguments: &str) -> serde_json::Value {
    serde_json::from_str(&desk.measure(arguments).succeeded().stdout).unwrap()
}

#[test]
fn a_plan_says_what_is_read_held_and_computed_and_writes_nothing() {
    let desk = Desk::new();
    for verb in ["scan", "prune", "angular", "variance"] {
        let found = desk.leaves_nothing(|| document(&desk, &format!("{verb} --plan --format json --out out")));
        let file = &found["read"]["files"][0];
        assert_eq!(file["bytes"], std::fs::metadata(desk.path("model/model.safetensors")).unwrap().len(), "{verb}");
        assert_eq!((&found["device"], &found["dtype"]), (&"cpu".into(), &"f32".into()));
        assert_eq!(found["held"]["residency"], "resident");
        let walk = &found["walks"][0];
        assert_eq!((&walk["of"], &walk["sequences"], &walk["tokens"]), (&"text".into(), &4.into(), &42.into()));
        let removals = u64::from(["scan", "prune"].contains(&verb)) * Shape::TINY.layers as u64;
        assert_eq!(walk["routes"], 1 + removals, "{verb}");
    }
}

#[test]
fn block_evaluations_are_half_of_what_routes_one_by_one_take() {
    let desk = Desk::new();
    let found = document(&desk, "prune --plan --format json");
    let work = &found["walks"][0]["work"];
    // 5 blocks of two branches, 42 tokens: lanes 1 + 2 + … + 5, against a full model and five of four blocks.
    assert_eq!((&work["done"], &work["one_by_one"]), (&(42 * 2 * 15).into(), &(42 * 2 * (5 + 5 * 4)).into()));
    let blocks = found["read"]["largest_block"].as_u64().unwrap() * 5;
    assert_eq!(found["read"]["blocks_in_all"], blocks, "all blocks are alike, and read once");
}

#[test]
fn a_small_budget_shows_in_passes_and_in_what_is_read() {
    let desk = Desk::new();
    let (roomy, tiny) =
        (document(&desk, "prune --plan --format json"), document(&desk, "prune --plan --format json --memory 1"));
    assert_eq!(tiny["held"]["residency"], "streamed");
    let walk = &tiny["walks"][0];
    let passes = walk["chunks"].as_u64().unwrap() * walk["route_lots"].as_u64().unwrap();
    assert!(passes > 4, "{walk}");
    assert_eq!(tiny["read"]["blocks_in_all"], roomy["read"]["blocks_in_all"].as_u64().unwrap() * passes);
}

#[test]
fn a_plan_reads_no_tensor() {
    let desk = Desk::with(Shape::TINY, &|name, values| {
        if name.contains("layers.2") {
            values.fill(f32::NAN);
        }
    });
    let found = desk.measure("scan --plan").succeeded();
    assert!(found.stdout.contains("read: ") && found.stdout.contains("one by one"), "{}", found.stdout);
    assert!(found.stdout.lines().all(|line| line.chars().count() <= 80), "{}", found.stdout);
    desk.measure("scan").failed_with(&["layers.2"]);
}

#[test]
fn a_plan_refuses_what_the_run_refuses() {
    let desk = Desk::new();
    desk.refuses("prune --plan --window 9", &["window is longer than the model"]);
}

#[test]
fn tasks_are_planned_as_they_are_asked() {
    let desk = Desk::empty();
    desk.run("train --recipe tiny --steps 1 --quiet --out run").succeeded();
    let eval = "eval --model run/model --task composition --limit 2 --format json";
    let read = |arguments: &str| -> serde_json::Value {
        serde_json::from_str(&desk.run(arguments).succeeded().stdout).unwrap()
    };
    let (planned, done) = (read(&format!("{eval} --plan")), read(eval));
    assert_eq!(planned["walks"][0]["of"], "composition");
    assert_eq!(planned["walks"][0]["work"], done["tasks"][0]["work"]);
}
