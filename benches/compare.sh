#!/usr/bin/env bash
# The shared sweep against the obvious PyTorch loop, in turns on the same checkpoint and tokens, and their losses compared.
#
#     benches/compare.sh [LAYERS...]        default: 12 24
#
# Environment: PYTHON (python3, with torch and transformers), ROUNDS (5), THREADS (2), SWEEP (a built `sweep` benchmark; built
# by cargo otherwise). Each turn is a process of its own that warms up before its clock starts; loading is not counted.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3} rounds=${ROUNDS:-5} threads=${THREADS:-2}
export RAYON_NUM_THREADS=$threads OMP_NUM_THREADS=$threads
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

sweep() {
    if [[ -n ${SWEEP:-} ]]; then "$SWEEP" "$@"; else (cd "$here/.." && cargo bench --quiet --bench sweep -- "$@"); fi
}

[[ $# -gt 0 ]] || set -- 12 24
for layers in "$@"; do
    sweep write "$folder/model" "$layers"
    : >"$folder/ours" && : >"$folder/pytorch"
    for ((round = 0; round < rounds; round++)); do
        sweep run "$folder/model" >>"$folder/ours"
        "$python" "$here/pytorch_loop.py" --model "$folder/model" --tokens "$folder/model/tokens.json" \
            --threads "$threads" 2>/dev/null >>"$folder/pytorch"
    done
    "$python" - "$layers" "$folder/ours" "$folder/pytorch" <<'PYTHON'
import json
import statistics
import sys

layers, *files = sys.argv[1:]
ours, pytorch = ([json.loads(line) for line in open(file)] for file in files)


def show(what, values, unit=""):
    print(f"  {what:<28}{statistics.median(values):8.3f} ({min(values):.3f} to {max(values):.3f}){unit}")


def seconds(runs):
    return [run["seconds"] for run in runs]


def losses(run):
    return [run["baseline"], *run["removed"]]


print(f"{layers} layers, {len(ours)} rounds: median (least to most)")
show("depthscope, shared sweep", seconds(ours), " s")
show("PyTorch, one at a time", seconds(pytorch), " s")
show("PyTorch / depthscope", [b / a for a, b in zip(seconds(ours), seconds(pytorch))])
furthest = max(abs(a - b) for a, b in zip(losses(ours[0]), losses(pytorch[0])))
print(f"  torch {pytorch[0]['torch']}, transformers {pytorch[0]['transformers']}, {pytorch[0]['threads']} threads")
print(f"  largest difference of a loss: {furthest:.1e}")
if furthest > 1e-4:
    sys.exit("the losses differ")
PYTHON
done
