. tests/cli/common
make_job
"$SOLERA" train "$dir/job.yaml" --set quant.method=none --set train.eval_every=0 --set run.dir="$dir/base" 2>/dev/null
base=$dir/base/ckpt/step-000024.h5
head -n 300 "$dir/text.txt" >"$dir/few.txt"
"$SOLERA" tokenize --tokenizer "$dir/tokenizer.json" --input "$dir/few.txt" -o "$dir/few.h5" 2>/dev/null
cat >"$dir/qat.yaml" <<YAML
run: {dir: $dir/qat, seed: 3}
model: {init: $base}
data: {train: $dir/few.h5, eval: $dir/data.h5}
quant: {group_size: 64}
distill: {teacher: self, loss: cakld}
train: {steps: 6, batch: 2, seq: 16, eval_every: 3, eval_windows: 2}
optim: {lr: 0.001}
YAML
qat() {
    "$SOLERA" train "$dir/qat.yaml" "$@"
}

# A teacher in memory: its loss is in the metrics, its memory in the plan.
qat 2>"$dir/err" || fail "$(cat "$dir/err")"
grep -q "teacher $base in bf16, loss cakld, gamma 0" "$dir/err" || fail "no word about the teacher: $(cat "$dir/err")"
[ "$(grep -c '"distill_loss": [0-9]' "$dir/qat/metrics.jsonl")" -eq 6 ] || fail "distill_loss is missing"
same='"model_digest": "\([0-9a-f]\{16\}\)", "teacher_digest": "\1"'
[ "$(grep -c "$same" "$dir/qat/metrics.jsonl")" -eq 1 ] || fail "the model is not its own teacher: $(head -n 1 "$dir/qat/metrics.jsonl")"
"$SOLERA" plan "$dir/qat.yaml" --set run.dir="$dir/planned" --gflops 50 --json >"$dir/plan"
grep -q '"teacher": [1-9]' "$dir/plan" || fail "the plan does not count the teacher: $(cat "$dir/plan")"

# Samples are drawn by seed and place in the data: the same losses however a step is cut into micro-batches.
for shape in "4 1" "2 2" "1 4"; do
    set -- $shape
    qat --set run.dir="$dir/$1x$2" --set train.batch="$1" --set train.accumulate="$2" --set distill.top_k=32 --set train.eval_every=0 \
        --set quant.method=none 2>"$dir/err" || fail "$(cat "$dir/err")"
    paste -d' ' "$dir/4x1/metrics.jsonl" "$dir/$1x$2/metrics.jsonl" | awk '{
        for (i = 1; i <= NF; i++) if ($i == "\"distill_loss\":" || $i == "\"loss\":") x[++n] = $(i + 1) + 0
    } END {
        for (i = 1; i < n; i++) if (int((i - 1) / 2) % 2 == 0 && (x[i] - x[i + 2]) ^ 2 > 1e-10) { print x[i], x[i + 2]; exit 1 }
        exit n != 24
    }' >"$dir/out" || fail "$1 x $2 windows: another loss: $(cat "$dir/out")"
done

# Relations, relative hidden states, and the gradient of each term by itself, which changes nothing.
rich() { # run, settings
    run=$1
    shift
    qat --set run.dir="$dir/$run" --set distill.loss=forward_kl --set distill.ce_weight=0.5 --set distill.hidden_weight=0.25 \
        --set distill.hidden_form=relative --set distill.relation_weight=2 --set train.accumulate=2 "$@" 2>"$dir/err" || fail "$(cat "$dir/err")"
}
rich rich --set distill.grad_norms=2 --set train.tensorboard=true
[ "$(grep -c '"relation_loss": [0-9]' "$dir/rich/metrics.jsonl")" -eq 6 ] || fail "relation_loss is missing"
for loss in objective distill_loss hidden_loss relation_loss; do
    [ "$(grep -ao "train/$loss" "$dir/rich/events.out.tfevents.solera" | wc -l)" -eq 6 ] || fail "TensorBoard does not show $loss"
done
norms='"grad_norms": {"next_token": [0-9.]*, "distill": [0-9.e-]*, "hidden": [0-9.e-]*, "relation": [0-9.e-]*}'
[ "$(grep -c "$norms" "$dir/rich/metrics.jsonl")" -eq 3 ] || fail "norms are missing: $(cat "$dir/rich/metrics.jsonl")"
rich plain -t 1
metrics_of "$dir/plain" >"$dir/x"
metrics_of "$dir/rich" | sed "s/, $norms//" | cmp - "$dir/x" || fail "norms, or threads, change the training"
"$SOLERA" plan "$dir/qat.yaml" --set distill.relation_weight=1 --set run.dir="$dir/planned" --gflops 50 >/dev/null || fail "no plan"

