# A disk that fills up while a run trains: by checkpoint.on_full it stops at the last checkpoint or goes on; nothing is lost.
. tests/cli/common
small=$dir/small
mkdir "$small"
if ! mount -t tmpfs -o size=8m none "$small" 2>/dev/null; then
    echo "skipped: mounting a small file system needs root"
    exit 0
fi
trap '[ -z "$pid" ] || kill -9 "$pid" 2>/dev/null || true; umount -l "$small" || true; rm -rf "$dir"' EXIT
make_job
job() { # run directory, more arguments
    run=$1
    shift
    exec "$SOLERA" train "$dir/job.yaml" --resume --set run.dir="$run" --set train.steps=400 --set train.eval_every=0 --set checkpoint.every=20 --set checkpoint.keep=1 "$@"
}
# The program runs in short turns until the file holds the text, so that it cannot run away from this script; then it stands.
advance() { # file, text
    tries=0
    until grep -qs -- "$2" "$1"; do
        tries=$((tries + 1))
        [ "$tries" -lt 6000 ] || fail "no '$2' in $1: $(cat "$dir/train.err")"
        kill -CONT "$pid" 2>/dev/null || fail "ended before '$2': $(cat "$dir/train.err")"
        sleep 0.01
        kill -STOP "$pid" 2>/dev/null || true
    done
}
fill() { # all that is left
    dd if=/dev/zero of="$small/filler" bs=4k 2>/dev/null || true
}

(job "$dir/alone") 2>"$dir/alone.err" || fail "$(cat "$dir/alone.err")"

# Everything else that writes says why it could not, and leaves nothing behind.
printf 'base: %s\ndir: %s\nseeds: [1]\npoints: {a: {optim.lr: 0.001}}\n' "$dir/job.yaml" "$small/sweep" >"$dir/sweep.yaml"
"$SOLERA" train "$dir/job.yaml" --set run.dir="$dir/studied" --set study.every=8 --set train.eval_every=0 2>/dev/null
"$SOLERA" import --random tiny --tokenizer "$dir/tokenizer.json" -o "$dir/fp.h5" 2>/dev/null
model=$dir/studied/ckpt/step-000024.h5
no_space() {
    grep -q "No space left on device\|free on its file system" "$dir/err" "$dir/out" || fail "no cause: $(cat "$dir/err" "$dir/out")"
}
refused() { # path of the output, command...
    to=$1
    shift
    expect 1 "" "$@"
    no_space
    [ ! -e "$to" ] || fail "$to is there: $*"
}
dd if=/dev/zero of="$small/filler" bs=1k count=8180 2>/dev/null || true
refused "$small/m.h5" "$SOLERA" import --random embedded --tokenizer "$dir/tokenizer.json" -o "$small/m.h5"
refused "$small/p.h5" "$SOLERA" export "$model" -o "$small/p.h5"
refused "$small/cache.h5" "$SOLERA" distill-cache "$dir/job.yaml" --set distill.teacher="$dir/fp.h5" --set distill.top_k=8 --set distill.cache="$small/cache.h5"
refused "$small/d.h5" "$SOLERA" tokenize --tokenizer "$dir/tokenizer.json" --input "$dir/text.txt" -o "$small/d.h5"
if command -v gnuplot >/dev/null; then refused "$small/report/index.html" "$SOLERA" study "$dir/studied" -o "$small/report"; fi
expect 1 "" "$SOLERA" sweep "$dir/sweep.yaml"
no_space
[ -z "$(find "$small" -name '*.tmp')" ] || fail "a temporary file is left"
rm -rf "${small:?}"/*

# stop: the run ends, its last checkpoint is whole, and with space again it ends as the other.
job "$small/run" 2>"$dir/train.err" &
pid=$!
advance "$small/run/metrics.jsonl" '"step": 21,'
fill
kill -CONT "$pid"
code=0
wait "$pid" || code=$?
pid=
[ "$code" -eq 1 ] || fail "exit code $code: $(cat "$dir/train.err")"
grep -q "No space left on device\|are free on its file system" "$dir/train.err" || fail "no cause: $(cat "$dir/train.err")"
last=$(ls "$small/run/ckpt" | grep '^step')
"$SOLERA" inspect --verify "$small/run/ckpt/$last" >/dev/null || fail "$last is damaged"
[ -z "$(find "$small" -name '*.tmp')" ] || fail "a temporary file is left"
rm "$small/filler"
(job "$small/run") 2>"$dir/resume.err" || fail "$(cat "$dir/resume.err")"
grep -q "resumed at step" "$dir/resume.err" || fail "$(cat "$dir/resume.err")"
metrics_of "$small/run" >"$dir/metrics"
metrics_of "$dir/alone" | cmp - "$dir/metrics" || fail "metrics differ after the resume"
rm -rf "$small/run"

# continue: it says so, lines wait, and when there is space again nothing is missing.
job "$small/run" --set checkpoint.on_full=continue 2>"$dir/train.err" &
pid=$!
advance "$small/run/metrics.jsonl" '"step": 21,'
fill
advance "$dir/train.err" "training goes on, the last checkpoint is of step"
advance "$dir/train.err" "lines of metrics.jsonl wait in memory"
rm "$small/filler"
kill -CONT "$pid"
wait "$pid" || fail "exit code $?: $(cat "$dir/train.err")"
pid=
metrics_of "$small/run" >"$dir/metrics"
metrics_of "$dir/alone" | cmp - "$dir/metrics" || fail "metrics differ"
[ -e "$small/run/ckpt/step-000400.h5" ] || fail "no checkpoint at the end"
