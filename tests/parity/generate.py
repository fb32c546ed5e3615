#!/usr/bin/env python3
"""Writes the parity fixtures: what `transformers` computes for tiny random models of every family.

Run it in a throw-away virtual environment (see README.md beside it):

    python tests/parity/generate.py            # all cases
    python tests/parity/generate.py llama qwen3  # some of them

Each case becomes a folder:

    config.json            as save_pretrained writes it (transformers 5: `rope_parameters`, `dtype`, `layer_types`)
    config_v4.json         the same model in the layout of transformers 4, as most published checkpoints have it
    model.safetensors      float32 weights
    tokens.json            list of lists of token ids; the lengths differ; not padded
    expected.safetensors   every site of the full model, real tokens only, sequences one after the other
    expected.json          the metrics: `baseline`, `layers`, `angular`, `prune`
    expected_bf16.json     for some cases: what the model gives when run in bfloat16

Words are those of the program: a *block* is attention + feed-forward, a *layer* is its 0-based index, x_i is the input of
block i and x_L the residual stream BEFORE the final norm. Transformers is run on one right-padded batch with an attention
mask, in float32 with eager attention; all metrics are summed in float64 from those float32 numbers.

The script asserts that its own fixtures are worth comparing against: the reference is stable (float64 moves it by about
1e-6), padding changes nothing, every removal has a cost, and a sliding window one token wider or narrower would be noticed.
"""

import json
import math
import platform
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch
import transformers
from reference import PARTS, angular_rows, f64, forward, layer_rows, nll_of, prune_rows, sites, variance, without
from torch.overrides import TorchFunctionMode
from transformers import AutoConfig, AutoModelForCausalLM

HERE = Path(__file__).resolve().parent
LENGTHS = [15, 28, 5, 18]  # one below the window, the others well above it
WINDOW = 6
MAX_BYTES = 400_000

# ----------------------------------------------------------------------------------------------------------------- cases


@dataclass
class Case:
    """A tiny model: `config` goes to transformers as it is, `std` scales its random matrices.

    Where a check below asks to change the seed, take the next of seed + 10, seed + 20, … that passes.
    """

    name: str
    seed: int
    config: dict
    std: float = 0.2
    bf16: bool = False
    # Other configs whose logits must differ from ours: each is a mistake that a reimplementation could make.
    mistakes: dict = field(default_factory=dict)


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


LLAMA3 = dict(
    rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=80
)

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
]

# ---------------------------------------------------------------------------------------------------------------- models


def config_of(fields):
    fields = dict(fields)
    return AutoConfig.for_model(fields.pop("model_type"), **fields)


def random_model(case):
    """Random weights with which every layer matters: branches as large as the stream, attention far from uniform."""
    torch.manual_seed(case.seed)
    model = AutoModelForCausalLM.from_config(config_of(case.config), dtype=torch.float32)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name:
                weight.uniform_(0.5, 1.5)
            elif name.endswith(".bias"):
                weight.normal_(0.0, 0.3)
            elif "embed_tokens" in name or "lm_head" in name:
                weight.normal_(0.0, 0.35)
            else:
                weight.normal_(0.0, case.std)
    return model


def load(folder, dtype=torch.float32, **changes):
    """The model of a fixture folder, with some config fields changed."""
    if changes:
        fields = json.loads((folder / "config.json").read_text()) | changes
        if "layer_types" not in changes:
            fields.pop("layer_types", None)
        config = config_of(fields)
    else:
        config = AutoConfig.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, config=config, dtype=dtype, attn_implementation="eager")
    return model.eval()


