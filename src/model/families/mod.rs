//! Model families: what each `config.json` means. The only place that knows families by name.

mod bert;
mod deepseek;
mod experts;
mod falcon;
mod fields;
mod gemma;
mod gpt2;
mod gpt_neox;
mod granite;
mod llama;
mod mistral;
mod olmo;
mod phi;
mod qwen;
pub mod reference;
mod rope;
mod smollm;
mod trained;

use serde_json::Value;
pub use trained::write as write_config;

use super::{DecoderConfig, ModelError};
use reference::Reference;

/// A family: how its configuration is read, and what it can be verified against.
pub struct Family {
    /// The name in `config.json`'s `architectures`.
    pub architecture: &'static str,
    /// Which models use it.
    pub models: &'static str,
    /// candle-transformers' implementation, where it has one that can be compared.
    pub reference: Option<Reference>,
    read: fn(&Value) -> Result<DecoderConfig, ModelError>,
}

const fn family_of(
    architecture: &'static str,
    models: &'static str,
    reference: Option<Reference>,
    read: fn(&Value) -> Result<DecoderConfig, ModelError>,
) -> Family {
    Family { architecture, models, reference, read }
}

/// Every family that can be opened.
pub const FAMILIES: &[Family] = &[
    family_of(
        "LlamaForCausalLM",
        "Llama 1–3.3, DeepSeek-LLM, R1-Distill-Llama, SmolLM",
        Some(reference::LLAMA),
        llama::read,
    ),
    family_of("MistralForCausalLM", "Mistral 7B and its successors", Some(reference::MISTRAL), mistral::read),
    family_of("MixtralForCausalLM", "Mixtral 8x7B, 8x22B", None, mistral::read_mixtral),
    family_of("Qwen2ForCausalLM", "Qwen2, Qwen2.5, R1-Distill-Qwen", Some(reference::QWEN2), qwen::read_qwen2),
    family_of("Qwen3ForCausalLM", "Qwen3", Some(reference::QWEN3), qwen::read_qwen3),
    family_of("Qwen2MoeForCausalLM", "Qwen1.5-MoE, Qwen2-57B-A14B", None, qwen::read_qwen2_moe),
    family_of("Qwen3MoeForCausalLM", "Qwen3-30B-A3B, Qwen3-235B-A22B", None, qwen::read_qwen3_moe),
    family_of("DeepseekV2ForCausalLM", "DeepSeek-V2, V2-Lite, V2.5", None, deepseek::read_v2),
    family_of("DeepseekV3ForCausalLM", "DeepSeek-V3, R1", None, deepseek::read_v3),
    family_of("Gemma2ForCausalLM", "Gemma 2", None, gemma::read_gemma2),
    family_of("Gemma3ForCausalLM", "Gemma 3 270M, 1B", None, gemma::read_gemma3),
    family_of("Gemma3ForConditionalGeneration", "Gemma 3 4B–27B, text alone", None, gemma::read_gemma3_with_vision),
    family_of("Olmo2ForCausalLM", "OLMo 2", None, olmo::read_olmo2),
    family_of("Phi3ForCausalLM", "Phi-3, Phi-3.5-mini, Phi-4, Phi-4-mini", None, phi::read_phi3),
    family_of("GraniteForCausalLM", "Granite 3", None, granite::read),
    family_of("SmolLM3ForCausalLM", "SmolLM3", None, smollm::read_smollm3),
    family_of("GPT2LMHeadModel", "GPT-2, DistilGPT-2", None, gpt2::read),
    family_of("GPTNeoXForCausalLM", "GPT-NeoX, Pythia", None, gpt_neox::read),
    family_of("FalconForCausalLM", "Falcon 7B, 40B, 180B", None, falcon::read),
    family_of("BertForMaskedLM", "BERT base, large; the loss is that of masked tokens", None, bert::read_masked),
    family_of("BertForQuestionAnswering", "BERT fine-tuned on SQuAD", None, bert::read_answering),
    family_of(
        trained::ARCHITECTURE,
        "what `depthscope train` makes with norms that Llama does not have",
        Some(reference::DEPTHSCOPE),
        trained::read,
    ),
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
    (family(config)?.read)(config)?.checked()
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
        assert_eq!(llama.rotations[0], Rope { theta: 10_000.0, turned: 8, scaling: RopeScaling::None });
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
        let message = message(&config("MambaForCausalLM", &json!({})));
        assert!(message.contains("MambaForCausalLM") && message.contains("Qwen3ForCausalLM"), "{message}");
    }

    #[test]
    fn an_unknown_rope_type_lists_what_is_supported() {
        let message =
            message(&config("LlamaForCausalLM", &json!({"rope_scaling": {"type": "dynamic", "factor": 4.0}})));
        assert!(message.contains("dynamic") && message.contains("llama3"), "{message}");
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
            (json!({"hidden_act": "mish"}), "hidden_act"),
        ] {
            let message = message(&config("LlamaForCausalLM", &changes));
            assert!(message.contains(field), "{changes}: {message}");
        }
    }
}
