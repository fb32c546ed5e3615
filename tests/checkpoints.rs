//! Checkpoints as they lie on disks: damaged ones are refused with what is wrong, unusual ones give the same numbers.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::{collections::BTreeMap, path::Path};

use candle_core::{DType, Device};
use depthscope::{
    model::{Decoder, LayeredModel, ModelError, PreflightReport, Residency, families::read_config},
    source::{Checkpoint, ModelRef, hub::Silent},
    walk::{NextTokenScores, Route, WalkError},
};
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::json;
use support::{
    random_model::{self, Shape},
    roomy, walk,
};
use tempfile::TempDir;

const SHAPE: Shape = Shape::TINY;
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// A tensor: type, shape, bytes.
type Stored = (Dtype, Vec<usize>, Vec<u8>);

/// A random checkpoint whose tensors may be changed before they are written.
struct Draft {
    folder: TempDir,
    tensors: BTreeMap<String, Stored>,
}

impl Draft {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        random_model::write(folder.path(), SHAPE, 1, &|_, _| ());
        let bytes = std::fs::read(folder.path().join(WEIGHTS)).unwrap();
        std::fs::remove_file(folder.path().join(WEIGHTS)).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap().tensors().into_iter();
        let stored = |view: TensorView<'_>| (view.dtype(), view.shape().to_vec(), view.data().to_vec());
        let tensors = tensors.map(|(name, view)| (name, stored(view))).collect();
        Self { folder, tensors }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn rename(&mut self, from: &str, to: &str) {
        let tensor = self.tensors.remove(from).unwrap();
        self.tensors.insert(to.to_owned(), tensor);
    }

    fn set(&mut self, name: &str, element: usize, value: f32) {
        self.tensors.get_mut(name).unwrap().2[element * 4..][..4].copy_from_slice(&value.to_le_bytes());
    }

    /// Every tensor, its elements converted.
    fn convert<const N: usize>(&mut self, dtype: Dtype, element: impl Fn(f32) -> [u8; N]) {
        for tensor in self.tensors.values_mut() {
            let values = tensor.2.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
            tensor.2 = values.flat_map(&element).collect();
            tensor.0 = dtype;
        }
    }

