# What the system refuses: files that may not grow, address space, a mapped file that another process cuts.
. tests/cli/common
make_job
within() { # shell words that set a limit, command...
    limit=$1
    shift
    (eval "$limit" && exec "$@")
}
train() {
    "$SOLERA" train "$dir/job.yaml" "$@"
}

# ulimit -f: an error as of a full disk, nothing half written. Then the same run goes on without it.
for blocks in 10 100; do
    expect 1 "File too large" within "ulimit -f $blocks" "$SOLERA" train "$dir/job.yaml" --resume
    [ -z "$(find "$dir/run" -name '*.tmp')" ] || fail "a temporary file is left"
done
train --resume 2>"$dir/err" || fail "$(cat "$dir/err")"
model=$dir/run/ckpt/step-000024.h5
expect 1 "$dir/m.h5: cannot write: File too large" within "ulimit -f 20" "$SOLERA" export "$model" -o "$dir/m.h5"
expect 1 "File too large" within "ulimit -f 20" "$SOLERA" export "$model" -o "$dir/hf" --format safetensors
expect 1 "$dir/t.json: cannot write: File too large" within "ulimit -f 1" "$SOLERA" train-tokenizer --vocab 280 --input "$dir/text.txt" -o "$dir/t.json"
expect 1 "$dir/d.h5: cannot write: File too large" within "ulimit -f 10" "$SOLERA" tokenize --tokenizer "$dir/tokenizer.json" --input "$dir/text.txt" -o "$dir/d.h5"
[ -z "$(find "$dir" -name '*.tmp')" ] || fail "a temporary file is left"
for name in m.h5 t.json d.h5 hf/model.safetensors; do [ ! -e "$dir/$name" ] || fail "$name is there"; done
expect 1 "Too many open files" within "ulimit -n 4" "$SOLERA" train "$dir/job.yaml" --resume

# ulimit -s
expect 1 "the stack may grow to 64 KiB (ulimit -s): 1024 are needed" within "ulimit -s 64" "$SOLERA" train "$dir/job.yaml" --resume
expect 0 "" within "ulimit -s 1024" "$SOLERA" eval "$model" --data "$dir/data.h5" --tier c -t 2

# ulimit -v: OpenBLAS waits for ever where it gets no address space; we ask first. As it is loaded it makes a
# thread for each processor, with a stack; here one, on every machine. Sanitizers want terabytes.
export OPENBLAS_NUM_THREADS=1
if ! "$SOLERA" version | grep -q -e asan -e tsan; then
    expect 0 "" within "ulimit -v 150000" "$SOLERA" version -t 2
    expect 1 "out of memory" within "ulimit -v 150000" "$SOLERA" train "$dir/job.yaml" -t 2 --set run.dir="$dir/small"
    expect 1 "out of memory" within "ulimit -v 150000" "$SOLERA" plan "$dir/job.yaml" -t 2 --set run.dir="$dir/small"
    expect 1 "out of memory" within "ulimit -v 150000" "$SOLERA" eval "$model" --data "$dir/data.h5" -t 2
    expect 0 "" within "ulimit -v 600000" "$SOLERA" eval "$model" --data "$dir/data.h5" -t 2
fi

# The data become shorter while a run reads them.
start metrics.jsonl:2 train "$dir/job.yaml" --set run.dir="$dir/cut" --set train.eval_every=0
: >"$dir/data.h5"
go_on
ended 1
grep -q "$dir/data.h5: a file in use became shorter" "$dir/said" || fail "$(cat "$dir/said")"
