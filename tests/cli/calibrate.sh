. tests/cli/common
make_job
"$SOLERA" train "$dir/job.yaml" --set quant.method=none --set train.eval_every=0 --set run.dir="$dir/base" 2>/dev/null
base=$dir/base/ckpt/step-000024.h5
cat >"$dir/cal.yaml" <<YAML
run: {dir: $dir/cal, seed: 3}
model: {init: $base}
data: {train: $dir/data.h5, eval: $dir/data.h5}
quant: {group_size: 64}
residual: {schedule: none}
calibrate: {enabled: true, windows: 12, held_out: 2, steps: 6, batch: 3}
train: {steps: 6, batch: 2, seq: 16, eval_every: 6, eval_windows: 2}
optim: {lr: 0.001}
checkpoint: {every: 3}
YAML
calibrate() {
    "$SOLERA" calibrate "$dir/cal.yaml" "$@"
}

# Alone: the model, a table or JSON, a line a block; the errors fall; the file evaluates as latent and exports.
calibrate -o "$dir/a.h5" --json >"$dir/json" 2>"$dir/err" || fail "$(cat "$dir/err")"
grep -q '^{"blocks": \[{"block": 0, "error_before": [0-9.e-]*, .*"error_after": [0-9.e-]*, .*"seconds": [0-9.]*}, {"block": 1, .*\], "seconds": [0-9.]*, "peak_bytes": [1-9][0-9]*}$' \
    "$dir/json" || fail "not the JSON that was promised: $(cat "$dir/json")"
tr '{' '\n' <"$dir/json" | awk -F'[:,] *' '/"block":/ { if (!($8 + 0 > 0 && $8 + 0 <= $6 + 0 && $6 + 0 < $4 + 0)) { print; bad = 1 } n++ } END { exit bad || n != 2 }' ||
    fail "an error that did not fall: $(cat "$dir/json")"
[ "$(wc -l <"$dir/cal/calibrate.jsonl")" -eq 3 ] || fail "calibrate.jsonl: $(cat "$dir/cal/calibrate.jsonl")"
"$SOLERA" inspect "$dir/a.h5" >"$dir/out"
grep -q sherry "$dir/out" || fail "the file does not say how it is quantized: $(cat "$dir/out")"
"$SOLERA" export "$dir/a.h5" -o "$dir/a-packed.h5" 2>/dev/null || fail "no export"
near "$(loss_of "$dir/a-packed.h5" --data "$dir/data.h5" --activations float)" "$(loss_of "$dir/a.h5" --data "$dir/data.h5")" 0.003 packed

if command -v gnuplot >/dev/null; then
    cp "$dir/a.h5" "$dir/cal/calibrated.h5"
    "$SOLERA" study "$dir/cal" >"$dir/out" 2>"$dir/err" || fail "$(cat "$dir/err")"
    grep -q "Calibration: output error over depth" "$dir/cal/report/index.html" || fail "the report has no figure of the calibration"
fi

# From any block on, and however it was ended: the same bytes.
expect 2 "holds a run already" calibrate
rm "$dir/cal/calibrated/block-001.h5"
head -n 2 "$dir/cal/calibrate.jsonl" >"$dir/lines"
calibrate --resume -o "$dir/b.h5" -t 1 >"$dir/out" 2>"$dir/err" || fail "$(cat "$dir/err")"
grep -q "1 calibrated blocks taken" "$dir/err" || fail "nothing was taken: $(cat "$dir/err")"
grep -q "^block   rounded" "$dir/out" || fail "no table: $(cat "$dir/out")"
grep -q "^worst layer: model.layers.[01]\.[a-z_.]*.weight, 0\.[0-9]* of" "$dir/out" || fail "no worst layer: $(cat "$dir/out")"
grep -q '"layers": {"self_attn.q_proj.weight": 0\.[0-9]*, .*"mlp.down_proj.weight": 0\.' "$dir/json" || fail "no layers: $(cat "$dir/json")"
cmp "$dir/a.h5" "$dir/b.h5" || fail "another model after a resume"
start block-001.h5.tmp:1 calibrate "$dir/cal.yaml" --set run.dir="$dir/killed"
killed
[ -e "$dir/killed/calibrated/block-000.h5" ] && [ ! -e "$dir/killed/calibrated/block-001.h5" ] || fail "killed elsewhere"
calibrate --set run.dir="$dir/killed" --resume -o "$dir/c.h5" >/dev/null 2>&1 || fail "no resume after a kill"
cmp "$dir/a.h5" "$dir/c.h5" || fail "another model after a kill"
cut -d, -f1-5 "$dir/cal/calibrate.jsonl" >"$dir/x"
cut -d, -f1-5 "$dir/killed/calibrate.jsonl" | cmp - "$dir/x" || fail "other lines after a kill"

