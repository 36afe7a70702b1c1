# Text that a job samples from its model is kept as it comes: a job that is killed or interrupted
# goes on with it, to the same bytes at any number of threads. What was sampled otherwise is refused.
. tests/cli/common
make_job
"$SOLERA" train "$dir/job.yaml" --set train.steps=2 --set checkpoint.every=1 \
    --set optim.warmup_steps=0 2>/dev/null
model=$dir/run/ckpt/step-000002.h5
cat >"$dir/self.yaml" <<YAML
run: {dir: $dir/a, seed: 3}
model: {init: $model}
data: {source: self, self_tokens: 4000, eval: $dir/data.h5}
quant: {group_size: 64}
train: {steps: 1, batch: 1, seq: 16, eval_every: 0}
YAML
train() { # run directory, arguments
    run=$1
    shift
    "$HELD" train "$dir/self.yaml" --set run.dir="$run" --resume "$@"
}
same() {
    cmp "$dir/a/tokens-self.h5" "$1/tokens-self.h5" || fail "$2: another text"
    [ -z "$(find "$1" -name '*part*' -o -name '*.tmp')" ] || fail "$2: left: $(ls "$1")"
}

COUNT=$dir/calls train "$dir/a" -t 1 2>/dev/null
calls=$(cat "$dir/calls")
[ "$calls" -gt 100 ] || fail "only $calls calls: nothing is kept"
n=0
# Two kills, the second of a process that goes on, then to the end.
for round in 1 2 3 4 5 6 7 8 9 10; do
    for call in $((round * calls / 12)) $((round * 5)); do
        code=0
        KILL_AT=$call train "$dir/b" -t $((1 + round % 2)) 2>/dev/null || code=$?
        [ "$code" -eq 137 ] || [ "$code" -eq 0 ] || fail "exit code $code, call $call"
        n=$((n + (code == 137)))
    done
    expect 0 "" train "$dir/b" -t $((2 - round % 2))
    same "$dir/b" "kill at call $((round * calls / 12))"
    rm -r "$dir/b"
done
[ "$n" -ge 15 ] || fail "only $n kills"

# Killed in the middle of a write: other jobs, a damaged part, other models, no space left.
keeps=tokens-self-part.h5.tmp
start $keeps:20 train "$dir/self.yaml" --set run.dir="$dir/c"
killed
[ -e "$dir/c/tokens-self-part.h5" ] || fail "nothing is kept"
cp "$dir/c/tokens-self-part.h5" "$dir/part.h5"
part() { cp "$1" "$dir/c/tokens-self-part.h5"; }
expect 2 "another run: run.seed: 3 -> 4" train "$dir/c" --set run.seed=4
expect 2 "another run: data.self_temperature" train "$dir/c" --set data.self_temperature=0.5
head -c 300 "$dir/part.h5" >"$dir/torn.h5"
part "$dir/torn.h5"
expect 2 "without this file the text is sampled anew" train "$dir/c"
part "$dir/data.h5"
expect 2 "this is not the model its text was sampled from" train "$dir/c"
part "$dir/part.h5"
mv "$model" "$dir/model.h5"
cp "$dir/run/ckpt/step-000001.h5" "$model"
expect 2 "this is not the model its text was sampled from" train "$dir/c"
mv "$dir/model.h5" "$model"
FULL_AT=$keeps:3 expect 1 "No space left" train "$dir/c"
expect 0 "sampled tokens taken from $dir/c/tokens-self-part.h5" train "$dir/c"
same "$dir/c" "a kill in the middle, a full disk"
rm "$dir/c/ckpt"/step-*
part "$dir/part.h5"
expect 0 "" train "$dir/c"
same "$dir/c" "a kill before the part was removed"
rm "$dir/c/ckpt"/step-*
mv "$model" "$dir/model.h5"
cp "$dir/run/ckpt/step-000001.h5" "$model"
expect 2 "c/tokens-self.h5: cannot resume, this is not the model its text was sampled from" train "$dir/c"
mv "$dir/model.h5" "$model"

start $keeps:20 train "$dir/self.yaml" --set run.dir="$dir/e"
kill -INT "$pid"
go_on
ended 130
grep -q "tokens-self-part.h5: --resume goes on with it" "$dir/said" || fail "$(cat "$dir/said")"
expect 0 "sampled tokens taken from" train "$dir/e"
same "$dir/e" "an interrupt"
echo "$n kills over $calls calls: the same text"

# A run that is on its way needs the text it began with: what is missing is named, nothing is sampled.
more="--set train.steps=3 --set checkpoint.every=1 --set residual.schedule=none --set optim.schedule=constant"
# shellcheck disable=SC2086
expect 0 "" train "$dir/d" $more
rm "$dir/d/ckpt/step-000003.h5" "$dir/d/tokens-self.h5"
# shellcheck disable=SC2086
expect 2 "d/tokens-self.h5: cannot resume, this file is missing" train "$dir/d" $more
[ ! -e "$dir/d/tokens-self.h5" ] || fail "a text was sampled for a run that cannot take it"
