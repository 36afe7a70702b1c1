# The commands of the README run as they stand there, but for the size of the work: fewer steps, tokens and windows.
. tests/cli/common
root=$PWD
mkdir "$dir/bin"
cat >"$dir/bin/solera" <<WRAP
#!/bin/sh
verb=\$1
case \$verb in
train) set -- "\$@" --set train.steps=4 --set train.batch=1 --set train.seq=16 --set train.eval_every=2 --set train.eval_windows=1 \\
    --set data.self_tokens=60 --set optim.warmup_steps=1 ;;
eval) set -- "\$@" --windows 1 --seq 16 ;;
calibrate) set -- "\$@" --set calibrate.windows=4 --set calibrate.held_out=1 --set calibrate.steps=2 --set train.seq=16 ;;
generate) set -- "\$@" -n 8 ;;
bench) set -- "\$@" --seconds 0.1 --prompt 16 ;;
study) command -v gnuplot >/dev/null || exit 0 ;;
esac
exec "$SOLERA" "\$@"
WRAP
chmod +x "$dir/bin/solera"
PATH=$dir/bin:$PATH
cd "$dir"
ln -s "$root/configs" "$root/checkpoints" "$root/data" .
awk '/^```sh$/ { on = 1; next } /^```$/ { on = 0 } on' "$root/README.md" | sed 's/study\.every=[0-9]*/study.every=2/' >commands
[ "$(grep -c '^solera ' commands)" -ge 10 ] || fail "the README has fewer than 10 commands"
while read -r line; do
    sh -c "$line" >log 2>&1 </dev/null || fail "$line: $(tail -n 3 log)"
done <commands
[ -s runs/packed.h5 ] || fail "no packed model"
