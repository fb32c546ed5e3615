#!/usr/bin/env bash
# Peak memory of `depthscope variance` on a checkpoint of random weights four times larger than --memory.
#
#     benches/memory.sh
#
# Environment: PYTHON (python3, nothing installed), SWEEP and DEPTHSCOPE (built binaries; built by cargo otherwise).
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export RAYON_NUM_THREADS=${THREADS:-2}

if [[ -z ${DEPTHSCOPE:-} ]]; then
    cargo build --quiet --release
    DEPTHSCOPE=${CARGO_TARGET_DIR:-target}/release/depthscope
fi
if [[ -n ${SWEEP:-} ]]; then "$SWEEP" write-large "$folder/model"; else cargo bench --quiet --bench sweep -- write-large "$folder/model"; fi

"${PYTHON:-python3}" - "$DEPTHSCOPE" "$folder" <<'PYTHON'
import os
import resource
import subprocess
import sys
import time

program, folder = sys.argv[1:]
budget = 512
model = f"{folder}/model"
start = time.perf_counter()
subprocess.run(
    [program, "variance", "--model", model, "--tokens", f"{model}/tokens.json", "--dtype", "f32",
     "--memory", f"{budget}MiB", "--out", f"{folder}/out", "--quiet"],
    check=True, stdout=subprocess.DEVNULL,
)  # fmt: skip
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
size = os.path.getsize(f"{model}/model.safetensors") / 2**20
print(f"checkpoint {size:.0f} MiB, --memory {budget} MiB: peak {peak:.0f} MiB ({peak / budget:.2f} of it), {seconds:.1f} s")
sys.exit(peak > 1.2 * budget and "beyond the budget and a fifth")
PYTHON
