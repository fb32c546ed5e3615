"""Writes fixtures/<placement>/: what training must give, by PyTorch in f64.

    python -m venv venv && venv/bin/pip install torch transformers safetensors numpy
    venv/bin/python tests/training/generate.py

Each folder holds config.json, initial.safetensors, gradients.safetensors (of the first batch's mean loss), final.safetensors (after ten
steps of AdamW) and curve.json (tokens, learning rates, losses, and the optimiser's numbers).
"""

import json
import math
from pathlib import Path

import torch
from reference import Decoder, names
from safetensors.torch import save_file

PLACEMENTS = ["pre", "post", "deepnorm", "mix-ln", "lns", "output-norm", "sandwich", "layerscale", "skipinit"]
STEPS, WARM_UP, PEAK, FLOOR = 10, 2, 3e-3, 0.1
BETAS, EPS, DECAY = (0.9, 0.95), 1e-8, 0.1


def config_of(placement: str) -> dict:
    config = {
        "vocab_size": 48, "hidden_size": 16, "intermediate_size": 40, "num_hidden_layers": 4, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
        "hidden_act": "silu", "tie_word_embeddings": False,
    }
    if placement == "pre":
        return config | {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
    config |= {"architectures": ["DepthscopeForCausalLM"], "model_type": "depthscope", "norm_placement": placement}
    return config | ({"mix_ln_share": 0.5} if placement == "mix-ln" else {})


def initial(config: dict, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Nothing at its usual start: gains are not 1, factors not 0, so that every gradient is seen."""

    def draw(name, shape):
        noise = torch.randn(shape, generator=generator)
        if name.endswith("_beta"):
            return 0.5 + 0.2 * noise
        return 0.25 * noise if len(shape) > 1 else 1 + 0.2 * noise

    return {name: draw(name, shape) for name, shape in names(config).items()}


def rate(step: int) -> float:
    """Linear warm-up, then cosine to FLOOR of the peak, reached with the last step."""
    if step < WARM_UP:
        return PEAK * (step + 1) / WARM_UP
    done = (step + 1 - WARM_UP) / (STEPS - WARM_UP)
    return PEAK * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * done)))


def write(placement: str, folder: Path) -> None:
    generator = torch.Generator().manual_seed(PLACEMENTS.index(placement))
    config = config_of(placement)
    weights = initial(config, generator)
    tokens = torch.randint(0, config["vocab_size"], (STEPS, 3, 12), generator=generator)
    model = Decoder(config, {name: weight.double() for name, weight in weights.items()})
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": DECAY}, {"params": vectors, "weight_decay": 0.0}], betas=BETAS, eps=EPS
    )
    clip = 1.0 if placement == "sandwich" else None
    folder.mkdir(parents=True, exist_ok=True)
    losses, rates = [], []
    for step in range(STEPS):
        optimizer.zero_grad()
        loss = model.loss(tokens[step])
        loss.backward()
        if step == 0:
            gradients = {name: model.weight(name).grad.float().contiguous() for name in weights}
            save_file(gradients, folder / "gradients.safetensors")
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        optimizer.step()
        losses.append(loss.item())
        rates.append(rate(step))
    save_file(weights, folder / "initial.safetensors")
    save_file({name: model.weight(name).detach().float().contiguous() for name in weights}, folder / "final.safetensors")
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    curve = {
        "betas": BETAS, "eps": EPS, "weight_decay": DECAY, "clip": clip, "warm_up": WARM_UP, "peak": PEAK, "floor": FLOOR,
        "learning_rates": rates, "losses": losses, "tokens": tokens.tolist(),
    }
    (folder / "curve.json").write_text(json.dumps(curve) + "\n")
    print(f"{placement:12} {losses[0]:.6f} -> {losses[-1]:.6f}")
    if placement == "pre":
        check_against_transformers(config, weights, tokens[0])


def check_against_transformers(config: dict, weights: dict, ids: torch.Tensor) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    model = LlamaForCausalLM(LlamaConfig(**{k: v for k, v in config.items() if k not in ("architectures", "model_type")}))
    model.load_state_dict(weights)
    with torch.no_grad():
        theirs = model.float()(ids).logits
        ours = Decoder(config, weights)(ids)
    difference = (theirs - ours).abs().max().item()
    assert difference < 1e-5, f"the reference is not Llama: {difference}"


if __name__ == "__main__":
    torch.set_num_threads(1)
    for placement in PLACEMENTS:
        write(placement, Path(__file__).parent / "fixtures" / placement)
