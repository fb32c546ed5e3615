//! `verify` of what cannot be compared: it must never say that two programs agree who were not asked.

use serde_json::json;

use super::support::{program::Desk, random_model::Shape};

#[test]
fn lengths_and_tolerances_that_are_none_are_refused() {
    let desk = Desk::new();
    for length in ["0", "-1", "65537", "18446744073709551615"] {
        desk.run(&format!("verify --model model --length={length}"))
            .failed_with(&["--length", "use a whole number from 1 to 65536"]);
    }
    for tolerance in ["nan", "-1", "inf", "x"] {
        desk.run(&format!("verify --model model --tolerance={tolerance}"))
            .failed_with(&["--tolerance", "use a number of at least 0"]);
    }
    desk.refuses("verify --length 5", &["cannot be used with"]);
}

#[test]
fn tokens_and_models_that_cannot_be_run_are_refused_as_everywhere() {
    let desk = Desk::new();
    desk.tokens(&[vec![1, 40]]);
    desk.refuses("verify", &["vocabulary 40"]);
    desk.write("tokens.json", "[]");
    desk.refuses("verify", &["token file is empty (tokens.json)"]);
    desk.tokens(&[vec![1, 2]]);
    desk.configure(&json!({"vocab_size": 41}));
    desk.refuses("verify", &["checkpoint does not fit its config.json"]);
    desk.configure(&json!({"vocab_size": 40, "head_dim": 8}));
    desk.refuses("verify", &["checkpoint does not fit its config.json"]);
    desk.configure(&json!({"head_dim": null, "rope_scaling": {"type": "dynamic"}}));
    desk.refuses("verify", &["rope type is not supported"]);
    desk.run("verify --model nowhere").failed_with(&["model folder does not exist (nowhere)"]);
}

#[test]
fn weights_that_are_no_numbers_or_overflow_never_pass() {
    for tensor in ["model.layers.2.mlp.up_proj.weight", "lm_head.weight", "model.norm.weight"] {
        let desk = Desk::with(Shape::TINY, &|name, values| {
            if name == tensor {
                values[0] = f32::NAN;
            }
        });
        desk.refuses("verify", &["weight is not finite", tensor]);
    }
    let desk = Desk::with(Shape::TINY, &|name, values| {
        if name == "lm_head.weight" {
            values.fill(3e38);
        }
    });
    let outcome = desk.measure("verify").says(&[]);
    assert!(matches!(outcome.code, Some(1 | 2)), "{outcome:?}");
}
