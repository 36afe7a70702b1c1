#!/bin/sh
# cppcheck over src and train: errors and warnings, none suppressed as a class but what it cannot see (headers of the system). A finding
# that is wrong carries `cppcheck-suppress <id>` with the reason in the line before it.
set -u
cd "$(dirname "$0")/.." || exit 1
command -v cppcheck >/dev/null 2>&1 || { echo "skipped: static checks need cppcheck (Debian: cppcheck)"; exit 0; }
cppcheck -j"$(nproc)" -q --std=c11 --language=c --enable=warning --inline-suppr --error-exitcode=1 --max-configs=1 \
    -D__x86_64__ -D__GNUC__=12 -Isrc --suppress=missingIncludeSystem \
    --template='{file}:{line}: {severity}: {message} [{id}]' src train && echo "static checks: clean"
