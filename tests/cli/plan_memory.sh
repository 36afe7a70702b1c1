# The memory that plan promises against the peak that the run reports: within 5 %.
. tests/cli/common
"$SOLERA" version | grep -Eq '^build +release' || exit 0 # sanitizers take memory of their own
make_job

check() { # --set words of one job; each thread takes 0.7 MiB, which counts in jobs of this size
    set -- "$@" -t 2
    "$SOLERA" plan "$dir/job.yaml" --json "$@" >"$dir/out" 2>"$dir/err" || fail "plan: $(cat "$dir/err")"
    plan=$(sed 's/.*"memory_bytes": \([0-9]*\).*/\1/' "$dir/out")
    rm -rf "$dir/run"
    "$SOLERA" train "$dir/job.yaml" "$@" 2>"$dir/err" || fail "train: $(cat "$dir/err")"
    peak=$(sed -n 's/.* memory at most \([0-9.]*\) MiB.*/\1/p' "$dir/err")
    awk -v plan="$plan" -v peak="$peak" 'BEGIN { r = plan / 1048576 / peak; exit !(r > 0.95 && r < 1.05) }' ||
        fail "plan $((plan / 1048576)) MiB, peak $peak MiB: $*"
}

set -- --set train.steps=1 --set optim.warmup_steps=0 --set train.seq=128 --set train.batch=4 --set quant.group_size=32
check "$@" --set model.init=random:embedded --set train.eval_every=1
check "$@" --set model.init=random:embedded --set train.eval_every=0 --set train.param_dtype=bf16_stochastic \
    --set optim.moments=bf16 --set train.activation_checkpoints=true
check "$@" --set model.init=random:15m --set train.eval_every=1 --set train.eval_form=packed --set train.seq=32 --set train.batch=1 --set optim.moments=8bit \
    --set optim.fused=true --set train.grad_clip=0 --set train.activation_checkpoints=true
# A calibration comes before the training: the larger of both counts. Here that is the training, then
# the calibration.
calibrated="--set calibrate.enabled=true --set calibrate.held_out=0 --set calibrate.seq=64 --set calibrate.steps=1 --set calibrate.sweeps=0"
# shellcheck disable=SC2086
check "$@" --set model.init=random:15m --set train.seq=32 --set train.batch=1 $calibrated --set calibrate.windows=2 --set calibrate.batch=2
! grep -q "more for calibration" "$dir/out" || fail "a calibration beside the training: $(cat "$dir/out")"
# shellcheck disable=SC2086
check "$@" --set model.init=random:embedded --set train.batch=1 --set train.seq=16 $calibrated --set calibrate.windows=40 --set optim.moments=8bit
grep -q '"more for calibration": [1-9]' "$dir/out" || fail "no memory of the calibration: $(cat "$dir/out")"
