"""Rows of tasks from a local folder, as `depthscope eval --data` takes them, handed to lm-evaluation-harness in the columns of the Hub.

    python tests/eval/rows.py --data FOLDER --out FOLDER    # another folder, in which every task has rows to draw examples from
"""

import argparse
import json
import pathlib
import re

import datasets

# By the names that they have in the harness too.
TASKS = [
    "mmlu", "hellaswag", "piqa", "winogrande", "arc_easy", "arc_challenge", "openbookqa", "boolq", "social_iqa", "lambada_openai", "wikitext",
]
FOLDERS = {"wikitext": "wikitext2"}
NAMES_OF_SPLITS = {"valid": "validation"}
# Splits that the harness opens whatever it is asked, and what stands in where a folder lacks them. What stands in for `train` is only
# opened, never shown: `load` refuses examples then.
STAND_INS = [("test", "validation"), ("validation", "test"), ("train", "validation")]
HEADING = re.compile(r"^\s*= [^=](.*[^=])? =\s*$")
SEED = 1234


def pages(text):
    """Articles of plain text: one goes on until the heading of the next."""
    found = [[]]
    for line in text.split("\n"):
        if HEADING.match(line):
            found.append([])
        found[-1].append(line)
    whole = ["\n".join(lines) for lines in found]
    return [{"page": page} for page in whole if page.strip()]


def read(path):
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".txt":
        return pages(text)
    if path.suffix == ".json":
        return json.loads(text)
    # Not `splitlines`: strings hold line separators of Unicode.
    return [json.loads(line) for line in text.split("\n") if line.strip()]


def completed(task, row):
    """What `[fields]` of data/tasks does, the other way for hellaswag, where the harness reads the answer from `label`."""
    row = dict(row)
    if task == "boolq" and "label" not in row:
        row["label"] = int(row["answer"])
    if task == "lambada_openai" and "text" not in row:
        row["text"] = row["context"] + " " + row["continuation"]
    if task == "hellaswag" and "label" not in row:
        row["label"] = str(row["gold"])
    return row


def splits(data, task):
    """Completed rows by split."""
    found = {}
    folder = data / FOLDERS.get(task, task)
    for path in sorted(folder.glob("*.*")):
        rows = [completed(task, row) for row in read(path)]
        found[NAMES_OF_SPLITS.get(path.stem, path.stem)] = rows
    if not found:
        raise SystemExit(f"no rows of {task} ({folder})")
    return found


def of_subject(rows, subject):
    return [row for row in rows if subject is None or row["subject"] == subject]


def with_stand_ins(found):
    for absent, present in STAND_INS:
        if absent not in found and present in found:
            found = {**found, absent: found[present]}
    return found


class Processed(datasets.Dataset):
    """Rows that are already what the harness's own processing, which is a `map`, would make of them."""

    def map(self, *_, **__):
        return self


def dataset(rows):
    ready = bool(rows) and "query" in rows[0]
    return (Processed if ready else datasets.Dataset).from_list(rows)


def loader(task, found):
    """Takes the place of `datasets.load_dataset`: the harness asks for a subject of mmlu as a configuration of the dataset."""

    def load_dataset(path=None, name=None, **_):
        subject = name if task == "mmlu" else None
        return datasets.DatasetDict({split: dataset(of_subject(rows, subject)) for split, rows in found.items()})

    return load_dataset


def specifications(task, subjects, own):
    if own:
        return [{"task": task, "dataset_path": task, "test_split": "test", **own}]
    if task == "mmlu" and subjects:
        return [f"mmlu_{subject}" for subject in subjects]
    return [task]


def load(manager, data, task, shots, subjects=(), own=None):
    """The harness's task or group on local rows, with the defaults of its command line."""
    found = splits(data, task)
    if shots and task not in ("mmlu", "lambada_openai") and "train" not in found:
        raise SystemExit(f"{task} has no train split in {data} to draw examples from; make a folder that has with rows.py")
    datasets.load_dataset = loader(task, with_stand_ins(found))
    loaded = manager.load(specifications(task, subjects, own))
    for one in loaded["tasks"].values():
        one.set_config("num_fewshot", shots)
        one.set_fewshot_seed(SEED)
    return loaded


def with_examples(source, to, spare):
    """Copies a task's files; where there is no split for examples, the last rows of the validation split become `train`."""
    to.mkdir(parents=True, exist_ok=True)
    present = {path.stem: path for path in source.glob("*.*")}
    for path in present.values():
        (to / path.name).write_bytes(path.read_bytes())
    if set(present) == {"validation"}:
        path = present["validation"]
        lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
        (to / path.name).write_text("\n".join(lines[:-spare]) + "\n", encoding="utf-8")
        (to / f"train{path.suffix}").write_text("\n".join(lines[-spare:]) + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--spare", type=int, default=90, help="rows that become examples")
    options = parser.parse_args()
    for task in TASKS:
        name = FOLDERS.get(task, task)
        with_examples(options.data / name, options.out / name, options.spare)


if __name__ == "__main__":
    main()
