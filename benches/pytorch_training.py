#!/usr/bin/env python3
"""Training steps as `transformers` and torch.optim.AdamW do them, to be timed against.

    python benches/pytorch_training.py --folder DIR --steps 10 --threads 2 [--device cuda --dtype bf16]

DIR/model is a Hugging Face folder of a Llama, DIR/tokens.json a list of lists of token ids of one length: one batch. Prints one line of
JSON like `benches/training.rs`. Two steps warm up before the clock starts. bf16 is autocast: masters, gradients and moments stay f32, as ours do.
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


def peak(device):
    """Bytes of the process, or of the GPU's memory that it took."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32")
    args = parser.parse_args()
    device = torch.device(args.device)
    half = torch.autocast(device.type, torch.bfloat16, enabled=args.dtype == "bf16")
    torch.set_num_threads(args.threads)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    model = LlamaForCausalLM.from_pretrained(args.folder / "model", dtype=torch.float32, attn_implementation="sdpa").train().to(device)
    ids = torch.tensor(json.loads((args.folder / "tokens.json").read_text())).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01)
    seconds, losses = [], []
    for step in range(2 + args.steps):
        start = time.perf_counter()
        optimizer.zero_grad()
        with half:
            loss = model(ids, labels=ids, use_cache=False).loss
        loss.backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        spent = time.perf_counter() - start
        losses.append(loss.item())
        if step >= 2:
            seconds.append(spent)
    print(json.dumps({
        "tokens_per_second": ids.numel() / statistics.median(seconds),
        "peak_bytes": peak(device),
        "losses": losses,
        "torch": torch.__version__, "transformers": transformers.__version__, "threads": torch.get_num_threads(),
    }))


if __name__ == "__main__":
    main()