# The disk fills up in the middle of a block's file, or of its line: one line says so, what was done stays, and a resume has the same bytes.
for at in block-001.h5.tmp:1 block-000.h5.tmp:2 calibrate.jsonl.tmp:2; do
    rm -rf "$dir/full"
    FULL_AT=$at expect 1 "No space left on device" "$HELD" calibrate "$dir/cal.yaml" --set run.dir="$dir/full"
    [ "$(grep -c "No space left" "$dir/err")" -eq 1 ] || fail "$at: $(cat "$dir/err")"
    [ -z "$(find "$dir/full" -name '*.tmp')" ] || fail "$at: a temporary file is left"
    calibrate --set run.dir="$dir/full" --resume -o "$dir/d.h5" >/dev/null 2>"$dir/err" || fail "$at: $(cat "$dir/err")"
    cmp "$dir/a.h5" "$dir/d.h5" || fail "$at: another model after a full disk"
done

# Interrupted inside a block: the blocks before it stay, and so does the answer.
start block-000.h5.tmp:1 calibrate "$dir/cal.yaml" --set run.dir="$dir/stopped" --set calibrate.steps=400
kill -INT "$pid"
go_on
ended 130
[ -e "$dir/stopped/calibrated/block-000.h5" ] && [ ! -e "$dir/stopped/calibrated/block-001.h5" ] || fail "stopped elsewhere"
[ "$(wc -l <"$dir/stopped/calibrate.jsonl")" -eq 2 ] || fail "lines of a block that was not done: $(cat "$dir/stopped/calibrate.jsonl")"

# Without windows that are held out there is no error on them.
calibrate --set run.dir="$dir/unheld" --set calibrate.held_out=0 --set calibrate.steps=1 -o "$dir/u.h5" >"$dir/out" 2>"$dir/err" ||
    fail "$(cat "$dir/err")"
[ "$(grep -c '^    [01] \( *0\.[0-9]*\)\{3\} *- ' "$dir/out")" -eq 2 ] || fail "the table: $(cat "$dir/out")"

# Files of blocks that are damaged, or of another model, are named with what to do; blocks that were
# made of another model of the same name are not taken.
cp -R "$dir/cal" "$dir/odd"
rm "$dir/odd/calibrated/block-001.h5"
for file in "$dir/cut" "$base"; do
    head -c 50000 "$dir/cal/calibrated/block-000.h5" >"$dir/cut"
    cp "$file" "$dir/odd/calibrated/block-000.h5"
    expect 2 "block-000.h5: " \
        calibrate --set run.dir="$dir/odd" --resume -q -o "$dir/e.h5"
    grep -q "; without this file the block is calibrated anew$" "$dir/err" || fail "$(cat "$dir/err")"
    [ ! -e "$dir/e.h5" ] || fail "a model of a damaged block"
done
rm -rf "$dir/odd"
cp -R "$dir/cal" "$dir/odd"
mv "$dir/odd/calibrated/block-001.h5" "$dir/odd/calibrated/block-000.h5"
expect 2 "block-000.h5: is the file of block 1; without" \
    calibrate --set run.dir="$dir/odd" --resume -q -o "$dir/e.h5"
cp "$base" "$dir/m.h5"
sed "s|$base|$dir/m.h5|" "$dir/cal.yaml" >"$dir/m.yaml"
"$SOLERA" calibrate "$dir/m.yaml" --set run.dir="$dir/odd2" -o "$dir/e.h5" >/dev/null 2>&1 || fail "no calibration of m.h5"
rm "$dir/odd2/calibrated/block-001.h5"
cp "$dir/e.h5" "$dir/m.h5"
expect 2 "this is not the model its blocks were calibrated from" \
    "$SOLERA" calibrate "$dir/m.yaml" --set run.dir="$dir/odd2" --resume -o "$dir/f.h5"

