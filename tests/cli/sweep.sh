. tests/cli/common
make_job
cat >"$dir/sweep.yaml" <<YAML
base: job.yaml
dir: $dir/swept
seeds: [1, 2]
set: {study.every: 8, study.rows: 16}
points:
  naive: {residual.schedule: none}
  full: {quant.method: none}
grid: {optim.lr: [0.001, 0.002]}
against: naive_0.001
measures: [near_alpha, zero_flips]
YAML
rows() { grep -c '^| [nf]' "$1"; }

# Bad input: one line, and nothing is written.
refuse() { # TEXT SED
    sed "$2" "$dir/sweep.yaml" >"$dir/bad.yaml"
    expect 2 "$1" "$SOLERA" sweep "$dir/bad.yaml"
    [ ! -e "$dir/swept" ] || fail "'$2' left something"
}
refuse "bad.yaml:3:1: unknown key 'seedz'; did you mean 'seeds'?" 's/^seeds/seedz/'
refuse "cannot open" 's/job.yaml/none.yaml/'
refuse "optim.lrr" 's/optim.lr:/optim.lrr:/'
refuse "bad.yaml:8:8: quant.group_size=3: " 's/{optim.lr: .*}/{quant.group_size: [64, 3]}/; s/^against.*//'
refuse "point naive_48: key 'quant.group_size': model.layers.0" 's/{optim.lr: .*}/{quant.group_size: [48]}/; s/^against.*//'
refuse "there is no 'near_alfa'; did you mean 'near_alpha'?" 's/near_alpha/near_alfa/'
refuse "has no study.every" 's/study.every: 8/study.every: 0/'
refuse "against: expected the name of a point, as naive_0.001" 's/^against.*/against: nobody/'
refuse "is set by the sweep" 's/study.rows: 16/run.seed: 4/'
expect 2 "--set run.dir=x: is set by the sweep" "$SOLERA" sweep "$dir/sweep.yaml" --set run.dir=x
[ ! -e "$dir/swept" ] || fail "a refused sweep left something"

# A job that is edited meanwhile would make runs that do not compare: none of them begins.
cp "$dir/job.yaml" "$dir/job.was"
start metrics.jsonl:10 sweep "$dir/sweep.yaml"
sed 's/seq: 16/seq: 8/' "$dir/job.was" >"$dir/job.yaml"
go_on
ended 2
grep -q "job.yaml: has changed since the sweep began, in these keys: train.seq: [0-9]* -> 8" "$dir/said" || fail "$(cat "$dir/said")"
[ ! -e "$dir/swept/naive_0.001/seed-2" ] || fail "a run of another job began"
mv "$dir/job.was" "$dir/job.yaml"
rm -r "$dir/swept"

# Killed: its run dies with it; the same command goes on, two at a time, and what was done is not done again.
start metrics.jsonl:10 sweep "$dir/sweep.yaml"
go_on
stands "the second run"
grep -q '<meta http-equiv="refresh".*' "$dir/swept/index.html" && grep -q '<b>1 of 8 runs done</b>, 1 at work, .* left at ' "$dir/swept/index.html" ||
    fail "no page while the sweep goes on"
expect 2 "swept: in use by another sweep" "$SOLERA" sweep "$dir/sweep.yaml"
killed
[ "$(ls -d "$dir"/swept/*/seed-*/ckpt/step-000024.h5)" = "$dir/swept/naive_0.001/seed-1/ckpt/step-000024.h5" ] || fail "not one run is done"
expect 0 "" "$SOLERA" sweep "$dir/sweep.yaml" --jobs 2
grep -q "8 runs, 1 of them done" "$dir/err" || fail "$(cat "$dir/err")"
[ "$(rows "$dir/swept/table.md")" -eq 4 ] || fail "$(cat "$dir/swept/table.md")"
grep -q '^| naive | 0.001 *| 2 .*| +0.0000 ± 0.0000 *|' "$dir/swept/table.md" || fail "$(cat "$dir/swept/table.md")"
grep -q '^Fewer than 3 seeds' "$dir/swept/table.md" || fail "no caution: $(cat "$dir/swept/table.md")"
[ "$(wc -l <"$dir/swept/table.csv")" -eq 5 ] || fail "$(cat "$dir/swept/table.csv")"
for part in '<b>8 of 8 runs done</b>' 'Fewer than 3 seeds' '<td>naive' 'seed by seed' '<circle '; do
    grep -qF "$part" "$dir/swept/index.html" || fail "the page has no $part"
done
! grep -q 'http-equiv' "$dir/swept/index.html" || fail "the page of a sweep that has ended looks again"
head -n 1 "$dir/swept/table.csv" | grep -q '^point,optim.lr,seeds,eval loss,eval loss deviation,packed loss,' || fail "$(cat "$dir/swept/table.csv")"
head -n 1 "$dir/swept/table.csv" | grep -q ',eval loss - naive_0.001,eval loss - naive_0.001 deviation,' || fail "$(cat "$dir/swept/table.csv")"
grep -q '| eval loss - naive_0.001 (95 %) |' "$dir/swept/table.md" || fail "$(cat "$dir/swept/table.md")"

