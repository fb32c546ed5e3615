//! Weights that are damaged, hostile, or not numbers.

use serde_json::json;

use super::support::{program::Desk, random_model::Shape};

const WEIGHTS: &str = "model/model.safetensors";
const INDEX: &str = "model/model.safetensors.index.json";

fn index(desk: &Desk, shard: &str) {
    desk.write(INDEX, json!({"metadata": {}, "weight_map": {"lm_head.weight": shard}}).to_string());
}

#[test]
fn truncated_weights_are_refused_wherever_they_end() {
    let desk = Desk::new();
    let whole = std::fs::read(desk.path(WEIGHTS)).unwrap();
    for length in [0, 1, 7, 8, 9, 100, whole.len() / 2, whole.len() - 1] {
        desk.write(WEIGHTS, &whole[..length]);
        let size = format!("file size {length} bytes); download it again");
        desk.refuses("scan --out out", &["weights file is truncated or corrupt (model/model.safetensors: ", &size]);
    }
    desk.write(WEIGHTS, [&whole[..], b"more"].concat());
    desk.refuses("scan --out out", &["weights file is truncated or corrupt"]);
}

#[test]
fn corrupt_headers_are_refused() {
    let desk = Desk::new();
    let with_header =
        |header: &[u8], data: usize| [&(header.len() as u64).to_le_bytes()[..], header, &vec![0; data]].concat();
    for length in [u64::MAX, u64::MAX - 7, 1 << 62, 1 << 40, 99_999_999] {
        desk.write(WEIGHTS, [&length.to_le_bytes()[..], b"{}"].concat());
        desk.refuses("scan", &["truncated or corrupt", &format!("claims to be {length} bytes long")]);
    }
    for header in [
        &b"not json"[..],
        b"\xff\xff",
        b"[]",
        br#"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}"#,
        br#"{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}"#,
        br#"{"a": {"dtype": "F32", "shape": [18446744073709551615, 18446744073709551615], "data_offsets": [0, 4]}}"#,
        br#"{"a": {"dtype": "F32", "shape": [4611686018427387905], "data_offsets": [0, 4]}}"#,
        br#"{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 18446744073709551615]}}"#,
        br#"{"a": {"dtype": "Q7", "shape": [1], "data_offsets": [0, 4]}}"#,
    ] {
        desk.write(WEIGHTS, with_header(header, 4));
        desk.refuses("scan", &["weights file is truncated or corrupt (model/model.safetensors: ", "download it again"]);
    }
    desk.write(WEIGHTS, with_header(b"{}", 0));
    desk.refuses("scan", &["checkpoint does not fit its config.json (48 tensors missing"]);
}

#[test]
fn shards_outside_the_folder_are_refused() {
    let desk = Desk::new();
    std::fs::copy(desk.path(WEIGHTS), desk.path("outside.safetensors")).unwrap();
    let absolute = desk.path("outside.safetensors").display().to_string();
    for shard in ["../outside.safetensors", &absolute, "x/../../outside.safetensors", "..", ".", ""] {
        index(&desk, shard);
        desk.refuses(
            "scan --out out",
            &["weights index names a shard outside its folder (", "do not use this checkpoint"],
        );
    }
}

#[test]
fn a_missing_shard_is_named() {
    let desk = Desk::new();
    index(&desk, "model-00001-of-00002.safetensors");
    desk.refuses(
        "scan --out out",
        &["weights shard is missing (model-00001-of-00002.safetensors in model)", "download the checkpoint again"],
    );
    for text in ["", "{}", "{\"weight_map\": 5}", "{\"weight_map\": {\"a\": 5}}"] {
        desk.write(INDEX, text);
        desk.refuses("scan --out out", &["model file is not valid (model/model.safetensors.index.json: "]);
    }
    desk.write(INDEX, "{\"weight_map\": {}}");
    desk.refuses("scan --out out", &["48 tensors missing"]);
}

#[test]
fn a_folder_without_safetensors_is_refused() {
    let desk = Desk::new();
    std::fs::remove_file(desk.path(WEIGHTS)).unwrap();
    desk.refuses("scan", &["model folder has no safetensors weights (model)", "safe_serialization=True"]);
    desk.write("model/pytorch_model.bin", "x");
    desk.refuses("scan", &["only pickled model/pytorch_model.bin, which can run code and is never opened"]);
    std::fs::create_dir(desk.path(WEIGHTS)).unwrap();
    desk.refuses("scan", &["model folder has no safetensors weights"]);
}

#[test]
fn the_first_layer_with_a_weight_that_is_no_number_is_named() {
    for (value, shown) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
        let desk = Desk::with(Shape::TINY, &|name, values| {
            if name.contains("layers.2.mlp.up_proj") || name.contains("layers.4.self_attn.q_proj") {
                values[17] = value;
            }
        });
        let fact = format!("weight is not finite (model.layers.2.mlp.up_proj.weight, layer 2: {shown} at element 17)");
        for memory in ["1GiB", "1KiB"] {
            let facts = [fact.as_str(), "the checkpoint is damaged or was trained to divergence"];
            desk.refuses(&format!("scan --out out --memory {memory}"), &facts);
        }
    }
}

#[test]
fn weights_outside_the_layers_that_are_no_numbers_are_named() {
    for (tensor, verb) in
        [("model.embed_tokens.weight", "variance"), ("model.norm.weight", "prune"), ("lm_head.weight", "scan")]
    {
        let desk = Desk::with(Shape::TINY, &|name, values| {
            if name == tensor {
                values.fill(f32::NAN);
            }
        });
        for memory in ["1GiB", "1KiB"] {
            let fact = format!("weight is not finite ({tensor}: NaN at element ");
            desk.refuses(&format!("{verb} --out out --memory {memory}"), &[&fact]);
        }
    }
}

#[test]
fn a_layer_that_overflows_in_half_precision_is_named() {
    let desk = Desk::with(Shape::TINY, &|name, values| {
        if name.contains("layers.3.mlp.down_proj") {
            for value in values {
                *value *= 1e5;
            }
        }
    });
    let fact = "hidden state is not finite (first after layer 3, in f16)";
    let remedy = "the weights overflow in this type: use --dtype f32";
    desk.refuses("scan --out out --dtype f16", &[fact, remedy]);
    desk.measure("scan --dtype f32").succeeded();
    desk.measure("scan --dtype bf16").succeeded();
}

#[test]
fn a_layer_that_overflows_in_any_type_is_named() {
    let desk = Desk::with(Shape::TINY, &|name, values| {
        if name.contains("layers.1.self_attn.o_proj") {
            values.fill(3e38);
        }
    });
    let facts = ["hidden state is not finite (first after layer 1, in f32)", "the checkpoint is damaged"];
    desk.refuses("scan --out out", &facts);
}

#[test]
fn logits_that_overflow_are_refused() {
    let desk = Desk::with(Shape::TINY, &|name, values| {
        if name == "lm_head.weight" {
            values.fill(3e38);
        }
    });
    desk.refuses(
        "prune --out out",
        &["logits are not finite (all hidden states are; computed in f32)", "the checkpoint is damaged"],
    );
    desk.measure("variance").succeeded();
}

#[test]
fn weights_of_no_float_type_are_refused() {
    let desk = Desk::new();
    let header = br#"{"model.norm.weight": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]}}"#;
    desk.write(WEIGHTS, [&(header.len() as u64).to_le_bytes()[..], header, &[0; 8]].concat());
    desk.refuses(
        "scan",
        &["tensor `model.norm.weight` has data type F64", "convert the checkpoint to f32, f16 or bf16"],
    );
}
