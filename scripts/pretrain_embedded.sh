#!/bin/sh
# Makes checkpoints/embedded.h5, the model of the demo, from nothing: its tokenizer, its training text, its weights.
#
#   scripts/pretrain_embedded.sh CORPORA [WORK_DIR]
#
# CORPORA holds tinystories_v1_train_head_2MB.txt.gz, books_train.txt.gz and books_manifest.tsv (a row a book, in the order
# of the text). The stories come several times an epoch and the children's books once: the model is to tell stories.
# The last 200 stories are kept out, for evaluation.
set -eu
export LC_ALL=C # awk counts bytes
corpora=${1:?usage: scripts/pretrain_embedded.sh CORPORA [WORK_DIR]}
work=${2:-runs/pretrain-embedded}
solera=${SOLERA:-build/release/solera}
mkdir -p "$work"

stories_repeat=8
children='Sewell/|Collodi/|Nesbit/|Secret Garden|Little Princess|Princess and the Goblin|Andersen/|Pyle/|Barrie/|Spyri/|Grahame/|Baum/|Carroll/|Grimm|Jungle Book|Green Gables|Little Women|Little Men|Tom Sawyer|Treasure Island'

gzip -dc "$corpora/tinystories_v1_train_head_2MB.txt.gz" | tr -d '\r' >"$work/all-stories.txt"
awk -v train="$work/stories.txt" -v held="$work/held-out.txt" '
    { line[NR] = $0; if ($0 == "<|endoftext|>") n++ }
    END { for (i = 1; i <= NR; i++) { print line[i] > (k + 0 < n - 200 ? train : held); if (line[i] == "<|endoftext|>") k++ } }
' "$work/all-stories.txt"
awk -F '\t' -v want="$children" '$3 == "train" { print ($4 ~ want) }' "$corpora/books_manifest.tsv" >"$work/wanted"
gzip -dc "$corpora/books_train.txt.gz" | tr -d '\r' | awk -v wanted="$work/wanted" '
    BEGIN { while ((getline w < wanted) > 0) keep[n++] = w }
    keep[k + 0] { print }
    $0 == "<|endoftext|>" { k++ }
' >"$work/books.txt"

"$solera" train-tokenizer --vocab 2048 --unix-lines --input "$work/stories.txt" "$work/books.txt" -o "$work/tokenizer.json"
set -- "$work/books.txt"
i=0
while [ $i -lt $stories_repeat ]; do set -- "$@" "$work/stories.txt"; i=$((i + 1)); done
"$solera" tokenize --tokenizer "$work/tokenizer.json" --unix-lines --input "$@" -o "$work/train.h5"
"$solera" tokenize --tokenizer "$work/tokenizer.json" --unix-lines --input "$work/held-out.txt" -o "$work/eval.h5"

"$solera" train configs/pretrain-embedded.yaml --set run.dir="$work/run" --set model.tokenizer="$work/tokenizer.json" \
    --set data.train="$work/train.h5" --set data.eval="$work/eval.h5"
"$solera" train configs/pretrain-embedded-anneal.yaml --set run.dir="$work/anneal" --set model.init="$work/run/ckpt/best.h5" \
    --set data.train="$work/train.h5" --set data.eval="$work/eval.h5"
"$solera" export "$work/anneal/ckpt/best.h5" --format model --dtype bf16 -o checkpoints/embedded.h5
"$solera" eval checkpoints/embedded.h5 --data "$work/eval.h5" --documents apart --seq 256 --windows 0
