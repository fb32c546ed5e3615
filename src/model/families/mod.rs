//! Model families: what each `config.json` means. The only place that knows families by name.

mod fields;
mod llama;
mod mistral;
mod qwen;
pub mod reference;
mod trained;

use serde_json::Value;
pub use trained::write as write_config;

use super::{DecoderConfig, ModelError};
use fields::Fields;
use reference::Reference;

/// A family: how its configuration is read, and what it can be verified against.
pub struct Family {
    /// The name in `config.json`'s `architectures`.
    pub architecture: &'static str,
    /// Which models use it.
    pub models: &'static str,
    /// candle-transformers' implementation.
    pub reference: Reference,
    read: fn(&Fields) -> Result<DecoderConfig, ModelError>,
}

/// Every family that can be opened.
pub const FAMILIES: &[Family] = &[
    Family {
        architecture: "LlamaForCausalLM",
        models: "Llama 1–3.3, DeepSeek-LLM, R1-Distill-Llama, SmolLM",
        reference: reference::LLAMA,
        read: llama::read,
    },
    Family {
        architecture: "MistralForCausalLM",
        models: "Mistral 7B and its successors",
        reference: reference::MISTRAL,
        read: mistral::read,
    },
    Family {
        architecture: "Qwen2ForCausalLM",
        models: "Qwen2, Qwen2.5, R1-Distill-Qwen",
        reference: reference::QWEN2,
        read: qwen::read_qwen2,
    },
    Family {
        architecture: trained::ARCHITECTURE,
        models: "what `depthscope train` makes with norms that Llama does not have",
        reference: reference::DEPTHSCOPE,
        read: trained::read,
    },
    Family { architecture: "Qwen3ForCausalLM", models: "Qwen3", reference: reference::QWEN3, read: qwen::read_qwen3 },
];

/// The family of a `config.json`.
///
/// # Errors
/// An architecture that is not supported.
pub fn family(config: &Value) -> Result<&'static Family, ModelError> {
    let found: Vec<&str> = config["architectures"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    FAMILIES.iter().find(|family| found.contains(&family.architecture)).ok_or_else(|| {
        let found = if found.is_empty() { "no architecture".to_owned() } else { found.join(", ") };
        ModelError::UnsupportedArchitecture {
            found,
            supported: FAMILIES.iter().map(|family| family.architecture).collect(),
        }
    })
}

/// Reads a `config.json`.
///
/// # Errors
/// An architecture, rope type or activation that is not supported; fields that are missing or make no model.
pub fn read_config(config: &Value) -> Result<DecoderConfig, ModelError> {
    (family(config)?.read)(&Fields::read(config)?)?.checked()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::nn::{RopeScaling, rope::Rope};

    fn config(architecture: &str, changes: &Value) -> Value {
        let mut config = json!({
            "architectures": [architecture], "vocab_size": 100, "hidden_size": 32, "intermediate_size": 48,
            "num_hidden_layers": 4, "num_attention_heads": 4, "rms_norm_eps": 1e-5, "max_position_embeddings": 64,
        });
        for (key, value) in changes.as_object().unwrap() {
            config[key] = value.clone();
        }
        config
    }

    fn windows(config: &Value) -> Vec<Option<usize>> {
        read_config(config).unwrap().blocks.iter().map(|block| block.attention.shape.window).collect()
    }

    fn message(config: &Value) -> String {
        read_config(config).unwrap_err().to_string()
    }

    #[test]
    fn absent_fields_take_the_defaults_of_transformers() {
        let llama = read_config(&config("LlamaForCausalLM", &json!({}))).unwrap();
        let shape = llama.blocks[0].attention.shape;
        assert_eq!((shape.kv_heads, shape.head_dim, shape.window), (4, 8, None));
        assert_eq!(llama.rope, Rope { theta: 10_000.0, head_dim: 8, scaling: RopeScaling::None });
        assert!(!llama.tied);
    }

    #[test]
    fn qwen_slides_only_where_its_rules_say() {
        let slide = json!({"sliding_window": 8, "use_sliding_window": true, "max_window_layers": 3});
        for architecture in ["Qwen2ForCausalLM", "Qwen3ForCausalLM"] {
            assert_eq!(windows(&config(architecture, &slide)), [None, None, None, Some(8)]);
            let unused = json!({"sliding_window": 8, "use_sliding_window": false, "max_window_layers": 0});
            assert_eq!(windows(&config(architecture, &unused)), [None; 4]);
        }
        assert_eq!(windows(&config("MistralForCausalLM", &json!({"sliding_window": 8}))), [Some(8); 4]);
        assert_eq!(windows(&config("MistralForCausalLM", &json!({"sliding_window": null}))), [None; 4]);
    }

    #[test]
    fn an_unknown_architecture_lists_what_is_supported() {
        let message = message(&config("GPT2LMHeadModel", &json!({})));
        assert!(message.contains("GPT2LMHeadModel") && message.contains("Qwen3ForCausalLM"), "{message}");
    }

    #[test]
    fn an_unknown_rope_type_lists_what_is_supported() {
        let message = message(&config("LlamaForCausalLM", &json!({"rope_scaling": {"type": "yarn", "factor": 4.0}})));
        assert!(message.contains("yarn") && message.contains("llama3"), "{message}");
    }

    #[test]
    fn heads_that_make_no_model_are_named() {
        for (changes, field) in [
            (json!({"num_attention_heads": 0}), "num_attention_heads"),
            (json!({"num_attention_heads": 4, "num_key_value_heads": 3}), "num_key_value_heads"),
            (json!({"num_key_value_heads": 0}), "num_key_value_heads"),
            (json!({"num_attention_heads": 5}), "head_dim"),
            (json!({"num_hidden_layers": 0}), "num_hidden_layers"),
            (json!({"num_hidden_layers": 100_000_000}), "num_hidden_layers"),
            (json!({"hidden_size": -1}), "hidden_size"),
            (json!({"rms_norm_eps": "small"}), "rms_norm_eps"),
            (json!({"hidden_act": "gelu"}), "hidden_act"),
        ] {
            let message = message(&config("LlamaForCausalLM", &changes));
            assert!(message.contains(field), "{changes}: {message}");
        }
    }
}
