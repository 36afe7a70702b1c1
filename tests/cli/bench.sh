#!/bin/sh
# The bench verb: its JSON has the keys of the contract, bad input is named.
. "$(dirname "$0")/common"

"$SOLERA" bench --shape tiny --group-size 0 --prompt 24 --context 40 --seconds 0.1 --json >"$dir/out" 2>"$dir/err"
[ "$(wc -l <"$dir/out")" -eq 1 ] || fail "more than one line: $(cat "$dir/out")"
for key in decode_tok_s prefill_tok_s gemm_share threads tier features bytes_per_token bandwidth_gb_s; do
    grep -q "\"$key\": " "$dir/out" || fail "no $key in $(cat "$dir/out")"
done
# Shares of what the machine reaches: at most all of it, else none.
for key in gemm_share bandwidth_share; do
    grep -qE "\"$key\": (0\.[0-9]+|1\.0000|null)," "$dir/out" || fail "$key is no share: $(cat "$dir/out")"
done
grep -q '"context": 40, "prompt": 24' "$dir/out" || fail "$(cat "$dir/out")"
grep -q '"decode_tok_s": 0\.000' "$dir/out" && fail "no speed in $(cat "$dir/out")"
# A type that is read where it lies.
"$SOLERA" bench --shape tiny --group-size 32 --embed-type f16 --prompt 4 --seconds 0.1 -t 1 >"$dir/out" 2>"$dir/err" ||
    fail "embedding in fp16: $(cat "$dir/err")"
"$SOLERA" bench --shape tiny --group-size 32 --embed-type q6 --kv f16 --prompt 16 --seconds 0.1 -t 2 --tier c >"$dir/out" 2>"$dir/err"
grep -q '^kernels *c, 2 threads' "$dir/out" || fail "$(cat "$dir/out")"
"$SOLERA" bench --train --shape tiny --batch 2 --seq 24 --seconds 0.1 --moments 8bit --json >"$dir/out" 2>"$dir/err"
grep -q '"compute": "fp32", "moments": "8bit"' "$dir/out" || fail "$(cat "$dir/out")"
[ "$(wc -l <"$dir/out")" -eq 1 ] || fail "more than one line: $(cat "$dir/out")"
for key in train_tok_s gflops_6n gflops_executed gemm_gflops gemm_share peak_memory_bytes threads tier linear adamw; do
    grep -q "\"$key\": " "$dir/out" || fail "no $key in $(cat "$dir/out")"
done
"$SOLERA" bench --train --shape tiny --seq 16 --seconds 0.1 --compute bf16 -t 1 >"$dir/out" 2>"$dir/err"
grep -q '^  attention ' "$dir/out" && grep -q 'products in bf16' "$dir/out" || fail "$(cat "$dir/out")"
for teacher in self cache; do
    "$SOLERA" bench --train --shape tiny --batch 2 --seq 24 --seconds 0.1 --distill $teacher --json >"$dir/out" 2>"$dir/err"
    grep -q "\"distill\": \"$teacher\", \"distill_ratio\": [0-9]" "$dir/out" || fail "$(cat "$dir/out" "$dir/err")"
done
# The report: one table, a row of each measurement, of prompts those that the context of 512 holds.
"$SOLERA" bench --report --shape tiny --group-size 0 --seconds 0.1 -t 2 >"$dir/out" 2>"$dir/err" || fail "--report: $(cat "$dir/err")"
for row in "memory read" "tiny: layout made" "tiny: decode, [0-9.]* MB" "tiny: decode, 32 texts" "tiny: prefill, 128" \
    "tiny: prefill, 512" "train tiny, 4 x 256, fp32" "train tiny, 4 x 256, bf16"; do
    grep -q "^| $row.* | [0-9.e+-]* | [0-9.e+-]* to [0-9.e+-]* | .* |\$" "$dir/out" || fail "no row $row: $(cat "$dir/out")"
done
[ "$(grep -c '^|' "$dir/out")" = 10 ] || fail "other rows: $(cat "$dir/out")"
expect 2 "option '--report' has no effect with --json" "$SOLERA" bench --report --json
expect 2 "no model file" "$SOLERA" bench --train "$dir/none.h5"
expect 2 "llama-3.2-1b" "$SOLERA" bench --shape llama-3.2-1
expect 2 "--group-size 128 does not divide the width 288" "$SOLERA" bench --shape 15m --group-size 128
expect 2 "one of them" "$SOLERA" bench "$dir/none.h5" --shape 15m
expect 2 "none.h5" "$SOLERA" bench "$dir/none.h5"
