# What a job would take, without taking it. The first plan measures this machine, the others are told of one.
. tests/cli/common
make_job
expect 0 "" "$SOLERA" plan "$dir/job.yaml" --json
for key in parameters quantized bits_per_weight steps tokens_per_step flops_per_step gemm_flops seconds memory_bytes; do
    grep -q "\"$key\": [0-9]" "$dir/out" || fail "no $key: $(cat "$dir/out")"
done
grep -q '"tokens_per_step": 16,' "$dir/out" || fail "batch 1 x seq 16: $(cat "$dir/out")"
grep -q '"bits_per_weight": 1.5,' "$dir/out" || fail "sherry, group 64: $(cat "$dir/out")"
[ ! -e "$dir/run" ] || fail "plan makes a run directory"
expect 0 "" "$SOLERA" plan "$dir/job.yaml" --gflops 50 --set model.init=random:llama-3.2-1b --set train.seq=1024 --set train.batch=4
grep -q '1.24 G parameters, 973 M of them quantized by sherry to 1.5 bits' "$dir/out" || fail "1B: $(cat "$dir/out")"
grep -q 'optimizer moments  *9.21 GiB' "$dir/out" || fail "1B moments: $(cat "$dir/out")"
grep -q 'stq1_0  *-  .*one scale for 256 weights' "$dir/out" || fail "STQ1_0 of group 64: $(cat "$dir/out")"

# The files of an export never exceed what was foretold by more than 1 %.
"$SOLERA" export checkpoints/embedded.h5 -o "$dir/m.h5" --format model --no-card 2>/dev/null
grep -v '^model:' "$dir/job.yaml" >"$dir/real.yaml"
expect 0 "" "$SOLERA" plan "$dir/real.yaml" --gflops 50 --set model.init="$dir/m.h5" --set quant.granularity=per_channel \
    --set data.train="$dir/text.txt" --set data.eval="$dir/text.txt" --json
for type in packed stq1_0 tq2_0 q8_0; do
    [ $type = packed ] && how=--no-card || how="--type $type"
    # shellcheck disable=SC2086
    "$SOLERA" export "$dir/m.h5" -o "$dir/x" $how --no-card --method sherry --granularity per_channel 2>/dev/null || fail "export $type"
    awk -v is="$(wc -c <"$dir/x")" -v want="$(sed "s/.*\"$type\": \([0-9]*\).*/\1/" "$dir/out")" \
        'BEGIN { exit !(want > 1e6 && is <= 1.01 * want && is > 0.99 * want) }' || fail "$type: $(wc -c <"$dir/x") bytes: $(cat "$dir/out")"
done
expect 2 "group_size" "$SOLERA" plan "$dir/job.yaml" --set quant.group_size=96
expect 2 "unknown model shape 'llama-3.2-2b'; did you mean 'llama-3.2-1b'" "$SOLERA" plan "$dir/job.yaml" \
    --set model.init=random:llama-3.2-2b
for job in configs/*.yaml; do
    [ "$job" = configs/reference.yaml ] && continue
    code=0
    "$SOLERA" plan "$job" --gflops 50 --set run.dir="$dir/planned" >/dev/null 2>"$dir/err" || code=$?
    # A job may name files that only exist after its script; but it must be a job.
    [ "$code" -eq 0 ] || grep -qE "key '(model.init|model.tokenizer|data.train|data.eval)': .*(cannot open|No such file)" "$dir/err" ||
        fail "$job: $(cat "$dir/err")"
done

# auto is resolved before anything else: the run knows which type it computes in.
expect 0 "" "$SOLERA" train "$dir/job.yaml" --set run.dir="$dir/auto" --set train.compute=auto --set train.steps=1 --set optim.warmup_steps=0 --tier c
grep -qx '  compute: fp32' "$dir/auto/config.yaml" || fail "auto stays auto: $(grep compute "$dir/auto/config.yaml")"

# Over ranks: each has its share of the moments, and what a step sends follows from the parameters.
number() { # KEY FILE
    sed -n "s/.*\"$1\": \([0-9.e+-]*\).*/\1/p" "$2"
}
"$SOLERA" plan "$dir/job.yaml" --set run.dir="$dir/many" --set train.batch=4 --gflops 50 --set train.lanes=4 --json >"$dir/one.json"
"$SOLERA" plan "$dir/job.yaml" --set run.dir="$dir/many" --set train.batch=4 --gflops 50 --ranks 4 --link 1 --json >"$dir/four.json"
[ "$(number "optimizer moments" "$dir/one.json")" -eq $((4 * $(number "optimizer moments" "$dir/four.json"))) ] || fail "moments: $(cat "$dir/four.json")"
[ $((2 * $(number exchange_bytes "$dir/four.json"))) -eq $((3 * $(number parameters "$dir/four.json"))) ] ||
    fail "3/4 of gradients and parameters, 4 bytes each: $(cat "$dir/four.json")"
# At 1 Gbit/s, for machines of 1 and of 1000 GFLOP/s: both parts of the exchange together take the time of its bytes; slow
# machines hide all gradients of the blocks but the first one's, fast ones less; the rest of a step is arithmetic.
for rate in 1 1000; do
    "$SOLERA" plan "$dir/job.yaml" --set run.dir="$dir/many" --set train.batch=4 --ranks 4 --link 1 --gflops $rate --json >"$dir/at.$rate"
    awk -v s="$(number step_seconds "$dir/at.$rate")" -v v="$(number exchange_seconds "$dir/at.$rate")" -v rate=$rate \
        -v h="$(number exchange_hidden_seconds "$dir/at.$rate")" -v n="$(number exchange_bytes "$dir/at.$rate")" \
        -v f="$(number flops_per_step "$dir/at.$rate")" 'function near(a, b) { return (a - b) ^ 2 < 1e-8 * b ^ 2 }
        BEGIN { exit !(h > 0 && near(v + h, 8 * n / 1e9) && near(s, v + f / (4 * 0.6 * rate * 1e9))) }' ||
        fail "what is waited for and hidden: $(cat "$dir/at.$rate")"
done
awk -v slow="$(number exchange_hidden_seconds "$dir/at.1")" -v fast="$(number exchange_hidden_seconds "$dir/at.1000")" \
    'BEGIN { exit !(fast < slow) }' || fail "fast machines hide more: $(cat "$dir/at.1" "$dir/at.1000")"
"$SOLERA" plan "$dir/job.yaml" --set run.dir="$dir/many" --set train.batch=4 --gflops 50 --ranks 4 --set dist.transport=bf16 --json >"$dir/half.json"
[ "$(number "lanes and exchange" "$dir/half.json")" -gt "$(number "lanes and exchange" "$dir/four.json")" ] ||
    fail "bf16 is cast in memory of its own: $(cat "$dir/half.json")"
expect 2 "3 lanes, one a rank, do not share" "$SOLERA" plan "$dir/job.yaml" --set train.batch=4 --ranks 3
