#!/bin/sh
# stress_tests.sh [RUNS [NAME...]]: runs every script of tests/cli and tests/cases (or those named: usage, sweep) RUNS (200) times alone and RUNS times two at a
# time, each pair of a script with itself, and prints what failed: exit 0 when nothing did. No test may depend on how fast the machine is
# or on what else runs on it. $BUILD: the build to test (build/release), from `make test`.
set -u
cd "$(dirname "$0")/.." || exit 1
runs=${1:-200}
[ $# -eq 0 ] || shift
BUILD=${BUILD:-build/release}
export SOLERA="$PWD/$BUILD/solera" BUILD
[ $# -gt 0 ] || set -- $(ls tests/cli/*.sh tests/cases/*.sh | sed 's|.*/||; s|\.sh$||')
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT

one() { # script, number of the run, how
    sh "$(ls tests/*/"$1.sh")" >"$dir/$1.$2" 2>&1 && return
    printf 'FAILED  %s, run %s, %s\n' "$1" "$2" "$3"
    tail -n 20 "$dir/$1.$2" | sed 's/^/    /'
    echo >>"$dir/failed"
}

for name; do
    begun=$(date +%s) n=0
    while [ "$n" -lt "$runs" ]; do
        one "$name" "$n" alone
        n=$((n + 1))
    done
    while [ "$n" -lt $((2 * runs)) ]; do
        one "$name" "$n" "two at a time" &
        one "$name" $((n + 1)) "two at a time"
        wait
        n=$((n + 2))
    done
    echo "$name: $((2 * runs)) runs, $(($(date +%s) - begun)) s"
done
failed=$(cat "$dir/failed" 2>/dev/null | wc -l)
echo "$failed failed"
[ "$failed" -eq 0 ]
