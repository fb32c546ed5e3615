"""The cases: tiny models of every family, and for each the mistakes that its fixture must reveal."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

LENGTHS = [15, 28, 5, 18]  # one below the window, the others well above it
SHORTER = [10, 17, 4, 12]  # the same in fewer tokens
WINDOW = 6


@dataclass
class Case:
    """A tiny model: `config` goes to transformers as it is, `std` scales its random matrices.

    Where a check of generate.py asks to change the seed, take the next of seed + 10, seed + 20, … that passes.
    """

    name: str
    seed: int
    config: dict
    std: float = 0.2
    # Other scales, for the weights whose names contain the key; the first that fits counts.
    stds: dict = field(default_factory=dict)
    lengths: list = field(default_factory=lambda: LENGTHS)
    bf16: bool = False
    # Other configs whose logits must differ from ours: each is a mistake that a reimplementation could make.
    mistakes: dict = field(default_factory=dict)
    # The same, for mistakes that move the logits only a little, yet more than tests/parity.rs allows.
    subtle: dict = field(default_factory=dict)
    # How config.json of a published checkpoint differs, beyond what every one does (see `v4_layout`).
    v4_has: dict = field(default_factory=dict)
    v4_lacks: tuple = ()
    # What the tensors of a published checkpoint are, where save_pretrained writes others.
    published: Callable[[dict], dict] = dict


SMALL = dict(
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=2,
    vocab_size=96,
    max_position_embeddings=128,
    tie_word_embeddings=False,
)


def rope(theta, **scaling):
    return {"rope_theta": theta, "rope_type": "default", **scaling}


PHI3_SHORT = [1.0, 1.3, 1.8]
PHI3_LONG = [1.5, 3.0, 6.0]


def phi3_rope(**changes):
    scaling = dict(rope_type="longrope", partial_rotary_factor=0.75, short_factor=PHI3_SHORT, long_factor=PHI3_LONG)
    return rope(100.0, **scaling | changes)


SMALLER = SMALL | dict(
    hidden_size=24,
    intermediate_size=32,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    vocab_size=64,
    max_position_embeddings=64,
)


def gemma3_rope(local, theta, **scaling):
    return {"sliding_attention": rope(local), "full_attention": rope(theta, **scaling)}


def yarn(**changes):
    """With theta 100, the four frequencies of eight dimensions are kept, kept, between, and divided by the factor."""
    scaling = dict(rope_type="yarn", factor=40.0, beta_fast=2.0, beta_slow=1.0, original_max_position_embeddings=64)
    return rope(100.0, **scaling | dict(mscale=1.0, mscale_all_dim=1.0) | changes)


DEEPSEEK = SMALLER | dict(
    num_key_value_heads=4,
    kv_lora_rank=12,
    qk_nope_head_dim=10,
    qk_rope_head_dim=8,
    v_head_dim=6,
    moe_intermediate_size=8,
    first_k_dense_replace=1,
    max_position_embeddings=2560,
)
LITE = dict(mscale=0.707, mscale_all_dim=0.707)

NEOX = dict(
    model_type="gpt_neox",
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=3,
    num_attention_heads=2,
    vocab_size=64,
    max_position_embeddings=64,
    use_parallel_residual=True,
    layer_norm_eps=1e-5,
    rope_parameters=rope(10000.0, partial_rotary_factor=0.25),
)

FALCON = dict(
    model_type="falcon",
    hidden_size=24,
    ffn_hidden_size=96,
    num_hidden_layers=3,
    num_attention_heads=4,
    vocab_size=64,
    parallel_attn=True,
    bias=False,
    alibi=False,
    layer_norm_epsilon=1e-5,
    rope_parameters=rope(10000.0),
)

LLAMA3 = dict(
    rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=80
)


def gpt2_tensors(tensors):
    """Without the prefix, and with the causal masks that nobody reads."""
    tensors = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    width = tensors["wpe.weight"].shape[0]
    mask = torch.ones(width, width).tril()[None, None]
    blocks = {name.split(".")[1] for name in tensors if name.startswith("h.")}
    return tensors | {f"h.{block}.attn.bias": mask.clone() for block in blocks}


def neox_tensors(tensors):
    """With buffers that nobody reads."""
    tensors = dict(tensors)
    for name in [name for name in tensors if name.endswith("attention.dense.weight")]:
        attention = name.removesuffix("dense.weight")
        tensors[attention + "bias"] = torch.ones(16, 16, dtype=torch.uint8).tril()[None, None]
        tensors[attention + "masked_bias"] = torch.tensor(-1e9)
        tensors[attention + "rotary_emb.inv_freq"] = torch.tensor([1.0, 0.01])
    return tensors


def falcon_tensors(tensors):
    """With a copy of the tied embedding."""
    return tensors | {"lm_head.weight": tensors["transformer.word_embeddings.weight"].clone()}


def bert_tensors(tensors):
    """With the older names of the norms' weights, and with heads that nobody reads."""

    def older(name):
        return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")

    return {older(name): tensor for name, tensor in tensors.items()} | {
        "bert.embeddings.position_ids": torch.arange(32)[None],
        "bert.pooler.dense.weight": torch.ones(24, 24),
        "bert.pooler.dense.bias": torch.ones(24),
        "cls.seq_relationship.weight": torch.ones(2, 24),
        "cls.seq_relationship.bias": torch.ones(2),
    }


