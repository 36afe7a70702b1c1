#!/bin/sh
# The main job on the embedded model, from nothing: `make demo`. Prints one table, a sample text, and
# writes summary.json.
#
#   scripts/demo.sh [SOLERA] [DIR] [STEPS]
#                      STEPS of each training (80), by which the text, the calibration and the timing
#                      are cut, too: fewer show that it runs, not what it gives
set -eu
export LC_ALL=C # awk and printf write numbers with a point
cd "$(dirname "$0")/.."
solera=${1:-build/release/solera}
dir=${2:-runs/demo}
steps=${3:-80}
half=$((steps / 2))
seconds=$(awk "BEGIN { print $steps / 80 }")
base=checkpoints/embedded.h5
text=$dir/arenas/tokens-self.h5

say() { printf '\n== %s\n' "$*" >&2; }
field() { # KEY JSON: the number that the object has under KEY
    number=$(printf '%s\n' "$2" | sed -n "s/.*\"$1\": *\([0-9.e+-]*\).*/\1/p")
    [ -n "$number" ] || { echo "demo: no $1 in $2" >&2; exit 1; }
    echo "$number"
}

# A directory that is not the demo's own is never removed.
[ ! -e "$dir" ] || [ -e "$dir/demo" ] || { echo "demo: $dir exists and was not made by the demo" >&2; exit 2; }
rm -rf "$dir"
mkdir -p "$dir"
touch "$dir/demo"

# VERB NAME STEPS OPTIONS...: the job under a name of its own. Evaluated are the files it makes, once.
job() {
    verb=$1 name=$2 n=$3
    shift 3
    "$solera" "$verb" configs/demo.yaml --set run.dir="$dir/$name" --set train.steps="$n" \
        --set train.eval_every=0 --set checkpoint.every="$n" "$@"
}
on_text() { # likewise, on the text that the first run has sampled
    job "$@" --set data.source=file --set data.train="$text"
}

say "QAT with the Arenas residual: configs/demo.yaml"
job train arenas "$steps" --set data.self_tokens=$((steps * 6250 / 3))
say "QAT without the residual: the same job, the same text"
on_text train naive "$steps" --set residual.schedule=none

say "calibration: the same text, no training from end to end"
on_text calibrate calibrated "$steps" --set calibrate.steps=$((steps * 3 / 4)) \
    --set calibrate.windows=$((steps * 5 / 4)) -o "$dir/calibrated.h5" >/dev/null
say "QAT from the calibrated model, without a residual: the same text, half of the steps"
on_text train calibrated-qat "$half" --set model.init="$dir/calibrated.h5" --set residual.schedule=none

say "export and evaluation"
"$solera" tokenize --tokenizer "$base" --input data/sample/stories.txt -o "$dir/stories.h5"
"$solera" export "$base" --method sherry --group-size 128 --embed-type f16 -o "$dir/rounded.h5"
for name in naive arenas calibrated-qat; do
    "$solera" export "$dir/$name" --format model -o "$dir/$name.h5"
done
"$solera" export "$dir/calibrated-qat" --embed-type f16 -o "$dir/packed.h5"

row() { printf '%-34s %8s %10s %7s %10s %14s\n' "$@" >>"$dir/table.txt"; }
# NAME FILE: one row; leaves loss, bits and bytes. speed: of decoding, or -
measure() {
    score=$("$solera" eval "$2" --data "$dir/stories.h5" --documents apart --seq 256 --windows 0 --json)
    loss=$(field loss "$score")
    perplexity=$(field ppl "$score")
    bits=$(field bits_per_weight "$score")
    bytes=$(wc -c <"$2" | tr -d ' ')
    row "$1" "$(printf %.4f "$loss")" "$(printf %.2f "$perplexity")" "$(printf %.3g "$bits")" \
        "$bytes" "$speed"
}
decode() { # FILE: sets speed
    timing=$("$solera" bench "$1" --kv f16 --seconds "$seconds" --json)
    speed=$(field decode_tok_s "$timing")
    speed=${speed%.*}
}

row model loss perplexity bits/w bytes 'decode tok/s'
decode "$base"
measure 'full precision' "$base"
fp_loss=$loss
speed=-
measure '3:4 rounded, no training' "$dir/rounded.h5"
rounded_loss=$loss
measure '3:4 calibrated, no training' "$dir/calibrated.h5"
calibrated_loss=$loss
measure 'QAT, no residual' "$dir/naive.h5"
naive_loss=$loss
measure 'QAT, Arenas' "$dir/arenas.h5"
arenas_loss=$loss
measure 'calibrated, then QAT, half of it' "$dir/calibrated-qat.h5"
both_loss=$loss
decode "$dir/packed.h5"
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
