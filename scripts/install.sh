#!/bin/sh
# `make install` and `make uninstall`: copies what was built below $DESTDIR$PREFIX, or removes it
# (`remove`). The list of what was installed is kept beside the examples, so that an uninstall by a
# later version removes what an earlier one wrote.
set -eu
cd "$(dirname "$0")/.."
: "${PREFIX:?}"
case $PREFIX in /*) ;; *) echo "install: PREFIX=$PREFIX is no absolute path" >&2; exit 2 ;; esac
PREFIX=${PREFIX%/}
root=${DESTDIR:-}
share=$PREFIX/share
data=$share/solera
list=$root$data/installed

if [ "${1:-}" = remove ]; then
    [ -f "$list" ] || { echo "uninstall: no solera in $root$PREFIX: $list is missing" >&2; exit 2; }
    while read -r path; do rm -f "$root$path"; done <"$list"
    folders=$(sed 's|/[^/]*$||' "$list" | sort -u)
    rm -f "$list"
    # Folders that are empty now go, too, up to bin, lib, include and share.
    echo "$folders" | while read -r folder; do
        while [ "$(dirname "$folder")" != "$PREFIX" ] && rmdir "$root$folder" 2>/dev/null; do
            folder=$(dirname "$folder")
        done
    done
    exit 0
fi

: "${BUILD:?}" "${VERSION:?}" "${LIBS:?}" "${LIBDIR:?}"
solera=$BUILD/solera
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
: >"$work/list"

put() { # MODE FILE PATH: FILE becomes $DESTDIR/PATH
    install -D -m "$1" "$2" "$root$3"
    echo "$3" >>"$work/list"
}
say() { # PATH COMMAND...: what the command prints becomes $DESTDIR/PATH
    path=$1
    shift
    "$@" >"$work/said"
    put 644 "$work/said" "$path"
}
link() { # TARGET PATH
    ln -sf "$1" "$root$2"
    echo "$2" >>"$work/list"
}

put 755 "$solera" "$PREFIX/bin/solera"

# The library: headers are those that the umbrella reaches.
put 644 "$BUILD/libsolera.a" "$LIBDIR/libsolera.a"
put 644 "$BUILD/libsolera.so.$VERSION" "$LIBDIR/libsolera.so.$VERSION"
link "libsolera.so.$VERSION" "$LIBDIR/libsolera.so.${VERSION%.*}"
link "libsolera.so.${VERSION%.*}" "$LIBDIR/libsolera.so"
for header in $(${CC:-cc} -MM -Isrc src/solera.h | tr -d '\\' | tr ' ' '\n' | grep '^src/'); do
    put 644 "$header" "$PREFIX/include/solera/${header#src/}"
done
say "$LIBDIR/pkgconfig/solera.pc" cat <<PC
prefix=$PREFIX
includedir=\${prefix}/include/solera
libdir=$LIBDIR

Name: solera
Description: 3:4 sparse ternary models: training, files, inference
Version: $VERSION
Cflags: -I\${includedir}
Libs: -L\${libdir} -lsolera
Libs.private: $LIBS
PC

# Manual and completions, from the tables of the program.
say "$share/man/man1/solera.1" "$solera" help --as man
for verb in $("$solera" help | awk '$1 == "solera" && NF > 2 { print $2 }'); do
    say "$share/man/man1/solera-$verb.1" "$solera" help --as man "$verb"
done
say "$share/man/man5/solera-config.5" "$solera" help --as man config
say "$share/bash-completion/completions/solera" "$solera" help --as bash
say "$share/zsh/site-functions/_solera" "$solera" help --as zsh
say "$share/fish/vendor_completions.d/solera.fish" "$solera" help --as fish

# Jobs, with the files that they name, in the folders that they name them in.
for file in configs/*.yaml configs/*/*.yaml checkpoints/embedded.h5 data/sample/*; do
    put 644 "$file" "$data/$file"
done
install -m 644 "$work/list" "$list"
echo "installed in $root$PREFIX; example jobs: $root$data"
