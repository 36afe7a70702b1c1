. tests/cli/common
# The model card beside what is exported; what GGUF cannot hold, in one line.
e=checkpoints/embedded.h5
mkdir "$dir/a" "$dir/b" "$dir/c" "$dir/hf"
expect 0 "" "$SOLERA" export "$e" -o "$dir/a/p.h5" --method sherry
for word in "rounded after training" "- group_size: 128" "3:4 ternary | 1.375" "solera generate p.h5" "solera export p.h5 -o model.gguf --type q2_0"; do
    grep -qF -- "$word" "$dir/a/p.h5.md" || fail "'$word' is not in the card: $(cat "$dir/a/p.h5.md")"
done
grep -q '"bits_per_weight": 1.375' "$dir/a/p.h5.json" || fail "p.h5.json has no bits"
expect 0 "" "$SOLERA" export "$e" -o "$dir/a/m.gguf" --type tq2_0 --method sherry --granularity per_channel
grep -q '^# m.gguf' "$dir/a/m.gguf.md" || fail "no card beside m.gguf"
grep -q '`m.gguf.json` has all of this' "$dir/a/m.gguf.md" || fail "the card does not name its other half"
grep -q '^# p.h5' "$dir/a/p.h5.md" || fail "the card of another export was overwritten"
# The name of a file is any bytes, the card UTF-8.
odd=$(printf '%s/a/odd-\377.h5' "$dir")
expect 0 "" "$SOLERA" export "$e" -o "$odd" --method sherry
grep -q "$(printf '^# odd-\357\277\275.h5')" "$odd.md" && ! grep -q '(null)' "$odd.md" || fail "$(cat "$odd.md")"
rm "$odd"*
grep -q '| blk.\*.ffn_down.weight | 4 | \[256, 768\] | TQ2_0 | 2.062 |' "$dir/a/m.gguf.md" || fail "no row for ffn_down: $(cat "$dir/a/m.gguf.md")"
expect 0 "" "$SOLERA" export "$e" -o "$dir/a/m.gguf" --type q8_0
grep -q 'Q8_0' "$dir/a/m.gguf.md" || fail "the card was not written anew"
expect 0 "" "$SOLERA" export "$e" -o "$dir/hf" --format safetensors --dtype bf16
grep -q 'bits a weight' "$dir/hf/README.md" || fail "no card in the folder"
for name in README.md solera.json m.gguf.md m.gguf.json; do echo "my own words" >"$dir/b/$name"; done
expect 0 "m.gguf.md is no model card and stays" "$SOLERA" export "$e" -o "$dir/b/m.gguf" --type q8_0 --force
for name in README.md solera.json m.gguf.md m.gguf.json; do
    [ "$(cat "$dir/b/$name")" = "my own words" ] || fail "$name, which is no card, was overwritten"
done
echo "my own words" >"$dir/hf/README.md"
expect 0 "README.md is no model card and stays" "$SOLERA" export "$e" -o "$dir/hf" --format safetensors
[ "$(cat "$dir/hf/README.md")" = "my own words" ] || fail "a foreign README.md was overwritten"
expect 0 "" "$SOLERA" export "$e" -o "$dir/c/m.gguf" --type q8_0 --no-card
[ "$(ls "$dir/c")" = m.gguf ] || fail "--no-card writes a card"

# A run leaves job, losses and base model in the card of what is exported from it.
make_job
"$SOLERA" train "$dir/job.yaml" --set run.dir="$dir/run" >/dev/null 2>&1 || fail "the job does not run"
mkdir "$dir/d"
expect 0 "" "$SOLERA" export "$dir/run/ckpt/best.h5" -o "$dir/d/p.h5"
for word in "> **Warning.** How far" "## Recipe" "- lr: " "- tokens: " "- method: sherry"; do
    grep -qF -- "$word" "$dir/d/p.h5.md" || fail "'$word' is not in the card: $(cat "$dir/d/p.h5.md")"
