# A run by its directory: its best checkpoint where a model is asked for.
. tests/cli/common
make_job
run=$dir/run
"$SOLERA" train "$dir/job.yaml" 2>"$dir/err" || fail "$(cat "$dir/err")"
best=$run/ckpt/$(readlink "$run/ckpt/best.h5")

# Every verb that takes a model takes the run, and says which checkpoint it took.
expect 0 "$run: the best checkpoint is $best" "$SOLERA" inspect "$run" --json
"$SOLERA" inspect "$best" --json | cmp -s - "$dir/out" || fail "inspect shows another file"
digest=$(sed -n 's/.*"data_digest": "\([0-9a-f]*\)".*/\1/p' "$run/metrics.jsonl" | head -n 1)
grep -q "\"data_digest\":\"${digest:-none}\"" "$dir/out" || fail "the digest of the data is not $digest: $(cat "$dir/out")"
expect 0 "$best" "$SOLERA" eval "$run/" --data "$dir/data.h5"
expect 0 "$best" "$SOLERA" generate "$run" -p the -n 2 --temp 0
echo "[1, 2, 3]" >"$dir/ids"
expect 0 "$best" "$SOLERA" score "$run" --ids "$dir/ids"
expect 0 "$best" "$SOLERA" export "$run" -o "$dir/packed.h5"
"$SOLERA" export "$best" -o "$dir/again.h5" 2>/dev/null
cmp -s "$dir/packed.h5" "$dir/again.h5" || fail "another file is packed"

# Without a best one the newest; no run and no checkpoint are said.
rm "$run/ckpt/best.h5"
expect 0 "the newest checkpoint is $run/ckpt/step-000024.h5" "$SOLERA" inspect "$run"
mkdir -p "$dir/none" "$dir/young/ckpt" "$dir/hf"
touch "$dir/young/config.yaml" "$dir/hf/config.json"
expect 2 "$dir/none: is a directory, and no run" "$SOLERA" inspect "$dir/none"
expect 2 "$dir/young: this run has no checkpoint yet" "$SOLERA" eval "$dir/young" --data "$dir/data.h5"
expect 2 "$dir/hf: is a Hugging Face folder: \`solera import $dir/hf -o M.h5\`" "$SOLERA" export "$dir/hf" -o "$dir/x.h5"
expect 2 "key 'model.init': $dir/hf: is a Hugging Face folder" "$SOLERA" train "$dir/job.yaml" --set run.dir="$dir/n" \
    --set model.init="$dir/hf" --set model.tokenizer=
expect 2 "is a run: name a checkpoint of it, as $run/ckpt/" "$SOLERA" train "$dir/job.yaml" --set run.dir="$dir/n" \
    --set model.init="$run" --set model.tokenizer=

# A run goes on by its directory, wherever it was moved to, and comes to the same end.
metrics_of "$run" | sed 's/, "version".*/}/' >"$dir/whole"
rm "$run/ckpt/step-000024.h5"
mv "$run" "$dir/moved"
expect 2 "$dir/moved: is a run already; --resume goes on with it" "$SOLERA" train "$dir/moved"
expect 2 "$dir/none: is a directory, and no run" "$SOLERA" train "$dir/none" --resume
expect 0 "resumed at step 21 of 24" "$SOLERA" train "$dir/moved/" --resume
[ ! -e "$run" ] || fail "the run went on at its old place"
metrics_of "$dir/moved" | sed 's/, "version".*/}/' | cmp -s - "$dir/whole" || fail "another end"

# More steps: refused with the way out, which works, where the steps that are done would have been others.
expect 2 "--set model.init=$dir/moved/ckpt/step-0000" "$SOLERA" train "$dir/moved" --resume --set train.steps=30
expect 2 " --set run.dir=NEW --set residual.schedule=none" \
    "$SOLERA" train "$dir/moved" --resume --set train.steps=30
