# Jobs over several ranks of MPI, all of them on this machine: what ranks do together.
. tests/cli/common
if "$SOLERA" version | grep -q '^mpi *none'; then
    echo "skipped: built without MPI"
    exit 0
fi
if ! command -v mpirun >/dev/null 2>&1; then
    echo "skipped: no mpirun"
    exit 0
fi
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 # a container has no other user
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none
export ASAN_OPTIONS=detect_leaks=0 # MPI has its own
ranks() { # N, command...
    n=$1
    shift
    mpirun -n "$n" "$@"
}

for n in 1 2 4; do
    CK_FORK=no ranks $n "$BUILD/tests/test_dist" >"$dir/out" 2>&1 || fail "test_dist on $n: $(cat "$dir/out")"
    [ "$(grep -c '^100%' "$dir/out")" = $n ] || fail "test_dist on $n: $(cat "$dir/out")"
done
