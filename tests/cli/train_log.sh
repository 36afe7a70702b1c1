# What a run says of itself: labelled losses, the objective, speed without evaluations, and null where there is no number.
. tests/cli/common
make_job

# field NAME: its values in metrics.jsonl on stdin, a line each
field() {
    sed -n "s/.*\"$1\": \([^,}]*\).*/\1/p"
}

# The log's loss is the mean over the steps since its line before and says so; its speed is that of these steps alone, whatever
# evaluations, checkpoints and study records took.
"$SOLERA" train "$dir/job.yaml" --set train.log_every=5 --set study.every=2 --set study.layers=down_proj --set checkpoint.every=1 2>"$dir/err" || fail "$(cat "$dir/err")"
sed -n 's|^step \([0-9]*\)/.*loss \([0-9.]*\) (mean of \([0-9]*\) steps*).*  \([0-9.]*\)\( [kM]*\) *tok/s  .*|\1 \2 \3 \4\5|p' "$dir/err" >"$dir/log"
[ "$(wc -l <"$dir/log")" -eq 7 ] || fail "lines of steps 5 8 10 15 16 20 24 are expected: $(cat "$dir/err")"
paste -d' ' - - <<EOF >"$dir/steps"
$(field loss <"$dir/run/metrics.jsonl" >"$dir/losses"; field tok_s <"$dir/run/metrics.jsonl" >"$dir/speeds"; paste -d'\n' "$dir/losses" "$dir/speeds")
EOF
awk 'NR == FNR { loss[NR] = $1; tok_s[NR] = $2; next }
     { mean = seconds = 0
       for (i = $1 - $3 + 1; i <= $1; i++) { mean += loss[i] / $3; seconds += 1 / tok_s[i] }
       speed = $3 / seconds; said = $4 * ($5 == "k" ? 1e3 : $5 == "M" ? 1e6 : 1)
       if ((mean - $2) ^ 2 > 1e-8 || (said / speed - 1) ^ 2 > 1e-4) { print "step", $1, mean, $2, speed, said; exit 1 } }' \
    "$dir/steps" "$dir/log" >"$dir/out" || fail "the log does not fit metrics.jsonl: $(cat "$dir/out")"
! grep -q "of peak" "$dir/err" || fail "a probe that takes longer than the run: $(cat "$dir/err")"
"$SOLERA" train "$dir/job.yaml" --set run.dir="$dir/larger" --set model.init=random:embedded --set train.seq=128 --set train.batch=4 --set train.steps=3 \
    --set optim.warmup_steps=1 --set train.eval_every=0 --set train.log_every=1 2>"$dir/err" || fail "$(cat "$dir/err")"
sed -n 's/.*(\([0-9]*\) % of peak.*/\1/p' "$dir/err" | awk '$1 > 100 { bad = 1 } END { exit bad || NR != 3 }' || fail "no share of the peak: $(cat "$dir/err")"

# Where rate and lambda end, also after a resume: both reach their floor with the step after the last one, exp with the last.
ends() { # schedule of the rate, of lambda, rate and lambda of the last step
    at="$dir/$1-$2"
    set -- "$1" "$2" "$3" "$4" --set run.dir="$at" --set optim.schedule="$1" --set residual.schedule="$2" --set train.steps=6 \
        --set train.eval_every=0 --set optim.warmup_steps=2 --set optim.decay_fraction=0.5
    rate=$3 lambda=$4 schedules="$1, $2"
    shift 4
    "$SOLERA" train "$dir/job.yaml" "$@" 2>"$dir/err" || fail "$(cat "$dir/err")"
    metrics_of "$at" | sed 's/, "version".*/}/' >"$dir/whole"
    rm "$at/ckpt/step-000006.h5"
    "$SOLERA" train "$dir/job.yaml" "$@" --resume 2>"$dir/err" || fail "$(cat "$dir/err")"
    metrics_of "$at" | sed 's/, "version".*/}/' | cmp -s - "$dir/whole" || fail "$schedules: other rates after a resume"
    tail -n 1 "$dir/whole" | awk -v lr="$rate" -v lambda="$lambda" '{ for (i = 1; i < NF; i++) x[$i] = $(i + 1) + 0 }
        END { exit (x["\"lr\":"] - lr) ^ 2 > 1e-18 || (x["\"lambda\":"] - lambda) ^ 2 > 1e-12 }' ||
        fail "$schedules: the last step is $(tail -n 1 "$dir/whole")"
}
ends cosine cosine 0.000146446609 0.0669872981
ends linear linear 0.00025 0.166666667
ends wsd exp 0.000333333333 0
ends constant none 0.001 0