done

# The weights behind the ternary ones, for who trains on; blocks of 16 columns apart.
"$SOLERA" export "$dir/run" -o "$dir/d/l.gguf" --type f32 --embed-type f32 --latent 2>"$dir/err" || fail "--latent: $(cat "$dir/err")"
"$SOLERA" import "$dir/d/l.gguf" -o "$dir/d/l.h5" 2>"$dir/err" || fail "--latent: $(cat "$dir/err")"
near "$(loss_of "$dir/d/l.h5" --text "$dir/text.txt")" "$(loss_of "$dir/run/ckpt/best.h5" --text "$dir/text.txt" --full-precision)" 1e-5 --latent
expect 0 "" "$SOLERA" export "$e" -o "$dir/d/apart.h5" --method sherry --layout stride16
"$SOLERA" inspect "$dir/d/apart.h5" | grep -q 'block_layout "stride16"' || fail "--layout: $("$SOLERA" inspect "$dir/d/apart.h5")"

# Scales that trained in fp32 are said to be rounded.
"$SOLERA" train "$dir/job.yaml" --set run.dir="$dir/fp32" --set train.steps=4 --set quant.scale_dtype=fp32 >/dev/null 2>&1 || fail "fp32 scales do not train"
expect 0 "scales are fp16, those of the training fp32" "$SOLERA" export "$dir/fp32" -o "$dir/d/s.h5"
expect 0 "scales are fp16, those of the training fp32" "$SOLERA" export "$dir/fp32" -o "$dir/d/s.gguf" --type q2_0

cp "$e" "$dir/s.h5"
expect 2 "'--type' has no effect here: it goes with --format gguf" "$SOLERA" export "$e" -o "$dir/x.gguf" --type q8_0 --format safetensors
expect 2 "s.h5: is read, too" "$SOLERA" export "$dir/c/../s.h5" -o "$dir/s.h5" --format model
expect 2 "tq3_0" "$SOLERA" export "$e" -o "$dir/x.gguf" --type tq3_0
expect 2 "was trained in full precision" "$SOLERA" export "$e" -o "$dir/x.gguf" --type tq1_0
expect 0 "never trained with a quantizer" "$SOLERA" export "$e" -o "$dir/c/q.gguf" --type q2_0 --method sherry
grep -q "read by llama.cpp since 2026" "$dir/err" || fail "who reads Q2_0: $(cat "$dir/err")"
expect 2 "one scale for 256 weights, this model one for 128: use --type q2_0, train with" "$SOLERA" export "$e" -o "$dir/x.gguf" --type stq1_0 --method sherry
expect 2 "are not 3:4 sparse" "$SOLERA" export "$e" -o "$dir/x.gguf" --type stq1_0 --method absmean --granularity per_channel
expect 2 "dlt weights have levels beside a shift, which Q2_0 cannot hold: use --type q8_0 or f16" "$SOLERA" export "$e" -o "$dir/x.gguf" --type q2_0 --method dlt --granularity per_channel --requantize
expect 2 "needs rows of a multiple of 256" "$SOLERA" export "$dir/run/ckpt/best.h5" -o "$dir/x.gguf" --type tq2_0 --requantize
expect 2 "43|42" "$SOLERA" export "$e" -o "$dir/x.gguf" --type stq1_0 --method sherry --stq-id 41
[ ! -e "$dir/x.gguf" ] && [ ! -e "$dir/x.gguf.tmp" ] && [ ! -e "$dir/x.gguf.json" ] || fail "a refused export left something"
expect 0 "changed the linear layers" "$SOLERA" export "$e" -o "$dir/c/s.gguf" --type stq1_0 --method sherry --requantize
expect 0 "" "$SOLERA" import "$dir/c/s.gguf" -o "$dir/c/s.h5"
"$SOLERA" generate "$dir/c/s.h5" -p "Once upon" -n 4 >/dev/null 2>&1 || fail "the imported STQ1_0 file does not run"
