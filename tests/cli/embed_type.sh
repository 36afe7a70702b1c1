# quant.embed_type: embedding and head are trained as they ship, so that what a training measures is
# what its file does, to the last digit.
. tests/cli/common
make_job
for type in q8 q6 q4 ternary; do
    run=$dir/$type
    "$SOLERA" train "$dir/job.yaml" --set quant.embed_type=$type --set train.steps=6 --set run.dir="$run" 2>"$dir/err" ||
        fail "$(cat "$dir/err")"
    model=$run/ckpt/step-000006.h5
    "$SOLERA" export "$model" -o "$dir/$type.h5" 2>"$dir/err" || fail "$(cat "$dir/err")"
    grep -q "embedding in $type" "$dir/err" || fail "another type than it was trained for: $(cat "$dir/err")"
    measured=$(tail -n 1 "$run/metrics.jsonl" | sed 's/.*"packed_loss": \([^,}]*\).*/\1/')
    near "$(loss_of "$dir/$type.h5" --data "$dir/data.h5")" "$measured" 1e-7 "$type, packed"
    latent=$(loss_of "$model" --data "$dir/data.h5")
    near "$(loss_of "$dir/$type.h5" --data "$dir/data.h5" --activations float)" "$latent" 1e-5 "$type, packed, activations in float"
    "$SOLERA" export "$model" -o "$dir/$type.hf" --format safetensors --dequantize 2>"$dir/err" || fail "$(cat "$dir/err")"
    "$SOLERA" import "$dir/$type.hf" -o "$dir/$type.back.h5" 2>"$dir/err" || fail "$(cat "$dir/err")"
    near "$(loss_of "$dir/$type.back.h5" --data "$dir/data.h5" --seq 16 --windows 2 --documents apart)" "$latent" 1e-5 "$type, exported"
done
cmp -s "$dir/q8/metrics.jsonl" "$dir/q4/metrics.jsonl" && fail "the type makes no difference"

# The same bits by threads and over a resume; with another type it is another run.
for threads in 1 2; do
    "$SOLERA" train "$dir/job.yaml" --set quant.embed_type=q4 --set run.dir="$dir/t$threads" -t $threads 2>/dev/null
done
metrics_of "$dir/t1" >"$dir/x"
metrics_of "$dir/t2" | cmp - "$dir/x" || fail "threads change the training"
rm "$dir/t1/ckpt/step-000024.h5"
"$SOLERA" train "$dir/job.yaml" --set quant.embed_type=q4 --set run.dir="$dir/t1" --resume 2>"$dir/err" || fail "$(cat "$dir/err")"
metrics_of "$dir/t1" | cmp - "$dir/x" || fail "other bits after a resume"
expect 2 "quant.embed_type: q4 -> q8" "$SOLERA" train "$dir/job.yaml" --set quant.embed_type=q8 --set run.dir="$dir/t1" --resume
expect 2 "key 'quant.embed_type': absmean weights have no 1.25-bit form" \
    "$SOLERA" train "$dir/job.yaml" --set quant.embed_type=ternary --set quant.method=absmean --set run.dir="$dir/no"
expect 2 "key 'quant.embed_type': q4 needs a quant.method" \
    "$SOLERA" train "$dir/job.yaml" --set quant.embed_type=q4 --set quant.method=none --set run.dir="$dir/no"
"$SOLERA" inspect "$dir/q4/ckpt/step-000006.h5" | grep -q "embed_type" || fail "inspect does not say it"

# Calibration begins with the embedding that ships.
"$SOLERA" calibrate "$dir/job.yaml" --set model.init="$dir/q8.back.h5" --set model.tokenizer= --set quant.embed_type=q4 \
    --set calibrate.windows=6 --set calibrate.held_out=1 --set calibrate.steps=2 --set run.dir="$dir/cal" -o "$dir/c.h5" \
    >/dev/null 2>"$dir/err" || fail "$(cat "$dir/err")"
"$SOLERA" export "$dir/c.h5" -o "$dir/cp.h5" 2>&1 | grep -q "embedding in q4" || fail "a calibrated model forgets the type"
