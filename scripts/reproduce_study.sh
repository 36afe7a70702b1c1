#!/bin/sh
# Runs a study of configs/study: its sweep on one of the two models, with real text.
#
#   scripts/reproduce_study.sh STUDY|all embedded TEXT
#   scripts/reproduce_study.sh STUDY|all llama2xs TEXT MODEL.bin TOKENIZER.bin
#
# STUDY: a file of configs/study without .yaml and -MODEL. TEXT: .txt or .txt.gz, a few megabytes (the first 12 are used); twenty pieces
# of it, 4 KB each and evenly spread, are kept out for evaluation. MODEL.bin: a llama2.c model of 64 / 192 / 5 layers / 8 heads with its
# tokenizer. What is made lies in runs/study/MODEL: what is there is not made again, and a sweep that was killed goes on.
# $SWEEP_FLAGS goes to `solera sweep`, as in SWEEP_FLAGS="-t 1 --jobs 2".
set -eu
cd "$(dirname "$0")/.."
usage() { sed -n 's/^#   /usage: /p' "$0" >&2; exit 2; }
[ $# -ge 3 ] || usage
study=$1 model=$2 text=$3
solera=${SOLERA:-build/release/solera}
dir=runs/study/$model
case $model in embedded) [ $# -eq 3 ] || usage ;; llama2xs) [ $# -eq 5 ] || usage ;; *) usage ;; esac
[ "$study" != all ] || study='recipe methods schedules granularity precision teacher'
mkdir -p "$dir"

if [ ! -e "$dir/model.h5" ]; then
    case $model in
    embedded) cp checkpoints/embedded.h5 "$dir/model.h5" ;;
    llama2xs) "$solera" import "$4" --tokenizer "$5" -o "$dir/model.h5" ;;
    esac
fi

if [ ! -e "$dir/eval.h5" ]; then
    case $text in *.gz) gzip -dc "$text" ;; *) cat "$text" ;; esac | head -c 12000000 | tr -d '\r' >"$dir/text.txt"
    awk -v train="$dir/train.txt" -v held="$dir/eval.txt" -v size="$(wc -c <"$dir/text.txt")" '
        BEGIN { pieces = int(size / 4096); every = int(pieces / 20); if (every < 4) every = 4; to = train }
        { print > to; n += length($0) + 1 }
        n >= 4096 && (!stories || /<\|endoftext\|>/) { n = 0; k++; if ($0 !~ /<\|endoftext\|>/) print "<|endoftext|>" > to
                                                      to = k % every == int(every / 2) ? held : train }
        /<\|endoftext\|>/ && NR < 200 { stories = 1 }
    ' "$dir/text.txt"
    for part in train eval; do
        "$solera" tokenize --tokenizer "$dir/model.h5" --unix-lines --input "$dir/$part.txt" -o "$dir/$part.h5"
    done
fi

# The recipe study's warm start: the first half of its budget in full precision.
warm_start() {
    "$solera" train "configs/study/$model.yaml" --resume --set run.dir="$dir/warm" --set quant.method=none --set train.steps=50 \
        --set train.eval_every=50 --set optim.schedule=constant --set optim.lr=0.001
    "$solera" export "$dir/warm/ckpt/step-000050.h5" --format model -o "$dir/warm.h5"
}

for s in $study; do
    [ "$s-$model" != recipe-embedded ] || [ -e "$dir/warm.h5" ] || warm_start
    file=configs/study/$s-$model.yaml
    [ -e "$file" ] || file=configs/study/$s.yaml
    printf '\n== %s, %s\n' "$s" "$model" >&2
    "$solera" sweep "$file" --base "configs/study/$model.yaml" --dir "$dir/$s" ${SWEEP_FLAGS:-}
done
