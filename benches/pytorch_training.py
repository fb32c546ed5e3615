#!/usr/bin/env python3
"""Training steps as `transformers` and torch.optim.AdamW do them, in f32, to be timed against.

    python benches/pytorch_training.py --folder DIR --steps 10 --threads 2

DIR/model is a Hugging Face folder of a Llama, DIR/tokens.json a list of lists of token ids of one length: one batch. Prints one line of
JSON like `benches/training.rs`. Two steps warm up before the clock starts.
"""

import argparse
import json
import resource
import statistics
import time
from pathlib import Path

import torch
import transformers
from transformers import LlamaForCausalLM


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    model = LlamaForCausalLM.from_pretrained(args.folder / "model", dtype=torch.float32, attn_implementation="sdpa").train()
    ids = torch.tensor(json.loads((args.folder / "tokens.json").read_text()))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01)
    seconds, losses = [], []
    for step in range(2 + args.steps):
        start = time.perf_counter()
        optimizer.zero_grad()
        loss = model(ids, labels=ids, use_cache=False).loss
        loss.backward()
        optimizer.step()
        spent = time.perf_counter() - start
        losses.append(loss.item())
        if step >= 2:
            seconds.append(spent)
    print(json.dumps({
        "tokens_per_second": ids.numel() / statistics.median(seconds),
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "losses": losses,
        "torch": torch.__version__, "transformers": transformers.__version__, "threads": torch.get_num_threads(),
    }))


if __name__ == "__main__":
    main()
