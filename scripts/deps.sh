#!/bin/sh
# What solera needs to build and to test. `check` looks (exit 1 when something is missing), `install`
# gets it; `arm64` gets what only `make test-arm64` needs, `static` what only `make static` and `make
# memcheck` need. The packages have these names in Debian 12 and 13 and in Ubuntu 24.04, on amd64 and
# arm64.
set -u
tools="${CC:-gcc} make pkg-config"
modules="openblas hdf5 yaml-0.1 libpcre2-8 libutf8proc jansson zlib check"
debian="build-essential pkg-config git libopenblas-dev libhdf5-dev libyaml-dev check libpcre2-dev \
libutf8proc-dev libjansson-dev zlib1g-dev gnuplot-nox"
if [ "${1:-check}" = arm64 ]; then
    tools="aarch64-linux-gnu-gcc qemu-aarch64"
    modules=
    debian="gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user"
fi
if [ "${1:-check}" = static ]; then
    tools="cppcheck clang-format clang-tidy valgrind"
    modules=
    debian="$tools"
fi

missing() {
    for tool in $tools; do
        command -v "$tool" >/dev/null 2>&1 || printf ' %s' "$tool"
    done
    command -v pkg-config >/dev/null 2>&1 || return
    for m in $modules; do
        pkg-config --exists "$m" || printf ' %s' "$m"
    done
}

lack=$(missing)
[ -z "$lack" ] && exit 0
echo "deps: missing:$lack" >&2
[ "${1:-check}" != check ] || exit 1

if ! command -v apt-get >/dev/null 2>&1 && [ "$1" != install ]; then
    echo "deps: this system has no apt-get. Install by hand what Debian calls $debian" >&2
    exit 1
fi
if ! command -v apt-get >/dev/null 2>&1; then
    cat >&2 <<MSG
deps: this system has no apt-get. Install by hand, then run make again:
  Debian, Ubuntu  apt-get install $debian
  Fedora          dnf install gcc make pkgconf git openblas-devel hdf5-devel libyaml-devel check-devel pcre2-devel utf8proc-devel jansson-devel zlib-devel gnuplot
  Arch            pacman -S base-devel git openblas hdf5 libyaml check pcre2 libutf8proc jansson zlib gnuplot
  macOS           brew install pkg-config openblas hdf5 libyaml check pcre2 utf8proc jansson gnuplot
MSG
    exit 1
fi
as_root=
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null 2>&1 || { echo "deps: needs root or sudo for: apt-get install $debian" >&2; exit 1; }
    as_root=sudo
fi
$as_root apt-get update -q || exit 1
# shellcheck disable=SC2086
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $debian || exit 1
lack=$(missing)
[ -z "$lack" ] || { echo "deps: still missing after the installation:$lack" >&2; exit 1; }
