//! Configurations of published models: they are read, and predict the published number of parameters.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use depthscope::{
    model::{DecoderConfig, families::read_config, parameters},
    nn::RopeScaling,
};
use serde_json::{Value, json};

fn read(config: &Value) -> DecoderConfig {
    read_config(config).unwrap_or_else(|error| panic!("{error}"))
}

/// The parameters of a configuration, and those of the same with one block less.
fn counts(config: &Value) -> (u64, u64) {
    let mut shorter = config.clone();
    shorter["num_hidden_layers"] = json!(config["num_hidden_layers"].as_u64().unwrap() - 1);
    (parameters(&read(config)), parameters(&read(&shorter)))
}

fn windows(config: &DecoderConfig) -> Vec<Option<usize>> {
    let mut windows: Vec<_> = config.blocks.iter().map(|block| block.attention.shape.window).collect();
    windows.dedup();
    windows
}

fn llama_2_7b() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "hidden_act": "silu", "hidden_size": 4096, "intermediate_size": 11008,
        "max_position_embeddings": 4096, "num_attention_heads": 32, "num_hidden_layers": 32,
        "num_key_value_heads": 32, "pretraining_tp": 1, "rms_norm_eps": 1e-5, "rope_scaling": null,
        "tie_word_embeddings": false, "torch_dtype": "float16", "vocab_size": 32000,
    })
}

#[test]
fn llama_2_7b_has_its_published_parameters() {
    assert_eq!(counts(&llama_2_7b()), (6_738_415_616, 6_536_032_256));
    let config = read(&llama_2_7b());
    assert_eq!((config.family, config.context, config.norm_eps, config.tied), ("llama", 4096, 1e-5, false));
    assert_eq!((config.rope.theta, config.rope.scaling), (10_000.0, RopeScaling::None));
}

#[test]
fn llama_3_8b_has_its_published_parameters() {
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "attention_bias": false, "hidden_act": "silu", "hidden_size": 4096,
        "intermediate_size": 14336, "max_position_embeddings": 8192, "num_attention_heads": 32,
        "num_hidden_layers": 32, "num_key_value_heads": 8, "rms_norm_eps": 1e-5, "rope_scaling": null,
        "rope_theta": 500_000.0, "tie_word_embeddings": false, "torch_dtype": "bfloat16", "vocab_size": 128_256,
    });
    assert_eq!(counts(&config), (8_030_261_248, 7_812_149_248));
    assert_eq!(read(&config).rope.theta, 500_000.0);
}

#[test]
fn llama_3_2_1b_is_tied_and_scales_its_rotation() {
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "attention_bias": false, "head_dim": 64, "hidden_act": "silu",
        "hidden_size": 2048, "intermediate_size": 8192, "max_position_embeddings": 131_072, "mlp_bias": false,
        "num_attention_heads": 32, "num_hidden_layers": 16, "num_key_value_heads": 8, "rms_norm_eps": 1e-5,
        "rope_scaling": {
            "factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
            "original_max_position_embeddings": 8192, "rope_type": "llama3",
        },
        "rope_theta": 500_000.0, "tie_word_embeddings": true, "vocab_size": 128_256,
    });
    assert_eq!(counts(&config), (1_235_814_400, 1_174_992_896));
    let config = read(&config);
    assert!(config.tied);
    let scaling = RopeScaling::Llama3 {
        factor: 32.0,
        low_frequency_factor: 1.0,
        high_frequency_factor: 4.0,
        original_context: 8192.0,
    };
    assert_eq!(config.rope.scaling, scaling);
}

