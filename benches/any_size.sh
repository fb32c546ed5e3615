#!/usr/bin/env bash
# Peak memory and time of `variance` and `angular` on a checkpoint in the shape of Llama-2-7B (13.5 GB of bf16) under --memory 3GiB,
# beside the time to read the files once. The page cache is dropped before each where the system lets us.
#
#     benches/any_size.sh
#
# Environment: MODEL (a folder of large_checkpoint.py; made and removed otherwise), DEPTHSCOPE (a built binary; built by cargo
# otherwise), MEMORY (3GiB), MOST (the peak that passes, 3.6 GiB in KiB), PYTHON (python3, nothing installed), TMPDIR (14 GB free).
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
export RAYON_NUM_THREADS=${THREADS:-2}
if [[ -z ${DEPTHSCOPE:-} ]]; then
    cargo build --quiet --release
    DEPTHSCOPE=${CARGO_TARGET_DIR:-target}/release/depthscope
fi
if [[ -z ${MODEL:-} ]]; then
    MODEL=$out/model
    "${PYTHON:-python3}" benches/large_checkpoint.py "$MODEL"
fi
cold() {
    sync
    if echo 3 2>/dev/null >/proc/sys/vm/drop_caches; then echo cold; else echo "cache not dropped"; fi
}

state=$(cold)
begin=$(date +%s.%N)
cat "$MODEL"/*.safetensors >/dev/null
end=$(date +%s.%N)
printf 'reading the files once: %.1f s (%s)\n' "$(echo "$end - $begin" | bc)" "$state"

failed=0
for verb in variance angular; do
    cold >/dev/null
    /usr/bin/time -f '%e %M' -o "$out/time" "$DEPTHSCOPE" "$verb" --model "$MODEL" --tokens "$MODEL/tokens.json" --device cpu \
        --dtype "${DTYPE:-f32}" --memory "${MEMORY:-3GiB}" --format json --quiet >"$out/$verb.json"
    read -r seconds kilobytes <"$out/time"
    "${PYTHON:-python3}" - "$out/$verb.json" "$verb" "$seconds" "$kilobytes" <<'PYTHON'
import json, sys
found = json.load(open(sys.argv[1]))["manifest"]
seconds, memory = found["seconds"], found["memory"]
print(f"{sys.argv[2]}: {float(sys.argv[3]):.1f} s, peak {int(sys.argv[4]) / 2**20:.2f} GiB, weights {memory['residency']} "
      f"({memory['weights'] / 2**30:.2f} GiB at a time); booked: products {seconds['products']:.1f} s, reading {seconds['load']:.1f} s")
PYTHON
    ((kilobytes <= ${MOST:-3774873})) || failed=1
done
exit $failed
