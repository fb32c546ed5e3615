//! Where a checkpoint keeps the tensors that the decoder asks for under its own names, which are Llama's.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use super::{DecoderConfig, names};
use crate::source::TensorFiles;

/// A table of names: what is not in it is stored as it is called. As in a template, `{}` stands for the number of an expert.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layout {
    /// What names of blocks begin with, before the layer's number, where it is not `model.layers.`.
    pub blocks: Option<&'static str>,
    /// Tensors that are stored under other names, or as part of others; without `.weight` and `.bias`, which stay.
    pub renamed: Vec<Renamed>,
    /// Other beginnings of the stored names, (usual, other): a checkpoint without the usual embedding may be stored so.
    pub alternatives: Vec<(&'static str, &'static str)>,
    /// Other endings of the stored names, (usual, other): a checkpoint that has a name with the other may be stored so.
    pub endings: Vec<(&'static str, &'static str)>,
    /// Tensors that nothing reads: a name, with `*` at its beginning or end.
    pub ignored: Vec<String>,
    /// The alternative that a checkpoint has taken.
    pub(super) chosen: Option<(&'static str, &'static str)>,
    /// The endings that a checkpoint has taken.
    pub(super) ended: Vec<(&'static str, &'static str)>,
}

/// A row of the table.
#[derive(Clone, Debug, PartialEq)]
pub struct Renamed {
    /// Our name: in a block what follows `model.layers.N.`, else all of it.
    pub ours: &'static str,
    /// The stored one.
    pub theirs: &'static str,
    /// Which part of it.
    pub take: Take,
}

/// Which part of a stored tensor is ours.
#[derive(Clone, Debug, PartialEq)]
pub enum Take {
    /// All.
    Whole,
    /// Some rows: our row i is their row `rows[i]`.
    Rows {
        /// Number of their rows.
        of: usize,
        /// Theirs, in our order.
        rows: Arc<[u32]>,
    },
    /// Some columns, which are our rows: theirs is `[in, out]` (GPT-2). Of a bias, some elements.
    Columns {
        /// Number of their columns.
        of: usize,
        /// Ours.
        columns: Range<usize>,
    },
}

impl Take {
    /// These rows of `of`.
    pub fn rows(of: usize, rows: impl IntoIterator<Item = usize>) -> Self {
        Self::Rows { of, rows: rows.into_iter().map(|row| row as u32).collect() }
    }
}

/// A tensor in the checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// What of it is ours.
    pub take: Take,
}

const SUFFIXES: [&str; 2] = [".weight", ".bias"];

impl Layout {
    /// Where the tensor of this name and shape of ours is stored.
    #[must_use]
    pub fn stored(&self, ours: &str, shape: &[usize]) -> Stored {
        let (prefix, part) = match names::in_block(ours) {
            Some((layer, part)) => (format!("{}{layer}.", self.blocks.unwrap_or(names::BLOCKS)), part),
            None => (String::new(), ours),
        };
        let (name, take) = self.renamed(part);
        let shape = match &take {
            Take::Whole => shape.to_vec(),
            Take::Rows { of, .. } => [&[*of], &shape[1..]].concat(),
            Take::Columns { of, .. } => shape.iter().skip(1).copied().chain([*of]).collect(),
        };
        Stored { name: self.chosen(&format!("{prefix}{name}")), shape, take }
    }

    /// The stored name of a part, and what of it is ours.
    fn renamed(&self, part: &str) -> (String, Take) {
        let (template, number) = template(part);
        let suffix = SUFFIXES.into_iter().find(|suffix| template.ends_with(suffix)).unwrap_or("");
        let stem = template.strip_suffix(suffix).unwrap_or(&template);
        let row = |name: &str| self.renamed.iter().find(|row| row.ours == name);
        let (row, suffix) = match (row(&template), row(stem)) {
            (Some(row), _) => (row, ""),
            (None, Some(row)) => (row, suffix),
            (None, None) => return (part.to_owned(), Take::Whole),
        };
        let theirs = number.map_or_else(|| row.theirs.to_owned(), |number| row.theirs.replace("{}", number));
        (format!("{theirs}{suffix}"), row.take.clone())
    }

    fn chosen(&self, name: &str) -> String {
        let other = self.chosen.and_then(|(usual, other)| Some(format!("{other}{}", name.strip_prefix(usual)?)));
        let name = other.unwrap_or_else(|| name.to_owned());
        let ended = |&(usual, other): &(&str, &str)| Some(format!("{}{other}", name.strip_suffix(usual)?));
        self.ended.iter().find_map(ended).unwrap_or(name)
    }

