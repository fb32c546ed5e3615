"""How long lm-evaluation-harness takes for what `depthscope eval` does in one run: the full model and each model less one block.

    pip install lm-eval==0.4.13 torch transformers pyarrow
    python benches/harness_sweep.py --model FOLDER --data FOLDER --task mmlu --subjects anatomy virology --shots 5 --limit 50 --threads 2 \\
        --batch-size 1

Rows come from a local folder as in tests/eval. A sweep of L blocks is L + 1 runs; two are timed (nothing left out; the block in the middle) and
the rest reckoned from them. One JSON line on standard output, seconds: `scoring` is the run on a loaded model, `loading` what every separate
run pays before it. `--batch-size` is one of 1, 8, ..., auto: the harness is to be timed with the one that is fastest for it.
"""

import argparse
import contextlib
import importlib.metadata
import json
import logging
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests/eval"))

import reference
import torch
from lm_eval.tasks import TaskManager


def without(model, layer):
    """Deletes a decoder layer; attention finds its place in the cache by `layer_idx`."""
    layers = model.model.layers
    del layers[layer]
    for place, block in enumerate(layers):
        block.self_attn.layer_idx = place
    model.config.num_hidden_layers = len(layers)
    # As long as the layers, where there is such a list.
    if getattr(model.config, "layer_types", None):
        model.config.layer_types = model.config.layer_types[:layer] + model.config.layer_types[layer + 1 :]


def seconds(work):
    began = time.perf_counter()
    found = work()
    return found, time.perf_counter() - began


def load(options):
    # The index of tasks is read once by every run of the harness's command line.
    (model, manager), loading = seconds(lambda: (reference.open_model(options.model, options.batch_size), TaskManager()))
    return model, manager, loading


def timed_run(options, layer):
    """Loads, leaves out a layer unless it is None, and scores."""
    model, manager, loading = load(options)
    layers = len(model.model.model.layers)
    if layer is not None:
        without(model.model, layer)
    score = lambda: reference.score(model, manager, options.data, options.task, options.shots, options.limit, options.subjects)
    (items, metrics), scoring = seconds(score)
    accuracy = next(row["value"] for row in metrics if row["subject"] is None)
    return {"left_out": layer, "loading": loading, "scoring": scoring, "requests": len(items), "metric": accuracy}, layers


def reckoned(full, pruned, layers):
    """Of L + 1 runs: the full model's, and L like the one less a block."""
    scoring = full["scoring"] + layers * pruned["scoring"]
    loading = full["loading"] + layers * pruned["loading"]
    return {"scoring": scoring, "with_loading": scoring + loading, "full_times_runs": full["scoring"] * (layers + 1)}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--task", default="mmlu", choices=reference.rows.TASKS)
    parser.add_argument("--subjects", nargs="+", default=[], help="of mmlu; all by default")
    parser.add_argument("--shots", type=int, default=0)
    parser.add_argument("--limit", type=int, help="items, of each subject")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch-size", default="1")
    return parser.parse_args()


def main():
    options = arguments()
    torch.set_num_threads(options.threads)
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    # The harness prints what batch size it found.
    with contextlib.redirect_stdout(sys.stderr):
        full, layers = timed_run(options, None)
        pruned, _ = timed_run(options, layers // 2)
    versions = {name: importlib.metadata.version(name) for name in ["lm_eval", "transformers", "torch"]}
    what = {key: getattr(options, key) for key in ["task", "subjects", "shots", "limit", "threads", "batch_size"]}
    line = {**what, "layers": layers, "full": full, "pruned": pruned, "sweep": reckoned(full, pruned, layers), "versions": versions}
    print(json.dumps(line))


if __name__ == "__main__":
    main()
