# A job file that begins with a byte order mark, as editors on Windows write it.
. tests/cli/common
make_job

printf '\357\273\277' | cat - "$dir/job.yaml" >"$dir/bom.yaml"
expect 0 "" "$SOLERA" plan "$dir/bom.yaml"
