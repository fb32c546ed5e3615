//! DeepSeek-V2 (arXiv 2405.04434), V3 and R1 (arXiv 2412.19437): latent attention, fine-grained experts.

use serde_json::Value;

use super::{
    experts,
    fields::{Fields, bad},
    rope,
};
use crate::{
    model::{
        AttentionConfig, AttentionKind, DecoderConfig, ExpertsConfig, FeedForwardConfig, Layout, ModelError, Placement,
        Renamed, SharedConfig, Take,
    },
    nn::{
        AttentionShape,
        experts::{Groups, Routing, Scores},
        rope::yarn_magnitude,
    },
};

/// Softmax routing, from the best groups by their best expert where `topk_method` says so.
pub fn read_v2(config: &Value) -> Result<DecoderConfig, ModelError> {
    let fields = Fields::read(config)?;
    let grouped = match fields.value("topk_method").as_str() {
        None | Some("greedy") => false,
        Some("group_limited_greedy") => true,
        Some(other) => return Err(bad("topk_method", format!("`{other}` is not greedy or group_limited_greedy"))),
    };
    let routing = Routing {
        scores: Scores::Softmax,
        top_k: fields.required("num_experts_per_tok")?,
        groups: if grouped { Some(groups(&fields, 1)?) } else { None },
        normalised: false,
        factor: fields.number("routed_scaling_factor")?.unwrap_or(1.0),
    };
    read(config, &fields, "deepseek-v2", routing, false)
}

/// Sigmoid routing with corrected scores, from the best groups by their two best experts.
pub fn read_v3(config: &Value) -> Result<DecoderConfig, ModelError> {
    let fields = Fields::read(config)?;
    let routing = Routing {
        scores: Scores::Sigmoid,
        top_k: fields.required("num_experts_per_tok")?,
        groups: Some(groups(&fields, 2)?),
        normalised: fields.flag("norm_topk_prob", true)?,
        factor: fields.number("routed_scaling_factor")?.unwrap_or(1.0),
    };
    read(config, &fields, "deepseek-v3", routing, true)
}

fn groups(fields: &Fields, ranked_by: usize) -> Result<Groups, ModelError> {
    Ok(Groups { count: fields.required("n_group")?, kept: fields.required("topk_group")?, ranked_by })
}

fn read(
    config: &Value,
    fields: &Fields,
    family: &'static str,
    routing: Routing,
    corrected: bool,
) -> Result<DecoderConfig, ModelError> {
    let turned = fields.required("qk_rope_head_dim")?;
    let latent = LatentSizes {
        turned,
        plain: fields.required("qk_nope_head_dim")?,
        value: fields.required("v_head_dim")?,
        rank: fields.required("kv_lora_rank")?,
        interleaved: fields.flag("rope_interleave", true)?,
    };
    let parameters = rope::parameters(config);
    let attention = attention(fields, &latent, parameters)?;
    let feed_forwards = feed_forwards(fields, routing, corrected)?;
    let decoder = fields.decoder_of(family, Placement::Pre, |layer| {
        let dense = layer < fields.count("first_k_dense_replace")?.unwrap_or(0);
        Ok((attention.clone(), if dense { fields.gated()? } else { feed_forwards.clone() }))
    })?;
    let decoder = decoder.checked()?;
    let rope = rope::read(config, parameters, turned, fields.max_position_embeddings)?;
    let layout = Layout {
        renamed: latent.renamed(&attention),
        // The blocks that predict further tokens stand behind the model's own.
        ignored: vec![format!("model.layers.{}.*", fields.num_hidden_layers)],
        ..Layout::default()
    };
    Ok(DecoderConfig { rotations: vec![rope], layout, ..decoder })
}

