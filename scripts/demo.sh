#!/bin/sh
# The main job on the embedded model, from nothing: `make demo`. Prints one table, a sample text, and writes summary.json.
#
#   scripts/demo.sh [SOLERA] [DIR] [STEPS]     STEPS of each training (120), by which the calibration and the timing are cut, too: fewer show
#                                              that it runs, not what it gives
set -eu
cd "$(dirname "$0")/.."
solera=${1:-build/release/solera}
dir=${2:-runs/demo}
steps=${3:-120}
seconds=$(awk "BEGIN { print $steps / 60 }")
base=checkpoints/embedded.h5

say() { printf '\n== %s\n' "$*" >&2; }
field() { # KEY: its value in the JSON object on stdin
    sed -n "s/.*\"$1\": *\([^,}]*\).*/\1/p"
}

# A directory that is not the demo's own is never removed.
[ ! -e "$dir" ] || [ -e "$dir/demo" ] || { echo "demo: $dir exists and was not made by the demo" >&2; exit 2; }
rm -rf "$dir"
mkdir -p "$dir"
touch "$dir/demo"

say "QAT with the Arenas residual: configs/demo.yaml"
"$solera" train configs/demo.yaml --set run.dir="$dir/arenas" --set train.steps="$steps" \
    --set data.self_tokens=$((steps * 6250 / 3))
say "QAT without the residual: the same job, the same text"
"$solera" train configs/demo.yaml --set run.dir="$dir/naive" --set residual.schedule=none \
    --set train.steps="$steps" --set data.source=file --set data.train="$dir/arenas/tokens-self.h5"

say "calibration: the same text, no training from end to end"
"$solera" calibrate configs/demo.yaml --set run.dir="$dir/calibrated" --set calibrate.steps=$((steps / 2)) --set calibrate.windows=$((steps * 5 / 6)) \
    --set data.source=file --set data.train="$dir/arenas/tokens-self.h5" \
    -o "$dir/calibrated.h5" >/dev/null
say "QAT from the calibrated model, without a residual: the same text, half of the steps"
"$solera" train configs/demo.yaml --set run.dir="$dir/calibrated-qat" --set model.init="$dir/calibrated.h5" --set residual.schedule=none \
    --set train.steps=$((steps / 2)) \
    --set data.source=file --set data.train="$dir/arenas/tokens-self.h5"

say "export and evaluation"
"$solera" tokenize --tokenizer "$base" --input data/sample/stories.txt -o "$dir/stories.h5"
"$solera" export "$base" --method sherry --group-size 128 --embed-type f16 -o "$dir/rounded.h5"
naive=$(ls "$dir"/naive/ckpt/step-*.h5 | tail -n 1)
arenas=$(ls "$dir"/arenas/ckpt/step-*.h5 | tail -n 1)
both=$(ls "$dir"/calibrated-qat/ckpt/step-*.h5 | tail -n 1)
"$solera" export "$naive" --format model -o "$dir/naive.h5"
"$solera" export "$arenas" --format model -o "$dir/arenas.h5"
"$solera" export "$both" --format model -o "$dir/calibrated-qat.h5"
"$solera" export "$both" --embed-type f16 -o "$dir/packed.h5"

# NAME FILE EVAL_OPTIONS...: one row; leaves loss, bits, bytes and speed
measure() {
    name=$1 file=$2
    shift 2
    score=$("$solera" eval "$file" --data "$dir/stories.h5" --documents apart --seq 256 --windows 0 --json "$@")
    loss=$(echo "$score" | field loss)
    bits=$(echo "$score" | field bits_per_weight)
    bytes=$(wc -c <"$file" | tr -d ' ')
    speed=$("$solera" bench "$file" --kv f16 --seconds "$seconds" --json "$@" | field decode_tok_s)
    printf '%-34s %8.4f %10.2f %7.3g %10d %14.0f\n' "$name" "$loss" "$(echo "$score" | field ppl)" "$bits" "$bytes" "$speed" \
        >>"$dir/table.txt"
}

printf '%-34s %8s %10s %7s %10s %14s\n' model loss perplexity bits/w bytes 'decode tok/s' >"$dir/table.txt"
measure 'full precision' "$base"
fp_loss=$loss
measure '3:4 rounded, no training' "$dir/rounded.h5" --activations float
rounded_loss=$loss
measure '3:4 calibrated, no training' "$dir/calibrated.h5"
calibrated_loss=$loss
measure 'QAT, no residual' "$dir/naive.h5"
naive_loss=$loss
measure 'QAT, Arenas' "$dir/arenas.h5"
arenas_loss=$loss
measure 'calibrated, then QAT, half of it' "$dir/calibrated-qat.h5"
both_loss=$loss
measure 'the packed file of that' "$dir/packed.h5"

cat >"$dir/summary.json.tmp" <<JSON
{"fp_loss": $fp_loss, "rounded_loss": $rounded_loss, "naive_loss": $naive_loss, "arenas_loss": $arenas_loss, "calibrated_loss": $calibrated_loss, "calibrated_qat_loss": $both_loss, "packed_loss": $loss, "bits_per_weight": $bits, "packed_bytes": $bytes, "decode_tok_s": $speed}
JSON
mv "$dir/summary.json.tmp" "$dir/summary.json"

echo
cat "$dir/table.txt"
echo
echo "The packed model writes:"
"$solera" generate "$dir/packed.h5" -p "Once upon a time" -n 120 --temp 0.7 --seed 1
echo
echo "$dir/summary.json"
