#!/usr/bin/env bash
# Takes the twins of a folder that `train.sh` filled into data/models: model, manifest, held-out loss by step, hash.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
for placement in pre lns; do
    run=$1/$placement to=$here/$placement
    mkdir -p "$to"
    cp "$run"/model/{config.json,model.safetensors,tokenizer.json} "$run/manifest.json" "$run/recipe.toml" "$to/"
    awk -F, 'NR == 1 || $4 != ""' "$run/tables/log.csv" >"$to/loss.csv"
    (cd "$to" && sha256sum model.safetensors >SHA256SUMS)
done
