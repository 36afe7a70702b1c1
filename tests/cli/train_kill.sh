# The short form of the kill test: the default job, and one with everything else that has a state.
set -e
scripts/torture_resume.sh 14
exec scripts/torture_resume.sh 8 --set train.compute=bf16 --set train.param_dtype=bf16_stochastic --set optim.moments=8bit \
    --set train.accumulate=2 --set train.activation_checkpoints=true --set study.every=3