def save(model, case, folder):
    """config.json, config_v4.json and model.safetensors."""
    with tempfile.TemporaryDirectory() as scratch:
        model.save_pretrained(scratch)
        (folder / "model.safetensors").write_bytes((Path(scratch) / "model.safetensors").read_bytes())
        config = json.loads((Path(scratch) / "config.json").read_text())
    if case.config.get("use_sliding_window") is False:
        # Transformers forgets the unused window when it saves; published checkpoints have it.
        config["sliding_window"] = case.config["sliding_window"]
    write_json(folder / "config.json", config)

    v4 = {key: value for key, value in config.items() if key not in ("layer_types", "transformers_version")}
    v4["torch_dtype"] = v4.pop("dtype")
    scaling = v4.pop("rope_parameters")
    v4["rope_theta"] = scaling.pop("rope_theta")
    if scaling["rope_type"] == "default":
        scaling = None
    elif scaling["rope_type"] == "linear":
        scaling["type"] = scaling.pop("rope_type")  # the older of the two spellings
    v4["rope_scaling"] = scaling
    write_json(folder / "config_v4.json", v4)


def sample_tokens(model, seed):
    """Text that the model itself finds likely, so that removing a part of it hurts. The first token is uniform."""
    rng = torch.Generator().manual_seed(seed)
    vocab = model.config.vocab_size
    sequences = []
    for length in LENGTHS:
        ids = torch.randint(vocab, (1, 1), generator=rng)
        while ids.shape[1] < length:
            with torch.inference_mode():
                last = model(ids, use_cache=False).logits[0, -1]
            ids = torch.cat([ids, torch.multinomial(last.softmax(-1), 1, generator=rng)[None]], dim=1)
        sequences.append(ids[0].tolist())
    return sequences


# ---------------------------------------------------------------------------------------------------------------- checks


class Float64(TorchFunctionMode):
    """Transformers computes norms, softmax and rope in float32 by name, whatever the model's dtype; here it may not."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        def wide(x):
            return torch.float64 if x is torch.float32 else x

        if func is torch.Tensor.float:
            func = torch.Tensor.double
        return func(*map(wide, args), **{key: wide(value) for key, value in (kwargs or {}).items()})


def apart(a, b):
    """Largest difference of two arrays in units of the second's root mean square."""
    a, b = a.double(), b.double()
    return ((a - b).abs().max() / b.square().mean().sqrt()).item()


def check_reference(case, folder, model, sequences, found):
    """That the reference is one: the same from both configs, for each sequence alone, and in float64."""
    v4 = json.loads((folder / "config_v4.json").read_text())
    other = AutoModelForCausalLM.from_pretrained(
        folder, config=config_of(v4), dtype=torch.float32, attn_implementation="eager"
    ).eval()
    assert torch.equal(forward(other, sequences), found["logits"]), "config_v4.json is another model"

    alone = torch.cat([forward(model, [ids]) for ids in sequences])
    repadded = forward(model, sequences, pad=model.config.vocab_size - 1)
    padding = max(apart(alone, found["logits"]), apart(repadded, found["logits"]))
    assert padding < 1e-5, f"padding matters: {padding}"

    with Float64():
        exact = sites(load(folder, torch.float64), sequences)
    assert exact["logits"].dtype == torch.float64
    rounding = {name: apart(found[name], exact[name]) for name in found if name != "nll"}
    worst = max(rounding, key=rounding.get)
    assert rounding[worst] < 1e-5, f"float32 is not exact enough: {worst} {rounding[worst]}"
    print(f"  float32 against float64: at most {rounding[worst]:.1e} of the rms ({worst}); padding {padding:.1e}")

    for mistake, changes in case.mistakes.items():
        logits = forward(load(folder, **changes), sequences)
        nll = nll_of(logits, sequences).mean().item()
        difference = apart(logits, found["logits"])
        print(f"  if mistaken ({mistake}): nll {nll:.4f}, logits differ by {difference:.2f} of their rms")
        assert difference > 0.05, f"nobody would notice: {mistake}"


