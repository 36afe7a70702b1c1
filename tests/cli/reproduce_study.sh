# scripts/reproduce_study.sh for every study and model, but for the training, sampling and importing:
# the sweeps of configs/study are read by the program and come to a table of runs that are not done.
. tests/cli/common
root=$PWD
mkdir "$dir/repo"
cp -R scripts configs "$dir/repo"
ln -s "$root/checkpoints" "$dir/repo"
cat >"$dir/solera" <<STUB
#!/bin/sh
case \$1 in
sweep) echo "\$2" >>"$dir/sweeps" && exec "$SOLERA" "\$@" --table ;;
generate) echo "Once upon a time" && exit ;;
tokenize) made=$dir/data.h5 ;;
*) made=$root/checkpoints/embedded.h5 ;;
esac
while [ \$# -gt 1 ]; do
    [ "\$1" != -o ] || cp "\$made" "\$2"
    shift
done
STUB
chmod +x "$dir/solera"
"$SOLERA" tokenize --tokenizer checkpoints/embedded.h5 --input data/sample/stories.txt -o "$dir/data.h5" 2>/dev/null
yes "Once upon a time there was a text of more than the 12 MB that are trained on, for mini." |
    head -n 140000 >"$dir/text.txt"
studied() { # STUDY MODEL [MODEL.bin TOKENIZER.bin]
    study=$1 model=$2
    shift 2
    SOLERA=$dir/solera sh "$dir/repo/scripts/reproduce_study.sh" "$study" "$model" "$dir/text.txt" "$@" \
        >"$dir/out" 2>"$dir/err" || fail "$study $model: $(tail -n 3 "$dir/err")"
}
made=$dir/repo/runs/study
for model in embedded mini; do
    for study in all calibration; do studied $study $model; done
    for part in train eval self mixed; do [ -s "$made/$model/$part.h5" ] || fail "$model: no $part.h5"; done
done
studied sub-norm embedded
studied embed embedded
# What scripts/make_starts.py would make of a model; `tokens` reads the losses of its runs, and is left out.
mkdir -p "$made/llama2xs"
for start in squeezed tiny random; do cp checkpoints/embedded.h5 "$made/llama2xs/$start.h5"; done
for study in schedules methods recipe granularity precision calibration updates teacher trap-squeezed trap-bf16 trap-plateau; do
    studied $study llama2xs model.bin tokenizer.bin
done
(cd "$dir/repo" && for study in tune tokens; do "$dir/solera" sweep configs/study/$study-llama2xs.yaml --dir "$dir/$study"; done) \
    >"$dir/out" 2>"$dir/err" || fail "$(cat "$dir/err")"
grep -l '^seeds:' configs/study/*.yaml >"$dir/want"
sort -u "$dir/sweeps" | diff "$dir/want" - || fail "not every sweep (<) was read (>)"

# The text is cut by bytes, each part once; a wrong call says how to call, from any folder.
[ "$(cat "$made/embedded/train.txt" "$made/embedded/eval.txt" | grep -c Once)" -eq "$(head -c 12000000 "$dir/text.txt" | grep -c Once)" ] ||
    fail "lines were lost"
code=0
(cd "$dir/repo/scripts" && sh reproduce_study.sh teacher) 2>"$dir/usage" || code=$?
[ "$code" -eq 2 ] && [ "$(grep -c '^usage: scripts/reproduce_study.sh STUDY|all' "$dir/usage")" -eq 2 ] || fail "usage: $code, $(cat "$dir/usage")"