#[test]
fn mistral_7b_slides_in_its_first_version_and_not_in_its_third() {
    let first = json!({
        "architectures": ["MistralForCausalLM"], "hidden_act": "silu", "hidden_size": 4096,
        "intermediate_size": 14336, "max_position_embeddings": 32768, "num_attention_heads": 32,
        "num_hidden_layers": 32, "num_key_value_heads": 8, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "sliding_window": 4096, "tie_word_embeddings": false, "vocab_size": 32000,
    });
    let mut third = first.clone();
    for (field, value) in
        [("rope_theta", json!(1_000_000.0)), ("sliding_window", Value::Null), ("vocab_size", json!(32768))]
    {
        third[field] = value;
    }
    assert_eq!((counts(&first).0, windows(&read(&first))), (7_241_732_096, vec![Some(4096)]));
    assert_eq!((counts(&third).0, windows(&read(&third))), (7_248_023_552, vec![None]));
}

#[test]
fn qwen2_has_biases_and_a_window_that_it_does_not_use() {
    let qwen2_7b = json!({
        "architectures": ["Qwen2ForCausalLM"], "hidden_act": "silu", "hidden_size": 3584, "intermediate_size": 18944,
        "max_position_embeddings": 32768, "max_window_layers": 28, "num_attention_heads": 28,
        "num_hidden_layers": 28, "num_key_value_heads": 4, "rms_norm_eps": 1e-6, "rope_theta": 1_000_000.0,
        "sliding_window": 131_072, "tie_word_embeddings": false, "use_sliding_window": false, "vocab_size": 152_064,
    });
    let qwen25_3b = json!({
        "architectures": ["Qwen2ForCausalLM"], "hidden_act": "silu", "hidden_size": 2048, "intermediate_size": 11008,
        "max_position_embeddings": 32768, "max_window_layers": 70, "num_attention_heads": 16,
        "num_hidden_layers": 36, "num_key_value_heads": 2, "rms_norm_eps": 1e-6, "rope_theta": 1_000_000.0,
        "sliding_window": 32768, "tie_word_embeddings": true, "use_sliding_window": false, "vocab_size": 151_936,
    });
    let r1_distill_1_5b = json!({
        "architectures": ["Qwen2ForCausalLM"], "hidden_act": "silu", "hidden_size": 1536, "intermediate_size": 8960,
        "max_position_embeddings": 131_072, "max_window_layers": 21, "num_attention_heads": 12,
        "num_hidden_layers": 28, "num_key_value_heads": 2, "rms_norm_eps": 1e-6, "rope_theta": 10000,
        "sliding_window": 4096, "tie_word_embeddings": false, "use_sliding_window": false, "vocab_size": 151_936,
    });
    for (config, published) in [(qwen2_7b, 7_615_616_512), (qwen25_3b, 3_085_938_688), (r1_distill_1_5b, 1_777_088_000)]
    {
        assert_eq!(counts(&config).0, published);
        let config = read(&config);
        assert_eq!(windows(&config), [None]);
        let attention = &config.blocks[0].attention;
        assert!(attention.input_bias && !attention.output_bias && !attention.head_norm);
    }
}

#[test]
fn qwen3_norms_its_heads_which_are_wider_than_the_stream_divided() {
    let config = json!({
        "architectures": ["Qwen3ForCausalLM"], "attention_bias": false, "head_dim": 128, "hidden_act": "silu",
        "hidden_size": 1024, "intermediate_size": 3072, "max_position_embeddings": 40960, "max_window_layers": 28,
        "num_attention_heads": 16, "num_hidden_layers": 28, "num_key_value_heads": 8, "rms_norm_eps": 1e-6,
        "rope_scaling": null, "rope_theta": 1_000_000, "sliding_window": null, "tie_word_embeddings": true,
        "use_sliding_window": false, "vocab_size": 151_936,
    });
    assert_eq!(counts(&config).0, 596_049_920);
    let attention = read(&config).blocks.remove(0).attention;
    assert_eq!(attention.shape.head_dim, 128);
    assert!(attention.head_norm && !attention.input_bias);
}