def deepseek_v3_tensors(tensors):
    """With some of the layer that predicts a token further on, which stands behind the last."""
    behind = "model.layers.3."
    return tensors | {
        behind + "enorm.weight": torch.ones(24),
        behind + "hnorm.weight": torch.ones(24),
        behind + "eh_proj.weight": torch.ones(24, 48),
        behind + "input_layernorm.weight": torch.ones(24),
    }


CASES = [
    # Llama 2/3: grouped attention, untied head, no scaling.
    Case(
        "llama",
        21,
        SMALL | dict(model_type="llama", rms_norm_eps=1e-6, rope_parameters=rope(10000.0)),
        bf16=True,
        mistakes={"rope_theta 500": dict(rope_parameters=rope(500.0))},
    ),
    # Llama 3.1/3.2: llama3 rope scaling, tied head, head_dim that is not hidden / heads. With theta 100 and head_dim 12 the
    # six wavelengths are 6, 14 | 29, 63 | 135, 292 tokens; the limits 80/4 = 20 and 80/1 = 80 put two into each band
    # (kept, interpolated, divided by the factor).
    Case(
        "llama31",
        12,
        SMALL
        | dict(
            model_type="llama",
            hidden_size=40,
            num_hidden_layers=3,
            head_dim=12,
            rms_norm_eps=1e-5,
            tie_word_embeddings=True,
            rope_parameters=rope(100.0, **LLAMA3),
        ),
        mistakes={
            "no rope scaling": dict(rope_parameters=rope(100.0)),
            "all frequencies divided": dict(rope_parameters=rope(100.0, rope_type="linear", factor=8.0)),
            "no interpolated band": dict(rope_parameters=rope(100.0, **LLAMA3 | dict(high_freq_factor=1.0001))),
        },
    ),
    # Multi-head attention, every bias that the config offers (q, k, v, o, gate, up, down), linear rope scaling.
    Case(
        "llama_mha",
        3,
        SMALL
        | dict(
            model_type="llama",
            num_hidden_layers=3,
            num_key_value_heads=4,
            attention_bias=True,
            mlp_bias=True,
            rms_norm_eps=1e-6,
            rope_parameters=rope(1000.0, rope_type="linear", factor=4.0),
        ),
        mistakes={"no rope scaling": dict(rope_parameters=rope(1000.0))},
    ),
    # Mistral: every layer slides. A token sees itself and the WINDOW - 1 tokens before it.
    Case(
        "mistral",
        4,
        SMALL
        | dict(model_type="mistral", sliding_window=WINDOW, rms_norm_eps=1e-5, rope_parameters=rope(10000.0)),
        mistakes={
            "full attention": dict(sliding_window=None),
            "window one narrower": dict(sliding_window=WINDOW - 1),
            "window one wider": dict(sliding_window=WINDOW + 1),
        },
    ),
    # Qwen2 with a window in some layers. Transformers decides in this order: without `use_sliding_window` the window is
    # dropped, whatever `sliding_window` says; else a `layer_types` list in the config rules; else layer i slides if and
    # only if i >= max_window_layers, so max_window_layers counts the layers at the BOTTOM that see everything.
    Case(
        "qwen2",
        5,
        SMALL
        | dict(
            model_type="qwen2",
            use_sliding_window=True,
            sliding_window=WINDOW,
            max_window_layers=2,
            rms_norm_eps=1e-6,
            rope_parameters=rope(10000.0),
        ),
        mistakes={
            "full attention": dict(use_sliding_window=False),
            "every layer slides": dict(max_window_layers=0),
            "the lower layers slide": dict(layer_types=["sliding_attention"] * 2 + ["full_attention"] * 2),
            "one layer fewer slides": dict(max_window_layers=3),
            "window one narrower": dict(sliding_window=WINDOW - 1),
            "window one wider": dict(sliding_window=WINDOW + 1),
        },
    ),
    # Qwen2/2.5 as published: `sliding_window` is set, `use_sliding_window` is false, so nothing slides; tied head.
    Case(
        "qwen2_full",
        6,
        SMALL
        | dict(
            model_type="qwen2",
            num_hidden_layers=3,
            use_sliding_window=False,
            sliding_window=WINDOW,
            max_window_layers=1,
            tie_word_embeddings=True,
            rms_norm_eps=1e-6,
            rope_parameters=rope(10000.0),
        ),
        mistakes={"sliding all the same": dict(use_sliding_window=True, sliding_window=WINDOW)},
    ),
    # Qwen3: norms on each head's q and k before rope, no biases, head_dim that is not hidden / heads, tied head.
    Case(
        "qwen3",
        7,
        SMALL
        | dict(
            model_type="qwen3",
            head_dim=12,
            intermediate_size=40,
            tie_word_embeddings=True,
            rms_norm_eps=1e-6,
            rope_parameters=rope(10000.0),
        ),
        bf16=True,
        mistakes={"rope_theta 500": dict(rope_parameters=rope(500.0))},
    ),
    # OLMo 2: norms on what the branches return and none on what they read; norms on q and k over all heads at once.
    Case(
        "olmo2",
        18,
        SMALLER | dict(model_type="olmo2", rms_norm_eps=1e-6, rope_parameters=rope(10000.0)),
        lengths=SHORTER,
        mistakes={"rope_theta 500": dict(rope_parameters=rope(500.0))},
    ),
    # Gemma 2: four norms a block that multiply by 1 + weight, embeddings times the root of the width, soft caps on scores and
    # logits, a window in the even layers, a score scale that is not the head's, gelu (tanh), tied head.
    Case(
        "gemma2",
        19,
        SMALLER
        | dict(
            model_type="gemma2",
            head_dim=8,
            query_pre_attn_scalar=16,
            sliding_window=WINDOW,
            attn_logit_softcapping=2.0,
            final_logit_softcapping=4.0,
            hidden_activation="gelu_pytorch_tanh",
            tie_word_embeddings=True,
            rms_norm_eps=1e-6,
            rope_parameters=rope(10000.0),
        ),
        stds={"embed_tokens": 0.15, "model.norm": 2.0},
        lengths=SHORTER,
        mistakes={
            "no cap on scores": dict(attn_logit_softcapping=None),
            "no cap on logits": dict(final_logit_softcapping=None),
            "scores scaled by head_dim": dict(query_pre_attn_scalar=8),
            "full attention": dict(layer_types=["full_attention"] * 3),
            "the odd layer slides": dict(layer_types=["full_attention", "sliding_attention", "full_attention"]),
            "window one narrower": dict(sliding_window=WINDOW - 1),
            "window one wider": dict(sliding_window=WINDOW + 1),
        },
        subtle={"gelu with erf": dict(hidden_activation="gelu")},
        v4_has=dict(hidden_act="gelu_pytorch_tanh", cache_implementation="hybrid"),
        v4_lacks=("rope_scaling", "use_bidirectional_attention"),
    ),
    # Gemma 3: two rope bases, the one of the full layers scaled; norms on each head's q and k.
    Case(
        "gemma3",
        40,
        SMALLER
        | dict(
            model_type="gemma3_text",
            num_hidden_layers=4,
            head_dim=8,
            query_pre_attn_scalar=4,
            sliding_window=WINDOW,
            sliding_window_pattern=3,
            hidden_activation="gelu_pytorch_tanh",
            tie_word_embeddings=True,
            rms_norm_eps=1e-6,
            rope_parameters=gemma3_rope(100.0, 10000.0, rope_type="linear", factor=2.0),
        ),
        stds={"embed_tokens": 0.15, "model.norm": 2.0},
        lengths=SHORTER,
        mistakes={
            "the local base everywhere": dict(rope_parameters=gemma3_rope(100.0, 100.0, rope_type="linear", factor=2.0)),
            "the global base everywhere": dict(rope_parameters=gemma3_rope(10000.0, 10000.0, rope_type="linear", factor=2.0)),
            "no rope scaling": dict(rope_parameters=gemma3_rope(100.0, 10000.0)),
            "scores scaled by head_dim": dict(query_pre_attn_scalar=8),
            "every second layer slides": dict(layer_types=["sliding_attention", "full_attention"] * 2),
            "window one narrower": dict(sliding_window=WINDOW - 1),
            "window one wider": dict(sliding_window=WINDOW + 1),
        },
        v4_has=dict(sliding_window_pattern=3, cache_implementation="hybrid"),
        v4_lacks=("use_bidirectional_attention", "_sliding_window_pattern"),
    ),
    # Phi 3: one matrix for q, k and v, one for gate and up; every layer slides.
    Case(
        "phi3",
        11,
        SMALLER
        | dict(
            model_type="phi3",
            sliding_window=WINDOW,
            rms_norm_eps=1e-5,
            pad_token_id=0,
            original_max_position_embeddings=64,
            rope_parameters=rope(10000.0),
        ),
        lengths=SHORTER,
        mistakes={
            "full attention": dict(sliding_window=None),
            "window one narrower": dict(sliding_window=WINDOW - 1),
            "window one wider": dict(sliding_window=WINDOW + 1),
        },
        v4_lacks=("partial_rotary_factor",),
    ),
    # Phi 3 mini 128k, Phi 4 mini: longrope, on three quarters of each head. Transformers takes the long factors for all of a
    # batch if its longest sequence, padding included, is longer than original_max_position_embeddings. Here none is …
    Case(
        "phi3_longrope",
        12,
        SMALLER
        | dict(
            model_type="phi3",
            hidden_size=32,
            rms_norm_eps=1e-5,
            pad_token_id=0,
            tie_word_embeddings=True,
            original_max_position_embeddings=20,
            rope_parameters=phi3_rope(),
        ),
        lengths=SHORTER,
        mistakes={
            "the long factors": dict(rope_parameters=phi3_rope(short_factor=PHI3_LONG)),
            "no factors": dict(rope_parameters=phi3_rope(short_factor=[1.0] * 3)),
            "no attention factor": dict(rope_parameters=phi3_rope(attention_factor=1.0)),
        },
    ),
    # … and here each is.
    Case(
        "phi3_long",
        13,
        SMALLER
        | dict(
            model_type="phi3",
            hidden_size=32,
            rms_norm_eps=1e-5,
            pad_token_id=0,
            tie_word_embeddings=True,
            original_max_position_embeddings=8,
            rope_parameters=phi3_rope(),
        ),
        lengths=[10, 17, 9, 12],
        mistakes={
            "the short factors": dict(rope_parameters=phi3_rope(long_factor=PHI3_SHORT)),
            "no factors": dict(rope_parameters=phi3_rope(long_factor=[1.0] * 3)),
            "no attention factor": dict(rope_parameters=phi3_rope(attention_factor=1.0)),
        },
    ),
    # Granite 3: four multipliers.
    Case(
        "granite",
        14,
        SMALLER
        | dict(
            model_type="granite",
            rms_norm_eps=1e-5,
            tie_word_embeddings=True,
            embedding_multiplier=3.0,
            attention_multiplier=0.25,
            residual_multiplier=0.6,
            logits_scaling=0.4,
            rope_parameters=rope(10000.0),
        ),
        stds={"embed_tokens": 0.15},
        std=0.3,
        lengths=SHORTER,
        mistakes={
            "embedding_multiplier ignored": dict(embedding_multiplier=1.0),
            "attention_multiplier ignored": dict(attention_multiplier=6**-0.5),
            "residual_multiplier ignored": dict(residual_multiplier=1.0),
            "logits_scaling ignored": dict(logits_scaling=1.0),
        },
    ),
    # SmolLM 3: every fourth layer has no rope.
    Case(
        "smollm3",
        15,
        SMALLER
        | dict(
            model_type="smollm3",
            num_hidden_layers=4,
            pad_token_id=0,
            rms_norm_eps=1e-6,
            tie_word_embeddings=True,
            rope_parameters=rope(10000.0),
        ),
        lengths=SHORTER,
        mistakes={
            "rope everywhere": dict(no_rope_layers=[1, 1, 1, 1]),
            "rope in every fourth layer only": dict(no_rope_layers=[0, 0, 0, 1]),
            "no rope in the first": dict(no_rope_layers=[0, 1, 1, 1]),
        },
    ),
    # GPT-2: learned positions, LayerNorm, biases, weights stored [in, out], tied head.
    Case(
        "gpt2",
        16,
        dict(
            model_type="gpt2",
            n_embd=24,
            n_layer=3,
            n_head=4,
            n_positions=32,
            vocab_size=64,
            layer_norm_epsilon=1e-5,
            bos_token_id=0,
            eos_token_id=0,
        ),
        lengths=SHORTER,
        mistakes={
            "scores not scaled": dict(scale_attn_weights=False),
            "silu": dict(activation_function="silu"),
        },
        subtle={"gelu with erf": dict(activation_function="gelu")},
        published=gpt2_tensors,
        v4_has=dict(n_ctx=32),
        v4_lacks=("torch_dtype", "add_cross_attention", "tie_word_embeddings", "pad_token_id"),
    ),
    # GPT-NeoX, Pythia: both branches read the block's input; rope on a quarter of each head; q, k and v of a head side by side.
    Case(
        "gpt_neox",
        17,
        NEOX,
        lengths=SHORTER,
        mistakes={
            "branches one after the other": dict(use_parallel_residual=False),
            "the whole head rotates": dict(rope_parameters=rope(10000.0, partial_rotary_factor=1.0)),
        },
        subtle={"gelu with tanh": dict(hidden_act="gelu_new")},
        published=neox_tensors,
        v4_lacks=("attention_bias", "rope_scaling", "is_decoder", "pad_token_id"),
    ),
    Case(
        "gpt_neox_seq",
        18,
        NEOX | dict(use_parallel_residual=False),
        lengths=SHORTER,
        mistakes={"branches side by side": dict(use_parallel_residual=True)},
        v4_lacks=("rope_scaling", "is_decoder", "pad_token_id"),
    ),
    # Falcon 7B: both branches read one norm of the block's input; one k and v head; no biases but the norms'; tied head.
    Case(
        "falcon",
        19,
        FALCON | dict(multi_query=True, new_decoder_architecture=False),
        lengths=SHORTER,
        mistakes={
            "rope_theta 500": dict(rope_parameters=rope(500.0)),
            "alibi": dict(alibi=True),
        },
        subtle={"gelu with tanh": dict(activation="gelu_new")},
        published=falcon_tensors,
        v4_has=dict(apply_residual_connection_post_layernorm=False),
        v4_lacks=("rope_theta", "rope_scaling", "ffn_hidden_size", "activation", "num_kv_heads", "num_ln_in_parallel_attn")
        + ("tie_word_embeddings", "max_position_embeddings", "pad_token_id"),
    ),
    # Falcon 40B: a norm for each branch, grouped attention; the q heads of a group, then its k and v, side by side.
    Case(
        "falcon_new",
        20,
        FALCON | dict(hidden_size=32, ffn_hidden_size=48, num_kv_heads=2, new_decoder_architecture=True),
        lengths=SHORTER,
        mistakes={"rope_theta 500": dict(rope_parameters=rope(500.0))},
        v4_has=dict(apply_residual_connection_post_layernorm=False),
        v4_lacks=("pad_token_id", "num_ln_in_parallel_attn"),
    ),
    # Mixtral: the best two of four experts, their weights made to add up to one.
    Case(
        "mixtral",
        101,
        SMALLER
        | dict(
            model_type="mixtral",
            intermediate_size=16,
            num_local_experts=4,
            num_experts_per_tok=2,
            sliding_window=None,
            rms_norm_eps=1e-5,
            rope_parameters=rope(10000.0),
        ),
        std=0.3,
        stds={"gate.weight": 0.6},
        lengths=SHORTER,
        mistakes={
            "the best expert only": dict(num_experts_per_tok=1),
            "all experts": dict(num_experts_per_tok=4),
        },
        v4_lacks=("head_dim", "pad_token_id", "rope_scaling"),
    ),
    # Qwen 1.5/2 MoE: a shared expert behind a sigmoid, weights that do not add up to one, a layer without experts.
    Case(
        "qwen2_moe",
        72,
        SMALLER
        | dict(
            model_type="qwen2_moe",
            moe_intermediate_size=12,
            shared_expert_intermediate_size=20,
            num_experts=6,
            num_experts_per_tok=2,
            norm_topk_prob=False,
            decoder_sparse_step=1,
            mlp_only_layers=[1],
            use_sliding_window=False,
            sliding_window=WINDOW,
            max_window_layers=2,
            rms_norm_eps=1e-6,
            rope_parameters=rope(10000.0),
        ),
        std=0.3,
        stds={"gate.weight": 0.5},
        lengths=SHORTER,
        mistakes={
            "weights that add up to one": dict(norm_topk_prob=True),
            "one expert fewer": dict(num_experts_per_tok=1),
            "one expert more": dict(num_experts_per_tok=3),
        },
        v4_lacks=("qkv_bias", "pad_token_id", "rope_scaling"),
    ),
    # Qwen 3 MoE: norms on each head's q and k, weights that add up to one, no shared expert, experts in every second layer.
    Case(
        "qwen3_moe",
        43,
        SMALLER
        | dict(
            model_type="qwen3_moe",
            head_dim=8,
            moe_intermediate_size=12,
            intermediate_size=24,
            num_experts=4,
            num_experts_per_tok=2,
            norm_topk_prob=True,
            decoder_sparse_step=2,
            num_hidden_layers=4,
            rms_norm_eps=1e-6,
            rope_parameters=rope(10000.0),
        ),
        std=0.3,
        stds={"gate.weight": 0.5},
        lengths=SHORTER,
        mistakes={
            "weights that do not add up to one": dict(norm_topk_prob=False),
            "one expert fewer": dict(num_experts_per_tok=1),
            "one expert more": dict(num_experts_per_tok=3),
        },
        v4_has=dict(max_window_layers=4, num_experts=4),
        v4_lacks=("pad_token_id", "num_local_experts"),
    ),
    # DeepSeek V2 Lite: latent attention, all of whose widths differ; shared experts; weights that do not add up to one; yarn.
    Case(
        "deepseek_v2",
        34,
        DEEPSEEK
        | dict(
            model_type="deepseek_v2",
            q_lora_rank=None,
            n_routed_experts=6,
            n_shared_experts=2,
            num_experts_per_tok=2,
            topk_method="greedy",
            n_group=1,
            topk_group=1,
            norm_topk_prob=False,
            routed_scaling_factor=1.5,
            rms_norm_eps=1e-6,
            rope_parameters=yarn(**LITE),
        ),
        std=0.3,
        stds={"gate.weight": 0.5},
        lengths=SHORTER,
        mistakes={
            "no yarn": dict(rope_parameters=rope(100.0)),
            "all frequencies divided": dict(rope_parameters=yarn(**LITE, beta_fast=1e6, beta_slow=1e5)),
            "scores without mscale": dict(rope_parameters=yarn(mscale_all_dim=0.0, attention_factor=1.0)),
            "mscale on cos and sin, too": dict(rope_parameters=yarn(**LITE, attention_factor=1.26)),
            "routed_scaling_factor ignored": dict(routed_scaling_factor=1.0),
            "one expert more": dict(num_experts_per_tok=3),
        },
        v4_has=dict(moe_layer_freq=1, ep_size=1, scoring_func="softmax", seq_aux=True),
        v4_lacks=("head_dim", "qk_head_dim", "mlp_bias", "pad_token_id", "output_router_logits"),
    ),
    # DeepSeek V2: q is latent, too; experts come from the best two of four groups. The norms of the latents keep an epsilon of
    # 1e-6, whatever the config says.
    Case(
        "deepseek_v2_group",
        55,
        DEEPSEEK
        | dict(
            model_type="deepseek_v2",
            q_lora_rank=14,
            n_routed_experts=8,
            n_shared_experts=2,
            num_experts_per_tok=3,
            topk_method="group_limited_greedy",
            n_group=4,
            topk_group=2,
            norm_topk_prob=False,
            routed_scaling_factor=2.5,
            rms_norm_eps=1e-3,
            rope_parameters=yarn(mscale=1.0, mscale_all_dim=0.5),
        ),
        std=0.3,
        stds={"gate.weight": 0.5},
        lengths=SHORTER,
        mistakes={
            "groups ignored": dict(topk_method="greedy"),
            "one group": dict(topk_group=1, num_experts_per_tok=2),
            "no attention factor": dict(rope_parameters=yarn(mscale=1.0, mscale_all_dim=0.5, attention_factor=1.0)),
        },
        v4_has=dict(moe_layer_freq=1, ep_size=1, scoring_func="softmax", seq_aux=True),
        v4_lacks=("head_dim", "qk_head_dim", "mlp_bias", "pad_token_id", "output_router_logits"),
    ),
    # DeepSeek V3: sigmoid scores; a bias that counts in the choice of groups and experts, but not in the weights.
    Case(
        "deepseek_v3",
        26,
        DEEPSEEK
        | dict(
            model_type="deepseek_v3",
            q_lora_rank=14,
            n_routed_experts=9,
            n_shared_experts=1,
            num_experts_per_tok=3,
            n_group=3,
            topk_group=2,
            norm_topk_prob=True,
            routed_scaling_factor=2.5,
            rms_norm_eps=1e-6,
            rope_parameters=yarn(),
        ),
        std=0.3,
        stds={"gate.weight": 0.3},
        lengths=SHORTER,
        mistakes={
            "groups ignored": dict(n_group=1, topk_group=1),
            "weights that do not add up to one": dict(norm_topk_prob=False),
            "scores without mscale": dict(rope_parameters=yarn(mscale_all_dim=0.0, attention_factor=1.0)),
            "rope on halves": dict(rope_interleave=False),
        },
        published=deepseek_v3_tensors,
        v4_has=dict(moe_layer_freq=1, ep_size=1, scoring_func="sigmoid", topk_method="noaux_tc", num_nextn_predict_layers=1),
        v4_lacks=("head_dim", "qk_head_dim", "pad_token_id", "output_router_logits", "rope_interleave", "num_mtp_layers"),
    ),
    # BERT: norms after the sum of stream and branch, no causal mask, losses at masked tokens.
    Case(
        "bert",
        27,
        dict(
            model_type="bert",
            hidden_size=24,
            intermediate_size=48,
            num_hidden_layers=3,
            num_attention_heads=4,
            vocab_size=64,
            max_position_embeddings=32,
            type_vocab_size=2,
            hidden_act="gelu",
            layer_norm_eps=1e-12,
        ),
        lengths=SHORTER,
        mistakes={"a causal mask": dict(is_decoder=True), "relu": dict(hidden_act="relu")},
        subtle={"gelu with tanh": dict(hidden_act="gelu_new")},
        published=bert_tensors,
        v4_has=dict(position_embedding_type="absolute", gradient_checkpointing=False),
        v4_lacks=("torch_dtype", "add_cross_attention", "is_decoder", "tie_word_embeddings", "bos_token_id", "eos_token_id")
        + ("classifier_dropout",),
    ),
]
