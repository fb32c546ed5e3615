#!/usr/bin/env bash
# Training steps against transformers and torch.optim.AdamW, in turns on the same weights and tokens, and their losses compared.
#
#     benches/training.sh [RECIPES...]                                            default: 9m deep24-128 60m
#     DEVICE=cuda:0 DTYPE=bf16 SEQUENCES=64 STEPS=50 benches/training.sh 130m     on a GPU (losses then agree to rounding in bf16 only)
#
# Environment: PYTHON (python3, with torch and transformers), ROUNDS (3), STEPS (10), THREADS (2), TRAINING (a built `training`
# benchmark; built by cargo otherwise), DEVICE (cpu), DTYPE (f32), SEQUENCES (4). Each turn is a process of its own; two steps warm up before its clock starts.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3} rounds=${ROUNDS:-3} steps=${STEPS:-10} threads=${THREADS:-2}
export RAYON_NUM_THREADS=$threads OMP_NUM_THREADS=$threads DEVICE=${DEVICE:-cpu} DTYPE=${DTYPE:-f32} SEQUENCES=${SEQUENCES:-4}
features=() tolerance=1e-3
[[ $DEVICE == cpu ]] || features=(--features cuda)
[[ $DTYPE == f32 ]] || tolerance=5e-2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

training() {
    if [[ -n ${TRAINING:-} ]]; then "$TRAINING" "$@"; else (cd "$here/.." && cargo bench --quiet "${features[@]}" --bench training -- "$@"); fi
}

[[ $# -gt 0 ]] || set -- 9m deep24-128 60m
for recipe in "$@"; do
    rm -rf "$folder/run" && mkdir -p "$folder/run"
    training write "$recipe" "$folder/run"
    : >"$folder/ours" && : >"$folder/pytorch"
    for ((round = 0; round < rounds; round++)); do
        training "$recipe" "$steps" >>"$folder/ours"
        "$python" "$here/pytorch_training.py" --folder "$folder/run" --steps "$steps" --threads "$threads" \
            --device "$DEVICE" --dtype "$DTYPE" 2>/dev/null \
            >>"$folder/pytorch"
    done
    "$python" - "$recipe" "$tolerance" "$folder/ours" "$folder/pytorch" <<'PYTHON'
import json
import statistics
import sys

recipe, tolerance, *files = sys.argv[1:]
ours, pytorch = ([json.loads(line) for line in open(file)] for file in files)


def show(what, values):
    print(f"  {what:<34}{statistics.median(values):10.2f} ({min(values):.2f} to {max(values):.2f})")


def each(runs, key, unit=1.0):
    return [run[key] / unit for run in runs]


print(f"{recipe}, {len(ours)} rounds: median (least to most)")
speeds = each(ours, "tokens_per_second"), each(pytorch, "tokens_per_second")
peaks = each(ours, "peak_bytes", 2**20), each(pytorch, "peak_bytes", 2**20)
show("depthscope, tokens per second", speeds[0])
show("PyTorch, tokens per second", speeds[1])
show("depthscope / PyTorch, speed", [a / b for a, b in zip(*speeds)])
show("depthscope, peak MiB", peaks[0])
show("PyTorch, peak MiB", peaks[1])
show("depthscope / PyTorch, peak", [a / b for a, b in zip(*peaks)])
parts = {part: statistics.median(run["seconds"][part] for run in ours) for part in ours[0]["seconds"]}
print("  seconds of a step: " + ", ".join(f"{part} {seconds:.3f}" for part, seconds in parts.items()))
print(f"  torch {pytorch[0]['torch']}, transformers {pytorch[0]['transformers']}, {pytorch[0]['threads']} threads")
furthest = max(abs(a - b) for a, b in zip(ours[0]["losses"], pytorch[0]["losses"]))
print(f"  largest difference of a loss over {len(ours[0]['losses'])} steps: {furthest:.1e}")
if furthest > float(tolerance):
    sys.exit("the losses differ")
PYTHON
done
