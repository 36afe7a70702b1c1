#!/bin/sh
# A processor without fast kernels (an emulated x86-64-v2 one) runs the portable ones, says so once, and computes the same.
. "$(dirname "$0")/common"

[ "$(uname -m)" = x86_64 ] || exit 0
command -v qemu-x86_64 >/dev/null 2>&1 || { echo "skipped: no qemu-x86_64"; exit 0; }

set -- generate checkpoints/embedded.h5 -p "Once upon" -n 4 --temp 0 -t 2
qemu-x86_64 -cpu Nehalem "$SOLERA" "$@" >"$dir/emulated" 2>"$dir/err" || fail "$(cat "$dir/err")"
[ "$(grep -c 'no fast kernels for this processor' "$dir/err")" -eq 1 ] || fail "not one warning: $(cat "$dir/err")"
"$SOLERA" "$@" --tier c >"$dir/native" 2>"$dir/err"
cmp "$dir/emulated" "$dir/native" || fail "the portable kernels give other text: $(cat "$dir/emulated")"
grep -q 'no fast kernels' "$dir/err" && fail "--tier c was asked for: $(cat "$dir/err")"
for option in '--tier avx512' '--cpu avx2' '--cpu avx512,no-amx'; do
    # shellcheck disable=SC2086
    expect 2 "lacks 'avx" qemu-x86_64 -cpu Nehalem "$SOLERA" version $option
done
exit 0
