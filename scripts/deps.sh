#!/bin/sh
# What solera needs to build and to test. `check` looks (exit 1 when something is missing), `install`
# gets it; `arm64` gets what only `make test-arm64` needs, `static` what only `make static` and `make
# memcheck` need. The packages have these names in Debian 12 and 13 and in Ubuntu 24.04, on amd64 and
# arm64.
set -u
tools="${CC:-gcc} make pkg-config"
mpi="mpicc mpirun" # for jobs over many machines; what is built without it runs in one process
modules="openblas hdf5 yaml-0.1 libpcre2-8 libutf8proc jansson zlib check"
debian="build-essential pkg-config git libopenblas-dev libhdf5-dev libyaml-dev check libpcre2-dev \
libutf8proc-dev libjansson-dev zlib1g-dev gnuplot-nox libopenmpi-dev openmpi-bin"
if [ "${1:-check}" = arm64 ]; then
    tools="aarch64-linux-gnu-gcc qemu-aarch64"
    mpi=
    modules=
    debian="gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user"
fi
if [ "${1:-check}" = static ]; then
    tools="cppcheck clang-format clang-tidy valgrind"
    mpi=
    modules=
    debian="$tools"
fi

lacking() { # tools that are not there
    for tool in "$@"; do
        command -v "$tool" >/dev/null 2>&1 || printf ' %s' "$tool"
    done
}
missing() {
    # shellcheck disable=SC2086
    lacking $tools
    command -v pkg-config >/dev/null 2>&1 || return
    for m in $modules; do
        pkg-config --exists "$m" || printf ' %s' "$m"
    done
}

lack=$(missing)
# shellcheck disable=SC2086
[ "${1:-check}" != install ] || wish=$(lacking $mpi)
[ -z "$lack${wish:-}" ] && exit 0
echo "deps: missing:$lack${wish:-}" >&2
[ "${1:-check}" != check ] || exit 1

if ! command -v apt-get >/dev/null 2>&1 && [ "$1" != install ]; then
    echo "deps: this system has no apt-get. Install by hand what Debian calls $debian" >&2
    exit 1
fi
if ! command -v apt-get >/dev/null 2>&1; then
    cat >&2 <<MSG
deps: this system has no apt-get. Install by hand, then run make again:
  Debian, Ubuntu  apt-get install $debian
  Fedora          dnf install gcc make pkgconf git openblas-devel hdf5-devel libyaml-devel check-devel pcre2-devel utf8proc-devel jansson-devel zlib-devel gnuplot openmpi-devel
  Arch            pacman -S base-devel git openblas hdf5 libyaml check pcre2 libutf8proc jansson zlib gnuplot openmpi
MSG
    [ -z "$lack" ]
    exit
fi
as_root=
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null 2>&1 || {
        echo "deps: needs root or sudo for: apt-get install $debian" >&2
        [ -z "$lack" ]
        exit
    }
    as_root=sudo
fi
# shellcheck disable=SC2086
$as_root apt-get update -q && $as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -q --no-install-recommends $debian || [ -z "$lack" ] || exit 1
lack=$(missing)
[ -z "$lack" ] || { echo "deps: still missing after the installation:$lack" >&2; exit 1; }
