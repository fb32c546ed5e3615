#!/usr/bin/env python3
"""The obvious way to find what each layer is worth, to be timed against: one full forward per removed block in PyTorch.

    python benches/pytorch_loop.py --model FOLDER --tokens FILE.json --threads 2

FOLDER is a Hugging Face folder of a Llama; FILE.json holds a list of lists of token ids, all of one length, which go through
as one batch. Runs `transformers` in float32 with sdpa attention and no cache; needs torch and transformers.

Prints one line of JSON. `seconds` is the time of a sweep: the full model, then the model less each block. Only the loss is
asked for, as such a script does. One full forward before the clock starts warms up; loading is not counted. With
`--repeat` the sweep is run several times: `seconds` is the fastest, `all_seconds` holds every one.
"""

import argparse
import json
import time

import torch
import transformers
from torch import nn
from transformers import LlamaForCausalLM


def sweep(model, ids):
    """The loss of the full model, and of the model less each block."""
    layers = model.model.layers

    def loss():
        return model(ids, labels=ids, use_cache=False).loss.item()

    full = loss()
    removed = []
    for i in range(len(layers)):
        model.model.layers = nn.ModuleList([*layers[:i], *layers[i + 1 :]])
        removed.append(loss())
    model.model.layers = layers
    return full, removed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="Hugging Face folder of a Llama")
    parser.add_argument("--tokens", required=True, help="JSON file: list of lists of token ids of one length")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=1, help="sweeps to run; the fastest counts")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    model = LlamaForCausalLM.from_pretrained(args.model, dtype=torch.float32, attn_implementation="sdpa").eval()
    with open(args.tokens) as file:
        sequences = json.load(file)
    if len({len(ids) for ids in sequences}) != 1:
        parser.error("the sequences have different lengths; give sequences of one length")
    ids = torch.tensor(sequences)

    seconds = []
    with torch.inference_mode():
        model(ids, labels=ids, use_cache=False)  # warm-up
        for _ in range(args.repeat):
            start = time.perf_counter()
            full, removed = sweep(model, ids)
            seconds.append(time.perf_counter() - start)

    print(
        json.dumps(
            {
                "seconds": min(seconds),
                "all_seconds": seconds,
                "forwards": 1 + len(removed),
                "baseline": full,
                "removed": removed,
                "sequences": ids.shape[0],
                "tokens": ids.numel(),
                "threads": torch.get_num_threads(),
                "torch": torch.__version__,
                "transformers": transformers.__version__,
            }
        )
    )


if __name__ == "__main__":
    main()