def check_metrics(expected, layers):
    baseline = expected["baseline"]["nll"]
    print(f"  baseline nll {baseline:.4f}")
    for row in expected["layers"]:
        print(
            f"  layer {row['layer']}: variance {row['input_variance']:.3f} -> {row['output_variance']:.3f},"
            f" ratios {row['attention_ratio']:.2f} {row['feed_forward_ratio']:.2f}, influence {row['block_influence']:.3f}"
        )
        assert row["output_variance"] > row["input_variance"], "the stream must grow"
    for part in PARTS:
        costs = [row["nll"] - baseline for row in expected["prune"] if row["part"] == part and row["first"] == row["last"]]
        print(f"  without {part}: " + " ".join(f"{cost:+.3f}" for cost in costs))
        assert len(costs) == layers
        assert min(map(abs, costs)) > 0.05, f"removing a {part} costs nothing; change the seed"
    windows = [row for row in expected["prune"] if row["first"] != row["last"]]
    print("  without two blocks: " + " ".join(f"{row['nll'] - baseline:+.3f}" for row in windows))


# --------------------------------------------------------------------------------------------------------------- writing


def write_json(path, value):
    path.write_text(json.dumps(value, indent=1) + "\n")


def bf16_results(folder, sequences):
    model = load(folder, torch.bfloat16)
    found = sites(model, sequences)
    layers = len(model.model.layers)
    blocks = []
    for i in range(layers):
        with without(model, i, i, "block"):
            blocks.append({"layer": i, "nll": nll_of(forward(model, sequences), sequences).mean().item()})
    return {
        "baseline": {"nll": nll_of(found["logits"], sequences).mean().item()},
        "layers": [{"layer": i, "output_variance": variance(f64(found[f"block_out.{i}"]))} for i in range(layers)],
        "prune_block": blocks,
    }


def generate(case):
    print(case.name)
    folder = HERE / case.name
    folder.mkdir(exist_ok=True)
    save(random_model(case), case, folder)
    model = load(folder)
    layers = len(model.model.layers)
    sequences = sample_tokens(model, case.seed)
    (folder / "tokens.json").write_text("[\n" + ",\n".join(f" {json.dumps(ids)}" for ids in sequences) + "\n]\n")

    found = sites(model, sequences)
    nll = nll_of(found["logits"], sequences)
    found["nll"] = nll.float()
    for i in range(layers):
        assert torch.equal(found[f"block_mid.{i}"], found[f"block_in.{i}"] + found[f"attention_delta.{i}"])
        assert torch.equal(found[f"block_out.{i}"], found[f"block_mid.{i}"] + found[f"feed_forward_delta.{i}"])
    safetensors.torch.save_file({name: t.contiguous() for name, t in found.items()}, folder / "expected.safetensors")

    mean = nll.mean().item()
    expected = {
        "baseline": {"nll": mean, "perplexity": math.exp(mean), "count": len(nll)},
        "layers": layer_rows(found, layers),
        "angular": angular_rows(found, layers, LENGTHS),
        "prune": prune_rows(model, sequences, found["logits"], margin=1e-4),
    }
    write_json(folder / "expected.json", expected)
    check_reference(case, folder, model, sequences, found)
    check_metrics(expected, layers)

    if case.bf16:
        bf16 = bf16_results(folder, sequences)
        write_json(folder / "expected_bf16.json", bf16)
        pairs = [(bf16["baseline"]["nll"], mean)]
        pairs += [(b["output_variance"], a["output_variance"]) for b, a in zip(bf16["layers"], expected["layers"])]
        pairs += [(b["nll"], a["nll"]) for b, a in zip(bf16["prune_block"], expected["prune"])]
        worst = max(abs(b / a - 1.0) for b, a in pairs)
        print(f"  bfloat16 against float32: at most {worst:.1e} relative")
        assert worst < 2e-2, "too sensitive for a bfloat16 comparison; change the seed"

    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"  {size // 1000} kB")
    assert size < MAX_BYTES, "keep the repository small"


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    wanted = sys.argv[1:] or [case.name for case in CASES]
    unknown = set(wanted) - {case.name for case in CASES}
    assert not unknown, f"no such case: {', '.join(sorted(unknown))}"
    for case in CASES:
        if case.name in wanted:
            generate(case)
    versions = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "safetensors": safetensors.__version__,
        "numpy": np.__version__,
    }
    write_json(HERE / "versions.json", versions)


if __name__ == "__main__":
    main()