# A soft start: other latent weights, as good an answer.
calibrate --set run.dir="$dir/soft" --set calibrate.latent=soft -o "$dir/s.h5" --json >"$dir/soft.json" 2>"$dir/err" || fail "$(cat "$dir/err")"
! cmp -s "$dir/a.h5" "$dir/s.h5" || fail "soft is hard"
solved='s/.*"error_solved": \([0-9.e-]*\).*"block": 1.*/\1/p'
[ "$(sed -n "$solved" "$dir/json" | cut -c1-6)" = "$(sed -n "$solved" "$dir/soft.json" | cut -c1-6)" ] || fail "solved otherwise: $(cat "$dir/soft.json")"

# Before a training: the same start, whether it was calibrated before or not; plan counts it.
"$SOLERA" plan "$dir/cal.yaml" --json >"$dir/plan" || fail "no plan"
grep -q '"calibrate_seconds": [0-9.]*[1-9].*"calibrate_memory_bytes": [1-9]' "$dir/plan" || fail "the plan does not count the calibration: $(cat "$dir/plan")"
"$SOLERA" train "$dir/cal.yaml" --set run.dir="$dir/t1" 2>"$dir/err" || fail "$(cat "$dir/err")"
grep -q "calibrated in" "$dir/err" || fail "not calibrated: $(cat "$dir/err")"
"$SOLERA" train "$dir/cal.yaml" --set run.dir="$dir/killed" --resume 2>"$dir/err" || fail "$(cat "$dir/err")"
metrics_of "$dir/t1" >"$dir/x"
metrics_of "$dir/killed" | cmp - "$dir/x" || fail "another training after a calibration that was resumed"
"$SOLERA" train "$dir/cal.yaml" --set model.init="$dir/a.h5" --set calibrate.enabled=false --set run.dir="$dir/t2" 2>"$dir/err" ||
    fail "$(cat "$dir/err")"
metrics_of "$dir/t2" | cmp - "$dir/x" || fail "a calibrated file trains otherwise than a job that calibrates"
rm "$dir/t1/ckpt/"step-000006.h5 "$dir/t1/ckpt/best.h5"
"$SOLERA" train "$dir/cal.yaml" --set run.dir="$dir/t1" --resume 2>"$dir/err" || fail "$(cat "$dir/err")"
metrics_of "$dir/t1" | cmp - "$dir/x" || fail "another training after a resume"
! grep -q "calibrated in" "$dir/err" || fail "calibrated anew at a resume"
expect 2 "holds a training already" calibrate --set run.dir="$dir/t1" --resume

# Bad input, one line each, and nothing left behind.
refuse() { # text, settings
    text=$1
    shift
    expect 2 "$text" calibrate --set run.dir="$dir/no" "$@"
    [ ! -e "$dir/no" ] || fail "a refused job left a run directory"
}
refuse "key 'data.train': holds" --set calibrate.windows=100000
refuse "key 'quant.method': absmean cannot be calibrated, only sherry" --set quant.method=absmean
refuse "key 'quant.method': none cannot be calibrated" --set quant.method=none
echo "too short" >"$dir/short.txt"
refuse "key 'calibrate.data'" --set calibrate.data="$dir/short.txt"
refuse "key 'calibrate.latent': 'firm' is not allowed: hard or soft" --set calibrate.latent=firm
"$SOLERA" train-tokenizer --vocab 290 --input "$dir/text.txt" -o "$dir/other.json" 2>/dev/null
"$SOLERA" tokenize --tokenizer "$dir/other.json" --input "$dir/text.txt" -o "$dir/other.h5" 2>/dev/null
refuse "was made with another tokenizer" --set calibrate.data="$dir/other.h5"
refuse "key 'calibrate.windows'" --set calibrate.windows=0
refuse "key 'calibrate.seq': 600 is more than the model's 512 positions" --set calibrate.seq=600
refuse "exists and is not a regular file" -o "$dir"
refuse "$base: is read, too: write another file" -o "$base"
