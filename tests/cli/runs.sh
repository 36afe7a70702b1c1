# A run by its directory: its best checkpoint where a model is asked for.
. tests/cli/common
make_job
run=$dir/run
"$SOLERA" train "$dir/job.yaml" 2>"$dir/err" || fail "$(cat "$dir/err")"
best=$run/ckpt/$(readlink "$run/ckpt/best.h5")

# Every verb that takes a model takes the run, and says which checkpoint it took.
expect 0 "$run: the best checkpoint is $best" "$SOLERA" inspect "$run" --json
"$SOLERA" inspect "$best" --json | cmp -s - "$dir/out" || fail "inspect shows another file"
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
expect 2 "$dir/hf: is a Hugging Face folder: \`solera import\`" "$SOLERA" export "$dir/hf" -o "$dir/x.h5"
