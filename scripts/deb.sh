#!/bin/sh
# `make deb`: one package of what `make install` installs, for the system that it is built on:
# build/solera_VERSION_ARCH.deb. Its dependencies are the libraries that the program was linked
# with there, found by dpkg-shlibdeps (package dpkg-dev).
set -eu
cd "$(dirname "$0")/.."
: "${BUILD:?}" "${VERSION:?}"
for tool in dpkg-deb dpkg-shlibdeps; do
    command -v "$tool" >/dev/null || { echo "deb: $tool is missing (package dpkg-dev)" >&2; exit 1; }
done
arch=$(dpkg --print-architecture)
lib=/usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH)
out=build/solera_${VERSION}_$arch.deb
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root doc=$work/root/usr/share/doc/solera

umask 022
mkdir -p "$root" "$work/debian"
make -s install VARIANT="${BUILD##*/}" DESTDIR="$root" PREFIX=/usr LIBDIR="$lib" >/dev/null
rm "$root/usr/share/solera/installed" # dpkg knows
mkdir -p "$root/usr/share/zsh/vendor-completions"
mv "$root/usr/share/zsh/site-functions/_solera" "$root/usr/share/zsh/vendor-completions"
rmdir "$root/usr/share/zsh/site-functions"
strip --strip-unneeded "$root/usr/bin/solera" "$root$lib/libsolera.so.$VERSION"
strip --strip-debug "$root$lib/libsolera.a"
gzip -9n "$root"/usr/share/man/man?/*
install -D -m 644 LICENSE "$doc/copyright"
gzip -9nc CHANGELOG.md >"$doc/changelog.gz"

# dpkg-shlibdeps wants a source package's control file.
printf 'Source: solera\n\nPackage: solera\nArchitecture: any\n' >"$work/debian/control"
depends=$(cd "$work" && dpkg-shlibdeps -O --ignore-missing-info -l"root$lib" \
    -e root/usr/bin/solera -e "root$lib/libsolera.so.$VERSION" 2>/dev/null | sed -n 's/^shlibs:Depends=//p')
[ -n "$depends" ] || { echo "deb: dpkg-shlibdeps found no dependencies" >&2; exit 1; }
mkdir "$root/DEBIAN"
cat >"$root/DEBIAN/control" <<CONTROL
Package: solera
Version: $VERSION
Section: science
Priority: optional
Architecture: $arch
Maintainer: the solera developers <solera@localhost>
Depends: $depends
Suggests: gnuplot-nox
Installed-Size: $(du -sk "$root/usr" | cut -f1)
Description: 3:4 sparse ternary language models on CPUs
 Trains LLaMA-architecture language models into weights of -1, 0 and +1,
 one in four 0, of 1.25 bits each, and evaluates, runs and exports them.
 With the C library, its headers, manual pages, completions and example jobs.
CONTROL
cat >"$root/DEBIAN/triggers" <<'TRIGGERS'
activate-noawait ldconfig
TRIGGERS
dpkg-deb --root-owner-group -Zzstd -b "$root" "$out" >/dev/null
echo "$out"
