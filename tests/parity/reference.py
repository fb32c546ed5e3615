"""Runs a `transformers` model of ours and measures it: the reference that the fixtures record.

Transformers is run on one right-padded batch with an attention mask and eager attention; what comes back holds real tokens
only, the sequences one after the other. Metrics are summed in float64.
"""

import math
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from adapters import Skip, family_of, routers, routing_lead

PARTS = ("block", "attention", "feed_forward")


# ------------------------------------------------------------------------------------------------------- running a model


def forward(model, sequences, pad=0):
    """Logits of the real tokens, concatenated, from one right-padded batch."""
    width = max(map(len, sequences))
    ids = torch.tensor([ids + [pad] * (width - len(ids)) for ids in sequences])
    mask = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids in sequences])
    # BERT has no cache, and says so.
    cache = {} if model.config.model_type == "bert" else {"use_cache": False}
    with torch.inference_mode():
        logits = model(ids, attention_mask=mask, **cache).logits
    return ragged(logits, sequences)


def ragged(padded, sequences):
    return torch.cat([padded[s, : len(ids)] for s, ids in enumerate(sequences)])


def sites(model, sequences, pad=0):
    """Every site of the full model by name, captured with hooks (the last of HF's hidden_states is after the norm)."""
    family = family_of(model)
    multiplier = getattr(model.config, "residual_multiplier", 1.0)
    found = {}

    def keep(name, tensor):
        found[name] = ragged(tensor.detach().clone(), sequences)

    def on_input(name):
        return lambda module, args, kwargs: keep(name, args[0] if args else kwargs["hidden_states"])

    def on_output(name, multiplier=1.0):
        return lambda module, args, output: keep(name, (output[0] if isinstance(output, tuple) else output) * multiplier)

    with ExitStack() as stack:

        def hook(handle):
            stack.callback(handle.remove)

        for i, block in enumerate(family.blocks(model)):
            attention, feed_forward = block.get_submodule(family.attention), block.get_submodule(family.feed_forward)
            hook(block.register_forward_pre_hook(on_input(f"block_in.{i}"), with_kwargs=True))
            hook(attention.register_forward_hook(on_output(f"attention_delta.{i}", multiplier)))
            if family.middle is not None:
                middle = block.get_submodule(family.middle)
                hook(middle.register_forward_pre_hook(on_input(f"block_mid.{i}"), with_kwargs=True))
            hook(feed_forward.register_forward_hook(on_output(f"feed_forward_delta.{i}", multiplier)))
            hook(block.register_forward_hook(on_output(f"block_out.{i}")))
        hook(model.get_submodule(family.final_norm).register_forward_hook(on_output("final_normed")))
        logits = forward(model, sequences, pad)

    found["logits"] = logits
    found["embedded"] = found["block_in.0"].clone()
    if family.middle is None:
        for i in range(len(family.blocks(model))):
            found[f"block_mid.{i}"] = found[f"block_in.{i}"] + found[f"attention_delta.{i}"]
    return found


@contextmanager
def routing_leads(model):
    """Collects how close each choice of experts was."""
    leads = []
    with ExitStack() as stack:
        for router in routers(model):
            stack.callback(
                router.register_forward_hook(
                    lambda module, args, output: leads.append(routing_lead(module, output[0]))
                ).remove
            )
        yield leads


@contextmanager
def without(model, first, last, part):
    """The model less a part of the blocks first..=last.

    A removed block is replaced by `Skip`, not deleted from the list of blocks: Qwen2 and others pick the mask (and the rope) of a
    block by its place in that list, so that after a deletion the blocks above would change from full to sliding attention.
    """
    family = family_of(model)
    blocks = family.blocks(model)
    with ExitStack() as stack:
        for i in range(first, last + 1):
            if part == "block":
                stack.callback(blocks.__setitem__, i, blocks[i])
                blocks[i] = Skip(family)
            elif part in ("attention", "feed_forward"):
                branch = blocks[i].get_submodule(getattr(family, part))
                stack.callback(branch.register_forward_hook(zero).remove)
            else:
                raise ValueError(part)
        yield model


def zero(module, args, output):
    if isinstance(output, tuple):
        return (torch.zeros_like(output[0]), *output[1:])
    return torch.zeros_like(output)


# --------------------------------------------------------------------------------------------------------------- metrics
# All in float64, on arrays of real tokens; `lengths` tells the sequences apart.


def f64(tensor):
    return tensor.detach().to(torch.float64).numpy()


def norm(x):
    return np.sqrt((x * x).sum(-1))


def cosine(a, b):
    return np.clip((a * b).sum(-1) / (norm(a) * norm(b)), -1.0, 1.0)


