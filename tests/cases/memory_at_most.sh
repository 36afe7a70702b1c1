# The peak of memory that a run reports is its own, not that of the process that started it.
. tests/cli/common
make_job

# A shell of 120 MB becomes the program, by exec: getrusage would report that, too.
"$SOLERA" train "$dir/job.yaml" --set run.dir="$dir/alone" --set train.steps=2 --set optim.warmup_steps=1 2>"$dir/err"
peak() { sed -n 's/.* memory at most \([0-9]*\)[0-9.]* MiB.*/\1/p' "$1"; }
alone=$(peak "$dir/err")
[ -n "$alone" ] || fail "no peak in MiB: $(cat "$dir/err")"
sh -c 'x=$(head -c 120000000 /dev/zero | tr "\0" x); exec "$@" # ${#x}' sh "$SOLERA" train "$dir/job.yaml" --set run.dir="$dir/after" \
    --set train.steps=2 --set optim.warmup_steps=1 2>"$dir/err"
after=$(peak "$dir/err")
[ -n "$after" ] && [ "$after" -lt $((alone + 60)) ] || fail "$after MiB, alone $alone MiB: $(cat "$dir/err")"
