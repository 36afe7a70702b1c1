# quant.overrides from end to end: a training and its resume, calibration, the packed file, exports,
# plan, inspect, card.
. tests/cli/common
make_job
sed -i "s/schedule: cosine, warmup_steps: 4/schedule: constant/" "$dir/job.yaml"
echo "residual: {schedule: none}" >>"$dir/job.yaml"
kept='{match: "*.o_proj.weight", method: none}'
rows="[$kept, {match: \"*.0.mlp.down_proj.weight\", group_size: 32}, {match: \"*.q_proj.weight\", group_size: 32}]"
train() {
    "$SOLERA" train "$dir/job.yaml" --set quant.overrides="$rows" "$@" 2>"$dir/err" || fail "$(cat "$dir/err")"
}
export_as() { # from, to, options
    from=$1 to=$2
    shift 2
    "$SOLERA" export "$from" -o "$to" "$@" 2>"$dir/err" || fail "$(cat "$dir/err")"
}
train --set train.steps=6
model=$dir/run/ckpt/step-000006.h5

# The exported file is what the training measured.
"$SOLERA" inspect "$model" >"$dir/out"
grep -qF 'match: \"*.o_proj.weight\", method: none' "$dir/out" || fail "not shown: $(cat "$dir/out")"
export_as "$model" "$dir/p.h5" --embed-type f16
"$SOLERA" inspect "$dir/p.h5" --all --verify >"$dir/out" || fail "the packed file is damaged"
grep -q '1.self_attn.o_proj.weight  *f' "$dir/out" || fail "o_proj is not kept: $(cat "$dir/out")"
grep -q '0.mlp.down_proj.weight/codes' "$dir/out" || fail "down_proj is not packed: $(cat "$dir/out")"
packed=$(loss_of "$dir/p.h5" --data "$dir/data.h5" --activations float)
near "$packed" "$(loss_of "$model" --data "$dir/data.h5" --activations float)" 0.001 packed

# Files of other programs, and what is said beside them.
export_as "$model" "$dir/q.gguf" --format gguf --type q8_0
export_as "$dir/p.h5" "$dir/hf" --format safetensors
"$SOLERA" import "$dir/hf" -o "$dir/back.h5" 2>"$dir/err" || fail "$(cat "$dir/err")"
near "$(loss_of "$dir/back.h5" --data "$dir/data.h5" --seq 16 --windows 2 --documents apart)" "$packed" 0.001 exported
grep -qF "overrides: [$kept" "$dir/hf/README.md" || fail "the card does not name the overrides"

# In a GGUF file of ternary layers those that are kept are f16; groups that such a file lacks are refused.
"$SOLERA" tokenize --tokenizer checkpoints/embedded.h5 --input "$dir/text.txt" -o "$dir/own.h5" 2>/dev/null
head -n 40 "$dir/text.txt" >"$dir/some.txt"
wide() { # run, rows
    rows=$2 train --set model.init=checkpoints/embedded.h5 --set model.tokenizer= --set data.train="$dir/own.h5" \
        --set data.eval="$dir/own.h5" --set train.steps=1 --set quant.group_size=256 --set run.dir="$dir/$1"
}
wide w "[$kept]"
export_as "$dir/w/ckpt/step-000001.h5" "$dir/w.gguf" --format gguf --type tq1_0
"$SOLERA" import "$dir/w.gguf" -o "$dir/w.h5" 2>"$dir/err" || fail "$(cat "$dir/err")"
near "$(loss_of "$dir/w.h5" --text "$dir/some.txt" --context 64)" \
    "$(loss_of "$dir/w/ckpt/step-000001.h5" --text "$dir/some.txt" --context 64)" 0.003 "as GGUF"
wide v '[{match: "*.o_proj.weight", group_size: 64}]'
expect 2 "has one scale for 256 weights, this model one for 64" \
    "$SOLERA" export "$dir/v/ckpt/step-000001.h5" -o "$dir/v.gguf" --format gguf --type tq1_0

# A resume with the same rows goes on to the bits of a run in one piece; with others it is another run.
train --resume
train --set run.dir="$dir/whole"
metrics_of "$dir/whole" | sed 6d >"$dir/x" # the last step of the first run was evaluated, too
metrics_of "$dir/run" | sed 6d | cmp - "$dir/x" || fail "other bits after a resume"
expect 2 "quant.overrides: [{match:" "$SOLERA" train "$dir/job.yaml" --resume

# Plan counts the layers that are kept, calibration leaves them.
"$SOLERA" plan "$dir/job.yaml" --gflops 50 --set quant.overrides="$rows" >"$dir/out" 2>/dev/null || fail "no plan"
grep -q "but for quant.overrides" "$dir/out" || fail "the plan does not name them: $(cat "$dir/out")"
"$SOLERA" plan "$dir/job.yaml" --gflops 50 >"$dir/plain" 2>/dev/null
! grep -qF "$(grep '^  packed' "$dir/out")" "$dir/plain" || fail "a file of the same size"
for threads in 1 2; do
    "$SOLERA" calibrate "$dir/job.yaml" --set model.init="$dir/back.h5" --set model.tokenizer= \
        --set quant.overrides="$rows" --set calibrate.windows=6 --set calibrate.held_out=1 \
        --set calibrate.steps=4 --set calibrate.batch=2 --set run.dir="$dir/cal$threads" \
        -t $threads -o "$dir/c$threads.h5" >/dev/null 2>"$dir/err" || fail "$(cat "$dir/err")"
done
cmp "$dir/c1.h5" "$dir/c2.h5" || fail "calibration depends on threads"
export_as "$dir/c1.h5" "$dir/cp.h5"

# Bad rows: one line, nothing left.
refuse() { # text, rows
    expect 2 "$1" "$SOLERA" train "$dir/job.yaml" --set run.dir="$dir/no" --set quant.overrides="$2"
    [ ! -e "$dir/no" ] || fail "a refused job left a run directory"
}
refuse "--set: key 'quant.overrides': '*.up.weight' matches no linear layer" '[{match: "*.up.weight", method: none}]'
refuse "both match model.layers.0.mlp.up_proj.weight" \
    '[{match: "*.mlp.*", method: none}, {match: "*.up_proj.*", group_size: 32}]'
refuse "key 'quant.overrides': model.layers.0.mlp.down_proj.weight: its width" \
    '[{match: "*.down_proj.*", group_size: 4096}]'
refuse "unknown field 'groups'" '[{match: "*.down_proj.*", groups: 4}]'
refuse "key 'quant.overrides'" '[{match: "*.down_proj.*", group_size: 4}'
