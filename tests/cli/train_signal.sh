# SIGINT and SIGTERM save and exit 130; the run goes on from there. SIGHUP does nothing.
. tests/cli/common
make_job
for signal in INT TERM; do
    "$SOLERA" train "$dir/job.yaml" --set run.dir="$dir/$signal" --set train.steps=100000 --set checkpoint.every=100000 2>"$dir/train.err" &
    pid=$!
    tries=0
    while [ ! -s "$dir/$signal/metrics.jsonl" ]; do
        tries=$((tries + 1))
        [ "$tries" -lt 600 ] || fail "no step within a minute: $(cat "$dir/train.err")"
        sleep 0.1
    done
    kill -HUP "$pid"
    sleep 0.2
    expect 2 "in use by process $pid" "$SOLERA" train "$dir/job.yaml" --resume --set run.dir="$dir/$signal" --set train.steps=100000
    kill -"$signal" "$pid"
    code=0
    wait "$pid" || code=$?
    pid=
    [ "$code" -eq 130 ] || fail "SIG$signal: exit code $code"
    steps=$(wc -l <"$dir/$signal/metrics.jsonl")
    [ -e "$dir/$signal/ckpt/step-$(printf %06d "$steps").h5" ] || fail "SIG$signal: no checkpoint of step $steps"
    expect 2 "holds a run already" "$SOLERA" train "$dir/job.yaml" --set run.dir="$dir/$signal"
    expect 2 "another run: train.steps: 100000 -> 24" "$SOLERA" train "$dir/job.yaml" --resume --set run.dir="$dir/$signal"
done
