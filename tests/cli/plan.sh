# What a job would take, without taking it.
. tests/cli/common
make_job
expect 0 "" "$SOLERA" plan "$dir/job.yaml" --json
for key in parameters quantized bits_per_weight steps tokens_per_step flops_per_step gemm_flops seconds memory_bytes; do
    grep -q "\"$key\": [0-9]" "$dir/out" || fail "no $key: $(cat "$dir/out")"
done
grep -q '"tokens_per_step": 16,' "$dir/out" || fail "batch 1 x seq 16: $(cat "$dir/out")"
grep -q '"bits_per_weight": 1.5,' "$dir/out" || fail "sherry, group 64: $(cat "$dir/out")"
[ ! -e "$dir/run" ] || fail "plan makes a run directory"
expect 0 "" "$SOLERA" plan "$dir/job.yaml" --set model.init=random:llama-3.2-1b --set train.seq=1024 --set train.batch=4
grep -q '1.24 G parameters, 973 M of them quantized by sherry to 1.5 bits' "$dir/out" || fail "1B: $(cat "$dir/out")"
grep -q 'optimizer moments  *9.21 GiB' "$dir/out" || fail "1B moments: $(cat "$dir/out")"
expect 2 "group_size" "$SOLERA" plan "$dir/job.yaml" --set quant.group_size=96
expect 2 "unknown model shape 'llama-3.2-2b', did you mean 'llama-3.2-1b'" "$SOLERA" plan "$dir/job.yaml" \
    --set model.init=random:llama-3.2-2b
for job in configs/*.yaml; do
    [ "$job" = configs/reference.yaml ] && continue
    code=0
    "$SOLERA" plan "$job" >/dev/null 2>"$dir/err" || code=$?
    # A job may name files that only exist after its script; but it must be a job.
    [ "$code" -eq 0 ] || grep -qE "key '(model.init|model.tokenizer|data.train|data.eval)': .*(cannot open|No such file)" "$dir/err" ||
        fail "$job: $(cat "$dir/err")"
done
