#!/usr/bin/env bash
# Trains the embedded pair again and puts it in place, with how it was made. About an hour on two cores, one for each twin.
#
#     data/models/train.sh [DIR]        DIR: where the runs go (default: runs/embedded); a run that was cut off there goes on
#
# One thread each, because the last digits of the weights depend on the number of threads; SHA256SUMS tells whether they came out the same.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-runs/embedded}
cargo build --release --manifest-path "$here/../../Cargo.toml"
depthscope=$here/../../target/release/depthscope
mkdir -p "$out"
for placement in pre lns; do
    resume=()
    [[ ! -e $out/$placement/recipe.toml ]] || resume=(--resume)
    RAYON_NUM_THREADS=1 "$depthscope" train --recipe embedded --placement "$placement" --device cpu --checkpoint-every 1000 \
        "${resume[@]}" --out "$out/$placement" &
done
wait
"$here/place.sh" "$out"