#[test]
fn models_in_the_layout_of_llama_have_their_published_parameters() {
    let smollm2_135m = json!({
        "architectures": ["LlamaForCausalLM"], "attention_bias": false, "hidden_act": "silu", "hidden_size": 576,
        "intermediate_size": 1536, "is_llama_config": true, "max_position_embeddings": 8192, "mlp_bias": false,
        "num_attention_heads": 9, "num_hidden_layers": 30, "num_key_value_heads": 3, "rms_norm_eps": 1e-5,
        "rope_interleaved": false, "rope_scaling": null, "rope_theta": 100_000, "tie_word_embeddings": true,
        "vocab_size": 49152,
    });
    // As transformers 5 writes the same model.
    let mut smollm2_135m_v5 = smollm2_135m.clone();
    smollm2_135m_v5["rope_theta"] = Value::Null;
    smollm2_135m_v5["head_dim"] = json!(64);
    smollm2_135m_v5["rope_parameters"] = json!({"rope_theta": 100_000, "rope_type": "default"});
    assert_eq!(read(&smollm2_135m_v5), read(&smollm2_135m));
    let deepseek_llm_7b = json!({
        "architectures": ["LlamaForCausalLM"], "hidden_act": "silu", "hidden_size": 4096, "intermediate_size": 11008,
        "max_position_embeddings": 4096, "num_attention_heads": 32, "num_hidden_layers": 30,
        "num_key_value_heads": 32, "rms_norm_eps": 1e-6, "rope_scaling": null, "rope_theta": 10000.0,
        "tie_word_embeddings": false, "vocab_size": 102_400,
    });
    let tinyllama_1_1b = json!({
        "architectures": ["LlamaForCausalLM"], "hidden_act": "silu", "hidden_size": 2048, "intermediate_size": 5632,
        "max_position_embeddings": 2048, "num_attention_heads": 32, "num_hidden_layers": 22,
        "num_key_value_heads": 4, "rms_norm_eps": 1e-5, "rope_scaling": null, "tie_word_embeddings": false,
        "vocab_size": 32000,
    });
    for (config, published) in
        [(smollm2_135m, 134_515_008), (deepseek_llm_7b, 6_910_365_696), (tinyllama_1_1b, 1_100_048_384)]
    {
        assert_eq!(counts(&config).0, published);
    }
}

#[test]
fn the_models_of_the_curse_of_depth_have_the_sizes_of_their_names() {
    // hidden, intermediate, heads, layers
    for (name, [hidden, intermediate, heads, layers], published) in [
        ("9m", [128, 352, 4, 4], 8_995_968),
        ("20m", [256, 688, 4, 4], 19_548_416),
        ("35m", [384, 1024, 8, 6], 35_197_824),
        ("40m", [416, 1024, 8, 8], 42_392_480),
        ("60m", [512, 1376, 8, 8], 58_073_600),
        ("71m", [512, 1368, 8, 12], 70_578_688),
        ("130m", [768, 2048, 12, 12], 134_105_856),
        ("250m", [768, 2560, 16, 24], 247_370_496),
        ("350m", [1024, 2736, 16, 24], 367_969_280),
        ("1b", [2048, 5461, 32, 24], 1_339_082_752),
    ] {
        let config = json!({
            "architectures": ["LlamaForCausalLM"], "hidden_act": "silu", "hidden_size": hidden,
            "intermediate_size": intermediate, "max_position_embeddings": 1024, "num_attention_heads": heads,
            "num_hidden_layers": layers, "rms_norm_eps": 1e-6, "vocab_size": 32000,
        });
        assert_eq!(counts(&config).0, published, "{name}");
    }
}

#[test]
fn a_model_of_another_kind_is_refused_with_what_is_supported() {
    for architecture in
        ["BertForMaskedLM", "GPT2LMHeadModel", "DeepseekV2ForCausalLM", "Gemma2ForCausalLM", "MixtralForCausalLM"]
    {
        // With every field of a Llama: it is the architecture that must be refused, not a field that is missing.
        let mut config = llama_2_7b();
        config["architectures"] = json!([architecture]);
        let message = read_config(&config).unwrap_err().to_string();
        assert!(message.contains(architecture), "{message}");
        for supported in ["LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"] {
            assert!(message.contains(supported), "{message}");
        }
    }
}
