//! Configurations of published models: they are read, and predict the published number of parameters.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use depthscope::{
    model::{DecoderConfig, HeadNorm, families::read_config, parameters},
    nn::{RopeScaling, attention::Sight},
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
    assert_eq!((config.rotations[0].theta, config.rotations[0].scaling.clone()), (10_000.0, RopeScaling::None));
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
    assert_eq!(read(&config).rotations[0].theta, 500_000.0);
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
    assert_eq!(config.rotations[0].scaling, scaling);
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
        assert!(attention.input_bias && !attention.output_bias && attention.head_norm == HeadNorm::None);
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
    assert!(attention.head_norm == HeadNorm::Each && !attention.input_bias);
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

/// Changed fields of the configuration of a small model of the same family.
fn with(base: &Value, changes: &Value) -> Value {
    let mut config = base.clone();
    for (field, value) in changes.as_object().unwrap() {
        config[field] = value.clone();
    }
    config
}

#[test]
fn families_with_experts_have_their_published_parameters() {
    let mixtral_8x7b = json!({
        "architectures": ["MixtralForCausalLM"], "hidden_act": "silu", "hidden_size": 4096, "intermediate_size": 14336,
        "max_position_embeddings": 32768, "num_attention_heads": 32, "num_experts_per_tok": 2, "num_hidden_layers": 32,
        "num_key_value_heads": 8, "num_local_experts": 8, "rms_norm_eps": 1e-5, "rope_theta": 1_000_000.0,
        "sliding_window": null, "tie_word_embeddings": false, "vocab_size": 32000,
    });
    let qwen15_moe_a27b = json!({
        "architectures": ["Qwen2MoeForCausalLM"], "hidden_act": "silu", "hidden_size": 2048, "intermediate_size": 5632,
        "max_position_embeddings": 8192, "max_window_layers": 21, "num_attention_heads": 16, "num_hidden_layers": 24,
        "num_key_value_heads": 16, "rms_norm_eps": 1e-6, "rope_theta": 1_000_000.0, "sliding_window": 32768,
        "tie_word_embeddings": false, "use_sliding_window": false, "vocab_size": 151_936, "decoder_sparse_step": 1,
        "moe_intermediate_size": 1408, "shared_expert_intermediate_size": 5632, "num_experts_per_tok": 4,
        "num_experts": 60, "norm_topk_prob": false,
    });
    let qwen3_30b_a3b = json!({
        "architectures": ["Qwen3MoeForCausalLM"], "attention_bias": false, "decoder_sparse_step": 1, "head_dim": 128,
        "hidden_act": "silu", "hidden_size": 2048, "intermediate_size": 6144, "max_position_embeddings": 40960,
        "mlp_only_layers": [], "moe_intermediate_size": 768, "norm_topk_prob": true, "num_attention_heads": 32,
        "num_experts": 128, "num_experts_per_tok": 8, "num_hidden_layers": 48, "num_key_value_heads": 4,
        "rms_norm_eps": 1e-6, "rope_theta": 1_000_000.0, "sliding_window": null, "tie_word_embeddings": false,
        "use_sliding_window": false, "vocab_size": 151_936,
    });
    for (config, published) in [
        (mixtral_8x7b, 46_702_792_704),
        (qwen15_moe_a27b, 14_315_784_192),
        (qwen3_30b_a3b, 30_532_122_624),
        (deepseek_v2_lite(), 15_706_484_224),
        (deepseek_v3(), 671_026_419_200),
    ] {
        assert_eq!(counts(&config).0, published, "{}", config["architectures"]);
    }
}

fn deepseek_v2_lite() -> Value {
    json!({
        "architectures": ["DeepseekV2ForCausalLM"], "attention_bias": false, "first_k_dense_replace": 1,
        "hidden_act": "silu", "hidden_size": 2048, "intermediate_size": 10944, "kv_lora_rank": 512,
        "max_position_embeddings": 163_840, "moe_intermediate_size": 1408, "moe_layer_freq": 1, "n_group": 1,
        "n_routed_experts": 64, "n_shared_experts": 2, "norm_topk_prob": false, "num_attention_heads": 16,
        "num_experts_per_tok": 6, "num_hidden_layers": 27, "num_key_value_heads": 16, "q_lora_rank": null,
        "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "rms_norm_eps": 1e-6, "rope_theta": 10000,
        "rope_scaling": {
            "beta_fast": 32, "beta_slow": 1, "factor": 40, "mscale": 0.707, "mscale_all_dim": 0.707,
            "original_max_position_embeddings": 4096, "type": "yarn",
        },
        "routed_scaling_factor": 1.0, "scoring_func": "softmax", "tie_word_embeddings": false, "topk_group": 1,
        "topk_method": "greedy", "v_head_dim": 128, "vocab_size": 102_400,
    })
}