expect 0 "" "$SOLERA" train "$dir/job.yaml" --set train.steps=2 --set model.init="$dir/moved/ckpt/best.h5" \
    --set run.dir="$dir/next" --set residual.schedule=none --set model.tokenizer= --set optim.warmup_steps=1

# Exact with constant schedules after the last step, and with wsd before its fall: as a run of that length from the start.
longer() { # SCHEDULE STEPS [MORE...]
    set -- "$@" --set optim.schedule="$1" --set residual.schedule=none --set train.eval_every=0 --set optim.decay_fraction=0.5
    schedule=$1 first=$2
    shift 2
    "$SOLERA" train "$dir/job.yaml" --set run.dir="$dir/long-$schedule" --set train.steps=24 "$@" 2>"$dir/err" || fail "$(cat "$dir/err")"
    "$SOLERA" train "$dir/job.yaml" --set run.dir="$dir/short-$schedule" --set train.steps="$first" "$@" 2>"$dir/err" || fail "$(cat "$dir/err")"
    rm -f "$dir/short-$schedule/ckpt/step-000012.h5" "$dir/short-$schedule/ckpt/step-000009.h5"
    expect 0 "train.steps: $first -> 24" "$SOLERA" train "$dir/short-$schedule" --resume --set train.steps=24
    metrics_of "$dir/long-$schedule" | sed 's/, "version".*/}/' >"$dir/whole"
    metrics_of "$dir/short-$schedule" | sed 's/, "version".*/}/' | cmp -s - "$dir/whole" || fail "$schedule: another end"
}
longer constant 8
# Fewer steps than are done are no run of that length.
expect 2 "key 'train.steps': 23, but $dir/short-constant has done 24: it does not go back" \
    "$SOLERA" train "$dir/short-constant" --resume --set train.steps=23
longer wsd 12 --set checkpoint.keep=9
# A wsd run that has ended goes back to a checkpoint before its fall, if one is kept; what it leaves behind stays as a file.
rm -r "$dir/long-wsd" "$dir/short-wsd"
longer wsd 6 --set checkpoint.keep=9
grep -q "going back to step 3, the last that a run of 24 steps shares" "$dir/short-wsd/log.txt" || grep -q "going back to step 3" "$dir/err" ||
    fail "it did not go back: $(cat "$dir/err")"
[ -f "$dir/short-wsd/ckpt/step-000006.h5.ended" ] || fail "the end is lost: $(ls "$dir/short-wsd/ckpt")"
# As a teacher a run is named by a checkpoint, too.
expect 2 "key 'distill.teacher': $dir/moved: is a run: name a checkpoint of it, as $dir/moved/ckpt/step-" "$SOLERA" train "$dir/job.yaml" \
    --set run.dir="$dir/n" --set distill.teacher="$dir/moved"
# runs: a row a run, from its own files.
value() { # KEY of the run in $dir/out
    sed -n "s/.*\"$1\": \([^,}]*\).*/\1/p" "$dir/out"
}
expect 0 "" "$SOLERA" runs "$dir/moved/" --json
[ "$(value run) $(value step) $(value steps) $(value method) $(value seed)" = "\"$dir/moved\" 24 24 \"sherry\" 3" ] ||
    fail "not this run: $(cat "$dir/out")"
for key in loss eval_loss packed_loss; do
    grep -F "\"$key\"" "$dir/moved/metrics.jsonl" | tail -n 1 | sed "s/.*\"$key\": \([^,}]*\).*/\1/" >"$dir/want"
    awk -v got="$(value $key)" '{ exit !(got / $1 - 1 < 1e-9 && got / $1 - 1 > -1e-9) }' "$dir/want" || fail "$key: $(cat "$dir/out" "$dir/want")"
done
sed -n 's/.*"eval_loss": \([^,}]*\).*/\1/p' "$dir/moved/metrics.jsonl" | sort -g | head -n 1 >"$dir/want"
awk -v got="$(value best_loss)" '{ exit !(got / $1 - 1 < 1e-9 && got / $1 - 1 > -1e-9) }' "$dir/want" || fail "best: $(cat "$dir/out")"
expect 0 "" "$SOLERA" runs "$dir"
[ "$(awk 'NR > 1 { sub(".*/", "", $NF); print $NF }' "$dir/out" | paste -sd' ')" = "long-constant long-wsd moved next short-constant short-wsd" ] ||
    fail "not these runs: $(cat "$dir/out")"
