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
    targets.json           for masked language models: for each sequence, a list of [position, the token that was masked]
    expected.safetensors   every site of the full model, real tokens only, sequences one after the other
    expected.json          the metrics: `baseline`, `layers`, `angular`, `prune`
    expected_bf16.json     for some cases: what the model gives when run in bfloat16

Words are those of the program: a *block* is attention + feed-forward, a *layer* is its 0-based index, x_i is the input of
block i and x_L the residual stream BEFORE the final norm. Transformers is run on one right-padded batch with an attention
mask, in float32 with eager attention; all metrics are summed in float64 from those float32 numbers.

The script asserts that its own fixtures are worth comparing against: the reference is stable (float64 moves it by about
1e-6), padding changes nothing, every removal has a cost, no choice of experts is a matter of rounding, and the mistakes that
`cases.py` lists, such as a sliding window one token wider or narrower, would be noticed.
"""

import json
import math
import platform
import sys
import tempfile
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch
import transformers
from adapters import family_of
from cases import CASES
from reference import PARTS, angular_rows, f64, forward, layer_rows, nll_of, prune_rows, routing_leads, sites, variance, without
from torch.overrides import TorchFunctionMode
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

HERE = Path(__file__).resolve().parent
MAX_BYTES = 400_000

# ---------------------------------------------------------------------------------------------------------------- models


def config_of(fields):
    fields = dict(fields)
    return AutoConfig.for_model(fields.pop("model_type"), **fields)


def auto_class(config):
    return AutoModelForMaskedLM if config.model_type == "bert" else AutoModelForCausalLM


EMBEDDINGS = ("embed_tokens", "lm_head", "wte", "wpe", "embed_in", "embed_out", "_embeddings")
ONE_PLUS_WEIGHT = ("gemma2", "gemma3_text")  # norms multiply by 1 + weight


def random_model(case):
    """Random weights with which every layer matters: branches as large as the stream, attention far from uniform."""
    torch.manual_seed(case.seed)
    config = config_of(case.config)
    model = auto_class(config).from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            std = next((std for part, std in case.stds.items() if part in name), None)
            if std is not None:
                weight.normal_(0.0, std)
            elif name.endswith("bias"):
                weight.normal_(0.0, 0.3)
            elif "norm" in name.lower() or ".ln_" in name:
                weight.uniform_(-0.5, 0.5) if config.model_type in ONE_PLUS_WEIGHT else weight.uniform_(0.5, 1.5)
            elif any(part in name for part in EMBEDDINGS):
                weight.normal_(0.0, 0.35)
            else:
                weight.normal_(0.0, case.std)
        for name, buffer in model.named_buffers():
            if name.endswith("e_score_correction_bias"):
                buffer.normal_(0.0, 0.3)
    return model


def open_model(folder, config, dtype=torch.float32):
    # Experts one after the other, as in the published code.
    experts = {"experts_implementation": "eager"} if hasattr(config, "num_experts_per_tok") else {}
    return (
        auto_class(config)
        .from_pretrained(folder, config=config, dtype=dtype, attn_implementation="eager", **experts)
        .eval()
    )


def load(folder, dtype=torch.float32, **changes):
    """The model of a fixture folder, with some config fields changed."""
    if not changes:
        return open_model(folder, AutoConfig.from_pretrained(folder), dtype)
    fields = json.loads((folder / "config.json").read_text()) | changes
    if "layer_types" not in changes and "max_window_layers" in fields:
        fields.pop("layer_types", None)  # made from the other fields
    return open_model(folder, config_of(fields), dtype)


def save(model, case, folder):
    """config.json, config_v4.json and model.safetensors."""
    with tempfile.TemporaryDirectory() as scratch:
        model.save_pretrained(scratch)
        tensors = safetensors.torch.load_file(Path(scratch) / "model.safetensors")
        safetensors.torch.save_file(case.published(tensors), folder / "model.safetensors", metadata={"format": "pt"})
        config = json.loads((Path(scratch) / "config.json").read_text())
    if case.config.get("use_sliding_window") is False:
        # Transformers forgets the unused window when it saves; published checkpoints have it.
        config["sliding_window"] = case.config["sliding_window"]
    write_json(folder / "config.json", config)
    write_json(folder / "config_v4.json", v4_layout(config, case))


def v4_layout(config, case):
    """The config as transformers 4 wrote it, and as most published checkpoints have it."""
    v4 = {key: value for key, value in config.items() if key not in ("layer_types", "transformers_version")}
    v4["torch_dtype"] = v4.pop("dtype")
    rope = v4.pop("rope_parameters", None)
    if rope is not None and "full_attention" in rope:
        v4["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
        rope = rope["full_attention"]
    if rope is not None:
        rope = dict(rope)
        v4["rope_theta"] = rope.pop("rope_theta")
        if "partial_rotary_factor" in rope:
            v4["partial_rotary_factor"] = rope.pop("partial_rotary_factor")
        if v4["model_type"] == "phi3":
            # It has this one at the top level, in both layouts.
            rope.pop("original_max_position_embeddings", None)
        if v4["model_type"] == "gpt_neox":
            v4["rotary_emb_base"] = v4.pop("rope_theta")
            v4["rotary_pct"] = v4.pop("partial_rotary_factor")
        if rope["rope_type"] == "default":
            rope = None
        elif rope["rope_type"] in ("linear", "yarn", "longrope") and v4["model_type"] != "gemma3_text":
            rope["type"] = rope.pop("rope_type")  # the older of the two spellings
        v4["rope_scaling"] = rope
    for key in case.v4_lacks:
        v4.pop(key, None)
    return v4 | case.v4_has


def sample_tokens(model, case):
    """Text that the model itself finds likely, so that removing a part of it hurts. The first token is uniform."""
    rng = torch.Generator().manual_seed(case.seed)
    vocab = model.config.vocab_size
    sequences = []
    for length in case.lengths:
        ids = torch.randint(vocab, (1, 1), generator=rng)
        while ids.shape[1] < length:
            with torch.inference_mode():
                last = model(ids, use_cache=False).logits[0, -1]
            ids = torch.cat([ids, torch.multinomial(last.softmax(-1), 1, generator=rng)[None]], dim=1)
        sequences.append(ids[0].tolist())
    return sequences


CLS, SEP, MASK, FIRST_WORD = 2, 3, 4, 5


def masked_tokens(model, case):
    """Random words of which some are masked, and for each sequence the masked positions with words that the model finds likely."""
    rng = torch.Generator().manual_seed(case.seed)
    sequences, targets = [], []
    for length in case.lengths:
        words = torch.randint(FIRST_WORD, model.config.vocab_size, (length - 2,), generator=rng).tolist()
        ids = [CLS, *words, SEP]
        masked = sorted(1 + torch.randperm(length - 2, generator=rng)[: max(1, round(0.15 * length))])
        for position in masked:
            ids[position] = MASK
        probabilities = forward(model, [ids]).softmax(-1)
        sequences.append(ids)
        targets.append([[int(p), torch.multinomial(probabilities[p], 1, generator=rng).item()] for p in masked])
    return sequences, targets


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


def check_reference(case, folder, model, text, found):
    """That the reference is one: the same from both configs, for each sequence alone, and in float64."""
    sequences, targets = text
    v4 = json.loads((folder / "config_v4.json").read_text())
    other = open_model(folder, config_of(v4))
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

    for mistakes, least in ((case.mistakes, 0.05), (case.subtle, 5e-4)):
        for mistake, changes in mistakes.items():
            logits = forward(load(folder, **changes), sequences)
            nll = nll_of(logits, sequences, targets).mean().item()
            difference = apart(logits, found["logits"])
            print(f"  if mistaken ({mistake}): nll {nll:.4f}, logits differ by {difference:.2g} of their rms")
            assert difference > least, f"nobody would notice: {mistake}"


def check_metrics(expected, layers, grows):
    baseline = expected["baseline"]["nll"]
    print(f"  baseline nll {baseline:.4f}")
    for row in expected["layers"]:
        print(
            f"  layer {row['layer']}: variance {row['input_variance']:.3f} -> {row['output_variance']:.3f},"
            f" ratios {row['attention_ratio']:.2f} {row['feed_forward_ratio']:.2f}, influence {row['block_influence']:.3f}"
        )
        assert not grows or row["output_variance"] > row["input_variance"], "the stream must grow"
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


def write_lines(path, lists):
    path.write_text("[\n" + ",\n".join(f" {json.dumps(line)}" for line in lists) + "\n]\n")


def bf16_results(folder, sequences):
    model = load(folder, torch.bfloat16)
    found = sites(model, sequences)
    layers = len(family_of(model).blocks(model))
    blocks = []
    for i in range(layers):
        with without(model, i, i, "block"):
            blocks.append({"layer": i, "nll": nll_of(forward(model, sequences), sequences).mean().item()})
    return {
        "baseline": {"nll": nll_of(found["logits"], sequences).mean().item()},
        "layers": [{"layer": i, "output_variance": variance(f64(found[f"block_out.{i}"]))} for i in range(layers)],
        "prune_block": blocks,
    }


def check_blocks(model, found):
    """That the sites say what a block does."""
    family = family_of(model)
    for i, block in enumerate(family.blocks(model)):
        joins = [block.get_submodule(path) for path in family.joins or ()]
        branches = (("block_in", "attention_delta", "block_mid"), ("block_mid", "feed_forward_delta", "block_out"))
        for branch, (stream, delta, result) in enumerate(branches):
            total = found[f"{stream}.{i}"] + found[f"{delta}.{i}"]
            if joins:
                total = joins[branch](total).detach()
            if family.middle is None:
                # Parallel blocks add in another order.
                assert apart(total, found[f"{result}.{i}"]) < 1e-6
            else:
                assert torch.equal(total, found[f"{result}.{i}"])


def generate(case):
    print(case.name)
    folder = HERE / case.name
    folder.mkdir(exist_ok=True)
    save(random_model(case), case, folder)
    model = load(folder)
    layers = len(family_of(model).blocks(model))
    masked = model.config.model_type == "bert"
    sequences, targets = masked_tokens(model, case) if masked else (sample_tokens(model, case), None)
    write_lines(folder / "tokens.json", sequences)
    if masked:
        write_lines(folder / "targets.json", targets)

    with routing_leads(model) as leads:
        found = sites(model, sequences)
        prune = prune_rows(model, sequences, found["logits"], targets, margin=1e-4)
    if leads:
        print(f"  experts are chosen by a lead of at least {min(leads):.1e}")
        assert min(leads) > 5e-5, "a near-tie between experts; change the seed"
    nll = nll_of(found["logits"], sequences, targets)
    found["nll"] = nll.float()
    check_blocks(model, found)
    safetensors.torch.save_file({name: t.contiguous() for name, t in found.items()}, folder / "expected.safetensors")

    mean = nll.mean().item()
    expected = {
        "baseline": {"nll": mean, "perplexity": math.exp(mean), "count": len(nll)},
        "layers": layer_rows(found, layers),
        "angular": angular_rows(found, layers, case.lengths),
        "prune": prune,
    }
    write_json(folder / "expected.json", expected)
    check_reference(case, folder, model, (sequences, targets), found)
    check_metrics(expected, layers, grows=family_of(model).joins is None)

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
