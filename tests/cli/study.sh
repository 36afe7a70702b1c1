. tests/cli/common
make_job
"$SOLERA" train "$dir/job.yaml" --set run.dir="$dir/a" --set study.every=5 --set study.layers=down_proj --set study.rows=16 2>/dev/null
"$SOLERA" train "$dir/job.yaml" --set run.dir="$dir/plain" --set train.steps=5 --set train.eval_every=0 2>/dev/null
"$SOLERA" train "$dir/job.yaml" --set run.dir="$dir/fewer" --set train.steps=5 --set train.eval_every=0 --set study.every=1 \
    --set study.layers=0 2>/dev/null

expect 0 "" "$SOLERA" inspect "$dir/a/study.h5"
grep -q "study" "$dir/out" || fail "inspect does not name the kind: $(cat "$dir/out")"

# What cannot be reported on: one line each.
expect 2 "$dir/plain: has no study.h5; train with study.every" "$SOLERA" study "$dir/plain"
expect 2 "$dir/none: cannot open" "$SOLERA" study "$dir/none"
expect 2 "$dir/data.h5: holds a dataset" "$SOLERA" study "$dir/data.h5"
expect 2 "a and fewer: " "$SOLERA" study "$dir/a" "$dir/fewer"
mkdir -p "$dir/sweep/x" "$dir/sweep/y"
mv "$dir/fewer" "$dir/sweep/y/seed-1"
cp -R "$dir/a" "$dir/sweep/x/seed-1"
expect 2 ": x and y: " "$SOLERA" study "$dir/sweep/x/seed-1/" "$dir/sweep/y/seed-1/study.h5" # named by what tells them apart
expect 2 "a run and a model file cannot stand in one report" "$SOLERA" study "$dir/a" "$dir/a/ckpt/step-000024.h5"
expect 2 "--set: key 'study.layers': 'nothing' names no linear layer" "$SOLERA" train "$dir/job.yaml" --set run.dir="$dir/b" --set study.every=1 \
    --set study.layers=nothing
[ ! -e "$dir/b" ] || fail "a refused study left a run directory"
code=0
"$SOLERA" train "$dir/job.yaml" --resume --set run.dir="$dir/a" --set study.every=5 2>"$dir/err" || code=$?
[ "$code" -eq 2 ] && tail -n 1 "$dir/err" | grep -q "holds records of other layers or samples" || fail "$code: $(cat "$dir/err")"
head -c 5000 "$dir/a/study.h5" >"$dir/cut.h5"
expect 2 "$dir/cut.h5: " "$SOLERA" study "$dir/cut.h5"

"$SOLERA" export "$dir/a/ckpt/step-000024.h5" -o "$dir/packed.h5" --format packed 2>/dev/null
expect 2 "packed model, whose latent weights are gone" "$SOLERA" study "$dir/packed.h5"

# What each layer costs by itself: sorted, nothing of the model changes, kept layers are left out; a job and its model say the same.
cost() { # word, options
    "$SOLERA" study --sensitivity "$@" 2>"$dir/err" || fail "$(cat "$dir/err")"
}
last=$dir/a/ckpt/step-000024.h5
cost "$last" --data "$dir/data.h5" --windows 4 >"$dir/out"
[ "$(grep -c 'model.layers' "$dir/out")" -eq 14 ] || fail "not every layer: $(cat "$dir/out")"
awk '/model.layers/ { if (n++ && $1 + 0 > last) exit 1; last = $1 + 0 }' "$dir/out" || fail "not sorted: $(cat "$dir/out")"
cost "$last" --data "$dir/data.h5" --windows 4 --json -t 1 >"$dir/one"
cost "$last" --data "$dir/data.h5" --windows 4 --json -t 2 | cmp - "$dir/one" || fail "threads change the answer"
grep -q '^{"loss": [0-9.]*, "tokens": [0-9]*, "seq": 16, "windows": 4, "method": "sherry", "layers": \[{"name": "model.layers' "$dir/one" ||
    fail "not the JSON that was promised: $(cat "$dir/one")"