fn deepseek_v3() -> Value {
    let changes = json!({
        "architectures": ["DeepseekV3ForCausalLM"], "first_k_dense_replace": 3, "hidden_size": 7168,
        "intermediate_size": 18432, "moe_intermediate_size": 2048, "n_group": 8, "n_routed_experts": 256,
        "n_shared_experts": 1, "norm_topk_prob": true, "num_attention_heads": 128, "num_experts_per_tok": 8,
        "num_hidden_layers": 61, "num_key_value_heads": 128, "num_nextn_predict_layers": 1, "q_lora_rank": 1536,
        "routed_scaling_factor": 2.5, "scoring_func": "sigmoid", "topk_group": 4, "topk_method": "noaux_tc",
        "vocab_size": 129_280,
    });
    with(&deepseek_v2_lite(), &changes)
}

#[test]
fn deepseek_grows_its_scores_with_the_context() {
    let config = read(&deepseek_v2_lite());
    let shape = config.blocks[0].attention.shape;
    assert_eq!((shape.head_dim, shape.value_dim), (192, 128));
    let m = 0.1 * 0.707 * 40f64.ln() + 1.0;
    assert!((shape.scale - m * m / 192f64.sqrt()).abs() < 1e-12);
    assert_eq!(config.rotations[0].scaling.magnitude(), 1.0, "mscale and mscale_all_dim are the same");
}

#[test]
fn families_with_other_norms_have_their_published_parameters() {
    let gemma2_2b = json!({
        "architectures": ["Gemma2ForCausalLM"], "attention_bias": false, "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0, "head_dim": 256, "hidden_act": "gelu_pytorch_tanh",
        "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 2304, "intermediate_size": 9216,
        "max_position_embeddings": 8192, "num_attention_heads": 8, "num_hidden_layers": 26, "num_key_value_heads": 4,
        "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "sliding_window": 4096,
        "vocab_size": 256_000,
    });
    let gemma2_9b = with(
        &gemma2_2b,
        &json!({"hidden_size": 3584, "intermediate_size": 14336, "num_attention_heads": 16, "num_hidden_layers": 42, "num_key_value_heads": 8}),
    );
    let gemma3_1b = json!({
        "architectures": ["Gemma3ForCausalLM"], "attention_bias": false, "attn_logit_softcapping": null,
        "final_logit_softcapping": null, "head_dim": 256, "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 1152,
        "intermediate_size": 6912, "max_position_embeddings": 32768, "num_attention_heads": 4, "num_hidden_layers": 26,
        "num_key_value_heads": 1, "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-6, "rope_local_base_freq": 10000,
        "rope_scaling": null, "rope_theta": 1_000_000, "sliding_window": 512, "sliding_window_pattern": 6,
        "vocab_size": 262_144,
    });
    let olmo2_7b = json!({
        "architectures": ["Olmo2ForCausalLM"], "attention_bias": false, "hidden_act": "silu", "hidden_size": 4096,
        "intermediate_size": 11008, "max_position_embeddings": 4096, "num_attention_heads": 32, "num_hidden_layers": 32,
        "num_key_value_heads": 32, "rms_norm_eps": 1e-6, "rope_scaling": null, "rope_theta": 500_000,
        "tie_word_embeddings": false, "vocab_size": 100_352,
    });
    assert_eq!(windows(&read(&gemma2_2b)).len(), 26, "windows take turns");
    assert_eq!(read(&gemma3_1b).blocks.iter().filter(|block| block.attention.shape.window.is_none()).count(), 4);
    for (config, published) in
        [(gemma2_2b, 2_614_341_888), (gemma2_9b, 9_241_705_984), (gemma3_1b, 999_885_952), (olmo2_7b, 7_298_617_344)]
    {
        assert_eq!(counts(&config).0, published, "{}", config["architectures"]);
    }
}