"$SOLERA" train "$dir/job.yaml" --set run.dir="$dir/packed" --set train.eval_form=packed 2>"$dir/err" || fail "$(cat "$dir/err")"
expect 0 "" "$SOLERA" runs "$dir/packed" --json
[ "$(value eval_loss)" = null ] && [ "$(value best_loss)" != null ] || fail "eval_form packed: $(cat "$dir/out")"
grep -q "\"step\": $(value best_step)" "$dir/packed/metrics.jsonl" &&
    readlink "$dir/packed/ckpt/best.h5" | grep -q "0$(value best_step).h5" || fail "another best than the trainer's: $(cat "$dir/out")"
echo "no: job" >"$dir/next/config.yaml"
expect 0 "warning: $dir/next/config.yaml" "$SOLERA" runs "$dir"
grep -q short-wsd "$dir/out" || fail "one bad run hides the others"
expect 2 "$dir/none: neither is a run nor holds one" "$SOLERA" runs "$dir/none"
expect 2 "$dir/nowhere" "$SOLERA" runs "$dir/nowhere"
# JSON is UTF-8, the name of a directory any bytes.
bytes=$(printf '%s/name-\377' "$dir")
cp -R "$dir/moved" "$bytes"
expect 0 "" "$SOLERA" runs "$dir" --json
grep -q "$(printf '/name-\357\277\275", "step": 24')" "$dir/out" || fail "one run is missing: $(cat "$dir/out")"
expect 0 "" "$SOLERA" inspect "$bytes/ckpt/step-000024.h5"
grep -q "$(printf '/name-\357\277\275/ckpt')" "$dir/out" || fail "$(head -n 1 "$dir/out")"
rm -r "$bytes"

# Losses on other data do not compare: with a harder data.eval of the same name the best checkpoint
# is chosen anew.
cp "$dir/data.h5" "$dir/eval.h5"
expect 0 "" "$SOLERA" train "$dir/job.yaml" --set run.dir="$dir/b" \
    --set data.eval="$dir/eval.h5" --set train.eval_every=3
rm "$dir/b/ckpt/step-000024.h5"
cp -R "$dir/b" "$dir/same"
expect 0 "resumed at step 21" "$SOLERA" train "$dir/same" --resume
! grep -q "is not what it was" "$dir/err" || fail "the same data.eval: $(cat "$dir/err")"
cp -R "$dir/b" "$dir/off"
expect 0 "resumed at step 21" "$SOLERA" train "$dir/off" --resume --set train.eval_every=0
[ "$(grep -o '"eval_digest": "[0-9a-f]*"' "$dir/off/metrics.jsonl" | sort -u | wc -l)" -eq 1 ] ||
    fail "steps without evaluations forget what came before was measured on: $(grep eval_digest "$dir/off/metrics.jsonl")"
sed 's/[aeiou]/%/g' "$dir/text.txt" >"$dir/hard.txt"
"$SOLERA" tokenize --tokenizer "$dir/tokenizer.json" --input "$dir/hard.txt" -o "$dir/eval.h5" \
    2>/dev/null
expect 0 "data.eval, or how it is measured, is not what it was" "$SOLERA" train "$dir/b" --resume
last=$(tail -n 1 "$dir/b/metrics.jsonl")
echo "$last" | grep -q '"eval_loss": [6-9]' || fail "not harder: $last"
[ "$(readlink "$dir/b/ckpt/best.h5")" = step-000024.h5 ] || fail "the best of other data stays"
expect 0 "" "$SOLERA" runs "$dir/b" --json
[ "$(value best_step)" = 24 ] || fail "solera runs compares losses on different data: $(cat "$dir/out")"