# A run of the sweep is the run that `solera train` makes.
"$SOLERA" train "$dir/job.yaml" --set study.every=8 --set study.rows=16 --set residual.schedule=none --set optim.lr=0.002 \
    --set run.seed=2 --set run.dir="$dir/alone" 2>/dev/null
metrics_of "$dir/alone" >"$dir/a"
metrics_of "$dir/swept/naive_0.002/seed-2" >"$dir/b"
cmp "$dir/a" "$dir/b" || fail "a run of the sweep differs from the job"

# The table alone; other keys make other runs; a run that fails is named, the others go on.
rm "$dir/swept/table.md"
expect 0 "" "$SOLERA" sweep "$dir/sweep.yaml" --table
[ "$(rows "$dir/swept/table.md")" -eq 4 ] || fail "--table"
expect 2 "holds another run, by these keys: train.batch" "$SOLERA" sweep "$dir/sweep.yaml" --set train.batch=2

# What is done was measured by its own keys, on its own files: no table shows it as something else.
cp "$dir/data.h5" "$dir/other.h5"
expect 2 "holds another run, by these keys: data.eval" "$SOLERA" sweep "$dir/sweep.yaml" --set data.eval="$dir/other.h5"
expect 2 "by these keys: train.steps: 24 -> 23; it is done" "$SOLERA" sweep "$dir/sweep.yaml" --table --set train.steps=23 --set optim.schedule=cosine
one=$dir/swept/naive_0.001/seed-2/metrics.jsonl
cp "$one" "$dir/kept"
sed -i 's/"data_digest": "[0-9a-f]*"/"data_digest": "0000000000000001"/; s/"eval_loss": [0-9.]*/"eval_loss": null/' "$one"
expect 0 "" "$SOLERA" sweep "$dir/sweep.yaml" --table
for part in "Not comparable: the file of data.train was another one for naive_0.001 seed 2 than for naive_0.001 seed 1." \
    "naive_0.001, eval loss: 1 of 2 seeds have a finite one."; do
    grep -qF "$part" "$dir/swept/table.md" && grep -qF "$part" "$dir/swept/index.html" || fail "no '$part': $(cat "$dir/swept/table.md")"
done
mv "$dir/kept" "$one"
for k in 1 2; do
    cp "$dir/swept/full_0.002/seed-$k/metrics.jsonl" "$dir/kept.$k"
    sed -i "s/\"data_digest\"/\"model_digest\": \"000000000000000$k\", &/" "$dir/swept/full_0.002/seed-$k/metrics.jsonl"
done
expect 0 "" "$SOLERA" sweep "$dir/sweep.yaml" --table
grep -qF "Not comparable: the file of model.init was another one for full_0.002 seed 2 than for full_0.002 seed 1." "$dir/swept/table.md" ||
    fail "$(cat "$dir/swept/table.md")"
for k in 1 2; do mv "$dir/kept.$k" "$dir/swept/full_0.002/seed-$k/metrics.jsonl"; done

head -c 3000 "$dir/data.h5" >"$dir/cut.h5"
sed "s|{residual.schedule: none}|{data.eval: $dir/cut.h5}|; s/lr: .*}/lr: [0.001]}/" "$dir/sweep.yaml" >"$dir/half.yaml"
expect 1 "2 of 4 runs failed, first naive_0.001 seed 1: key 'data.eval': $dir/cut.h5" "$SOLERA" sweep "$dir/half.yaml" --dir "$dir/half" --set train.steps=8
grep -q '^| full  | 0.001 *| 2 ' "$dir/half/table.md" || fail "$(cat "$dir/half/table.md")"

# Without checkpoints, and stopped by a signal.
sed 's/^measures.*/keep_checkpoints: false/' "$dir/sweep.yaml" >"$dir/small.yaml"
expect 0 "" "$SOLERA" sweep "$dir/small.yaml" --dir "$dir/small" --set train.steps=8 --jobs 2
[ -z "$(find "$dir/small" -name "*.h5" -path "*ckpt*")" ] || fail "checkpoints stayed"
start metrics.jsonl:5 sweep "$dir/sweep.yaml" --dir "$dir/long"
kill -TERM "$pid"
until_said "stopping: 1 runs save what they have"
go_on
ended 130
[ -e "$dir/long/naive_0.001/seed-1/ckpt/step-000005.h5" ] || fail "the run was not saved at once: $(ls "$dir/long/naive_0.001/seed-1/ckpt")"
grep -q '<b>0 of 8 runs done</b>; the same command goes on' "$dir/long/index.html" ||
    fail "the page of a sweep that was stopped: $(grep 'runs done' "$dir/long/index.html")"
