//! Our decoder against candle-transformers, as a user runs it on his own checkpoint.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod support;

use std::{path::Path, sync::atomic::AtomicBool};

use candle_core::{DType, Device};
use depthscope::{
    model::{Decoder, ModelError, Residency::Streamed, families::read_config, families::reference::Feature},
    source::TensorFiles,
    verify::{Comparison, Cut, VerifyError, default_tokens, verify},
    walk::{WalkError, Watch},
};
use serde_json::{Value, json};
use support::{fixture, json as read_json, random_model, tokens};

/// Of the logits' root mean square, in f32.
const CLOSE: f64 = 1e-4;
/// The longest sequence of every fixture, longer than any window.
const LONGEST: usize = 1;

struct Case<'a> {
    weights: &'a Path,
    ours: Value,
    reference: Value,
    dtype: DType,
}

impl Case<'_> {
    fn verify(&self, tokens: &[u32]) -> Result<Comparison, VerifyError> {
        static NEVER: AtomicBool = AtomicBool::new(false);
        let files = TensorFiles::open(&[self.weights.join("model.safetensors")]).unwrap();
        let decoder =
            Decoder::open(read_config(&self.ours).unwrap(), files, Device::Cpu, self.dtype, Streamed).unwrap();
        verify(&decoder, &self.reference, tokens, &Watch { interrupted: &NEVER, progress: &|_| () })
    }
}

/// A fixture with changes to its configuration, for both sides.
fn fixture_with(name: &str, dtype: DType, changes: &Value) -> Result<Comparison, VerifyError> {
    let folder = fixture(name);
    let config = changed(read_json(&folder.join("config.json")), changes);
    let case = Case { weights: &folder, ours: config.clone(), reference: config, dtype };
    case.verify(&tokens(&folder)[LONGEST])
}

fn changed(mut config: Value, changes: &Value) -> Value {
    config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    config
}

fn assert_close(what: &str, comparison: &Comparison) {
    let (position, difference) = comparison.largest();
    let (relative, rms) = (comparison.relative(), comparison.rms());
    assert!(relative < CLOSE && rms > 0.1, "{what}: {difference:e} at position {position}, {relative:e} of {rms}");
    assert_eq!(comparison.top1_agreements(), comparison.positions.len(), "{what}");
}

fn missing(result: Result<Comparison, VerifyError>) -> Vec<Feature> {
    match result {
        Err(VerifyError::NotImplemented { missing, .. }) => missing,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_fixture_that_candle_implements_agrees_at_every_position() {
    for name in ["llama", "mistral", "qwen2_full", "qwen3"] {
        let comparison = fixture_with(name, DType::F32, &json!({})).unwrap();
        assert_close(name, &comparison);
        assert_eq!((comparison.positions.len(), comparison.cut), (28, None), "{name}");
    }
}

#[test]
fn configurations_of_transformers_4_agree_as_well() {
    for name in ["llama", "mistral", "qwen2_full", "qwen3"] {
        let folder = fixture(name);
        let config = read_json(&folder.join("config_v4.json"));
        let case = Case { weights: &folder, ours: config.clone(), reference: config, dtype: DType::F32 };
        assert_close(name, &case.verify(&tokens(&folder)[LONGEST]).unwrap());
    }
}

#[test]
fn windows_that_differ_between_layers_are_compared_up_to_the_window() {
    let comparison = fixture_with("qwen2", DType::F32, &json!({})).unwrap();
    assert_close("qwen2", &comparison);
    assert_eq!((comparison.positions.len(), comparison.cut), (6, Some(Cut { given: 28, window: 6 })));
}

#[test]
fn a_window_in_every_layer_is_compared_beyond_it() {
    let changes = json!({"max_window_layers": 0, "layer_types": null});
    let comparison = fixture_with("qwen2", DType::F32, &changes).unwrap();
    assert_close("qwen2, every layer", &comparison);
    assert_eq!((comparison.positions.len(), comparison.cut), (28, None));
}

#[test]
fn a_window_that_candle_has_no_mask_for_is_compared_up_to_the_window() {
    let changes = json!({"use_sliding_window": true, "sliding_window": 6, "max_window_layers": 0, "layer_types": null});
    let comparison = fixture_with("qwen3", DType::F32, &changes).unwrap();
    assert_close("qwen3, window", &comparison);
    assert_eq!(comparison.cut, Some(Cut { given: 28, window: 6 }));
}

#[test]
fn llama3_rope_scaling_agrees() {
    let folder = tempfile::tempdir().unwrap();
    random_model::write(folder.path(), random_model::Shape::TINY, 3, &|_, _| ());
    let scaling = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 80});
    let config = changed(
        random_model::Shape::TINY.config(),
        &json!({"rope_theta": 100.0, "rope_scaling": scaling, "eos_token_id": [1, 2]}),
    );
    let case = Case { weights: folder.path(), ours: config.clone(), reference: config.clone(), dtype: DType::F32 };
    let tokens = default_tokens(40, 0, 32);
    assert_close("llama3 rope", &case.verify(&tokens).unwrap());
    // The scaling is not without effect here.
    let plain = Case { reference: changed(config, &json!({"rope_scaling": null})), ..case };
    assert!(plain.verify(&tokens).unwrap().relative() > 0.01);
}

