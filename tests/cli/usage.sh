. tests/cli/common
expect 2 "an empty word in place of CONFIG.yaml" "$SOLERA" plan ""
expect 2 "options '-q' and '-v' contradict each other" "$SOLERA" version -q -v
expect 2 "unknown verb 'trian'; did you mean 'train'?" "$SOLERA" trian
expect 2 "unknown option '--resum'; did you mean '--resume'?" "$SOLERA" train --resum
expect 2 "wants CONFIG.yaml" "$SOLERA" train
expect 2 "unexpected word 'b'" "$SOLERA" train a b
expect 2 "'65' is one too many: takes at most 64 of RUN" "$SOLERA" study $(seq 65)
expect 2 "option '--set' wants a value" "$SOLERA" train a --set
expect 2 "option '--resume' takes no value" "$SOLERA" train a --resume=1
expect 2 "option '-t': 'two' is not a whole number" "$SOLERA" version -t two
expect 2 "option '-t': -1 is out of range: 0 to 1024" "$SOLERA" version -t -1
expect 2 "option '--tier': 'sse' is none of best|c|avx2|avx512|neon" "$SOLERA" version --tier sse
expect 2 "unknown processor feature 'sse': best, c, or of avx2" "$SOLERA" version --cpu sse
expect 2 "unknown processor feature ''" "$SOLERA" version --cpu ""
expect 2 "options '--tier' and '--cpu' both choose the kernels" "$SOLERA" version --tier c --cpu no-avx512
foreign=neon
[ "$(uname -m)" = x86_64 ] || foreign=avx2
for option in --tier --cpu; do
    expect 2 "lacks '$foreign'; kernels for it: " "$SOLERA" version $option $foreign
done
expect 0 "" "$SOLERA" version --cpu no-$foreign,c
grep -q '^features c' "$dir/out" || fail "--cpu c: $(cat "$dir/out")"
# Every name that is in use can be named again, and be left out.
features=$("$SOLERA" version | sed -n 's/^features //p')
for feature in $features; do
    expect 0 "" "$SOLERA" version --cpu "$(echo "$features" | tr ' ' ',')"
    grep -q "^features $features\$" "$dir/out" || fail "named: $(cat "$dir/out")"
    [ "$feature" = c ] && continue
    expect 0 "" "$SOLERA" version --cpu no-$feature
    grep -Eq "^features .*\(unused: .*\<$feature\>" "$dir/out" || fail "no-$feature: $(cat "$dir/out")"
done
expect 2 "no help on 'trian'; did you mean 'train'?" "$SOLERA" help trian
expect 2 "no help on 'train.step'; did you mean 'train.steps'?" "$SOLERA" help train.step
expect 2 "there is no section or key 'quants'" "$SOLERA" help config quants
for words in "" "help" "--help" "help train" "train --help" "help config" "help config quant" "help train.steps" "help quant" "help granularity" "help config steps" "version" "--version" "-V" "version --tier c -t 1"; do
    expect 0 "" "$SOLERA" $words
    [ -s "$dir/out" ] || fail "'$words' prints nothing"
    [ ! -s "$dir/err" ] || fail "'$words' prints on stderr: $(cat "$dir/err")"
done
[ "$("$SOLERA" help train.steps | grep -c ': ')" -eq 1 ] || fail "help train.steps: $("$SOLERA" help train.steps)"
verbs=$("$SOLERA" help | awk '/^  solera / && NF > 2 { print $2 }')
[ "$(echo "$verbs" | wc -l)" -ge 15 ] || fail "help names the verbs $verbs"
for verb in $verbs; do
    "$SOLERA" help "$verb" | grep -q "^solera $verb" || fail "help $verb"
done
"$SOLERA" help config | cmp -s - configs/reference.yaml || fail "configs/reference.yaml is not what help config prints"
# No option is taken that would do nothing; nothing is opened before that is said.
while read -r words; do
    [ -n "$words" ] || continue
    expect 2 "no effect" "$SOLERA" $words
done <<'END'
generate m.h5 --temp 0 --top-k 5
generate m.h5 --top-p 0.5 --temp 0
generate m.h5 --temp 0 --min-p 0.1
generate m.h5 --temp 0 --seed 3
eval m.h5 --text t.txt --limit 5
eval m.h5 --text t.txt --windows 5
eval m.h5 --text t.txt --seq 16
eval m.h5 --text t.txt --documents apart
eval m.h5 --text t.txt --samples s.jsonl
eval m.h5 --data d.h5 --context 16
eval m.h5 --data d.h5 --stride 16
eval m.h5 --data d.h5 --word-level
eval m.h5 --data d.h5 --no-bos
eval m.h5 --task piqa --seq 16
eval m.h5 --data d.h5 --task-dir d
eval m.h5 --task piqa --force
generate m.h5 --special
generate m.h5 --no-echo
generate m.h5 -p a --repeat-window 8
bench --batch 2
bench --compute bf16
bench --distill self
bench --train --context 4
bench --train --embed-type q6
bench --train --kv f16
bench --train --activations int8
bench m.h5 --embed-type q4
bench --full-precision
bench m.h5 --group-size 32
import folder -o m.h5 --seed 3
sweep s.yaml --table --jobs 2
export m.h5 -o p.h5 --granularity per_tensor
export m.h5 -o p.h5 --layout stride16
export m.h5 -o p.h5 --method sherry --granularity per_channel --group-size 64
export m.h5 -o p.h5 --latent
export m.h5 -o p.h5 --requantize
export m.h5 -o p.h5 --dtype bf16
export m.h5 -o p.h5 --dtype keep
export m.h5 -o p.gguf --type q8_0 --stq-id 43
export m.h5 -o p.h5 --method sherry --granularity per_channel --group-size 128
export m.h5 -o p.h5 --dequantize
export m.h5 -o p.gguf --type f16 --dtype bf16
export m.h5 -o p.gguf --type f16 --requantize
export m.h5 -o p.gguf --type q8_0 --stq-id 42
export m.h5 -o p.gguf --type f16 --latent --method sherry
export m.h5 -o p.h5 --format packed --type f16
export m.h5 -o p --format safetensors --embed-type f16
export m.h5 -o p --format safetensors --method sherry
tokenize --tokenizer t.json --ids --unix-lines
tokenize --tokenizer t.json --ids --json
END
# A reader that stops early is no error; a full disk is one.
code=0
{ "$SOLERA" help config || code=$?; echo "$code" >"$dir/code"; } | head -n 1 >/dev/null
[ "$(cat "$dir/code")" -eq 0 ] || fail "a closed pipe gives exit code $(cat "$dir/code")"
if [ -w /dev/full ]; then
    code=0
    "$SOLERA" help config >/dev/full 2>"$dir/err" || code=$?
    [ "$code" -eq 1 ] || fail "a full disk gives exit code $code"
fi