    /// The layout as this checkpoint has it, of the usual one and its alternatives.
    #[must_use]
    pub fn settled(mut self, files: &TensorFiles) -> Self {
        let there = |layout: &Self| files.tensors().contains_key(&layout.stored(names::EMBEDDING, &[1, 1]).name);
        if !there(&self) {
            let with = |alternative: &_| Self { chosen: Some(*alternative), ..self.clone() };
            if let Some(other) = self.alternatives.iter().map(with).find(there) {
                self = other;
            }
        }
        let taken = |(_, other): &&(&str, &'static str)| files.tensors().keys().any(|name| name.ends_with(other));
        self.ended = self.endings.iter().filter(taken).copied().collect();
        self
    }

    /// Whether the checkpoint may hold a tensor of this name although nothing reads it.
    #[must_use]
    pub fn ignores(&self, name: &str) -> bool {
        self.ignored.iter().any(|pattern| match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
            (Some(end), _) => name.ends_with(end),
            (_, Some(start)) => name.starts_with(start),
            _ => name == pattern,
        })
    }
}

/// A name whose expert is replaced by `{}`, and the expert's number.
fn template(part: &str) -> (String, Option<&str>) {
    let number = part.strip_prefix(names::EXPERTS).and_then(|rest| rest.split('.').next());
    match number {
        Some(number) => (
            part.replacen(&format!("{}{number}.", names::EXPERTS), &format!("{}{{}}.", names::EXPERTS), 1),
            Some(number),
        ),
        None => (part.to_owned(), None),
    }
}

/// Every tensor that a checkpoint of this configuration holds, under its stored name, with its shape.
pub fn all_stored(config: &DecoderConfig) -> BTreeMap<String, Vec<usize>> {
    let stored = names::all(config).into_iter().map(|(name, shape)| config.layout.stored(&name, &shape));
    stored.map(|stored| (stored.name, stored.shape)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_fused_tensors_and_experts_are_found_under_their_stored_names() {
        let renamed = vec![
            Renamed { ours: "self_attn.k_proj", theirs: "attention.qkv", take: Take::rows(12, 4..8) },
            Renamed { ours: "mlp.experts.{}.up_proj", theirs: "moe.{}.w3", take: Take::Whole },
            Renamed { ours: "mlp.down_proj", theirs: "mlp.c_proj", take: Take::Columns { of: 6, columns: 0..6 } },
        ];
        let layout = Layout { blocks: Some("h."), renamed, ..Layout::default() };
        let stored = |name: &str, shape: &[usize]| {
            let Stored { name, shape, .. } = layout.stored(name, shape);
            (name, shape)
        };
        assert_eq!(
            stored("model.layers.3.self_attn.k_proj.weight", &[4, 9]),
            ("h.3.attention.qkv.weight".into(), vec![12, 9])
        );
        assert_eq!(stored("model.layers.3.self_attn.k_proj.bias", &[4]), ("h.3.attention.qkv.bias".into(), vec![12]));
        assert_eq!(
            stored("model.layers.0.mlp.experts.11.up_proj.weight", &[5, 9]),
            ("h.0.moe.11.w3.weight".into(), vec![5, 9])
        );
        assert_eq!(
            stored("model.layers.0.mlp.down_proj.weight", &[6, 7]),
            ("h.0.mlp.c_proj.weight".into(), vec![7, 6])
        );
        assert_eq!(stored("model.layers.0.mlp.down_proj.bias", &[6]), ("h.0.mlp.c_proj.bias".into(), vec![6]));
        assert_eq!(stored("model.norm.weight", &[9]), ("model.norm.weight".into(), vec![9]));
    }

    #[test]
    fn endings_are_replaced_once_a_checkpoint_has_taken_them() {
        let endings = vec![("Norm.weight", "Norm.gamma"), ("Norm.bias", "Norm.beta")];
        let mut layout = Layout { blocks: Some("h."), endings: endings.clone(), ..Layout::default() };
        let name = |layout: &Layout, name| layout.stored(name, &[4]).name;
        assert_eq!(name(&layout, "model.layers.1.aNorm.bias"), "h.1.aNorm.bias");
        layout.ended = endings;
        assert_eq!(name(&layout, "model.layers.1.aNorm.bias"), "h.1.aNorm.beta");
        assert_eq!(name(&layout, "Norm.weight"), "Norm.gamma");
        assert_eq!(name(&layout, "a.weight"), "a.weight");
    }

    #[test]
    fn patterns_of_ignored_names_match_at_either_end() {
        let layout = Layout { ignored: vec!["*.attn.bias".into(), "vision.*".into(), "x".into()], ..Layout::default() };
        assert!(layout.ignores("h.0.attn.bias") && layout.ignores("vision.a.b") && layout.ignores("x"));
        assert!(!layout.ignores("h.0.attn.bias2") && !layout.ignores("xx"));
    }
}
