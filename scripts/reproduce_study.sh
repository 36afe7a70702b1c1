#!/bin/sh
# Runs a study of configs/study: its sweep on one of the models, with real text.
#
#   scripts/reproduce_study.sh STUDY|all embedded|mini TEXT
#   scripts/reproduce_study.sh STUDY|all llama2xs TEXT MODEL.bin TOKENIZER.bin
#
# STUDY calibration: calibrate, calibrate-after and calibrate-text.
#
# STUDY: a file of configs/study without .yaml and -MODEL. TEXT: .txt or .txt.gz. Its first 12 megabytes are used; twenty pieces of them, 4 KB each
# and evenly spread, are kept out for evaluation. `mini` is pretrained on the rest of TEXT first, which so must be longer (about 40 megabytes).
# MODEL.bin: a llama2.c model of 64 / 192 / 5 layers / 8 heads with its tokenizer. What is made lies in runs/study/MODEL: what is there is
# not made again, and a sweep that was killed goes on. $SWEEP_FLAGS goes to `solera sweep`, as in SWEEP_FLAGS="-t 1 --jobs 2".
# `tokens` tunes and runs all arms for each number of steps in $BUDGETS (default: 0.1 to 10 tokens a
# parameter), and after each of them makes tables.md and, with gnuplot, tokens.svg in
# runs/study/llama2xs/tokens. It and the studies of trapping need python3.
set -eu
export LC_ALL=C # awk counts bytes
cd "$(dirname "$0")/.."
usage() { sed -n "s/^#   /usage: /p" scripts/reproduce_study.sh >&2; exit 2; }
[ $# -ge 3 ] || usage
study=$1 model=$2 text=$3 bin=${4-} tokens=${5-}
solera=${SOLERA:-build/release/solera} python=${PYTHON:-python3}
dir=runs/study/$model
case $model in embedded | mini) [ $# -eq 3 ] || usage ;; llama2xs) [ $# -eq 5 ] || usage ;; *) usage ;; esac
if [ "$study" = all ]; then
    study='schedules methods recipe granularity precision'
    case $model in
    embedded) study="$study teacher" ;;
    llama2xs) study="$study updates teacher tokens trap-squeezed trap-bf16 trap-plateau" ;;
    esac
fi
[ "$study" != calibration ] || study='calibrate calibrate-after calibrate-text'
mkdir -p "$dir"

plain() { case $text in *.gz) gzip -dc "$text" ;; *) cat "$text" ;; esac; }

tokenizer=$dir/model.h5
case $model in
embedded) [ -e "$dir/model.h5" ] || cp checkpoints/embedded.h5 "$dir/model.h5" ;;
mini) tokenizer=checkpoints/embedded.h5 ;;
llama2xs) [ -e "$dir/model.h5" ] || "$solera" import "$bin" --tokenizer "$tokens" -o "$dir/model.h5" ;;
esac

if [ ! -e "$dir/eval.h5" ]; then
    plain | head -c 12000000 | tr -d '\r' >"$dir/text.txt"
    awk -v train="$dir/train.txt" -v held="$dir/eval.txt" -v size="$(wc -c <"$dir/text.txt")" '
        BEGIN { pieces = int(size / 4096); every = int(pieces / 20); if (every < 4) every = 4; to = train }
        { print > to; n += length($0) + 1 }
        n >= 4096 && (!stories || /<\|endoftext\|>/) { n = 0; k++; if ($0 !~ /<\|endoftext\|>/) print "<|endoftext|>" > to
                                                      to = k % every == int(every / 2) ? held : train }
        /<\|endoftext\|>/ && NR < 200 { stories = 1 }
    ' "$dir/text.txt"
    for part in train eval; do
        "$solera" tokenize --tokenizer "$tokenizer" --unix-lines --input "$dir/$part.txt" -o "$dir/$part.h5"
    done
fi