fn attention(fields: &Fields, latent: &LatentSizes, parameters: &Value) -> Result<AttentionConfig, ModelError> {
    let (heads, bias) = (fields.num_attention_heads, fields.attention_bias.unwrap_or(false));
    let plain = AttentionShape::new(heads, heads, latent.turned + latent.plain);
    let scaled =
        parameters.is_object() && parameters["rope_type"].as_str().or(parameters["type"].as_str()) != Some("default");
    let grown = match (scaled, parameters["factor"].as_f64(), parameters["mscale_all_dim"].as_f64()) {
        (true, Some(factor), Some(m)) if m != 0.0 => yarn_magnitude(factor, m).powi(2),
        _ => 1.0,
    };
    Ok(AttentionConfig {
        kind: AttentionKind::Latent {
            query_rank: fields.count("q_lora_rank")?,
            rank: latent.rank,
            turned: latent.turned,
        },
        input_bias: bias,
        output_bias: bias,
        ..AttentionConfig::plain(AttentionShape { value_dim: latent.value, scale: plain.scale * grown, ..plain })
    })
}

fn feed_forwards(fields: &Fields, routing: Routing, corrected: bool) -> Result<FeedForwardConfig, ModelError> {
    let width = fields.required("moe_intermediate_size")?;
    let shared = fields.count("n_shared_experts")?.filter(|shared| *shared > 0);
    let shared = shared.map(|shared| SharedConfig { intermediate: shared * width, gated: false });
    let experts = experts::config(fields, fields.required("n_routed_experts")?, width, routing)?;
    Ok(FeedForwardConfig::Experts(ExpertsConfig { corrected, shared, ..experts }))
}

/// Sizes of the parts of a head.
struct LatentSizes {
    turned: usize,
    plain: usize,
    value: usize,
    rank: usize,
    interleaved: bool,
}

impl LatentSizes {
    /// Checkpoints fuse W_dkv with W_kr and W_uk with W_uv, and have queries as [not rotated | rotated].
    fn renamed(&self, attention: &AttentionConfig) -> Vec<Renamed> {
        let Self { turned, plain, value, rank, .. } = *self;
        let heads = attention.shape.heads;
        let own = plain + turned;
        let query = (0..heads).flat_map(|head| {
            let first = head * own;
            self.pairs().map(move |row| first + plain + row).chain(first..first + plain)
        });
        let query = Take::rows(heads * own, query);
        let both = plain + value;
        let keys = (0..heads).flat_map(|head| head * both..head * both + plain);
        let values = (0..heads).flat_map(|head| head * both + plain..(head + 1) * both);
        let row = |ours, theirs, take| Renamed { ours, theirs, take };
        vec![
            row("self_attn.q_proj", "self_attn.q_proj", query.clone()),
            row("self_attn.q_b_proj", "self_attn.q_b_proj", query),
            row("self_attn.kv_a_latent", "self_attn.kv_a_proj_with_mqa", Take::rows(rank + turned, 0..rank)),
            row(
                "self_attn.kv_a_rotated",
                "self_attn.kv_a_proj_with_mqa",
                Take::rows(rank + turned, self.pairs().map(|row| rank + row)),
            ),
            row("self_attn.kv_b_key", "self_attn.kv_b_proj", Take::rows(heads * both, keys)),
            row("self_attn.kv_b_value", "self_attn.kv_b_proj", Take::rows(heads * both, values)),
            experts::renamed("mlp.router", "mlp.gate"),
            experts::renamed("mlp.router_correction", "mlp.gate.e_score_correction_bias"),
            experts::renamed("mlp.shared_expert.gate_proj", "mlp.shared_experts.gate_proj"),
            experts::renamed("mlp.shared_expert.up_proj", "mlp.shared_experts.up_proj"),
            experts::renamed("mlp.shared_expert.down_proj", "mlp.shared_experts.down_proj"),
        ]
    }

    /// The rows of a rotated part, real parts first, then imaginary ones: checkpoints have them in turns.
    fn pairs(&self) -> impl Iterator<Item = usize> + use<> {
        let (turned, interleaved) = (self.turned, self.interleaved);
        (0..turned).map(move |row| match (interleaved, row < turned / 2) {
            (false, _) => row,
            (true, true) => 2 * row,
            (true, false) => 2 * (row - turned / 2) + 1,
        })
    }
}