# With a teacher the objective is the sum that is minimized.
cat >"$dir/taught.yaml" <<YAML
run: {dir: $dir/taught}
model: {init: $dir/run/ckpt/best.h5}
data: {train: $dir/data.h5}
quant: {group_size: 64}
distill: {teacher: self, temperature: 2, weight: 0.75, ce_weight: 0.5, hidden_weight: 0.25, relation_weight: 1.5}
train: {steps: 4, batch: 2, seq: 16, accumulate: 2}
YAML
"$SOLERA" train "$dir/taught.yaml" 2>"$dir/err" || fail "$(cat "$dir/err")"
grep -q "^step 4/4  objective [0-9.]*  loss [0-9.]* (means of 4 steps)" "$dir/err" || fail "no objective in the log: $(cat "$dir/err")"
for name in objective loss distill_loss hidden_loss relation_loss; do field "$name" <"$dir/taught/metrics.jsonl" >"$dir/$name"; done
paste "$dir/objective" "$dir/loss" "$dir/distill_loss" "$dir/hidden_loss" "$dir/relation_loss" |
    awk '{ want = 0.5 * $2 + 0.75 * $3 + 0.25 * $4 + 1.5 * $5; if (!($4 > 0) || ($1 / want - 1) ^ 2 > 1e-10) { print; bad = 1 } } END { exit bad || NR != 4 }' \
        >"$dir/out" || fail "the objective is not the weighted sum: $(cat "$dir/out" "$dir/taught/metrics.jsonl")"

# A run that diverges: its lines stay JSON, its report is drawn and says where.
code=0
"$SOLERA" train "$dir/job.yaml" --set run.dir="$dir/wild" --set optim.lr=10 --set optim.weight_decay=10 --set optim.schedule=constant \
    --set optim.warmup_steps=0 --set study.every=2 --set study.layers=down_proj 2>"$dir/err" || code=$?
[ $code -eq 1 ] && tail -n 1 "$dir/err" | grep -q "more than train.max_skipped" || fail "$code: $(cat "$dir/err")"
grep -q '"loss": null.*"skipped": true' "$dir/wild/metrics.jsonl" || fail "no null: $(cat "$dir/wild/metrics.jsonl")"
! grep -qE '(nan|inf)[,}]' "$dir/wild/metrics.jsonl" || fail "no JSON: $(cat "$dir/wild/metrics.jsonl")"

# A loss that is far off is a number still, its perplexity none.
"$SOLERA" train "$dir/job.yaml" --set run.dir="$dir/far" --set optim.lr=10 --set optim.weight_decay=0 --set optim.schedule=constant \
    --set optim.warmup_steps=0 --set train.eval_every=24 2>"$dir/err" || fail "$(cat "$dir/err")"
"$SOLERA" eval "$dir/far/ckpt/step-000024.h5" --data "$dir/data.h5" --json >"$dir/out" 2>"$dir/err" || fail "$(cat "$dir/err")"
grep -qE '^\{"loss": [0-9.]*, "ppl": (null|[0-9.e+]*), ' "$dir/out" || fail "no JSON: $(cat "$dir/out")"
"$SOLERA" inspect "$dir/far/ckpt/step-000024.h5" | grep -q '^evaluation  seq 16  windows 2  documents "apart"  bos "none"' || fail "inspect lacks the windows"

if command -v gnuplot >/dev/null 2>&1; then
    expect 0 "" "$SOLERA" study "$dir/wild" "$dir/run" -o "$dir/both"
    first=$(grep -n -m 1 '"loss": null' "$dir/wild/metrics.jsonl" | cut -d: -f1)
    grep -q "diverged at step $first</b>" "$dir/both/index.html" || fail "the report does not say that step $first diverged"
    ! grep -qi '[-,]nan' "$dir/both/measures.csv" || fail "nan in measures.csv"
    ! grep -q "<b>run</b>: <b>diverged" "$dir/both/index.html" || fail "a good run is called diverged"
else
    echo "skipped: the report needs gnuplot"
fi
