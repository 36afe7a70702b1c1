#!/bin/sh
# torture_resume.sh [KILLS [--set KEY=VALUE]...]: kills a training run with SIGKILL at KILLS (200) random moments and resumes it after each
# one. Every other kill waits for a checkpoint that is being written. When a run comes to its end, parameters, moments, state, data order,
# metrics and study.h5, if the job makes one, must have the bits of a run that was left alone, nothing temporary may be left, and the next
# run begins.
# $SOLERA: the program (build/release/solera); $KILL_SEED repeats a sequence of moments (as far as the machine does).
SOLERA=${SOLERA:-$PWD/build/release/solera}
. "$(dirname "$0")/../tests/cli/common"
make_job
kills=${1:-200}
[ $# -eq 0 ] || shift
settings=$* seed=${KILL_SEED:-$$} steps=24
last=$(printf 'step-%06d.h5' $steps)
echo "seed $seed"

train() { # run directory, threads; in a subshell of its own, whose process id becomes the program's
    # shellcheck disable=SC2086
    exec "$SOLERA" train "$dir/job.yaml" $settings --set run.dir="$1" --set checkpoint.every=2 --set checkpoint.keep=2 --resume -t "$2" 2>>"$dir/log"
}

# Checksums of all datasets, parameters and moments among them, and the state but for the length of metrics.jsonl, whose
# timing differs.
bits_of() {
    "$SOLERA" inspect --verify --all --json "$1/ckpt/$last" >"$dir/bits" || fail "$1: inspect"
    grep -o '"datasets".*' "$dir/bits"
    grep -o '"state":{[^}]*}' "$dir/bits" | sed 's/"metrics_bytes":[0-9]*//'
    [ ! -e "$1/study.h5" ] || cksum <"$1/study.h5"
}

random() { # counter, from, to: milliseconds, as seconds
    awk -v seed="$seed" -v n="$1" -v from="$2" -v to="$3" 'BEGIN { srand(seed + n * 7919); rand(); printf "%.3f", (from + (to - from) * rand()) / 1000 }'
}

count() { # files below the run directory with this name
    find "$dir/run" -name "$1" 2>/dev/null | wc -l
}

kill_one() { # what moment
    train "$dir/run" $((n % 2 + 1)) &
    pid=$!
    if [ $((n % 2)) -eq 0 ]; then # a checkpoint is on its way
        until [ -n "$(find "$dir/run/ckpt" -name '*.tmp' 2>/dev/null)" ]; do kill -0 "$pid" 2>/dev/null || break; done
        sleep "$(random "$n" 0 4)"
    else
        sleep "$(random "$n" 5 "$span")"
    fi
    kill -9 "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
    pid=
    tmp=$(count '*.tmp')
    [ "$tmp" -le 1 ] || fail "$tmp temporary files after a kill"
    [ "$tmp" -eq 0 ] || inside=$((inside + 1))
    [ "$(count 'step-*.h5')" -le 4 ] || fail "checkpoints pile up"
}

check_end() {
    (train "$dir/run" 1) || fail "the resume at the end: $(tail -n 3 "$dir/log")"
    metrics_of "$dir/run" | cmp - "$dir/want.jsonl" || fail "metrics differ"
    bits_of "$dir/run" | cmp - "$dir/want.bits" || fail "parameters, moments or state differ"
    [ "$(count '*.tmp')" -eq 0 ] || fail "temporary files are left"
    [ "$(count '*.damaged')" -eq 0 ] || fail "a checkpoint was damaged"
    rm -rf "$dir/run"
    runs=$((runs + 1))
}

(train "$dir/alone" 1)
metrics_of "$dir/alone" >"$dir/want.jsonl"
bits_of "$dir/alone" >"$dir/want.bits"
grep -q /optim/m "$dir/want.bits" || fail "no moments in the checkpoint"
n=0 runs=0 inside=0 span=60 newest=
while [ "$n" -lt "$kills" ]; do
    n=$((n + 1))
    kill_one
    before=$newest
    newest=$(ls "$dir/run/ckpt" 2>/dev/null | grep '^step-.*h5$' | tail -n 1)
    if [ "$newest" = "$last" ]; then
        check_end
    elif [ "$newest" = "$before" ] && [ "$span" -lt 20000 ]; then
        span=$((span + span / 4)) # a slow build or machine gets more time
    fi
done
[ ! -d "$dir/run" ] || check_end
echo "$n kills, $inside of them while a file was being written, $runs runs to the end: the same bits"
