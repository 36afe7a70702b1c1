#!/bin/sh
# Headers are manuals that compile: every public header (those that src/solera.h includes) and every
# header with samples compiles on its own, its samples compile after it (tests/samples.awk says what
# a sample is), and the program in src/solera.h, which the Makefile built and linked against
# libsolera.a, runs and finds what `solera eval` finds. No function of a header goes without a comment.
. tests/cli/common
CC=${CC:-gcc}

public=$(sed -n 's|^#include "\(.*\)"|src/\1|p' src/solera.h)
others=$(ls src/*/*.h src/*/*/*.h train/*.h)
for header in src/*/*.h src/*/*/*.h train/*.h; do
    awk -f tests/undocumented.awk "$header"
done >"$dir/undocumented"
[ ! -s "$dir/undocumented" ] || fail "functions without a comment: $(cat "$dir/undocumented")"

n_samples=0
for header in src/solera.h $(printf '%s\n' $public $others | sort -u); do
    awk -f tests/samples.awk "$header" >"$dir/samples"
    if [ -s "$dir/samples" ]; then
        n_samples=$((n_samples + 1))
    else
        case " $(echo $public) " in *" $header "*) ;; *) continue ;; esac
    fi
    unit=$dir/$(echo "$header" | tr / _).c
    {
        echo "#include \"$header\""
        echo '#include "solera.h"'
        awk -v header="$header" '/^[^ ]/ { on = $1 == "any" || $1 == header; next } on' tests/headers.given
        cat "$dir/samples"
    } >"$unit"
    # shellcheck disable=SC2086
    $CC -std=c11 -D_GNU_SOURCE -I. -Isrc -Itrain ${CPPFLAGS:-} -Wall -Wextra -Werror -Wno-unused -Wno-unused-parameter \
        -fsyntax-only "$unit" 2>"$dir/log" || fail "$header: $(cat "$dir/log")"
done
[ "$n_samples" -ge 30 ] || fail "only $n_samples headers with samples: what has become of them?"

said=$("$BUILD/tests/example") || fail "the program in src/solera.h: exit code $?"
printf 'Once upon a time there was a little dog who lived in a house by the sea.' >"$dir/text"
"$SOLERA" eval checkpoints/embedded.h5 --text "$dir/text" --context 64 --json >"$dir/json"
loss=$(sed -n 's/.*"loss": \([0-9.]*\).*/\1/p' "$dir/json")
[ -n "$loss" ] || fail "no loss: $(cat "$dir/json")"
want=$(printf '%.3f nats a token' "$loss")
case $said in *"$want"*) ;; *) fail "the program in src/solera.h says '$said', solera eval $want" ;; esac