def variance(x):
    """Population variance over the hidden dimensions of a token, mean over tokens."""
    return float(x.var(axis=-1).mean())


def layer_rows(found, layers):
    rows = []
    for i in range(layers):
        x_in, attention, x_mid, feed_forward, x_out = (
            f64(found[f"{site}.{i}"])
            for site in ("block_in", "attention_delta", "block_mid", "feed_forward_delta", "block_out")
        )
        rows.append(
            {
                "layer": i,
                "input_variance": variance(x_in),
                "output_variance": variance(x_out),
                "attention_variance": variance(attention),
                "feed_forward_variance": variance(feed_forward),
                "output_rms": float(np.sqrt((x_out * x_out).mean(-1)).mean()),
                "attention_ratio": float((norm(attention) / norm(x_in)).mean()),
                "feed_forward_ratio": float((norm(feed_forward) / norm(x_mid)).mean()),
                "block_influence": float((1.0 - cosine(x_in, x_out)).mean()),
                "tokens": len(x_in),
            }
        )
    return rows


def angular_rows(found, layers, lengths):
    stream = [f64(found[f"block_in.{i}"]) for i in range(layers)] + [f64(found[f"block_out.{layers - 1}"])]
    sequences, tokens = len(lengths), sum(lengths)
    ends = np.cumsum(lengths)
    rows = []
    for start in range(layers):
        for span in range(1, layers - start + 1):
            distance = np.arccos(cosine(stream[start], stream[start + span])) / math.pi

            last = distance[ends - 1]
            stderr = last.std(ddof=1) / math.sqrt(sequences)
            rows.append(angular_row(start, span, "last", last.mean(), stderr, sequences))

            # Tokens of one sequence are not independent: cluster-robust, a sequence is a cluster.
            mean = distance.mean()
            residuals = [part.sum() - mean * len(part) for part in np.split(distance, ends[:-1])]
            stderr = math.sqrt(sequences / (sequences - 1) * np.square(residuals).sum()) / tokens
            rows.append(angular_row(start, span, "all", mean, stderr, tokens))
    return rows


def angular_row(start, span, position, distance, stderr, count):
    return {
        "start": start,
        "span": span,
        "position": position,
        "distance": float(distance),
        "stderr": float(stderr),
        "count": count,
    }


def next_tokens(sequences):
    """For each sequence, where a causal model predicts and what it should: a list of [position, token]."""
    return [[[position, token] for position, token in enumerate(ids[1:])] for ids in sequences]


def predictions(logits, sequences, targets=None):
    """Log-probabilities at the positions with a target (by default those that predict a token of their own sequence)."""
    parts = torch.split(logits.to(torch.float64), [len(ids) for ids in sequences])
    targets = next_tokens(sequences) if targets is None else targets
    rows = torch.cat([part[[position for position, _ in wanted]] for part, wanted in zip(parts, targets, strict=True)])
    return rows.log_softmax(-1), torch.tensor([token for wanted in targets for _, token in wanted])


def nll_of(logits, sequences, targets=None):
    log_probabilities, tokens = predictions(logits, sequences, targets)
    return -log_probabilities.gather(-1, tokens[:, None])[:, 0]


def removals(layers):
    """Every part of every layer, and every window of two blocks."""
    for part in PARTS:
        yield from ((i, i, part) for i in range(layers))
    yield from ((i, i + 1, "block") for i in range(layers - 1))


def prune_rows(model, sequences, logits, targets=None, margin=None):
    """What each removal does. With a `margin`, no top-1 token may lead by less: its agreement would be a matter of rounding."""
    full, _ = predictions(logits, sequences, targets)
    rows = []
    for first, last, part in removals(len(family_of(model).blocks(model))):
        with without(model, first, last, part):
            pruned_logits = forward(model, sequences)
        pruned, _ = predictions(pruned_logits, sequences, targets)
        nll = nll_of(pruned_logits, sequences, targets).mean().item()
        rows.append(
            {
                "first": first,
                "last": last,
                "part": part,
                "nll": nll,
                "perplexity": math.exp(nll),
                "kl": (full.exp() * (full - pruned)).sum(-1).mean().item(),
                "top1_agreement": (full.argmax(-1) == pruned.argmax(-1)).double().mean().item(),
            }
        )
        if margin is not None:
            for log_probabilities in (full, pruned):
                lead = log_probabilities.topk(2).values
                tie = (lead[:, 0] - lead[:, 1]).min().item()
                assert tie > margin, f"without {part} {first}..={last}: a top-1 tie ({tie:.1e}); change the seed"
    return rows
