# `make install` gives a program that runs, a library that a program from elsewhere builds against,
# pages of the manual, completions that shells take, and jobs that plan; `make uninstall` leaves
# nothing. `make deb` makes a package that holds the same.
. tests/cli/common
unset MAKEFLAGS MFLAGS MAKELEVEL
CC=${CC:-gcc}
variant=$(basename "$BUILD")
prefix=$dir/usr
make -s VARIANT="$variant" PREFIX="$prefix" install >"$dir/log" 2>&1 || fail "install: $(cat "$dir/log")"
! make -n VARIANT=relaese >"$dir/log" 2>&1 && grep -q 'VARIANT=relaese is no build' "$dir/log" || fail "another build: $(tail -n 3 "$dir/log")"
installed=$prefix/bin/solera

# Every verb has a page, and roff has no complaint about any.
verbs=$("$SOLERA" help | awk '$1 == "solera" && NF > 2 { print $2 }')
for page in solera.1 solera-config.5 $(printf 'solera-%s.1 ' $verbs); do
    file=$prefix/share/man/man${page##*.}/$page
    [ -s "$file" ] || fail "no page $page"
    ! command -v groff >/dev/null || groff -man -ww -z "$file" 2>"$dir/err" || fail "$page: $(cat "$dir/err")"
    [ ! -s "$dir/err" ] || fail "$page: $(head -n 3 "$dir/err")"
done
grep -q '^\.TP$' "$prefix/share/man/man1/solera-eval.1" || fail "solera-eval.1 has no options"

# Completion: verbs, options of a verb, words of an option, keys of --set.
complete() { # the words so far, the last one unfinished
    bash -c '. "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); compopt() { :; }; _solera; echo ${COMPREPLY[*]}' \
        "$prefix/share/bash-completion/completions/solera" "$@"
}
if command -v bash >/dev/null; then
    completes() { # the reply, the words
        want=$1
        shift
        [ "$(complete "$@")" = "$want" ] || fail "'$*' is completed by '$(complete "$@")', not '$want'"
    }
    completes "train train-tokenizer" solera tra
    completes "--resume" solera train --r
    completes "avx2 avx512" solera train --tier av
    completes "train.steps=" solera train --set train.ste
fi
! command -v zsh >/dev/null || zsh -n "$prefix/share/zsh/site-functions/_solera" || fail "zsh"
! command -v fish >/dev/null || fish -n "$prefix/share/fish/vendor_completions.d/solera.fish" || fail "fish"

# The library exports what its headers name and nothing else.
nm -D --defined-only "$prefix/lib/libsolera.so" | awk '$2 != "A" { print $3 }' >"$dir/names"
[ "$(wc -l <"$dir/names")" -ge 200 ] || fail "the library exports $(wc -l <"$dir/names") names"
! grep -v '^sol_[a-z0-9_]*@@SOLERA_' "$dir/names" >"$dir/out" || fail "the library exports $(head -n 3 "$dir/out")"
! grep -q '^sol_gemm_bf16_kernel_c@' "$dir/names" || fail "the library exports what no header names"

# The program in src/solera.h, built from the installed files alone, with both libraries.
export PKG_CONFIG_PATH="$prefix/lib/pkgconfig${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}"
version=$("$SOLERA" version | sed -n '1s/solera //p')
[ "$(pkg-config --modversion solera)" = "$version" ] || fail "solera.pc is not of version $version"
if [ "$variant" = release ]; then
    awk -f tests/samples.awk src/solera.h | grep -v '^#line' >"$dir/outside.c"
    # shellcheck disable=SC2046
    $CC -std=c11 -Wall -Wextra -Werror -o "$dir/shared" "$dir/outside.c" $(pkg-config --cflags --libs solera)
    # shellcheck disable=SC2046
    $CC -std=c11 -o "$dir/static" "$dir/outside.c" $(pkg-config --cflags solera) "$prefix/lib/libsolera.a" \
        $(pkg-config --static --libs solera | sed 's/-lsolera//')
    want=$("$BUILD/tests/example")
    [ "$(LD_LIBRARY_PATH=$prefix/lib "$dir/shared")" = "$want" ] || fail "the program with libsolera.so"
    ! ldd "$dir/static" | grep -q libsolera || fail "the static program wants libsolera.so"
    [ "$("$dir/static")" = "$want" ] || fail "the program with libsolera.a"
fi

# The jobs find their files from the folder that they are in.
(cd "$prefix/share/solera" && expect 0 "" "$installed" plan configs/demo.yaml)

if [ "$variant" = release ] && command -v dpkg-deb >/dev/null && command -v dpkg-shlibdeps >/dev/null; then
    package=$(make -s VARIANT="$variant" deb 2>"$dir/log" | tail -n 1)
    [ -s "$package" ] || fail "deb: $(cat "$dir/log")"
    dpkg-deb -x "$package" "$dir/package"
    [ "$("$dir/package/usr/bin/solera" version | head -n 1)" = "solera $version" ] || fail "the program in $package"
    dpkg-deb -f "$package" Depends | grep -q libhdf5 || fail "$package depends on $(dpkg-deb -f "$package" Depends)"
fi

# What was not ours stays.
echo mine >"$prefix/bin/mine"
make -s VARIANT="$variant" PREFIX="$prefix/" uninstall
left=$(find "$prefix" ! -type d)
[ "$left" = "$prefix/bin/mine" ] || fail "after uninstall there is $left"
left=$(cd "$prefix" && find . -mindepth 1 -type d | sort | tr '\n' ' ')
[ "$left" = "./bin ./include ./lib ./share " ] || fail "after uninstall there are $left"
