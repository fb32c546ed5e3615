"""Where the models of `transformers` keep what a site shows: one `Family` per module layout.

With it `reference.py` need not know a family. All paths are those of `get_submodule`.
"""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Family:
    """Paths of the model, then paths within a block.

    A branch's delta is the output of `attention` or `feed_forward` (times the config's `residual_multiplier`, if it has one), and
    to remove the branch is to make that output zero.
    """

    layers: str = "model.layers"
    final_norm: str = "model.norm"
    attention: str = "self_attn"
    feed_forward: str = "mlp"
    # The module whose input is the stream between the branches; none in a parallel block, which has no such place.
    middle: str | None = "post_attention_layernorm"
    # Norms after the sum of stream and delta, one per branch.
    joins: tuple[str, str] | None = None
    # What a block returns: the stream, or a tuple that starts with it.
    tuples: bool = False

    def blocks(self, model):
        return model.get_submodule(self.layers)


# Norms on what the branches return: the delta is what leaves the norm.
OUTPUT_NORM = dict(attention="post_attention_layernorm", feed_forward="post_feedforward_layernorm")
NEOX = dict(layers="gpt_neox.layers", final_norm="gpt_neox.final_layer_norm", attention="attention")

FAMILIES = {
    "olmo2": Family(**OUTPUT_NORM, middle="mlp"),
    "gemma2": Family(**OUTPUT_NORM, middle="pre_feedforward_layernorm"),
    "gemma3_text": Family(**OUTPUT_NORM, middle="pre_feedforward_layernorm"),
    "gpt2": Family(layers="transformer.h", final_norm="transformer.ln_f", attention="attn", middle="ln_2"),
    "gpt_neox": Family(**NEOX),
    "falcon": Family(
        layers="transformer.h", final_norm="transformer.ln_f", attention="self_attention", middle=None, tuples=True
    ),
    "bert": Family(
        layers="bert.encoder.layer",
        final_norm="cls.predictions.transform",
        attention="attention.output.dense",
        feed_forward="output.dense",
        middle="intermediate",
        joins=("attention.output.LayerNorm", "output.LayerNorm"),
    ),
}


def routers(model):
    return [module for module in model.modules() if type(module).__name__.lower().endswith("topkrouter")]


def family_of(model):
    config = model.config
    if config.model_type == "gpt_neox" and config.use_parallel_residual:
        return Family(**NEOX, middle=None)
    return FAMILIES.get(config.model_type, Family())


def routing_lead(router, logits):
    """By how much the least of the chosen experts (and of the chosen groups) leads the best of the others."""
    sigmoid = hasattr(router, "e_score_correction_bias")
    scores = logits.sigmoid() + router.e_score_correction_bias if sigmoid else logits  # a softmax keeps their order
    leads = []
    if sigmoid or getattr(router, "topk_method", "greedy") == "group_limited_greedy":
        grouped = scores.view(len(scores), router.num_group, -1)
        groups = grouped.topk(2).values.sum(-1) if sigmoid else grouped.max(-1).values
        top = groups.topk(router.topk_group + 1).values
        leads.append((top[:, -2] - top[:, -1]).min())
        scores = grouped.masked_fill((groups < top[:, -2:-1])[..., None], -torch.inf).flatten(1)
    top = scores.topk(router.top_k + 1).values
    leads.append((top[:, -2] - top[:, -1]).min())
    return min(leads).item()


class Skip(torch.nn.Module):
    """A removed block: its input goes straight on."""

    def __init__(self, family):
        super().__init__()
        self.tuples = family.tuples

    def forward(self, hidden_states, *args, **kwargs):
        return (hidden_states, None) if self.tuples else hidden_states
