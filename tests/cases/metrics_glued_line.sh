# A last line of metrics.jsonl that was cut off by a crash is not glued to the next one.
. tests/cli/common
make_job

"$SOLERA" train "$dir/job.yaml" 2>/dev/null
metrics_of "$dir/run" >"$dir/want"
rm "$dir"/run/ckpt/step-00002[14].h5 # what is left is older than the lines
head -n 19 "$dir/run/metrics.jsonl" >"$dir/cut"
sed -n 20p "$dir/run/metrics.jsonl" | head -c 30 >>"$dir/cut"
for lines in 19 10; do # the cut line lies behind the checkpoint that is resumed, or before it
    { head -n "$lines" "$dir/cut"; tail -c 30 "$dir/cut"; } >"$dir/run/metrics.jsonl"
    "$SOLERA" train "$dir/job.yaml" --resume 2>"$dir/err" || fail "$(cat "$dir/err")"
    ! grep -v '^{.*}$' "$dir/run/metrics.jsonl" || fail "a line that is no object, $lines lines whole"
    [ "$lines" -ne 19 ] || metrics_of "$dir/run" | cmp - "$dir/want" || fail "other lines"
    rm "$dir"/run/ckpt/step-00002[14].h5
done
