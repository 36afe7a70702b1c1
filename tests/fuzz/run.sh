#!/bin/sh
# Runs the fuzzers named on the command line, $FUZZ_SECONDS each, from $BUILD/tests/fuzz. What they find new stays in
# $BUILD/corpus/<name>; an input that fails is written to $BUILD/found/<name>-... and ends the run with 1.
set -u
cd "$(dirname "$0")/../.." || exit 1
bad=0
for name in "$@"; do
    mkdir -p "$BUILD/corpus/$name" "$BUILD/found" "tests/fuzz/seeds/$name"
    log="$BUILD/found/$name.log"
    "$BUILD/tests/fuzz/fuzz_$name" -max_total_time="$FUZZ_SECONDS" -timeout=10 -rss_limit_mb=2048 -max_len=16384 \
        -artifact_prefix="$BUILD/found/$name-" "$BUILD/corpus/$name" "tests/fuzz/seeds/$name" >"$log" 2>&1
    if [ $? -eq 0 ]; then
        echo "ok      $name: $(grep '^Done ' "$log" || echo stopped), $(grep -o 'cov: [0-9]*' "$log" | tail -n 1)"
    else
        bad=$((bad + 1))
        echo "FAILED  $name"
        grep -E 'ERROR|runtime error|not true|Test unit written|SUMMARY' "$log" | sed 's/^/    /'
    fi
    rmdir "tests/fuzz/seeds/$name" 2>/dev/null
done
echo "$bad of $# fuzzers failed"
[ "$bad" -eq 0 ]