#[test]
fn what_candle_does_not_implement_is_named_and_not_a_difference() {
    use Feature::{AttentionBias, ExplicitHeadDim, FeedForwardBias, HalfTypeRope, LinearRope, Llama3Rope};
    let none = json!({});
    assert_eq!(missing(fixture_with("llama31", DType::F32, &none)), [ExplicitHeadDim]);
    assert_eq!(missing(fixture_with("llama_mha", DType::F32, &none)), [AttentionBias, FeedForwardBias, LinearRope]);
    assert_eq!(missing(fixture_with("qwen2_full", DType::BF16, &none)), [HalfTypeRope]);
    let linear = json!({"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10_000.0}});
    let llama3 = json!({"rope_parameters": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 64, "rope_theta": 10_000.0}});
    for name in ["mistral", "qwen2", "qwen3"] {
        assert_eq!(missing(fixture_with(name, DType::F32, &linear)), [LinearRope], "{name}");
        assert_eq!(missing(fixture_with(name, DType::F32, &llama3)), [Llama3Rope], "{name}");
    }
}

#[test]
fn a_tied_head_is_verified_where_candle_ties_and_named_where_it_does_not() {
    let folder = tempfile::tempdir().unwrap();
    random_model::write(folder.path(), random_model::Shape::TINY, 4, &|_, _| ());
    let config = changed(random_model::Shape::TINY.config(), &json!({"tie_word_embeddings": true}));
    let case = Case { weights: folder.path(), ours: config.clone(), reference: config.clone(), dtype: DType::F32 };
    // The checkpoint has a head of its own, which both must ignore.
    assert_close("tied", &case.verify(&default_tokens(40, 0, 16)).unwrap());
    let config = changed(config, &json!({"architectures": ["MistralForCausalLM"]}));
    let case = Case { weights: folder.path(), ours: config.clone(), reference: config, dtype: DType::F32 };
    assert_eq!(missing(case.verify(&[1, 2])), [Feature::TiedHead]);
}

#[test]
fn the_message_names_what_is_missing_and_what_to_do() {
    let message = fixture_with("llama_mha", DType::F32, &json!({})).unwrap_err().to_string();
    assert!(message.contains("cannot be verified (candle-transformers has no attention biases, no feed-forward"));
    assert!(message.contains("linear rope scaling for LlamaForCausalLM); compare with transformers"), "{message}");
    let message = fixture_with("qwen2", DType::BF16, &json!({})).unwrap_err().to_string();
    assert!(message.ends_with("use --dtype f32"), "{message}");
}

/// Against f32, our own bf16 is off by 0.08 of the root mean square here and f16 by 0.01; two such roundings may add up.
#[test]
fn half_types_agree_as_far_as_they_go() {
    for name in ["llama", "mistral", "qwen3"] {
        for (dtype, tolerance) in [(DType::BF16, 0.2), (DType::F16, 0.02)] {
            let comparison = fixture_with(name, dtype, &json!({})).unwrap();
            assert!(comparison.relative() < tolerance, "{name} {dtype:?}: {:e}", comparison.relative());
        }
    }
}

#[test]
fn a_misread_configuration_shows() {
    for (name, field, value) in [
        ("llama", "rope_parameters", json!({"rope_theta": 1_000.0, "rope_type": "default"})),
        ("llama", "rms_norm_eps", json!(0.05)),
        ("mistral", "sliding_window", json!(7)),
        ("mistral", "sliding_window", json!(null)),
        ("qwen2_full", "rope_parameters", json!({"rope_theta": 1_000.0, "rope_type": "default"})),
        ("qwen3", "rms_norm_eps", json!(0.05)),
    ] {
        let folder = fixture(name);
        let reference = read_json(&folder.join("config.json"));
        let ours = changed(reference.clone(), &json!({ field: value }));
        let case = Case { weights: &folder, ours, reference, dtype: DType::F32 };
        let comparison = case.verify(&tokens(&folder)[LONGEST]).unwrap();
        assert!(comparison.relative() > 100.0 * CLOSE, "{name} {field} {value}: {:e}", comparison.relative());
    }
}

#[test]
fn a_token_outside_the_vocabulary_is_refused_before_the_reference_sees_it() {
    let folder = fixture("llama");
    let config = read_json(&folder.join("config.json"));
    let case = Case { weights: &folder, ours: config.clone(), reference: config.clone(), dtype: DType::F32 };
    let refused = case.verify(&[1, 96]);
    assert!(matches!(refused, Err(VerifyError::Walk(WalkError::UnknownToken { position: 1, id: 96, .. }))));
    assert!(matches!(case.verify(&[]), Err(VerifyError::Walk(WalkError::Empty { .. }))));
    let other = Case { reference: json!(null), ..case };
    let refused = other.verify(&[1]);
    assert!(matches!(refused, Err(VerifyError::Model(ModelError::UnsupportedArchitecture { .. }))));
}

#[test]
fn an_interruption_stops_it() {
    let folder = fixture("llama");
    let config = read_json(&folder.join("config.json"));
    let decoder = support::open(&folder, "config.json", DType::F32, Streamed);
    let interrupted = AtomicBool::new(false);
    // As soon as the reference is at work, which is after our share.
    let progress = |done: f64| interrupted.store(done > 0.2, std::sync::atomic::Ordering::Relaxed);
    let watch = Watch { interrupted: &interrupted, progress: &progress };
    let stopped = verify(&decoder, &config, &[1, 2, 3, 4, 5, 6, 7, 8, 9], &watch);
    assert!(matches!(stopped, Err(VerifyError::Walk(WalkError::Interrupted))));
}
