//! The table `layers`: one row per block.

use polars::prelude::DataFrame;

use super::TableError;
use super::columns::{counts, floats, indices, names};
use crate::rows::LayerRow;

/// `model, layer, input_variance, output_variance, attention_variance, feed_forward_variance, output_rms, attention_ratio,
/// feed_forward_ratio, block_influence, tokens`; the fields of [`LayerRow`], in its units.
///
/// # Errors
/// When a layer is beyond 32 bits.
pub fn layers(rows: &[LayerRow]) -> Result<DataFrame, TableError> {
    let float = |name, field: fn(&LayerRow) -> f64| floats(name, rows.iter().map(field));
    DataFrame::new_infer_height(vec![
        names("model", rows.iter().map(|row| row.model.as_str())),
        indices("layer", rows.iter().map(|row| row.layer))?,
        float("input_variance", |row| row.input_variance),
        float("output_variance", |row| row.output_variance),
        float("attention_variance", |row| row.attention_variance),
        float("feed_forward_variance", |row| row.feed_forward_variance),
        float("output_rms", |row| row.output_rms),
        float("attention_ratio", |row| row.attention_ratio),
        float("feed_forward_ratio", |row| row.feed_forward_ratio),
        float("block_influence", |row| row.block_influence),
        counts("tokens", rows.iter().map(|row| row.tokens)),
    ])
    .map_err(TableError::Build)
}
