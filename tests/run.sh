#!/bin/sh
# Runs every Check program and every command-line test of $BUILD; the last line counts: "N passed, N failed, N skipped".
# A test that lacks ../shared/data prints a line "skipped: ..." and counts as skipped.
set -u
cd "$(dirname "$0")/.." || exit 1
BUILD=${BUILD:-build/release}
export SOLERA="$PWD/$BUILD/solera"
export CK_DEFAULT_TIMEOUT="${CK_DEFAULT_TIMEOUT:-300}"
export ASAN_OPTIONS="${ASAN_OPTIONS:-detect_leaks=1}"
passed=0 failed=0 skipped=0
out=$(mktemp) || exit 1
trap 'rm -f "$out"' EXIT

count() { # name, exit code
    line=$(grep -E '^[0-9]+%: Checks: [0-9]+, Failures: [0-9]+, Errors: [0-9]+$' "$out" | tail -n 1)
    s=$(grep -c '^skipped: ' "$out")
    skipped=$((skipped + s))
    if [ -n "$line" ]; then
        total=$(echo "$line" | sed 's/.*Checks: \([0-9]*\),.*/\1/')
        failures=$(echo "$line" | sed 's/.*Failures: \([0-9]*\),.*/\1/')
        bad=$((failures + $(echo "$line" | sed 's/.*Errors: //')))
        [ "$2" -ne 0 ] && [ "$bad" -eq 0 ] && bad=1
    else # a script: it is one test
        total=1 bad=0
        [ "$2" -ne 0 ] && bad=1
        [ "$2" -eq 0 ] && [ "$s" -gt 0 ] && total=0
    fi
    passed=$((passed + total - bad))
    failed=$((failed + bad))
    if [ "$2" -ne 0 ]; then
        echo "FAILED  $1"
        sed 's/^/    /' "$out" | tail -n 60
    else
        echo "ok      $1 ($total)"
        grep '^skipped: ' "$out" | sed 's/^/        /'
    fi
}

for t in tests/test_*.c; do
    name=$(basename "$t" .c)
    "$BUILD/tests/$name" >"$out" 2>&1
    count "$name" $?
done
"$BUILD/tests/checkkern/checkkern" >"$out" 2>&1
count checkkern $?
for t in tests/cli/*.sh; do
    [ -e "$t" ] || continue
    sh "$t" >"$out" 2>&1
    count "$t" $?
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
