"""Writes expected.json: what lm-evaluation-harness makes of the embedded Pre-LN model on the rows of tests/tasks.

    pip install lm-eval==0.4.13 torch transformers pyarrow
    python tests/eval/generate.py

Those are short and plain; `edges` and `texts` (tasks/ and rows/ here, the same to the harness as configurations of its own) are not.
"""

import importlib.metadata
import json
import logging
import pathlib

import reference
import torch
from lm_eval.models import huggingface
from lm_eval.tasks import TaskManager

HERE = pathlib.Path(__file__).parent
MODEL = HERE.parents[1] / "data/models/pre"
SUBJECTS = ["abstract_algebra", "us_foreign_policy"]
SHOTS = [0, 2]
OWN = {
    "edges": {
        "output_type": "multiple_choice", "doc_to_text": "context", "doc_to_choice": "options", "doc_to_target": "gold", "target_delimiter": "",
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    },
    "texts": {
        "output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "text",
        "metric_list": [{"metric": "word_perplexity"}, {"metric": "byte_perplexity"}, {"metric": "bits_per_byte"}],
    },
}
TRUNCATED = "exceeds model's maximum length"


class Truncations(logging.Handler):
    """Counts requests that the harness says it cut."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def emit(self, record):
        self.count += TRUNCATED in record.getMessage()


def item_rows(options):
    """`[subject, item, gold, log-likelihoods, greedy flags]` of each item: one of each for every option, or window of running text."""
    found = {}
    for row in options:
        item = found.setdefault((row["subject"], row["item"]), [row["subject"], row["item"], row["gold"], [], []])
        item[3].append(round(row["loglikelihood"], 6))
        item[4].append(row["greedy"])
    return list(found.values())


def metric_values(metrics):
    return [[row["subject"], row["metric"], round(row["value"], 6), row["count"]] for row in metrics]


def of_task(model, manager, truncations, task, shots):
    truncations.count = 0
    subjects = SUBJECTS if task == "mmlu" else []
    rows = HERE / "rows" if task in OWN else HERE.parent / "tasks/rows"
    options, metrics = reference.score(model, manager, rows, task, shots, subjects=subjects, own=OWN.get(task))
    return {"truncated": truncations.count, "items": item_rows(options), "metrics": metric_values(metrics)}


def written(value, depth=0):
    """JSON with an item a line, so that a change of one is a change of one."""
    if depth == 3 or not isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False)
    inner, outer = "\n" + " " * (depth + 1), "\n" + " " * depth
    if isinstance(value, dict):
        lines = [json.dumps(key) + ": " + written(below, depth + 1) for key, below in value.items()]
        return "{" + inner + ("," + inner).join(lines) + outer + "}"
    return "[" + inner + ("," + inner).join(written(below, depth + 1) for below in value) + outer + "]"


def main():
    torch.set_num_threads(1)
    model, manager, truncations = reference.open_model(MODEL), TaskManager(), Truncations()
    huggingface.eval_logger.addHandler(truncations)
    versions = {name: importlib.metadata.version(name) for name in ["lm_eval", "transformers", "torch", "tokenizers"]}
    expected = {"versions": versions, "max_length": model.max_length, "prefix": model.prefix_token_id}
    for task in [*reference.rows.TASKS, *OWN]:
        for shots in [0] if task == "wikitext" or task in OWN else SHOTS:
            expected[f"{task}/{shots}"] = of_task(model, manager, truncations, task, shots)
    (HERE / "expected.json").write_text(written(expected) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
