#!/bin/sh
# Runs the fuzzers named on the command line, $FUZZ_SECONDS each, from $BUILD/tests/fuzz. They start from tests/fuzz/seeds/<name>, from
# what make_seeds writes, and from what earlier runs found, which stays in $BUILD/corpus/<name>; an input that fails is
# written to $BUILD/found/<name>-... and ends the run with 1. One allocation of more than 64 MB fails, too: no input here is larger
# than 64 KB, and memory is bounded by the size of the file.
set -u
cd "$(dirname "$0")/../.." || exit 1
bad=0
"$BUILD/tests/fuzz/make_seeds" "$BUILD/seeds" || exit 1
for name in "$@"; do
    corpora="$BUILD/corpus/$name"
    mkdir -p "$BUILD/corpus/$name" "$BUILD/found"
    for seeds in "tests/fuzz/seeds/$name" "$BUILD/seeds/$name"; do
        [ -d "$seeds" ] && corpora="$corpora $seeds"
    done
    [ "$name" = config ] && corpora="$corpora configs"
    [ "$name" = sweep ] && corpora="$corpora configs/study"
    log="$BUILD/found/$name.log"
    # shellcheck disable=SC2086
    "$BUILD/tests/fuzz/fuzz_$name" -max_total_time="$FUZZ_SECONDS" -timeout=20 -rss_limit_mb=1024 -malloc_limit_mb=64 \
        -max_len=65536 -artifact_prefix="$BUILD/found/$name-" $corpora >"$log" 2>&1
    if [ $? -eq 0 ]; then
        echo "ok      $name: $(grep '^Done ' "$log" || echo stopped), $(grep -o 'cov: [0-9]*' "$log" | tail -n 1)"
    else
        bad=$((bad + 1))
        echo "FAILED  $name"
        grep -E 'ERROR|runtime error|not true|Test unit written|SUMMARY' "$log" | sed 's/^/    /'
    fi
done
echo "$bad of $# fuzzers failed"
[ "$bad" -eq 0 ]
