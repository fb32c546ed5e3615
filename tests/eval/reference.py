"""What lm-evaluation-harness makes of a local model on local rows: every option's log-likelihood, for running text every window's, and its metrics.

    pip install lm-eval==0.4.13 torch transformers pyarrow
    python tests/eval/reference.py --model FOLDER --data FOLDER --out FOLDER --tasks mmlu piqa --shots 0 5 --limit 200

Writes `items.parquet` (`task, shots, subject, item, option, loglikelihood, greedy, gold`; `option` is the window for running text) and
`metrics.json`. Everything but where rows come from is the harness's: its hf backend in f32 on the CPU, its task files, its aggregation.
"""

import argparse
import json
import logging
import os
import pathlib
import tempfile
import time

# A local folder is all that is needed; a model's name must not be looked up.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pyarrow
import pyarrow.parquet
import tokenizers
import torch
import transformers
from lm_eval.api.metrics import aggregate_subtask_metrics
from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

import rows

SCHEMA = pyarrow.schema(
    [
        ("task", pyarrow.string()), ("shots", pyarrow.int64()), ("subject", pyarrow.string()), ("item", pyarrow.int64()),
        ("option", pyarrow.int64()), ("loglikelihood", pyarrow.float64()), ("greedy", pyarrow.bool_()), ("gold", pyarrow.int64()),
    ]
)
PROBES = ["Hello  world, it's 12345\n\n= x", " leading", "trailing ", "日本é 🙂"]


def special_tokens(folder):
    """The tokens that frame a text, for a folder that has nothing but tokenizer.json: what the post-processor puts first begins one."""
    config = json.loads((folder / "config.json").read_text())
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    by_id = {token["id"]: token["content"] for token in tokenizer["added_tokens"]}
    first = ((tokenizer.get("post_processor") or {}).get("single") or [{}])[0]
    begin = first.get("SpecialToken", {}).get("id") or by_id.get(config.get("bos_token_id"))
    return {"bos_token": begin, "eos_token": by_id.get(config.get("eos_token_id"))}


class Windowed(HFLM):
    """Remembers what the harness made of each window of a running text: it adds them up and hands out the sum alone."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.answers, self.windows = [], {}

    def loglikelihood_rolling(self, requests, disable_tqdm=False):
        return [self._text(request, disable_tqdm) for request in requests]

    def _text(self, request, disable_tqdm):
        # One text at a time, so that all that is answered meanwhile is its own.
        self.answers = []
        (total,) = super().loglikelihood_rolling([request], disable_tqdm)
        if sum(loglikelihood for loglikelihood, _ in self.answers) != total:
            raise SystemExit(f"windows of {request.task_name}, item {request.doc_id}, do not add up to what the harness says of it")
        self.windows[request.task_name, request.doc_id] = self.answers
        return total

    def _loglikelihood_tokens(self, requests, *arguments, **named):
        found = super()._loglikelihood_tokens(requests, *arguments, **named)
        self.answers += found
        return found


def with_tokenizer_config(folder, scratch):
    """The folder itself, or links to its files beside a tokenizer_config.json, without which the harness knows no prefix token and stops."""
    if (folder / "tokenizer_config.json").exists():
        return folder
    for path in folder.iterdir():
        (scratch / path.name).symlink_to(path.resolve())
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **special_tokens(folder)}
    (scratch / "tokenizer_config.json").write_text(json.dumps(config))
    return scratch


def open_tokenizer(usable):
    """As tokenizer.json says. Left to itself, transformers makes Qwen's own rules of what it is given for a Qwen."""
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(usable)
    own = tokenizers.Tokenizer.from_file(str(usable / "tokenizer.json"))
    for probe in PROBES:
        if tokenizer.encode(probe) != own.encode(probe).ids:
            raise SystemExit(f"transformers does not encode {probe!r} as tokenizer.json does")
    return tokenizer


def open_model(folder, batch_size=1):
    with tempfile.TemporaryDirectory() as scratch:
        usable = with_tokenizer_config(folder, pathlib.Path(scratch))
        return Windowed(pretrained=str(usable), tokenizer=open_tokenizer(usable), dtype="float32", device="cpu", batch_size=batch_size)


def gold(task, document):
    if task.OUTPUT_TYPE != "multiple_choice":
        return None
    return int(task.doc_to_text(document) if task.multiple_input else task.doc_to_target(document))


