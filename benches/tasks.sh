#!/usr/bin/env bash
# A sweep of every single-block removal over a task, against lm-evaluation-harness: L + 1 runs, of which two are timed and the rest reckoned.
#
#     pip install lm-eval==0.4.13 torch transformers pyarrow
#     benches/tasks.sh MODEL DATA          MODEL: a Hugging Face folder; DATA: rows as `--data` takes them
#
# Ours is the time of the whole process, weights, tokenising and statistics included; the harness's is the time on a loaded model alone.
# SUBJECTS, LIMIT, HELLASWAG, THREADS, BATCH, PYTHON change what is run.
set -euo pipefail
model=$1 data=$2
here=$(cd "$(dirname "$0")" && pwd)
subjects=${SUBJECTS:-anatomy astronomy virology} limit=${LIMIT:-40} hellaswag=${HELLASWAG:-200} threads=${THREADS:-2}
python=${PYTHON:-python3} depthscope=$here/../target/release/depthscope
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

ours() { # NAME ARGS…: seconds of the process, then what it counted
    local began ended
    began=$(date +%s.%N)
    RAYON_NUM_THREADS=$threads "$depthscope" prune --model "$model" --data "$data" --device cpu --samples 2 --seq-len 8 --quiet --items \
        --out "$out/$1" --format json "${@:2}" >"$out/$1.json"
    ended=$(date +%s.%N)
    "$python" - "$out/$1.json" "$began" "$ended" <<'END'
import json, sys
found, seconds = json.load(open(sys.argv[1])), float(sys.argv[3]) - float(sys.argv[2])
task, manifest = found["tasks"][0], found["manifest"]
work = task["work"]
print(json.dumps({"seconds": seconds, "accuracy": task["full"][0][1], "branch_evaluations": work["done"], "one_by_one": work["one_by_one"],
                  "where": manifest["seconds"], "peak_resident": manifest["memory"]["peak_resident"]}))
END
}

harness() {
    "$python" "$here/harness_sweep.py" --model "$model" --data "$data" --threads "$threads" --batch-size "$1" "${@:2}" 2>/dev/null
}

"$depthscope" --version
for batch in ${BATCH:-1 8}; do
    echo "mmlu, harness, batch $batch: $(harness "$batch" --task mmlu --subjects $subjects --shots 5 --limit "$limit")"
done
echo "mmlu, ours: $(ours mmlu --task mmlu --subjects "${subjects// /,}" --shots 5 --limit "$limit")"
for batch in ${BATCH:-1 8}; do
    echo "hellaswag, harness, batch $batch: $(harness "$batch" --task hellaswag --limit "$hellaswag")"
done
echo "hellaswag, ours: $(ours hellaswag --task hellaswag --limit "$hellaswag")"