# A teacher that changed under a run, and teachers that do not fit.
cp "$base" "$dir/moving.h5"
"$SOLERA" train "$dir/qat.yaml" --set run.dir="$dir/moved" --set distill.teacher="$dir/moving.h5" --set checkpoint.every=3 2>/dev/null
"$SOLERA" train "$dir/job.yaml" --set quant.method=none --set train.eval_every=0 --set run.dir="$dir/base2" --set run.seed=4 2>/dev/null
cp "$dir/base2/ckpt/step-000024.h5" "$dir/moving.h5"
rm "$dir/moved/ckpt/step-000006.h5"
expect 2 "cannot resume, this is not the teacher" "$SOLERA" train "$dir/qat.yaml" --set run.dir="$dir/moved" \
    --set distill.teacher="$dir/moving.h5" --set checkpoint.every=3 --resume
refuse() { # text, settings: in a fresh directory
    text=$1
    shift
    expect 2 "$text" qat --set run.dir="$dir/no" "$@"
    [ ! -e "$dir/no" ] || fail "a refused job left a run directory"
}
"$SOLERA" train-tokenizer --vocab 290 --input "$dir/text.txt" -o "$dir/other.json" 2>/dev/null
"$SOLERA" import --random tiny --tokenizer "$dir/other.json" -o "$dir/tongue.h5" 2>/dev/null
"$SOLERA" import --random embedded --tokenizer "$dir/tokenizer.json" -o "$dir/wide.h5" 2>/dev/null
refuse "key 'distill.teacher': $dir/none.h5" --set distill.teacher="$dir/none.h5"
refuse "key 'distill.teacher': $dir/data.h5: is not a model with its weights" --set distill.teacher="$dir/data.h5"
refuse "has another tokenizer than the model" --set distill.teacher="$dir/tongue.h5"
refuse "has a vocabulary of 2048 tokens, the model one of 512" --set distill.teacher="$dir/wide.h5"
refuse "was trained with quant.method sherry" --set distill.teacher="$(ls "$dir"/qat/ckpt/step-*.h5 | tail -n 1)"
refuse "key 'distill.top_k': 600 is more than the vocabulary" --set distill.top_k=600
refuse "leave nothing to learn" --set distill.weight=0
refuse "key 'distill.loss': 'kl' is not allowed" --set distill.loss=kl
expect 2 "self is a trained model, not random:tiny" "$SOLERA" train "$dir/job.yaml" --set distill.teacher=self

# A cache: made in two goes, used without the teacher in memory; another one is refused.
cached() {
    qat --set run.dir="$dir/cached" --set distill.cache="$dir/cache.h5" --set distill.top_k=512 "$@"
}
make_cache() {
    "$SOLERA" distill-cache "$dir/qat.yaml" --set distill.cache="$dir/cache.h5" --set distill.top_k=512 "$@"
}
expect 2 "key 'distill.cache': $dir/cache.h5" cached
expect 2 "key 'distill.top_k': is needed" "$SOLERA" distill-cache "$dir/qat.yaml" --set distill.cache="$dir/cache.h5"
make_cache 2>"$dir/err" || fail "$(cat "$dir/err")"
make_cache 2>"$dir/err" || fail "a complete cache: $(cat "$dir/err")"
cached 2>"$dir/err" || fail "$(cat "$dir/err")"
# All 512 tokens are in it: the losses are those of the teacher in memory but for fp16.
paste -d' ' "$dir/qat/metrics.jsonl" "$dir/cached/metrics.jsonl" | awk '{
    for (i = 1; i <= NF; i++) if ($i == "\"distill_loss\":") x[++n] = $(i + 1) + 0
} END {
    for (i = 1; i < n; i += 2) if ((x[i] - x[i + 1]) ^ 2 > (0.01 * x[i] + 1e-3) ^ 2) { print x[i], x[i + 1]; exit 1 }
    exit n != 12
}' >"$dir/out" || fail "another loss from the cache: $(cat "$dir/out")"
# A resume from the cache gives the same bits.
metrics_of "$dir/cached" >"$dir/whole.jsonl"
cached --set run.dir="$dir/resumed" --set checkpoint.every=3 2>/dev/null
"$SOLERA" export "$dir/resumed/ckpt/step-000006.h5" --format model -o "$dir/whole.h5" 2>/dev/null
rm "$dir/resumed/ckpt/step-000006.h5"
cached --set run.dir="$dir/resumed" --set checkpoint.every=3 --resume 2>/dev/null
"$SOLERA" export "$dir/resumed/ckpt/step-000006.h5" --format model -o "$dir/again.h5" 2>/dev/null
cmp "$dir/whole.h5" "$dir/again.h5" || fail "a resume from the cache: other weights"
metrics_of "$dir/resumed" | cmp -s - "$dir/whole.jsonl" || fail "a resume from the cache: other metrics"

