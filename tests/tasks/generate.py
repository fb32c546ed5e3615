"""Asks lm-evaluation-harness what it makes of the rows in `rows/` and writes it to `expected.json`.

    pip install lm-eval==0.4.13 datasets   # no torch needed
    python tests/tasks/generate.py

The rows are our own, in the columns of the Hub. Everything but where rows come from is the harness's: its task files, its templates, its
sampler with its default seed.
"""

import json
import pathlib

import datasets
from lm_eval.tasks import TaskManager, get_task_dict

HERE = pathlib.Path(__file__).parent
# Name here: name in the harness (for mmlu one task a subject), shots that are tried.
TASKS = {
    "mmlu": (["mmlu_abstract_algebra", "mmlu_us_foreign_policy"], [0, 2]),
    "hellaswag": (["hellaswag"], [0, 2]),
    "piqa": (["piqa"], [0, 2]),
    "winogrande": (["winogrande"], [0, 2]),
    "arc_easy": (["arc_easy"], [0, 2]),
    "arc_challenge": (["arc_challenge"], [0, 2]),
    "openbookqa": (["openbookqa"], [0, 2]),
    "boolq": (["boolq"], [0, 2]),
    "social_iqa": (["social_iqa"], [0, 2]),
    "lambada_openai": (["lambada_openai"], [0, 2]),
    "wikitext": (["wikitext"], [0]),
}
FOLDERS = {"wikitext": "wikitext2"}
SEED = 1234


def rows(task, subject):
    """The splits of a task as the Hub would give them."""
    splits = {}
    for path in sorted((HERE / "rows" / FOLDERS.get(task, task)).glob("*.jsonl")):
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        lines = [row for row in lines if subject is None or row["subject"] == subject]
        splits[path.stem] = datasets.Dataset.from_list(lines)
    return datasets.DatasetDict(splits)


def gold(task, document):
    if task.OUTPUT_TYPE != "multiple_choice":
        return None
    return int(task.doc_to_text(document) if task.multiple_input else task.doc_to_target(document))


def documents(manager, name, harness_name, shots):
    subject = harness_name.removeprefix("mmlu_") if name == "mmlu" else None
    datasets.load_dataset = lambda *_, **__: rows(name, subject)
    task = get_task_dict([harness_name], manager)[harness_name]
    task.set_config("num_fewshot", shots)
    task.set_fewshot_seed(SEED)
    task.build_all_requests()
    found = []
    for item, document in enumerate(task.eval_docs):
        asked = [instance.arguments for instance in task.instances if instance.doc_id == item]
        if task.OUTPUT_TYPE == "loglikelihood_rolling":
            counts = task.process_results(document, [0.0])
            size = {"words": counts["word_perplexity"][1], "bytes": counts["byte_perplexity"][1]}
            found.append({"subject": subject, "item": item, "gold": None, "requests": [["", asked[0][0]]], "size": size})
        else:
            requests = [[context, continuation] for context, continuation in asked]
            found.append({"subject": subject, "item": item, "gold": gold(task, document), "requests": requests})
    return found


def main():
    expected, manager = {}, TaskManager()
    for name, (harness_names, all_shots) in TASKS.items():
        for shots in all_shots:
            found = [document for harness in harness_names for document in documents(manager, name, harness, shots)]
            expected[f"{name}/{shots}"] = found
    text = json.dumps(expected, indent=1, ensure_ascii=False)
    (HERE / "expected.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
