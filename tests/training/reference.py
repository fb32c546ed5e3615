"""A plain PyTorch decoder for every norm placement, written for the fixtures beside it.

Each branch is x' = N_join(alpha x + delta), delta = beta N_out(f(s N_in(x))), read off the checkpoint's names: a norm is there if its
gain is. Only the numbers alpha and s come from the placement.
"""

import torch
from torch import nn
from torch.nn import functional as F


def numbers(placement: str, share: float, layer: int, layers: int) -> tuple[float, float]:
    """(alpha, s) of a block."""
    alpha = (2 * layers) ** 0.25 if placement == "deepnorm" else 1.0
    scale = (layer + 1) ** -0.5 if placement == "lns" else 1.0
    return alpha, scale


def names(config: dict) -> dict[str, tuple[int, ...]]:
    """Every tensor of a checkpoint and its shape."""
    hidden, inner, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    heads, kv_heads, layers = (config[f"num_{k}"] for k in ("attention_heads", "key_value_heads", "hidden_layers"))
    head, placement = hidden // heads, config.get("norm_placement", "pre")
    shapes = {"model.embed_tokens.weight": (vocab, hidden), "model.norm.weight": (hidden,), "lm_head.weight": (vocab, hidden)}
    for layer in range(layers):
        post = placement in ("post", "deepnorm")
        if placement == "mix-ln":
            post = layer < int(config["mix_ln_share"] * layers)
        gains = []
        if not post and placement != "output-norm":
            gains += ["input_layernorm", "post_attention_layernorm"]
        if placement in ("output-norm", "sandwich"):
            gains += ["attention_output_norm", "feed_forward_output_norm"]
        if post:
            gains += ["attention_join_norm", "feed_forward_join_norm"]
        prefix = f"model.layers.{layer}."
        shapes |= {f"{prefix}{gain}.weight": (hidden,) for gain in gains}
        if placement in ("layerscale", "skipinit"):
            size = (hidden,) if placement == "layerscale" else (1,)
            shapes |= {f"{prefix}{branch}_beta": size for branch in ("attention", "feed_forward")}
        shapes |= {
            f"{prefix}self_attn.q_proj.weight": (heads * head, hidden),
            f"{prefix}self_attn.k_proj.weight": (kv_heads * head, hidden),
            f"{prefix}self_attn.v_proj.weight": (kv_heads * head, hidden),
            f"{prefix}self_attn.o_proj.weight": (hidden, heads * head),
            f"{prefix}mlp.gate_proj.weight": (inner, hidden),
            f"{prefix}mlp.up_proj.weight": (inner, hidden),
            f"{prefix}mlp.down_proj.weight": (hidden, inner),
        }
    return shapes


class Decoder(nn.Module):
    def __init__(self, config: dict, weights: dict[str, torch.Tensor]):
        super().__init__()
        self.config = config
        # A module's parameters may not have dots in their names.
        self.weights = nn.ParameterDict({name.replace(".", "/"): nn.Parameter(w.clone()) for name, w in weights.items()})

    def weight(self, name: str) -> torch.Tensor:
        return self.weights[name.replace(".", "/")]

    def norm(self, name: str, x: torch.Tensor) -> torch.Tensor:
        if name.replace(".", "/") not in self.weights:
            return x
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.config["rms_norm_eps"]) * self.weight(name)

    def branch(self, x, prefix, kind, norm_in, f, alpha, scale):
        delta = self.norm(f"{prefix}{kind}_output_norm.weight", f(scale * self.norm(prefix + norm_in, x)))
        if f"{prefix}{kind}_beta".replace(".", "/") in self.weights:
            delta = delta * self.weight(f"{prefix}{kind}_beta")
        return self.norm(f"{prefix}{kind}_join_norm.weight", alpha * x + delta)

    def attention(self, prefix: str, x: torch.Tensor) -> torch.Tensor:
        heads, kv_heads = self.config["num_attention_heads"], self.config["num_key_value_heads"]
        batch, length, hidden = x.shape
        dim = hidden // heads

        def project(name, n):
            return (x @ self.weight(f"{prefix}self_attn.{name}_proj.weight").T).view(batch, length, n, dim).transpose(1, 2)

        q, k, v = project("q", heads), project("k", kv_heads), project("v", kv_heads)
        # The frequencies in f32, as transformers (and trained models) have them.
        frequency = 1.0 / (self.config["rope_theta"] ** (torch.arange(0, dim, 2).float() / dim))
        angle = torch.arange(length).to(x.dtype)[:, None] * frequency.to(x.dtype)
        cos, sin = (torch.cat([f(angle)] * 2, -1) for f in (torch.cos, torch.sin))

        def rotate(x):
            a, b = x.chunk(2, -1)
            return x * cos + torch.cat([-b, a], -1) * sin

        k, v = (y.repeat_interleave(heads // kv_heads, 1) for y in (rotate(k), v))
        scores = rotate(q) @ k.transpose(-1, -2) / dim**0.5
        scores = scores.masked_fill(torch.ones(length, length).triu(1).bool(), float("-inf"))
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, length, hidden)
        return mixed @ self.weight(f"{prefix}self_attn.o_proj.weight").T

    def feed_forward(self, prefix: str, x: torch.Tensor) -> torch.Tensor:
        gate, up, down = (self.weight(f"{prefix}mlp.{name}_proj.weight") for name in ("gate", "up", "down"))
        return (F.silu(x @ gate.T) * (x @ up.T)) @ down.T

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.weight("model.embed_tokens.weight")[ids]
        layers, placement = self.config["num_hidden_layers"], self.config.get("norm_placement", "pre")
        for layer in range(layers):
            prefix = f"model.layers.{layer}."
            alpha, scale = numbers(placement, self.config.get("mix_ln_share", 0.0), layer, layers)
            x = self.branch(
                x, prefix, "attention", "input_layernorm.weight", lambda h: self.attention(prefix, h), alpha, scale
            )
            x = self.branch(
                x, prefix, "feed_forward", "post_attention_layernorm.weight", lambda h: self.feed_forward(prefix, h), alpha, scale
            )
        return self.norm("model.norm.weight", x) @ self.weight("lm_head.weight").T

    def loss(self, ids: torch.Tensor) -> torch.Tensor:
        """Mean next-token cross-entropy, nats per predicted token."""
        logits = self(ids)[:, :-1]
        return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), ids[:, 1:].reshape(-1))
