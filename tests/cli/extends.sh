# A job that extends another one has that one's keys, unless it sets them itself; errors name the file
# that holds the value.
. tests/cli/common
make_job
mkdir "$dir/more"
printf 'extends: ../job.yaml\noptim:\n  lr: 0.25\ntrain: {log_every: 5}\n' >"$dir/more/middle.yaml"
printf 'extends: more/middle.yaml\ntrain:\n  log_every: 6\n' >"$dir/top.yaml"
"$SOLERA" train "$dir/top.yaml" --set run.dir="$dir/run" --set train.steps=8 2>"$dir/err" || fail "$(cat "$dir/err")"
for line in 'log_every: 6' 'lr: 0.25' 'steps: 8' 'seed: 3'; do
    grep -qx "  $line" "$dir/run/config.yaml" || fail "no '$line' in $(cat "$dir/run/config.yaml")"
done
! grep -q extends "$dir/run/config.yaml" || fail "config.yaml extends something"

printf 'optim:\n  lr: x\n' >"$dir/more/bad.yaml"
printf 'extends: more/bad.yaml\n' >"$dir/bad.yaml"
expect 2 "$dir/more/bad.yaml:2:7: key 'optim.lr'" "$SOLERA" train "$dir/bad.yaml"
printf 'residual: {warmup_fraction: 0.9, end_fraction: 0.5}\n' >"$dir/more/bad.yaml"
sed 's/^residual.*//' "$dir/job.yaml" | sed '1i extends: more/bad.yaml' >"$dir/bad.yaml"
expect 2 "$dir/more/bad.yaml:1:" "$SOLERA" train "$dir/bad.yaml"
printf 'extends: ~/job.yaml\n' >"$dir/bad.yaml"
expect 2 "$dir/bad.yaml:1:10: extends: '~/job.yaml': ~ is not expanded here" "$SOLERA" train "$dir/bad.yaml"
printf 'extends: nowhere.yaml\n' >"$dir/bad.yaml"
expect 2 "$dir/bad.yaml:1:10: extends: $dir/nowhere.yaml: cannot open" "$SOLERA" train "$dir/bad.yaml"
printf 'extends: bad.yaml\n' >"$dir/bad.yaml"
expect 2 "extends: is the file number 9 in a row" "$SOLERA" train "$dir/bad.yaml"
