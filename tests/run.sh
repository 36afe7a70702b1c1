#!/bin/sh
# Runs the Check programs named, tests/headers.sh, tests/house.sh and every script of tests/cli and tests/cases on $BUILD, as many at a time as there are processors; the last line
# counts: "N passed, N failed, N skipped". A test that lacks something prints a line "skipped: ..." and counts as skipped. What compares with
# other programs runs on files of our own (tests/golden); where there are larger ones of third parties in ../shared/data, further tests
# run on them. Without them they print "further: ..." and count as nothing: their number stands in the line before the last.
set -u
cd "$(dirname "$0")/.." || exit 1
BUILD=${BUILD:-build/release}

# One test: runs it, prints its line, adds "passed failed skipped further" to the file $COUNTS.
one() {
    out=$(mktemp) || exit 1
    trap 'rm -f "$out"' EXIT
    begun=$(date +%s)
    case $1 in
    *.sh) sh "$1" >"$out" 2>&1 ;;
    *) "$1" >"$out" 2>&1 ;;
    esac
    code=$? took=$(($(date +%s) - begun))
    name=${1#"$BUILD/tests/"}
    line=$(grep -E '^[0-9]+%: Checks: [0-9]+, Failures: [0-9]+, Errors: [0-9]+$' "$out" | tail -n 1)
    s=$(grep -c '^skipped: ' "$out") f=$(grep -c '^further: ' "$out")
    if [ -n "$line" ]; then
        total=$(echo "$line" | sed 's/.*Checks: \([0-9]*\),.*/\1/')
        failures=$(echo "$line" | sed 's/.*Failures: \([0-9]*\),.*/\1/')
        bad=$((failures + $(echo "$line" | sed 's/.*Errors: //')))
        [ "$code" -ne 0 ] && [ "$bad" -eq 0 ] && bad=1
        total=$((total - s - f))
    else # a script: it is one test; a Check program that says no count has not run its own
        total=1 bad=0
        case $name in test_*) [ "$code" -ne 0 ] || { code=1 && echo "ended without a count" >>"$out"; } ;; esac
        [ "$code" -ne 0 ] && bad=1
        [ "$code" -eq 0 ] && [ "$s" -gt 0 ] && total=0
    fi
    echo "$((total - bad)) $bad $s $f" >>"$COUNTS"
    if [ "$code" -ne 0 ]; then
        text="FAILED  $name
$(tail -n 60 "$out" | sed 's/^/    /')"
    else
        text="ok      $name ($total), $took s$(sed -n 's/^skipped: /\n        &/p' "$out")"
    fi
    printf '%s\n' "$text" # in one write, so that the lines of two tests do not mix
}

if [ "${1:-}" = --one ]; then
    one "$2"
    exit 0
fi

export BUILD SOLERA="$PWD/$BUILD/solera" LC_ALL=C
export ASAN_OPTIONS="${ASAN_OPTIONS:-detect_leaks=1}"
COUNTS=$(mktemp) || exit 1
export COUNTS
trap 'rm -f "$COUNTS"' EXIT
# What a build with sanitizers leaves out is not counted. No such build sees more in what looks at the
# sources or at what is installed, in demo.sh and reproduce_study.sh, which have a stand-in for the
# program, or in readme.sh, whose models take minutes there: the other scripts show it the same code at
# the tiny shape. It takes memory of its own, which two scripts measure. It does not run under qemu
# (fallback.sh), and MPI is not built with ThreadSanitizer (mpi.sh). self_kill.sh kills what test_resume
# goes through. ThreadSanitizer runs a script or more of every verb that starts threads, not those about
# files, words and refusals, nor calibrate.sh, eval.sh, export.sh and generate.sh, whose threads test_calib_model,
# test_eval, train_log.sh, gguf.sh and test_generate start in less time.
scripts=$(ls tests/headers.sh tests/house.sh tests/cli/*.sh tests/cases/*.sh)
case $BUILD in
*/tsan) scripts=$(printf 'tests/cli/%s.sh\n' bench chat distill gguf score study sweep \
    tokenize train_log train_signal watch) ;;
*/asan) scripts=$(echo "$scripts" | grep -vE '/(demo|headers|house|install|readme|reproduce_study|fallback|memory_no_blanks|plan_memory|self_kill)\.sh$') ;;
esac
# shellcheck disable=SC2086
set -- "$@" $scripts
printf '%s\n' "$@" | xargs -P "$(nproc)" -n 1 sh tests/run.sh --one
# A test that left no line did not come to its end: its process was killed, or found no room for a file.
awk -v begun=$# '{ passed += $1; failed += $2; skipped += $3; further += $4 }
     END { if (NR < begun) printf "FAILED  %d of %d tests did not end\n", begun - NR, begun
           if (further) printf "%d further comparisons, with models and tokenizers of third parties, would run with ../shared/data\n", further
           failed += begun - NR
           printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped; exit failed > 0 }' "$COUNTS"