    /// Those tensors that `belongs` names, as one file.
    fn write(&self, file: &str, belongs: impl Fn(&str) -> bool) {
        let views = self.tensors.iter().filter(|(name, _)| belongs(name)).map(|(name, (dtype, shape, bytes))| {
            (name.clone(), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
        });
        std::fs::write(self.path().join(file), safetensors::serialize(views, None).unwrap()).unwrap();
    }

    /// Everything in one file.
    fn written(self) -> Self {
        self.write(WEIGHTS, |_| true);
        self
    }

    fn open(&self, residency: Residency) -> Result<Decoder, ModelError> {
        let model = ModelRef::Folder(self.path().to_owned());
        let Checkpoint { config, tensors, .. } = Checkpoint::open(&model, &Silent).unwrap();
        Decoder::open(read_config(&config)?, tensors, Device::Cpu, DType::F32, residency)
    }

    fn preflight(&self) -> (PreflightReport, String) {
        let error = self.open(Residency::Resident).err().unwrap();
        let message = error.to_string();
        match error {
            ModelError::Preflight(report) => (*report, message),
            other => panic!("{other}"),
        }
    }

    fn scores(&self, residency: Residency) -> NextTokenScores {
        scores(&self.open(residency).unwrap()).unwrap()
    }
}

fn scores(model: &Decoder) -> Result<NextTokenScores, WalkError> {
    let sequences = random_model::sequences(&[12, 5], SHAPE.vocab, 2);
    let route = Route::without(depthscope::rows::Part::Block, 1..=1);
    walk(model, &sequences, &[route], roomy(DType::F32), &mut [])
}

/// What a walk over a checkpoint with one bad element says.
fn message_of_bad_element(tensor: &str, element: usize, value: f32, residency: Residency) -> String {
    let mut draft = Draft::new();
    draft.set(tensor, element, value);
    // Opening reads no weights: the walk must find it.
    scores(&draft.written().open(residency).unwrap()).unwrap_err().to_string()
}

#[test]
fn a_weight_that_is_not_finite_is_reported_with_its_layer_and_tensor() {
    for residency in [Residency::Resident, Residency::Streamed] {
        for (layer, value, shown) in [(0, f32::NAN, "NaN"), (2, f32::INFINITY, "inf"), (4, f32::NEG_INFINITY, "-inf")] {
            for part in ["self_attn.v_proj", "mlp.down_proj", "input_layernorm"] {
                let tensor = format!("model.layers.{layer}.{part}.weight");
                let message = message_of_bad_element(&tensor, 3, value, residency);
                let expected = format!("({tensor}, layer {layer}: {shown} at element 3)");
                assert!(message.contains(&expected), "{message}");
            }
        }
    }
}

#[test]
fn of_several_layers_that_are_not_finite_the_first_is_reported() {
    let mut draft = Draft::new();
    for layer in [1, 3] {
        draft.set(&format!("model.layers.{layer}.mlp.up_proj.weight"), 0, f32::NAN);
    }
    let message = scores(&draft.written().open(Residency::Streamed).unwrap()).unwrap_err().to_string();
    assert!(message.contains("model.layers.1.mlp.up_proj.weight, layer 1"), "{message}");
}

#[test]
fn a_bad_element_outside_the_blocks_is_reported_without_a_layer() {
    for residency in [Residency::Resident, Residency::Streamed] {
        // The element of the embedding must belong to a token that is asked for: a streamed model reads no other.
        let token = random_model::sequences(&[12, 5], SHAPE.vocab, 2)[1][4] as usize;
        for (tensor, element) in [
            ("model.embed_tokens.weight", token * SHAPE.hidden + 2),
            ("model.norm.weight", 7),
            ("lm_head.weight", 39 * SHAPE.hidden),
        ] {
            let message = message_of_bad_element(tensor, element, f32::NAN, residency);
            assert!(message.contains(&format!("({tensor}: NaN at element {element})")), "{residency:?} {message}");
        }
    }
}

#[test]
fn weights_that_are_finite_but_overflow_are_reported_with_the_layer() {
    let mut draft = Draft::new();
    for element in 0..SHAPE.hidden {
        draft.set("model.layers.2.mlp.down_proj.weight", element, f32::MAX);
    }
    let message = scores(&draft.written().open(Residency::Resident).unwrap()).unwrap_err().to_string();
    assert!(message.contains("after layer 2"), "{message}");
}

#[test]
fn missing_unexpected_and_misshaped_tensors_are_all_in_one_error() {
    let mut draft = Draft::new();
    draft.rename("model.layers.3.self_attn.q_proj.weight", "model.layers.3.self_attn.q_porj.weight");
    draft.tensors.remove("model.norm.weight");
    draft.tensors.insert("model.layers.0.extra".to_owned(), (Dtype::F32, vec![1], vec![0; 4]));
    draft.tensors.get_mut("model.layers.1.mlp.up_proj.weight").unwrap().1.reverse();
    let (report, message) = draft.written().preflight();
    let missing: Vec<&str> = report.missing.iter().map(|missing| missing.0.as_str()).collect();
    assert_eq!(missing, ["model.layers.3.self_attn.q_proj.weight", "model.norm.weight"]);
    assert_eq!(report.missing[0].1.as_deref(), Some("model.layers.3.self_attn.q_porj.weight"));
    assert_eq!(report.missing[1].1, None);
    assert_eq!(report.unexpected, ["model.layers.0.extra", "model.layers.3.self_attn.q_porj.weight"]);
    let misshaped = ("model.layers.1.mlp.up_proj.weight".to_owned(), vec![24, 16], vec![16, 24]);
    assert_eq!(report.misshaped, [misshaped]);
    for line in [
        "2 tensors missing, 2 unexpected, 1 of another shape",
        "missing     model.layers.3.self_attn.q_proj.weight (is it model.layers.3.self_attn.q_porj.weight?)",
        "missing     model.norm.weight\n",
        "unexpected  model.layers.0.extra\n",
        "shape       model.layers.1.mlp.up_proj.weight is [16, 24], not [24, 16]",
    ] {
        assert!(message.contains(line), "{line} is not in\n{message}");
    }
}

#[test]
fn a_near_miss_is_the_tensor_of_the_same_layer() {
    let mut draft = Draft::new();
    for layer in 0..SHAPE.layers {
        let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
        draft.rename(&name("self_attn.k_proj"), &name("self_attn.key_proj"));
    }
    for (missing, near) in draft.written().preflight().0.missing {
        assert_eq!(near, Some(missing.replace("k_proj", "key_proj")));
    }
}

#[test]
fn a_checkpoint_of_another_depth_is_refused_and_does_not_flood_the_screen() {
    let draft = Draft::new().written();
    let mut config = SHAPE.config();
    config["num_hidden_layers"] = json!(100);
    std::fs::write(draft.path().join("config.json"), config.to_string()).unwrap();
    let (report, message) = draft.preflight();
    assert_eq!(report.missing.len(), 95 * 9);
    assert!(message.contains("855 tensors missing") && message.contains("and 843 more"), "{message}");
    assert!(message.lines().count() < 20);
}

#[test]
fn shards_give_the_same_scores_as_one_file() {
    let single = Draft::new().written();
    let sharded = Draft::new();
    let of_second = |name: &str| name.contains(".3.") || name.contains(".4.") || name == "lm_head.weight";
    let names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    sharded.write(names[0], |name| !of_second(name));
    sharded.write(names[1], of_second);
    let map: BTreeMap<&String, &str> =
        sharded.tensors.keys().map(|name| (name, names[usize::from(of_second(name))])).collect();
    let index = json!({"metadata": {"total_size": 1}, "weight_map": map});
    std::fs::write(sharded.path().join(INDEX), index.to_string()).unwrap();
    for residency in [Residency::Resident, Residency::Streamed] {
        assert_eq!(sharded.scores(residency), single.scores(Residency::Resident));
    }
    std::fs::remove_file(sharded.path().join(names[1])).unwrap();
    let model = ModelRef::Folder(sharded.path().to_owned());
    let message = Checkpoint::open(&model, &Silent).err().unwrap().to_string();
    assert!(message.contains(names[1]), "{message}");
}

#[test]
fn an_index_that_climbs_out_of_its_folder_is_refused_even_if_the_file_is_there() {
    let draft = Draft::new();
    let inner = draft.path().join("inner");
    std::fs::create_dir(&inner).unwrap();
    std::fs::copy(draft.path().join("config.json"), inner.join("config.json")).unwrap();
    draft.write(WEIGHTS, |_| true);
    let absolute = draft.path().join(WEIGHTS);
    for shard in ["../model.safetensors", "./../model.safetensors", absolute.to_str().unwrap()] {
        let map: BTreeMap<&String, &str> = draft.tensors.keys().map(|name| (name, shard)).collect();
        std::fs::write(inner.join(INDEX), json!({"weight_map": map}).to_string()).unwrap();
        let message = Checkpoint::open(&ModelRef::Folder(inner.clone()), &Silent).err().unwrap().to_string();
        assert!(message.contains("outside its folder") && message.contains(shard), "{message}");
    }
}

#[test]
fn half_precision_checkpoints_give_nearly_the_same_scores() {
    let exact = Draft::new().written().scores(Residency::Resident);
    let halves: [fn(&mut Draft); 2] = [
        |draft| draft.convert(Dtype::F16, |x| f16::from_f32(x).to_le_bytes()),
        |draft| draft.convert(Dtype::BF16, |x| bf16::from_f32(x).to_le_bytes()),
    ];
    for (convert, tolerance) in halves.into_iter().zip([5e-3, 4e-2]) {
        let mut draft = Draft::new();
        convert(&mut draft);
        let draft = draft.written();
        let half = draft.scores(Residency::Resident);
        assert_ne!(half, exact);
        for (half, exact) in half.full.iter().zip(&exact.full) {
            assert!((half.nll - exact.nll).abs() < tolerance * exact.nll, "{} {}", half.nll, exact.nll);
        }
        // A streamed model reads single rows of the embedding and tiles of the head: the same numbers.
        assert_eq!(draft.scores(Residency::Streamed), half);
    }
}

#[test]
fn a_half_precision_checkpoint_is_what_its_widened_copy_is() {
    let mut draft = Draft::new();
    draft.convert(Dtype::BF16, |x| bf16::from_f32(x).to_le_bytes());
    let half = draft.written();
    let mut draft = Draft::new();
    draft.convert(Dtype::F32, |x| bf16::from_f32(x).to_f32().to_le_bytes());
    assert_eq!(half.scores(Residency::Resident), draft.written().scores(Residency::Resident));
}

#[test]
fn integer_buffers_and_old_rotary_tables_are_ignored() {
    let plain = Draft::new().written();
    let mut draft = Draft::new();
    draft.tensors.insert("model.position_ids".to_owned(), (Dtype::I64, vec![2], vec![0; 16]));
    draft.tensors.insert("model.layers.0.self_attn.bias".to_owned(), (Dtype::BOOL, vec![2], vec![1; 2]));
    let tables = (Dtype::F32, vec![2], vec![0; 8]);
    draft.tensors.insert("model.layers.0.self_attn.rotary_emb.inv_freq".to_owned(), tables);
    assert_eq!(draft.written().scores(Residency::Resident), plain.scores(Residency::Resident));
}

#[test]
fn a_weight_of_integers_is_missing_and_one_of_eight_bits_is_named() {
    let mut draft = Draft::new();
    draft.tensors.get_mut("model.norm.weight").unwrap().0 = Dtype::I32;
    assert_eq!(draft.written().preflight().0.missing, [("model.norm.weight".to_owned(), None)]);
    let mut draft = Draft::new();
    let eight_bits = (Dtype::F8_E4M3, vec![SHAPE.hidden], vec![0; SHAPE.hidden]);
    draft.tensors.insert("model.norm.weight".to_owned(), eight_bits);
    let draft = draft.written();
    let message = Checkpoint::open(&ModelRef::Folder(draft.path().to_owned()), &Silent).err().unwrap().to_string();
    assert!(message.contains("model.norm.weight") && message.contains("bf16"), "{message}");
}

#[test]
fn a_tied_checkpoint_may_carry_its_head_twice_or_not_at_all() {
    let mut config = SHAPE.config();
    config["tie_word_embeddings"] = json!(true);
    let mut scores = Vec::new();
    for keep in [true, false] {
        let mut draft = Draft::new();
        let embedding = draft.tensors["model.embed_tokens.weight"].clone();
        draft.tensors.insert("lm_head.weight".to_owned(), embedding);
        if !keep {
            draft.tensors.remove("lm_head.weight");
        }
        std::fs::write(draft.path().join("config.json"), config.to_string()).unwrap();
        let draft = draft.written();
        for residency in [Residency::Resident, Residency::Streamed] {
            scores.push(draft.scores(residency));
        }
    }
    assert!(scores.iter().all(|other| *other == scores[0]));
    // The same numbers as an untied model with equal matrices.
    let mut draft = Draft::new();
    let embedding = draft.tensors["model.embed_tokens.weight"].clone();
    draft.tensors.insert("lm_head.weight".to_owned(), embedding);
    assert_eq!(draft.written().scores(Residency::Resident), scores[0]);
}

#[test]
fn a_streamed_model_is_the_resident_one() {
    let draft = Draft::new().written();
    assert_eq!(draft.scores(Residency::Streamed), draft.scores(Residency::Resident));
    assert_eq!(draft.open(Residency::Resident).unwrap().shape().layers, SHAPE.layers);
}