def subject_of(harness_name):
    return harness_name.removeprefix("mmlu_") if harness_name.startswith("mmlu_") else None


def answers(model, harness_name, task, sample):
    """Log-likelihood and greedy flag of every option, or of every window of a running text."""
    if task.OUTPUT_TYPE == "loglikelihood_rolling":
        return model.windows[harness_name, sample["doc_id"]]
    return [answer for (answer,) in sample["resps"]]


def option_rows(model, name, shots, harness_name, task, samples):
    for sample in samples:
        place = {"task": name, "shots": shots, "subject": subject_of(harness_name), "item": sample["doc_id"]}
        for option, (loglikelihood, greedy) in enumerate(answers(model, harness_name, task, sample)):
            yield {**place, "option": option, "loglikelihood": loglikelihood, "greedy": greedy, "gold": gold(task, sample["doc"])}


def values(result):
    """Metrics of one result of the harness, whose keys are `acc,none` and the like."""
    for key, value in result.items():
        metric, _, kind = key.partition(",")
        if kind == "none" and not metric.endswith("_stderr"):
            yield metric, float(value)


def metric_rows(name, shots, results, counts):
    """Metrics of subjects, of groups and, with no subject, of the whole task."""
    place = {"task": name, "shots": shots}
    of_tasks = {task: dict(values(results["results"][task])) for task in counts}
    found = []
    for task, metrics in of_tasks.items():
        found += [{**place, "subject": subject_of(task), "metric": key, "value": value, "count": counts[task]} for key, value in metrics.items()]
    for group, result in (results.get("groups") or {}).items():
        total = sum(counts[task] for task in leaves(results["group_subtasks"], group))
        subject = None if group == name else subject_of(group)
        found += [{**place, "subject": subject, "metric": key, "value": value, "count": total} for key, value in values(result)]
    if not any(row["subject"] is None for row in found):
        sizes = list(counts.values())
        value = aggregate_subtask_metrics([of_tasks[task]["acc"] for task in counts], sizes)
        found.append({**place, "subject": None, "metric": "acc", "value": value, "count": sum(sizes)})
    return found


def leaves(children, name):
    """Tasks under a group; groups of mmlu hold groups."""
    below = children.get(name) or []
    return [leaf for child in below for leaf in leaves(children, child)] if below else [name]


def score(model, manager, data, name, shots, limit=None, subjects=(), own=None):
    """Options and metrics of a task; `own` is the configuration of one that the harness has not."""
    loaded = rows.load(manager, data, name, shots, subjects, own)
    results = evaluate(lm=model, task_dict=loaded, limit=limit, bootstrap_iters=0, log_samples=True)
    tasks, samples = loaded["tasks"], results["samples"]
    options = [row for task in tasks for row in option_rows(model, name, shots, task, tasks[task], samples[task])]
    return options, metric_rows(name, shots, results, {task: len(samples[task]) for task in tasks})


def write(out, options, metrics):
    out.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(options, schema=SCHEMA), out / "items.parquet")
    (out / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")


def limits(pairs):
    """`200` for every task, `mmlu=4` for one (of each subject, as in the harness)."""
    found = {}
    for pair in pairs:
        task, _, limit = pair.rpartition("=")
        found[task] = int(limit)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--tasks", nargs="+", default=rows.TASKS, choices=rows.TASKS)
    parser.add_argument("--shots", nargs="+", type=int, default=[0])
    parser.add_argument("--limit", nargs="+", default=[], help="items, or TASK=ITEMS; of each subject")
    parser.add_argument("--subjects", nargs="+", default=[], help="of mmlu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch-size", default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    # A warning a truncated request would be thousands.
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    model, manager, of = open_model(options.model, options.batch_size), TaskManager(), limits(options.limit)
    items, metrics = [], []
    for shots in options.shots:
        for name in options.tasks:
            if name == "wikitext" and shots:
                continue
            began = time.perf_counter()
            more = score(model, manager, options.data, name, shots, of.get(name, of.get("")), options.subjects)
            items, metrics = items + more[0], metrics + more[1]
            write(options.out, items, metrics)
            print(f"{name}, {shots} shots: {len(more[0])} options or windows in {time.perf_counter() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
