#!/bin/sh
# cppcheck and clang-tidy over src and train. cppcheck: errors and warnings, none suppressed as a class but what it cannot see (headers of
# the system); a finding that is wrong carries `cppcheck-suppress <id>` with the reason in the line before it. clang-tidy: the checks
# listed here, by name, so that another version looks for the same. $CPPFLAGS: as in the Makefile.
set -u
cd "$(dirname "$0")/.." || exit 1
for tool in cppcheck clang-tidy; do
    command -v $tool >/dev/null 2>&1 || { echo "skipped: static checks need $tool (scripts/deps.sh static gets it on Debian and Ubuntu)"; exit 0; }
done
cppcheck -j"$(nproc)" -q --std=c11 --language=c --enable=warning --inline-suppr --error-exitcode=1 --max-configs=1 \
    -D__x86_64__ -D__GNUC__=12 -Isrc --suppress=missingIncludeSystem \
    --template='{file}:{line}: {severity}: {message} [{id}]' src train || exit 1

checks='-*'
for name in argument-comment assert-side-effect bad-signal-to-kill-thread bool-pointer-implicit-conversion branch-clone incorrect-roundings \
    infinite-loop macro-repeated-side-effects misplaced-operator-in-strlen-in-alloc misplaced-pointer-arithmetic-in-alloc \
    multiple-statement-macro posix-return redundant-branch-condition signal-handler string-literal-with-embedded-nul \
    suspicious-enum-usage suspicious-memory-comparison suspicious-memset-usage suspicious-missing-comma suspicious-semicolon \
    suspicious-string-compare swapped-arguments terminating-continue too-small-loop-variable undefined-memory-manipulation \
    unused-return-value; do
    checks="$checks,bugprone-$name"
done
checks="$checks,misc-redundant-expression,misc-misplaced-const,cert-dcl16-c,cert-fio38-c,cert-flp30-c"
export checks CPPFLAGS
# shellcheck disable=SC2016
printf '%s\n' src/*/*.c train/*.c | xargs -n 12 -P "$(nproc)" \
    sh -c 'clang-tidy --quiet --checks="$checks" --warnings-as-errors="*" "$@" -- -std=c11 $CPPFLAGS 2>/dev/null' static || exit 1
echo "static checks: clean"
