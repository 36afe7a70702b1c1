# The short form of the kill test: the default job, and one with everything else that has a state. Then what a process leaves that is killed
# between a checkpoint and the removal of an older one: a resume tidies up, so that many such kills do not fill a disk.
set -e
scripts/torture_resume.sh 20
scripts/torture_resume.sh 8 --set train.compute=bf16 --set train.param_dtype=bf16_stochastic --set optim.moments=8bit \
    --set train.accumulate=2 --set train.activation_checkpoints=true --set study.every=3
. tests/cli/common
make_job
"$SOLERA" train "$dir/job.yaml" --set checkpoint.keep=1 --set checkpoint.best=false 2>/dev/null
for step in 3 6 9; do cp "$dir/run/ckpt/step-000024.h5" "$dir/run/ckpt/step-00000$step.h5"; done
"$SOLERA" train "$dir/job.yaml" --set checkpoint.keep=1 --set checkpoint.best=false --resume 2>/dev/null
[ "$(ls "$dir/run/ckpt")" = step-000024.h5 ] || fail "left: $(ls "$dir/run/ckpt")"
