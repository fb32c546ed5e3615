"""Holds what `depthscope eval` wrote against what lm-evaluation-harness gave (reference.py); exits with 1 where they differ.

    depthscope eval --model FOLDER --task mmlu --data DATA --shots 5 --limit 4 --items --out OUT
    python tests/eval/compare.py --reference FOLDER --ours OUT [OUT ...] --shots 5

Numbers of parts left out are passed over: the harness has the full model only.
"""

import argparse
import collections
import json
import math
import pathlib
import sys

import pyarrow.parquet

# Of a log-likelihood, in nats: of an option, or of a window of a running text.
CLOSE = 1e-3
# Of a perplexity, relative to it; of an accuracy as it is.
METRIC = 1e-3
WHOLE = (None, "", "all", "total")
# Names of the harness, by ours.
HARNESS = {"accuracy": "acc", "accuracy_norm": "acc_norm"}
ACCURACIES = ("acc", "acc_norm")
COLUMNS = [
    "task", "items", "only one side", "options or windows", "largest difference", "too far", "other pick", "other gold", "harness / ours",
    "identical metrics", "too far",
]


def table(path):
    return pyarrow.parquet.read_table(path).to_pylist()


def full_model(row):
    """Neither a part left out nor the group of a comparison."""
    return row.get("part") in (None, "none") and row.get("first") is None


def by_option(found):
    return {(row["task"], row["subject"] or None, row["item"], row["option"]): row for row in found}


def by_metric(found):
    subject = lambda row: None if row["subject"] in (*WHOLE, row["task"]) else row["subject"]
    name = lambda row: HARNESS.get(row["metric"], row["metric"])
    return {(row["task"], subject(row), name(row)): row["value"] for row in found}


def ours(folders):
    """Rows of the full model: items.parquet has others, eval.parquet may."""
    items, metrics = [], []
    for folder in folders:
        tables = folder / "tables" if (folder / "tables").exists() else folder
        items += filter(full_model, table(tables / "items.parquet"))
        metrics += filter(full_model, table(tables / "eval.parquet"))
    return by_option(items), by_metric(metrics)


def reference(folder, shots):
    of_shots = lambda found: [row for row in found if row["shots"] == shots]
    metrics = json.loads((folder / "metrics.json").read_text())
    return by_option(of_shots(table(folder / "items.parquet"))), by_metric(of_shots(metrics))


def picks(options):
    """The likeliest option of each item that has a right one, the first of equals."""
    found = {}
    asked = [pair for pair in options.items() if pair[1]["gold"] is not None]
    for (task, subject, item, option), row in sorted(asked, key=lambda pair: pair[0][-1]):
        place = (task, subject, item)
        if place not in found or row["loglikelihood"] > found[place][1]:
            found[place] = (option, row["loglikelihood"])
    return {place: option for place, (option, _) in found.items()}


def is_far(theirs, own):
    # Written so that NaN is far from everything.
    return not abs(theirs - own) <= CLOSE


def metric_is_far(metric, theirs, own):
    return not abs(theirs - own) <= METRIC * (1.0 if metric in ACCURACIES else abs(theirs))


def compare_options(task, theirs, own):
    """A row of the table, and whether something is wrong."""
    shared = [key for key in theirs if key[0] == task and key in own]
    # With another limit either has items that the other has not; half an item is a fault.
    items = {key[:3] for key in shared}
    halves = sum(key[:3] in items for key in set(theirs) ^ set(own) if key[0] == task)
    gaps = [abs(theirs[key]["loglikelihood"] - own[key]["loglikelihood"]) for key in shared]
    # NaN is no largest number.
    largest = max((math.inf if math.isnan(gap) else gap for gap in gaps), default=0)
    far = sum(is_far(theirs[key]["loglikelihood"], own[key]["loglikelihood"]) for key in shared)
    golds = sum(theirs[key]["gold"] != own[key]["gold"] for key in shared)
    picked = [picks({key: side[key] for key in shared}) for side in (theirs, own)]
    other = sum(picked[0][place] != picked[1][place] for place in picked[0])
    absent = len({key[:3] for key in theirs if key[0] == task} ^ {key[:3] for key in own if key[0] == task})
    row = [len(items), absent, len(shared), f"{largest:.2e}", far, other, golds]
    return row, bool(far or halves or golds or not shared)


def compare_metrics(task, theirs, own):
    """Text for the table, and whether something is wrong; subjects are counted, the task's own metrics are written out."""
    shared = [key for key in theirs if key[0] == task and key in own]
    identical = sum(theirs[key] == own[key] for key in shared)
    far = [key for key in shared if metric_is_far(key[2], theirs[key], own[key])]
    whole = [f"{metric} {theirs[key]:.6g} / {own[key]:.6g}" for key in shared for _, subject, metric in [key] if subject is None]
    return [", ".join(whole) or "none in both", f"{identical} of {len(shared)}", len(far)], bool(far or not shared)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=pathlib.Path, required=True)
    parser.add_argument("--ours", type=pathlib.Path, nargs="+", required=True)
    parser.add_argument("--shots", type=int, default=0)
    options = parser.parse_args()
    their_options, their_metrics = reference(options.reference, options.shots)
    own_options, own_metrics = ours(options.ours)
    tasks = list(collections.OrderedDict.fromkeys(key[0] for key in own_options))
    print("| " + " | ".join(COLUMNS) + " |")
    print("|---|" + "--:|" * (len(COLUMNS) - 1))
    wrong = not tasks
    for task in tasks:
        row, options_wrong = compare_options(task, their_options, own_options)
        more, metrics_wrong = compare_metrics(task, their_metrics, own_metrics)
        # Metrics over other items are no fault.
        wrong |= options_wrong or (metrics_wrong and row[1] == 0)
        print("| " + " | ".join(map(str, [task, *row, *more])) + " |")
    sys.exit(int(wrong))


if __name__ == "__main__":
    main()