#[test]
fn families_with_fused_or_renamed_tensors_have_their_published_parameters() {
    let phi3_mini = json!({
        "architectures": ["Phi3ForCausalLM"], "hidden_act": "silu", "hidden_size": 3072, "intermediate_size": 8192,
        "max_position_embeddings": 4096, "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 32,
        "original_max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "rope_scaling": null, "rope_theta": 10000.0,
        "sliding_window": 2047, "tie_word_embeddings": false, "vocab_size": 32064,
    });
    let gpt2 = json!({
        "activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"], "layer_norm_epsilon": 1e-5,
        "n_ctx": 1024, "n_embd": 768, "n_head": 12, "n_layer": 12, "n_positions": 1024, "vocab_size": 50257,
    });
    let gpt2_medium = with(&gpt2, &json!({"n_embd": 1024, "n_head": 16, "n_layer": 24}));
    let pythia_70m = json!({
        "architectures": ["GPTNeoXForCausalLM"], "hidden_act": "gelu", "hidden_size": 512, "intermediate_size": 2048,
        "layer_norm_eps": 1e-5, "max_position_embeddings": 2048, "num_attention_heads": 8, "num_hidden_layers": 6,
        "rotary_emb_base": 10000, "rotary_pct": 0.25, "tie_word_embeddings": false, "use_parallel_residual": true,
        "vocab_size": 50304,
    });
    let pythia_1b =
        with(&pythia_70m, &json!({"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16}));
    let falcon_7b = json!({
        "alibi": false, "architectures": ["FalconForCausalLM"], "bias": false, "hidden_size": 4544,
        "layer_norm_epsilon": 1e-5, "multi_query": true, "new_decoder_architecture": false, "num_attention_heads": 71,
        "num_hidden_layers": 32, "parallel_attn": true, "vocab_size": 65024,
    });
    let falcon_40b = with(
        &falcon_7b,
        &json!({"hidden_size": 8192, "new_decoder_architecture": true, "num_attention_heads": 128, "num_hidden_layers": 60, "num_kv_heads": 8}),
    );
    assert_eq!(read(&pythia_70m).rotations[0].turned, 16);
    for (config, published) in [
        (phi3_mini, 3_821_079_552),
        (gpt2, 124_439_808),
        (gpt2_medium, 354_823_168),
        (pythia_70m, 70_426_624),
        (pythia_1b, 1_011_781_632),
        (falcon_7b, 6_921_720_704),
        (falcon_40b, 41_303_293_952),
    ] {
        assert_eq!(parameters(&read(&config)), published, "{}", config["architectures"]);
    }
}

/// With `DEPTHSCOPE_CONFIGS=FOLDER cargo test --test configs -- --ignored --nocapture`: what becomes of every configuration there.
#[test]
#[ignore = "reads the configurations in the folder $DEPTHSCOPE_CONFIGS"]
fn every_configuration_of_a_folder_is_read_or_refused_with_a_reason() {
    let folder = std::env::var("DEPTHSCOPE_CONFIGS").expect("DEPTHSCOPE_CONFIGS names a folder");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == "json")) {
        let config: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let name = path.file_name().unwrap().to_string_lossy();
        match read_config(&config) {
            Ok(config) => eprintln!("{name}: {} with {} parameters", config.family, parameters(&config)),
            Err(error) => eprintln!("{name}: {error}"),
        }
    }
}

#[test]
fn a_model_of_another_kind_is_refused_with_what_is_supported() {
    for architecture in [
        "BertForSequenceClassification",
        "MambaForCausalLM",
        "RwkvForCausalLM",
        "T5ForConditionalGeneration",
        "BloomForCausalLM",
    ] {
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

#[test]
fn bert_has_its_published_parameters_and_looks_both_ways() {
    let mut config = json!({
        "architectures": ["BertForMaskedLM"], "hidden_act": "gelu", "hidden_size": 768, "intermediate_size": 3072,
        "layer_norm_eps": 1e-12, "max_position_embeddings": 512, "model_type": "bert", "num_attention_heads": 12,
        "num_hidden_layers": 12, "pad_token_id": 0, "type_vocab_size": 2, "vocab_size": 30522,
    });
    // Without the pooler, which nothing reads.
    assert_eq!(counts(&config), (109_514_298, 102_426_426));
    assert_eq!(read(&config).sight(), Sight::Both);
    assert!(read(&config).untrainable().is_some());
    for (field, value) in [("hidden_size", 1024), ("intermediate_size", 4096), ("num_attention_heads", 16)] {
        config[field] = json!(value);
    }
    config["num_hidden_layers"] = json!(24);
    assert_eq!(parameters(&read(&config)), 335_174_458);
    config["architectures"] = json!(["BertForQuestionAnswering"]);
    let answering = read(&config);
    assert_eq!((answering.outputs(), parameters(&answering)), (2, 334_094_338));
}

#[test]
fn what_of_bert_is_not_supported_is_refused() {
    for (field, value) in [("position_embedding_type", json!("relative_key")), ("is_decoder", json!(true))] {
        let mut config = json!({
            "architectures": ["BertForMaskedLM"], "hidden_act": "gelu", "hidden_size": 24, "intermediate_size": 48,
            "layer_norm_eps": 1e-12, "max_position_embeddings": 32, "num_attention_heads": 4, "num_hidden_layers": 3,
            "vocab_size": 64,
        });
        config[field] = value;
        let message = read_config(&config).unwrap_err().to_string();
        assert!(message.contains(field), "{message}");
    }
}
