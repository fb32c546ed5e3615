//! Configurations that make no model.

use serde_json::{Value, json};

use super::support::program::Desk;

const HUGE: u64 = 1_000_000_000_000_000_000;

#[track_caller]
fn refused(changes: &Value, facts: &[&str]) {
    let desk = Desk::new();
    desk.configure(changes);
    desk.refuses("scan --out out", facts);
}

#[test]
fn numbers_that_make_no_model_are_named() {
    for (changes, field) in [
        (json!({"num_attention_heads": 0}), "num_attention_heads: must not be 0"),
        (json!({"num_attention_heads": 3}), "hidden_size 16 is not a multiple of the 3 heads"),
        (json!({"num_key_value_heads": 3}), "num_key_value_heads: 3 does not divide the 4"),
        (json!({"num_key_value_heads": 0}), "num_key_value_heads: must not be 0"),
        (json!({"num_hidden_layers": 0}), "num_hidden_layers: must not be 0"),
        (json!({"hidden_size": 0}), "hidden_size: must not be 0"),
        (json!({"vocab_size": 0}), "vocab_size: must not be 0"),
        (json!({"intermediate_size": 0}), "intermediate_size: must not be 0"),
        (json!({"max_position_embeddings": 0}), "max_position_embeddings: must not be 0"),
        (json!({"head_dim": 0}), "head_dim: 0"),
        (json!({"head_dim": 3}), "head_dim: 3"),
        (json!({"rms_norm_eps": -1.0}), "rms_norm_eps: -1 is negative"),
        (json!({"rope_theta": 0.0}), "rope_theta: 0 is not a positive number"),
        (json!({"rope_theta": -5.0}), "rope_theta: -5 is not a positive number"),
        (json!({"hidden_act": "mish"}), "hidden_act: `mish` is not silu"),
    ] {
        refused(
            &changes,
            &["model configuration is not usable (", field, "; compare config.json with the original checkpoint"],
        );
    }
}

#[test]
fn huge_numbers_are_named_and_overflow_nothing() {
    for field in ["vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"] {
        let mut changes = json!({field: HUGE, "num_key_value_heads": null});
        if field == "hidden_size" || field == "num_attention_heads" {
            changes["head_dim"] = json!(4);
        }
        refused(&changes, &["model configuration is not usable (", field, "is more than any model has"]);
    }
    refused(&json!({"head_dim": HUGE}), &["head_dim: 1000000000000000000 is more than any model has"]);
    refused(
        &json!({"num_attention_heads": u64::MAX, "num_key_value_heads": u64::MAX, "head_dim": u64::MAX - 1}),
        &["num_attention_heads"],
    );
}

#[test]
fn huge_numbers_that_mean_no_size_are_harmless() {
    let desk = Desk::new();
    desk.configure(&json!({"max_position_embeddings": u64::MAX, "sliding_window": u64::MAX, "architectures": ["MistralForCausalLM"]}));
    desk.measure("scan").succeeded();
}

#[test]
fn sizes_other_than_those_of_the_weights_are_listed_together() {
    for (changes, facts) in [
        (
            json!({"vocab_size": 41}),
            &["model.embed_tokens.weight is [40, 16], not [41, 16]", "lm_head.weight is [40, 16]"][..],
        ),
        (
            json!({"num_hidden_layers": 4}),
            &["0 tensors missing, 9 unexpected", "unexpected  model.layers.4.input_layernorm.weight"],
        ),
        (json!({"num_hidden_layers": 100_000}), &["899955 tensors missing", "… and 899943 more"]),
        (
            json!({"intermediate_size": 1_000_000}),
            &["model.layers.0.mlp.gate_proj.weight is [24, 16], not [1000000, 16]"],
        ),
        (json!({"head_dim": 260_000}), &["0 tensors missing, 0 unexpected, 20 of another shape"]),
        (
            json!({"tie_word_embeddings": true, "num_key_value_heads": 4}),
            &["0 tensors missing", "self_attn.k_proj.weight is [8, 16], not [16, 16]"],
        ),
    ] {
        let all = [&["checkpoint does not fit its config.json (", "check that both come from the same model"], facts]
            .concat();
        refused(&changes, &all);
    }
}

#[test]
fn missing_and_wrong_fields_are_named() {
    for field in [
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "rms_norm_eps",
        "max_position_embeddings",
    ] {
        refused(&json!({field: null}), &["model configuration is not usable (", &format!("{field}: is missing")]);
        refused(&json!({field: "many"}), &[&format!("{field}: \"many\" is not a ")]);
    }
    refused(&json!({"hidden_size": -16}), &["hidden_size: -16 is not a whole number"]);
    refused(&json!({"hidden_size": 16.5}), &["hidden_size: 16.5 is not a whole number"]);
    refused(&json!({"num_key_value_heads": "two"}), &["(num_key_value_heads: invalid type: string \"two\""]);
    refused(
        &json!({"tie_word_embeddings": 1}),
        &["(tie_word_embeddings: invalid type: integer `1`, expected a boolean"],
    );
}

#[test]
fn what_is_not_supported_is_refused_with_what_is() {
    let architectures = ["LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"];
    for found in
        [json!({"architectures": ["MambaForCausalLM"]}), json!({"architectures": null}), json!({"architectures": 3})]
    {
        refused(&found, &[&["architecture is not supported (config.json says "], &architectures[..]].concat());
    }
    refused(
        &json!({"rope_scaling": {"rope_type": "dynamic", "factor": 4.0}}),
        &["rope type is not supported (config.json says `dynamic`)", "supported: default, linear, llama3"],
    );
    refused(&json!({"rope_scaling": {"type": "linear", "factor": 0}}), &["factor: 0 is not a positive number"]);
    let llama3 = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 4.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64});
    refused(&json!({"rope_scaling": llama3}), &["low_freq_factor: 4 is not below high_freq_factor 4"]);
}

#[test]
fn a_configuration_that_is_no_configuration_is_refused() {
    let desk = Desk::new();
    for text in ["", "{", "not json", "{\"hidden_size\": 1e999}"] {
        desk.write("model/config.json", text);
        desk.refuses(
            "scan --out out",
            &["model file is not valid (model/config.json: ", "line 1", "download it again"],
        );
    }
    for text in ["[]", "null", "5", "\"text\""] {
        desk.write("model/config.json", text);
        desk.refuses("scan --out out", &["architecture is not supported (config.json says no architecture)"]);
    }
    desk.write("model/config.json", "[".repeat(100_000));
    desk.refuses("scan --out out", &["model file is not valid (model/config.json: ", "recursion"]);
    desk.write("model/config.json", b"\xff\xfe{}");
    desk.refuses("scan --out out", &["model/config.json", "UTF-8"]);
    std::fs::remove_file(desk.path("model/config.json")).unwrap();
    desk.refuses(
        "scan --out out",
        &["model file cannot be read (model/config.json: ", "a checkpoint needs config.json"],
    );
}
