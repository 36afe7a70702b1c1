# model.sub_norm from end to end: norms added before o_proj and down_proj of a model, its training
# and resume, calibration, the packed file, exports, plan, inspect.
. tests/cli/common
make_job
"$SOLERA" train "$dir/job.yaml" --set quant.method=none --set train.eval_every=0 \
    --set run.dir="$dir/base" 2>/dev/null
base=$dir/base/ckpt/step-000024.h5
cat >"$dir/sub.yaml" <<YAML
run: {dir: $dir/sub, seed: 3}
model: {init: $base, sub_norm: true}
data: {train: $dir/data.h5, eval: $dir/data.h5}
quant: {group_size: 64}
residual: {schedule: none}
distill: {teacher: self, hidden_weight: 1}
calibrate: {windows: 12, held_out: 2, steps: 4, batch: 3}
train: {steps: 6, batch: 2, seq: 16, eval_every: 6, eval_windows: 4}
optim: {lr: 0.001}
checkpoint: {every: 3}
YAML
train() {
    "$SOLERA" train "$dir/sub.yaml" "$@" 2>"$dir/err" || fail "$(cat "$dir/err")"
}
loss() {
    loss_of "$@" --data "$dir/data.h5" --seq 16 --windows 4 --documents apart
}

# What the norms change is said, and measured: it is little.
train
said='norms added before o_proj and down_proj: they change what these read by [0-9.]* and [0-9.]* %'
grep -q "$said" "$dir/err" || fail "not said: $(cat "$dir/err")"
grep -q "$said" "$dir/sub/log.txt" || fail "not in the log"
before=$(sed -n 's/^full precision, before step 1: eval //p' "$dir/err")
after=$(sed -n 's/^full precision with norms .*: eval //p' "$dir/err")
near "$before" "$(loss "$base" --activations float)" 0.0001
near "$before" "$after" 0.1

# What was trained is what is packed, written, and read again.
model=$dir/sub/ckpt/step-000006.h5
"$SOLERA" inspect "$model" >"$dir/out"
grep -q 'model_type "bitnet".*sub_norm 1' "$dir/out" || fail "not shown: $(cat "$dir/out")"
"$SOLERA" export "$model" -o "$dir/p.h5" --embed-type f32 2>"$dir/err" || fail "$(cat "$dir/err")"
packed=$(loss "$dir/p.h5" --activations float)
near "$(loss "$model" --activations float)" "$packed" 0.0001
"$SOLERA" export "$dir/p.h5" -o "$dir/hf" --format safetensors 2>"$dir/err" ||
    fail "$(cat "$dir/err")"
grep -q '"BitNetForCausalLM"' "$dir/hf/config.json" || fail "config.json of another class"
"$SOLERA" import "$dir/hf" -o "$dir/back.h5" 2>"$dir/err" || fail "$(cat "$dir/err")"
near "$(loss "$dir/back.h5" --activations float)" "$packed" 0.0001
"$SOLERA" generate "$dir/p.h5" -p x -n 4 >/dev/null 2>"$dir/err" || fail "$(cat "$dir/err")"
# This shape has the RoPE scaling of LLaMA 3, which llama.cpp does not know in bitnet models.
expect 2 "llama.cpp knows no llama3 scaling of RoPE in bitnet models" \
    "$SOLERA" export "$dir/p.h5" -o "$dir/p.gguf" --format gguf
[ ! -e "$dir/p.gguf" ] || fail "a file in spite of that"

# A resume, also from before the first checkpoint, has the bits of a run in one piece; without the
# norms it is another run; a file that has them keeps them.
metrics_of "$dir/sub" >"$dir/x"
rm "$dir/sub/ckpt/step-000006.h5" "$dir/sub/ckpt/best.h5"
train --resume -t 1
metrics_of "$dir/sub" | cmp - "$dir/x" || fail "another training after a resume"
rm -r "$dir/sub/ckpt"
train --resume
metrics_of "$dir/sub" | cmp - "$dir/x" || fail "another training from the start"
expect 2 "model.sub_norm" "$SOLERA" train "$dir/sub.yaml" --resume --set model.sub_norm=false
train --set model.init="$model" --set distill.hidden_weight=0 --set distill.teacher= \
    --set run.dir="$dir/again"
! grep -q "norms added" "$dir/err" || fail "added twice"

# Calibrated: alone, killed in a block and resumed, and before a training.
calibrate() {
    "$SOLERA" calibrate "$dir/sub.yaml" --set calibrate.enabled=true "$@" >"$dir/out" 2>"$dir/err" || fail "$(cat "$dir/err")"
}
calibrate --set run.dir="$dir/cal" -o "$dir/a.h5"
grep -q "$said" "$dir/err" || fail "not said: $(cat "$dir/err")"
start block-001.h5.tmp:1 calibrate "$dir/sub.yaml" --set calibrate.enabled=true --set run.dir="$dir/killed"
killed
calibrate --set run.dir="$dir/killed" --resume -t 1 -o "$dir/b.h5"
cmp "$dir/a.h5" "$dir/b.h5" || fail "another model after a kill"
train --set calibrate.enabled=true --set run.dir="$dir/t1"
train --set calibrate.enabled=true --set run.dir="$dir/killed" --resume
metrics_of "$dir/t1" >"$dir/x"
metrics_of "$dir/killed" | cmp - "$dir/x" || fail "another training after a resumed calibration"

# The plan counts them; new weights have them from the start; text from the model itself is sampled
# without them.
"$SOLERA" plan "$dir/sub.yaml" --json >"$dir/plan" 2>"$dir/err" || fail "$(cat "$dir/err")"
n=$("$SOLERA" plan "$dir/sub.yaml" --set model.sub_norm=false --json 2>/dev/null |
    sed 's/^{"parameters": \([0-9]*\).*/\1/')
grep -q "\"parameters\": $((n + 2 * (64 + 128)))," "$dir/plan" || fail "$n, $(cat "$dir/plan")"
"$SOLERA" train "$dir/job.yaml" --set model.sub_norm=true --set train.steps=4 \
    --set run.dir="$dir/new" 2>"$dir/err" || fail "$(cat "$dir/err")"
! grep -q "norms added" "$dir/err" || fail "new weights have them already"
"$SOLERA" inspect "$dir/new/ckpt/step-000004.h5" | grep -q "sub_norm 1" || fail "no norms"
