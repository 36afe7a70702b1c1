# Which tokens of a teacher are drawn depends on the seed and the place in the data, not on the shape of the batch.
. tests/cli/common
make_job

"$SOLERA" train "$dir/job.yaml" --set quant.method=none --set train.eval_every=0 --set run.dir="$dir/base" 2>/dev/null
losses() { # name, --set words
    name=$1
    shift
    "$SOLERA" train "$dir/job.yaml" --set run.dir="$dir/$name" --set model.init="$dir/base/ckpt/step-000024.h5" --set train.steps=3 \
        --set train.eval_every=0 --set optim.warmup_steps=1 --set distill.teacher=self --set distill.top_k=20 --set distill.samples=8 "$@" \
        2>"$dir/err" || fail "$(cat "$dir/err")"
    sed 's/.*"distill_loss": \([0-9.e-]*\).*/\1/' "$dir/$name/metrics.jsonl"
}
sed -i '/tokenizer:/s/, tokenizer: [^}]*//' "$dir/job.yaml"
losses wide --set train.batch=4 >"$dir/a"
losses narrow --set train.batch=1 --set train.accumulate=4 >"$dir/b"
paste -d' ' "$dir/a" "$dir/b" | awk '($1 - $2) ^ 2 > 1e-10 || $1 == 0 { bad = 1 } END { exit bad || NR != 3 }' ||
    fail "another draw: $(paste -d' ' "$dir/a" "$dir/b")"