full=$("$SOLERA" eval "$last" --data "$dir/data.h5" --windows 4 --full-precision --json | sed 's/.*"loss": \([0-9.]*\).*/\1/')
[ "$(sed 's/.*{"loss": \([0-9.]*\).*/\1/' "$dir/one" | cut -c1-8)" = "$(echo "$full" | cut -c1-8)" ] || fail "loss $full: $(cat "$dir/one")"
sed "s|^model: .*|model: {init: $last}|" "$dir/job.yaml" >"$dir/cost.yaml"
cost "$dir/cost.yaml" --windows 4 --json | cmp - "$dir/one" || fail "a job says otherwise"
sed 's|group_size: 64|group_size: 64, overrides: [{match: "*.mlp.*", method: none}]|' "$dir/cost.yaml" >"$dir/kept.yaml"
cost "$dir/kept.yaml" --windows 4 >"$dir/out"
[ "$(grep -c 'model.layers' "$dir/out")" -eq 8 ] || fail "kept layers are measured: $(cat "$dir/out")"
cost "$dir/a" --data "$dir/data.h5" --windows 4 --json | cmp - "$dir/one" || fail "a run says otherwise"
sed "s|eval: [^}]*}|eval: $dir/text.txt}|" "$dir/cost.yaml" >"$dir/text.yaml"
cost "$dir/text.yaml" --windows 4 --json | cmp - "$dir/one" || fail "a job with text says otherwise"
expect 2 "packed model, whose latent weights are gone" "$SOLERA" study --sensitivity "$dir/packed.h5" --data "$dir/data.h5"
expect 2 "--data says what to measure" "$SOLERA" study --sensitivity "$last"
expect 2 "takes one model or job" "$SOLERA" study --sensitivity "$last" "$last"
expect 2 "has no effect without --sensitivity" "$SOLERA" study "$last" --windows 3
sed 's|group_size: 64|method: none|' "$dir/cost.yaml" >"$dir/none.yaml"
expect 2 "key 'quant.method': none leaves nothing to measure" "$SOLERA" study --sensitivity "$dir/none.yaml"

# A killed run: its records are there, up to the last.
start metrics.jsonl:7 train "$dir/job.yaml" --set run.dir="$dir/killed" --set train.eval_every=0 --set study.every=1 --set study.layers=0 --set study.rows=16
killed
expect 0 "" "$SOLERA" inspect "$dir/killed/study.h5"

# The measures as CSV: a line a record.
expect 0 "" "$SOLERA" study "$dir/killed" --csv
cp "$dir/out" "$dir/csv"
head -n 1 "$dir/csv" | grep -q '^run,step,lambda,loss,er_dw,' || fail "--csv: $(head -n 1 "$dir/csv")"
grep -q '^"killed",5,' "$dir/csv" || fail "--csv lacks records: $(cut -c1-40 "$dir/csv")"

if ! command -v gnuplot >/dev/null; then
    expect 2 "package gnuplot-nox" "$SOLERA" study "$dir/a"
    echo "skipped: gnuplot is not installed"
    exit 0
fi
expect 0 "" "$SOLERA" study "$dir/a"
[ "$(cat "$dir/out")" = "$dir/a/report/index.html" ] || fail "stdout: $(cat "$dir/out")"
grep -q '^valley_mass,"share of weights",' "$dir/a/report/measures-key.csv" || fail "measures-key.csv"
for part in '<nav' 'href="#measures"' 'id="measures"' '<th>teacher</th>' '<th>start</th>' 'comes [0-9]* steps after the one before' 'Learning rate' 'trapped'; do
    grep -q "$part" "$dir/a/report/index.html" || fail "the page has no $part"
done
# Seeds of one job are one line; another rate is another one.
for i in 4 5; do
    "$SOLERA" train "$dir/job.yaml" --set run.dir="$dir/seeds/seed-$i" --set run.seed=$i --set study.every=5 --set study.layers=down_proj \
        --set study.rows=16 2>/dev/null
done
"$SOLERA" train "$dir/job.yaml" --set run.dir="$dir/seeds/other" --set optim.lr=0.002 --set study.every=5 --set study.layers=down_proj \
    --set study.rows=16 2>/dev/null
expect 0 "" "$SOLERA" study "$dir/a" "$dir"/seeds/* -o "$dir/joined"
for part in '<td class="n">3, 4, 5</td>' '<td class="n">3</td>' 'from the lowest seed to the highest' '&plusmn;'; do
    grep -qF "$part" "$dir/joined/index.html" || fail "the page of seeds has no $part"
done
[ "$(grep -c '&#9632;' "$dir/joined/index.html")" -eq 2 ] || fail "four runs are not two points"
(empty_figures && expect 0 "" "$SOLERA" study "$dir/killed") || exit 1
grep -q "killed: [5-9] records.* The others are missing" "$dir/killed/report/index.html" || fail "no word on the records of a killed run"
grep -q "loss at lambda 0" "$dir/a/report/index.html" || fail "the page lacks the losses"
expect 0 "" "$SOLERA" study "$dir/a/ckpt/step-000024.h5" -o "$dir/still"
[ -s "$dir/still/layers.png" ] || fail "no figure of a model"
