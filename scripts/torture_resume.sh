#!/bin/sh
# torture_resume.sh [KILLS|every [--set KEY=VALUE]...]: kills a training run with SIGKILL, resumes it, and compares what comes out at the end:
# parameters, moments, state, data order, metrics and study.h5, if the job makes one, must have the bits of a run that was left alone, and
# nothing temporary may be left. The run dies at KILLS (200) places spread over the calls by which it changes files, or at every one of them;
# a write has then written half, and between two of them nothing on the disk changes (tests/cli/held.c). Each run that goes on is killed
# soon, too, while it tidies up.
# $SOLERA: the program (build/release/solera), with its tests/cli/held built: make test, or make build/release/tests/cli/held
SOLERA=${SOLERA:-$PWD/build/release/solera}
. "$(dirname "$0")/../tests/cli/common"
[ -x "$HELD" ] || fail "$HELD is missing: make $HELD"
make_job
kills=${1:-200}
[ $# -eq 0 ] || shift
settings=$* steps=12
last=$(printf 'step-%06d.h5' $steps)

train() { # run directory, threads, NAME=VALUE for the environment
    # shellcheck disable=SC2086
    env "$3" "$HELD" train "$dir/job.yaml" --set train.steps=$steps --set checkpoint.every=2 --set checkpoint.keep=2 $settings \
        --set run.dir="$1" --resume -t "$2" 2>>"$dir/log"
}

# Checksums of all datasets, parameters and moments among them, and the state but for the length of metrics.jsonl, whose
# timing differs.
bits_of() {
    "$SOLERA" inspect --verify --all --json "$1/ckpt/$last" >"$dir/bits" || fail "$1: inspect"
    grep -o '"datasets".*' "$dir/bits"
    grep -o '"state":{[^}]*}' "$dir/bits" | sed 's/"metrics_bytes":[0-9]*//'
    [ ! -e "$1/study.h5" ] || cksum <"$1/study.h5"
}

count() { # files below the run directory with this name
    find "$dir/run" -name "$1" 2>/dev/null | wc -l
}

kill_at() { # call, threads
    code=0
    train "$dir/run" "$2" "KILL_AT=$1" || code=$?
    [ "$code" -eq 137 ] || fail "exit code $code: not killed at call $1: $(tail -n 3 "$dir/log")"
    tmp=$(count '*.tmp')
    [ "$tmp" -le 1 ] || fail "$tmp temporary files after a kill at call $1"
    [ "$tmp" -eq 0 ] || inside=$((inside + 1))
    [ "$(count 'step-*.h5')" -le 4 ] || fail "checkpoints pile up"
    n=$((n + 1))
}

check_end() { # call
    train "$dir/run" 1 A= || fail "the resume after a kill at call $1: $(tail -n 3 "$dir/log")"
    metrics_of "$dir/run" | cmp - "$dir/want.jsonl" || fail "metrics differ after a kill at call $1"
    bits_of "$dir/run" | cmp - "$dir/want.bits" || fail "parameters, moments or state differ after a kill at call $1"
    [ "$(count '*.tmp')" -eq 0 ] || fail "temporary files are left after a kill at call $1"
    [ "$(count '*.damaged')" -eq 0 ] || fail "a checkpoint was damaged by a kill at call $1"
    rm -rf "$dir/run"
}

train "$dir/alone" 1 "COUNT=$dir/calls" || fail "$(tail -n 3 "$dir/log")"
calls=$(cat "$dir/calls")
metrics_of "$dir/alone" >"$dir/want.jsonl"
bits_of "$dir/alone" >"$dir/want.bits"
grep -q /optim/m "$dir/want.bits" || fail "no moments in the checkpoint"
[ "$kills" != every ] || kills=$((2 * calls))
n=0 inside=0 round=0 rounds=$(((kills + 1) / 2))
while [ "$round" -lt "$rounds" ]; do
    call=$((1 + round * calls / rounds))
    kill_at "$call" $((round % 2 + 1))
    [ "$n" -ge "$kills" ] || kill_at $((round % 4 + 1)) $((round % 2 + 1))
    check_end "$call"
    round=$((round + 1))
done
echo "$n kills over $calls calls, $inside of them while a file was being written: the same bits"