if [ "$model" = mini ] && [ ! -e "$dir/model.h5" ]; then
    if [ ! -e "$dir/pretrain.h5" ]; then
        plain | tail -c +12000001 | tr -d '\r' >"$dir/pretrain.txt"
        "$solera" tokenize --tokenizer "$tokenizer" --unix-lines --input "$dir/pretrain.txt" -o "$dir/pretrain.h5"
    fi
    "$solera" train configs/study/pretrain-mini.yaml --resume
    "$solera" export "$dir/pretrain" --format model -o "$dir/model.h5"
fi

# The recipe study's warm start: the first half of its budget in full precision, on text in another order than that of the runs.
warm_start() {
    half=$(sed -n 's/^  steps: \([0-9]*\)$/\1/p' "configs/study/$model.yaml") && half=$((half / 2))
    "$solera" train "configs/study/$model.yaml" --resume --set run.dir="$dir/warm" --set run.seed=101 --set quant.method=none \
        --set train.steps=$half --set train.eval_every=$half --set optim.schedule=constant
    "$solera" export "$dir/warm/ckpt/step-0000$half.h5" --format model -o "$dir/warm.h5"
}

# The texts that calibrate-text compares: documents that the model continues from nothing, and as many bytes of the
# training text behind them.
calibration_texts() {
    for i in $(seq 1 300); do
        "$solera" generate "$dir/model.h5" -p "" -n 256 --temp 1 --seed "$i" -q
        printf '\n<|endoftext|>\n'
    done >"$dir/self.txt"
    { cat "$dir/self.txt" && head -c "$(wc -c <"$dir/self.txt")" "$dir/train.txt"; } >"$dir/mixed.txt"
    for part in mixed self; do
        "$solera" tokenize --tokenizer "$tokenizer" --unix-lines --input "$dir/$part.txt" -o "$dir/$part.h5"
    done
}

# A start of a study of trapping: its name, then what scripts/make_starts.py takes.
start() {
    if [ -e "$dir/$1.h5" ]; then return; fi
    "$python" scripts/make_starts.py "$bin" "$2" "$3" "$dir/$1.bin"
    "$solera" import "$dir/$1.bin" --tokenizer "$tokens" -o "$dir/$1.h5"
    rm "$dir/$1.bin"
}

# One budget after another: the rate of each arm, above 550 steps that of 550, then all arms, then
# the tables and the figure.
budgets() {
    base=configs/study/$model.yaml
    for steps in ${BUDGETS:-55 165 550 1650 5500}; do
        tune=$((steps < 550 ? steps : 550))
        # shellcheck disable=SC2086
        "$solera" sweep "configs/study/tune-$model.yaml" --base "$base" --dir "$dir/tune/$tune" \
            --set train.steps="$tune" ${SWEEP_FLAGS:-}
        "$python" scripts/study_rates.py "$dir/tune/$tune/table.csv" \
            "configs/study/tokens-$model.yaml" "$dir/tokens.yaml"
        # shellcheck disable=SC2086
        "$solera" sweep "$dir/tokens.yaml" --base "$base" --dir "$dir/tokens/$steps" \
            --set train.steps="$steps" ${SWEEP_FLAGS:-}
        "$python" scripts/study_tokens.py "$dir/tokens" 279232 "$solera" "$dir/tokens"
        ! command -v gnuplot >/dev/null || gnuplot -e "dir='$dir/tokens'" configs/study/tokens.gp
    done
}

for s in $study; do
    [ "$s" != calibrate-text ] || [ -e "$dir/self.h5" ] || calibration_texts
    case $s-$model in
    recipe-embedded | recipe-mini) [ -e "$dir/warm.h5" ] || warm_start ;;
    trap-squeezed-llama2xs) start squeezed squeezed 0.05 ;;
    trap-plateau-llama2xs) start tiny random 0.002 ;;
    trap-bf16-llama2xs) start random random 0.125 ;;
    esac
    file=configs/study/$s-$model.yaml
    [ -e "$file" ] || file=configs/study/$s.yaml
    printf '\n== %s, %s\n' "$s" "$model" >&2
    if [ "$s" = tokens ]; then budgets; continue; fi
    "$solera" sweep "$file" --base "configs/study/$model.yaml" --dir "$dir/$s" ${SWEEP_FLAGS:-}
done
