# A run that is killed at random moments and resumed gives the bits of a run that was left alone.
. tests/cli/common
make_job

# Checksums of all datasets, parameters and moments among them, and the state but for the length of metrics.jsonl, whose
# timing differs.
bits_of() {
    "$SOLERA" inspect --verify --all --json "$1" >"$dir/bits" || fail "$1: inspect"
    grep -o '"datasets".*' "$dir/bits"
    grep -o '"state":{[^}]*}' "$dir/bits" | sed 's/"metrics_bytes":[0-9]*//'
}

"$SOLERA" train "$dir/job.yaml" -t 1 2>/dev/null
metrics_of "$dir/run" >"$dir/want.jsonl"
bits_of "$dir/run/ckpt/step-000024.h5" >"$dir/want.bits"
grep -q /optim/m "$dir/want.bits" || fail "no moments in the checkpoint"
mv "$dir/run" "$dir/left-alone"
seed=${KILL_SEED:-$$}
echo "seed $seed (KILL_SEED repeats it)"
kills=0 span=40 newest=
while [ ! -e "$dir/run/ckpt/step-000024.h5" ]; do
    kills=$((kills + 1))
    [ "$kills" -le 200 ] || fail "no end after 200 kills"
    wait_s=$(awk -v seed="$seed" -v n="$kills" -v span="$span" 'BEGIN { srand(seed + n * 7919); printf "%.3f", 0.005 + span / 1000 * rand() }')
    "$SOLERA" train "$dir/job.yaml" --resume -t $((kills % 2 + 1)) 2>>"$dir/log" &
    pid=$!
    sleep "$wait_s"
    kill -9 "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
    pid=
    last=$newest
    newest=$(ls "$dir/run/ckpt" 2>/dev/null | tail -n 1)
    [ "$newest" != "$last" ] || span=$((span + span / 3)) # a slow build or machine gets more time
done
expect 0 "" "$SOLERA" train "$dir/job.yaml" --resume
metrics_of "$dir/run" | cmp - "$dir/want.jsonl" || fail "metrics differ"
bits_of "$dir/run/ckpt/step-000024.h5" | cmp - "$dir/want.bits" || fail "parameters differ"
left=$(find "$dir/run" -name '*.tmp' | wc -l)
[ "$left" -eq 0 ] || fail "$left temporary files are left"
echo "$kills kills"
