"""Runs a `transformers` model of ours and measures it: the reference that the fixtures record.

Transformers is run on one right-padded batch with an attention mask and eager attention; what comes back holds real tokens
only, the sequences one after the other. Metrics are summed in float64.
"""

import math
from contextlib import ExitStack, contextmanager

import numpy as np
import torch

PARTS = ("block", "attention", "feed_forward")


# ------------------------------------------------------------------------------------------------------- running a model


def forward(model, sequences, pad=0):
    """Logits of the real tokens, concatenated, from one right-padded batch."""
    width = max(map(len, sequences))
    ids = torch.tensor([ids + [pad] * (width - len(ids)) for ids in sequences])
    mask = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids in sequences])
    with torch.inference_mode():
        logits = model(ids, attention_mask=mask, use_cache=False).logits
    return ragged(logits, sequences)


def ragged(padded, sequences):
    return torch.cat([padded[s, : len(ids)] for s, ids in enumerate(sequences)])


def sites(model, sequences, pad=0):
    """Every site of the full model by name, captured with hooks (the last of HF's hidden_states is after the norm)."""
    found = {}

    def keep(name, tensor):
        found[name] = ragged(tensor.detach().clone(), sequences)

    def on_input(name):
        return lambda module, args, kwargs: keep(name, args[0] if args else kwargs["hidden_states"])

    def on_output(name):
        return lambda module, args, output: keep(name, output[0] if isinstance(output, tuple) else output)

    with ExitStack() as stack:

        def hook(handle):
            stack.callback(handle.remove)

        hook(model.model.embed_tokens.register_forward_hook(on_output("embedded")))
        for i, block in enumerate(model.model.layers):
            hook(block.register_forward_pre_hook(on_input(f"block_in.{i}"), with_kwargs=True))
            hook(block.self_attn.register_forward_hook(on_output(f"attention_delta.{i}")))
            hook(block.post_attention_layernorm.register_forward_pre_hook(on_input(f"block_mid.{i}"), with_kwargs=True))
            hook(block.mlp.register_forward_hook(on_output(f"feed_forward_delta.{i}")))
            hook(block.register_forward_hook(on_output(f"block_out.{i}")))
        hook(model.model.norm.register_forward_hook(on_output("final_normed")))
        found["logits"] = forward(model, sequences, pad)
    return found


class Skip(torch.nn.Module):
    """A removed block: its input goes straight on."""

    def forward(self, hidden_states, *args, **kwargs):
        return hidden_states


@contextmanager
def without(model, first, last, part):
    """The model less a part of the blocks first..=last.

    A removed block is replaced by `Skip`, not deleted from `model.layers`: Qwen2 and Qwen3 pick the mask of a block by its
    place in that list, so that after a deletion the blocks above would change from full to sliding attention.
    """
    layers = model.model.layers
    with ExitStack() as stack:
        for i in range(first, last + 1):
            if part == "block":
                stack.callback(layers.__setitem__, i, layers[i])
                layers[i] = Skip()
            elif part == "attention":
                stack.callback(layers[i].self_attn.register_forward_hook(zero_first).remove)
            elif part == "feed_forward":
                stack.callback(layers[i].mlp.register_forward_hook(zero).remove)
            else:
                raise ValueError(part)
        yield model


def zero(module, args, output):
    return torch.zeros_like(output)


def zero_first(module, args, output):
    return (torch.zeros_like(output[0]), *output[1:])


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


def predictions(logits, sequences):
    """Log-probabilities at the positions that predict a token of their own sequence, and those tokens."""
    parts = torch.split(logits.to(torch.float64), [len(ids) for ids in sequences])
    log_probabilities = torch.cat([part[:-1] for part in parts]).log_softmax(-1)
    targets = torch.tensor([token for ids in sequences for token in ids[1:]])
    return log_probabilities, targets


def nll_of(logits, sequences):
    log_probabilities, targets = predictions(logits, sequences)
    return -log_probabilities.gather(-1, targets[:, None])[:, 0]


def removals(layers):
    """Every part of every layer, and every window of two blocks."""
    for part in PARTS:
        yield from ((i, i, part) for i in range(layers))
    yield from ((i, i + 1, "block") for i in range(layers - 1))


def prune_rows(model, sequences, logits, margin=None):
    """What each removal does. With a `margin`, no top-1 token may lead by less: its agreement would be a matter of rounding."""
    full, _ = predictions(logits, sequences)
    rows = []
    for first, last, part in removals(len(model.model.layers)):
        with without(model, first, last, part):
            pruned_logits = forward(model, sequences)
        pruned, _ = predictions(pruned_logits, sequences)
        nll = nll_of(pruned_logits, sequences).mean().item()
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
