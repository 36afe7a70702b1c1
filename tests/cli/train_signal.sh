# SIGINT and SIGTERM save and exit 130, together as well: the runs of a sweep get both at Ctrl-C.
# The run goes on from there. SIGHUP does nothing.
. tests/cli/common
make_job
train() { # place where the process stands, run directory, more arguments
    at=$1 run=$2
    shift 2
    start "$at" train "$dir/job.yaml" --set run.dir="$run" --set train.steps=1000 --set checkpoint.every=5 --set train.eval_every=0 "$@"
}

for signals in INT TERM 'INT TERM' 'TERM INT'; do
    train metrics.jsonl:3 "$dir/$signals"
    kill -HUP "$pid"
    expect 2 "in use by process $pid" "$SOLERA" train "$dir/job.yaml" --resume --set run.dir="$run" --set train.steps=1000
    for signal in $signals; do kill -"$signal" "$pid"; done
    go_on
    ended 130
    [ "$(wc -l <"$run/metrics.jsonl")" -eq 3 ] || fail "$signals: not the end of the step: $(cat "$run/metrics.jsonl")"
    [ -e "$run/ckpt/step-000003.h5" ] || fail "$signals: no checkpoint of step 3"
    expect 2 "holds a run already" "$SOLERA" train "$dir/job.yaml" --set run.dir="$run"
    expect 2 "another run: train.steps: 1000 -> 24" "$SOLERA" train "$dir/job.yaml" --resume --set run.dir="$run" --set checkpoint.every=5 \
        --set train.eval_every=0
done

# A second SIGINT does not wait for anything, here not for a step that would never end; the run goes on from its last checkpoint.
train metrics.jsonl:8 "$dir/twice"
while kill -INT "$pid" 2>/dev/null; do sleep 0.01; done
ended 130
[ "$(ls "$run/ckpt"/step-*)" = "$run/ckpt/step-000005.h5" ] || fail "two SIGINT left $(ls "$run/ckpt")"
train metrics.jsonl:1 "$dir/twice" --resume
grep -q 'resumed at step 5' "$dir/said" || fail "$(cat "$dir/said")"
kill -TERM "$pid"
go_on
ended 130
[ -e "$run/ckpt/step-000006.h5" ] || fail "no checkpoint of step 6"
