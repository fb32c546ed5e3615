//! Checkpoints of random weights, written as Hugging Face folders.

use std::path::Path;

use depthscope::rng::Rng;
use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Value, json};

/// Sizes of a random Llama.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub layers: usize,
    pub hidden: usize,
    pub intermediate: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub vocab: usize,
}

impl Shape {
    pub const TINY: Self = Self { layers: 5, hidden: 16, intermediate: 24, heads: 4, kv_heads: 2, vocab: 40 };

    pub fn config(self) -> Value {
        json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
            "vocab_size": self.vocab, "hidden_size": self.hidden, "intermediate_size": self.intermediate,
            "num_hidden_layers": self.layers, "num_attention_heads": self.heads, "num_key_value_heads": self.kv_heads,
            "max_position_embeddings": 2048, "rms_norm_eps": 1e-6, "tie_word_embeddings": false,
        })
    }

    /// Every tensor: name and shape.
    pub fn tensors(self) -> Vec<(String, Vec<usize>)> {
        let Self { layers, hidden, intermediate, heads, kv_heads, vocab } = self;
        let kv = kv_heads * (hidden / heads);
        let mut tensors = vec![
            ("model.embed_tokens.weight".to_owned(), vec![vocab, hidden]),
            ("model.norm.weight".to_owned(), vec![hidden]),
            ("lm_head.weight".to_owned(), vec![vocab, hidden]),
        ];
        for layer in 0..layers {
            let of_block = [
                ("input_layernorm", vec![hidden]),
                ("post_attention_layernorm", vec![hidden]),
                ("self_attn.q_proj", vec![hidden, hidden]),
                ("self_attn.k_proj", vec![kv, hidden]),
                ("self_attn.v_proj", vec![kv, hidden]),
                ("self_attn.o_proj", vec![hidden, hidden]),
                ("mlp.gate_proj", vec![intermediate, hidden]),
                ("mlp.up_proj", vec![intermediate, hidden]),
                ("mlp.down_proj", vec![hidden, intermediate]),
            ];
            tensors.extend(of_block.map(|(name, shape)| (format!("model.layers.{layer}.{name}.weight"), shape)));
        }
        tensors
    }
}

/// Changes some elements of a tensor before it is written.
pub type Edit<'a> = &'a dyn Fn(&str, &mut Vec<f32>);

/// config.json and model.safetensors in `folder`: norms around 1, matrices scaled so that every layer matters.
pub fn write(folder: &Path, shape: Shape, seed: u64, edit: Edit) {
    std::fs::write(folder.join("config.json"), shape.config().to_string()).unwrap();
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = shape
        .tensors()
        .into_iter()
        .enumerate()
        .map(|(index, (name, dims))| {
            let mut rng = Rng::for_item(seed, index as u64);
            let (mean, spread) = if dims.len() == 1 { (1.0, 0.2) } else { (0.0, 1.2 / (dims[1] as f64).sqrt()) };
            let mut values: Vec<f32> =
                (0..dims.iter().product()).map(|_| (mean + spread * rng.normal()) as f32).collect();
            edit(&name, &mut values);
            let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            (name, dims, bytes)
        })
        .collect();
    let views = tensors
        .iter()
        .map(|(name, dims, bytes)| (name.clone(), TensorView::new(Dtype::F32, dims.clone(), bytes).unwrap()));
    std::fs::write(folder.join("model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
}

/// Sequences of random tokens.
pub fn sequences(lengths: &[usize], vocab: usize, seed: u64) -> Vec<Vec<u32>> {
    let mut rng = Rng::new(seed);
    lengths.iter().map(|&length| (0..length).map(|_| rng.below(vocab) as u32).collect()).collect()
}
