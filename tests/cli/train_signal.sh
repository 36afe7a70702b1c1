# SIGINT and SIGTERM save and exit 130; the run goes on from there. SIGHUP does nothing.
. tests/cli/common
make_job

start() { # run directory, more arguments: in the background, its process id in $pid
    run=$1
    shift
    "$SOLERA" train "$dir/job.yaml" --set run.dir="$run" --set train.steps=100000 "$@" 2>"$dir/train.err" &
    pid=$!
}

wait_for() { # file, text: until the file holds it
    tries=0
    until grep -qs "$2" "$1"; do
        tries=$((tries + 1))
        [ "$tries" -lt 600 ] || fail "no '$2' within a minute: $(cat "$dir/train.err")"
        sleep 0.1
    done
}

finish() { # the process in the background must exit 130
    code=0
    wait "$pid" || code=$?
    pid=
    [ "$code" -eq 130 ] || fail "exit code $code after $1: $(cat "$dir/train.err")"
}

for signal in INT TERM; do
    run=$dir/$signal
    start "$run" --set checkpoint.every=100000
    wait_for "$run/metrics.jsonl" '"step": 2,'
    kill -HUP "$pid"
    sleep 0.1
    expect 2 "in use by process $pid" "$SOLERA" train "$dir/job.yaml" --resume --set run.dir="$run" --set train.steps=100000
    kill -"$signal" "$pid"
    finish "SIG$signal"
    steps=$(wc -l <"$run/metrics.jsonl")
    [ -e "$run/ckpt/step-$(printf %06d "$steps").h5" ] || fail "SIG$signal: no checkpoint of step $steps"
    expect 2 "holds a run already" "$SOLERA" train "$dir/job.yaml" --set run.dir="$run"
    expect 2 "another run: train.steps: 100000 -> 24" "$SOLERA" train "$dir/job.yaml" --resume --set run.dir="$run"
done

# A second SIGINT does not wait for anything; whatever it met, the run goes on from its last checkpoint.
run=$dir/twice
start "$run" --set checkpoint.every=5
wait_for "$run/metrics.jsonl" '"step": 6,'
kill -INT "$pid"
kill -INT "$pid" 2>/dev/null || true
finish "two SIGINT"
start "$run" --set checkpoint.every=5 --resume
wait_for "$dir/train.err" 'resumed at step'
kill -TERM "$pid"
finish "SIGTERM of the resumed run"
