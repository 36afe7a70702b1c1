# A disk that fills up while a run trains: by checkpoint.on_full it stops at the last checkpoint or goes on; nothing is lost.
if [ "$(id -u)" -ne 0 ] && unshare -rm true 2>/dev/null; then exec unshare -rm sh "$0"; fi # the right to mount, in a space of its own
. tests/cli/common
small=$dir/small
mkdir "$small"
if ! mount -t tmpfs -o size=8m none "$small" 2>/dev/null; then
    echo "skipped: mounting a small file system needs root"
    exit 0
fi
trap '[ -z "$pid" ] || kill -9 "$pid" 2>/dev/null || true; umount -l "$small" || true; rm -rf "$dir"' EXIT
make_job
job() { # whole|held, run directory, more arguments; held: it stands before line 21 of metrics.jsonl
    how=$1 run=$2
    shift 2
    set -- train "$dir/job.yaml" --set run.dir="$run" --set train.steps=100 --set train.eval_every=0 --set checkpoint.every=20 \
        --set checkpoint.keep=1 "$@"
    case $how in whole) "$SOLERA" "$@" ;; held) start metrics.jsonl:21 "$@" ;; esac
}
fill() { # all that is left
    dd if=/dev/zero of="$small/filler" bs=4k 2>/dev/null || true
}

job whole "$dir/alone" 2>"$dir/alone.err" || fail "$(cat "$dir/alone.err")"

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
printf '{"ctx": "the", "choices": ["cat", "dog"], "gold": %d}\n' $(seq 400 | sed 's/.*/1/') >"$dir/task.jsonl"
refused "$small/s.jsonl" "$SOLERA" eval "$dir/fp.h5" --task piqa="$dir/task.jsonl" --samples "$small/s.jsonl"
if command -v gnuplot >/dev/null; then refused "$small/report/index.html" "$SOLERA" study "$dir/studied" -o "$small/report"; fi
expect 1 "" "$SOLERA" sweep "$dir/sweep.yaml"
no_space
[ -z "$(find "$small" -name '*.tmp')" ] || fail "a temporary file is left"
rm -rf "${small:?}"/*

# stop: the run ends, its last checkpoint is whole, and with space again it ends as the other.
job held "$small/run"
fill
go_on
ended 1
grep -q "No space left on device\|are free on its file system" "$dir/said" || fail "no cause: $(cat "$dir/said")"
last=$(ls "$small/run/ckpt" | grep '^step')
"$SOLERA" inspect --verify "$small/run/ckpt/$last" >/dev/null || fail "$last is damaged"
[ -z "$(find "$small" -name '*.tmp')" ] || fail "a temporary file is left"
rm "$small/filler"
job whole "$small/run" --resume 2>"$dir/resume.err" || fail "$(cat "$dir/resume.err")"
grep -q "resumed at step" "$dir/resume.err" || fail "$(cat "$dir/resume.err")"
metrics_of "$small/run" >"$dir/metrics"
metrics_of "$dir/alone" | cmp - "$dir/metrics" || fail "metrics differ after the resume"
rm -rf "$small/run"

# continue: it says so, lines wait, and when there is space again nothing is missing. The file system gives out whole pages, in which some
# lines find room: by the 80th write there is none left.
job held "$small/run" --set checkpoint.on_full=continue
fill
go_on metrics.jsonl:80
grep -q "training goes on, the last checkpoint is of step" "$dir/said" || fail "no word about the checkpoint: $(cat "$dir/said")"
grep -q "lines of metrics.jsonl wait in memory" "$dir/said" || fail "no word about the metrics: $(cat "$dir/said")"
rm "$small/filler"
go_on
ended 0
metrics_of "$small/run" >"$dir/metrics"
metrics_of "$dir/alone" | cmp - "$dir/metrics" || fail "metrics differ"
[ -e "$small/run/ckpt/step-000100.h5" ] || fail "no checkpoint at the end"
