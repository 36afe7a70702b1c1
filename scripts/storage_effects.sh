#!/bin/sh
# What the storage of parameters and moments does to the loss of a small real run: the embedded model, 100 steps of 2 x 256 tokens of
# TEXT to 3:4 ternary weights, evaluated packed on data/sample/stories.txt. Two seeds at learning rate 1e-3, one at 1e-4.
#   scripts/storage_effects.sh TEXT.txt[.gz] [SOLERA] [DIR]
set -eu
export LC_ALL=C # awk and printf write numbers with a point
text=${1:?the training text} solera=${2:-build/release/solera} dir=${3:-runs/storage}
mkdir -p "$dir"
"$solera" tokenize --tokenizer checkpoints/embedded.h5 --input "$text" -o "$dir/train.h5"

run() { # name, --set words: prints the loss
    name=$1
    shift
    "$solera" train configs/demo.yaml --set data.source=file --set data.train="$dir/train.h5" --set run.dir="$dir/$name" \
        --set train.steps=100 --set train.batch=2 --set train.eval_every=100 --set checkpoint.every=100 "$@" 2>"$dir/$name.log" ||
        { tail -n 1 "$dir/$name.log" >&2 && exit 1; }
    loss=$(tail -n 1 "$dir/$name/metrics.jsonl" | sed -n 's/.*"packed_loss": \([0-9.]*\).*/\1/p')
    printf ' %8.4f' "${loss:?"none in $dir/$name/metrics.jsonl"}"
}

printf '%-28s %8s %8s %8s\n' "parameters, moments" "seed 1" "seed 2" "lr 1e-4"
for storage in "fp32 fp32" "bf16_stochastic fp32" "bf16_nearest fp32" "fp32 bf16" "fp32 8bit" "bf16_stochastic 8bit"; do
    p=${storage% *} m=${storage#* }
    set -- --set train.param_dtype="$p" --set optim.moments="$m"
    printf '%-28s' "$p, $m"
    run "$p-$m-1" "$@"
    run "$p-$m-2" "$@" --set run.seed=2
    run "$p-$m-slow" "$@" --set optim.lr=0.0001
    echo
done