# Another one in its place does not: here of the same teacher, held in fp32.
cp "$dir/cache.h5" "$dir/kept.h5"
rm "$dir/cache.h5" "$dir/resumed/ckpt/step-000006.h5"
make_cache --set distill.teacher_dtype=fp32 2>/dev/null
expect 2 "cache.h5: cannot resume, this is not the cache the run was trained with" cached --set run.dir="$dir/resumed" --set checkpoint.every=3 --resume
mv "$dir/kept.h5" "$dir/cache.h5"

# A cache that was killed, then interrupted, then completed has the same bytes.
cp "$dir/cache.h5" "$dir/undisturbed.h5"
rm "$dir/cache.h5"
place=cache.h5:40 # where a window is written
start $place distill-cache "$dir/qat.yaml" --set distill.cache="$dir/cache.h5" --set distill.top_k=512
killed
start $place distill-cache "$dir/qat.yaml" --set distill.cache="$dir/cache.h5" --set distill.top_k=512
expect 2 "cache.h5: another process is writing it" make_cache
kill -INT "$pid"
go_on
ended 130
make_cache 2>/dev/null
cmp "$dir/cache.h5" "$dir/undisturbed.h5" || fail "a cache that was killed and completed has other bytes"

# A damaged cache is found when a window of it is read, one that ends early at once.
size=$(wc -c <"$dir/cache.h5")
cp "$dir/cache.h5" "$dir/damaged.h5"
dd if=/dev/urandom of="$dir/damaged.h5" bs=1024 seek=$((size * 5 / 8192)) count=$((size / 4096)) conv=notrunc 2>/dev/null
code=0
cached --set run.dir="$dir/torn" --set distill.cache="$dir/damaged.h5" 2>"$dir/err" || code=$?
[ $code -eq 2 ] && tail -n 1 "$dir/err" | grep -q "damaged.h5: window [0-9]* is damaged" || fail "$code: $(cat "$dir/err")"
head -c 3000 "$dir/cache.h5" >"$dir/short.h5"
refuse "$dir/short.h5" --set distill.cache="$dir/short.h5"

# Of 64 tokens 16 are drawn, which belongs to the cache.
set -- --set distill.cache="$dir/drawn.h5" --set distill.top_k=64
make_cache "$@" 2>"$dir/err" || fail "$(cat "$dir/err")"
expect 2 "was made for distill.samples 16, not 4" make_cache "$@" --set distill.samples=4
expect 2 "its samples were drawn for run.seed 3, not 4" make_cache "$@" --set run.seed=4
cached "$@" --set run.dir="$dir/drawn" --set distill.samples=0 2>"$dir/err" || fail "$(cat "$dir/err")"
refuse "holds 64, 16 of them drawn: they go together" "$@" --set distill.top_k=32
rm -r "$dir/cached"
expect 2 "was made for train.seq 16, not 8" cached --set train.seq=8
expect 2 "was made for distill.temperature 1, not 2" cached --set distill.temperature=2
expect 2 "was made for another teacher" cached --set distill.teacher="$dir/moving.h5"
expect 2 "was made for other data than data.train" cached --set data.train="$dir/data.h5"
expect 2 "was made for distill.top_k 512, not 4" make_cache --set distill.top_k=4
expect 2 "was made for distill.teacher_dtype bf16, not int8" make_cache --set distill.teacher_dtype=int8
expect 2 "was made for train.compute fp32, not bf16" make_cache --set train.compute=bf16
expect 2 "a cache holds no hidden states" cached --set distill.hidden_weight=1
expect 2 "a cache holds no queries, keys and values" cached --set distill.relation_weight=1
