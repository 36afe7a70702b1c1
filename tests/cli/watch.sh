# What a run shows while it learns: an event file of TensorBoard that a kill and a resume leave with one
# record a step, and texts of the model in metrics.jsonl. scripts/compare_tensorboard.py reads the
# file with TensorBoard itself.
. tests/cli/common
make_job
train() { # run directory, more
    run=$1
    shift
    "$SOLERA" train "$dir/job.yaml" --set run.dir="$run" --set train.tensorboard=true --set train.sample_every=10 \
        --set train.sample_prompt="the cat" --set study.every=8 --set checkpoint.every=6 -t 1 "$@" 2>"$dir/err"
}
count() { # tag, run
    grep -ao "$1" "$2/events.out.tfevents.solera" | wc -l
}
train "$dir/whole" || fail "$(cat "$dir/err")"
steps=$(wc -l <"$dir/whole/metrics.jsonl")
[ "$(count train/loss "$dir/whole")" -eq "$steps" ] || fail "$(count train/loss "$dir/whole") records of $steps steps"
[ "$(count study/nmse "$dir/whole")" -eq 4 ] || fail "$(count study/nmse "$dir/whole") records of the study"
[ "$(count 'weights/model.layers.0.mlp.down_proj' "$dir/whole")" -eq 4 ] || fail "histograms"
[ "$(grep -c '"sample": "the cat' "$dir/whole/metrics.jsonl")" -eq 3 ] || fail "samples: $(grep sample "$dir/whole/metrics.jsonl")"
grep -q "step 10: the cat" "$dir/whole/log.txt" || fail "log.txt has no sample"

# Killed behind its checkpoint, with a torn record: the same as without a kill.
cp -r "$dir/whole" "$dir/resumed"
rm "$dir"/resumed/ckpt/*
cp "$dir/whole/ckpt/step-000018.h5" "$dir/resumed/ckpt"
printf 'torn' >>"$dir/resumed/events.out.tfevents.solera"
train "$dir/resumed" --resume || fail "resume: $(cat "$dir/err")"
same() { sed 's/"tok_s": [0-9.e+]*//' "$1/metrics.jsonl" | grep -v '"step": 19,'; } # which names what computes it
[ "$(same "$dir/whole")" = "$(same "$dir/resumed")" ] || fail "metrics.jsonl differ after the resume"
[ "$(count train/loss "$dir/resumed")" -eq "$steps" ] || fail "after the resume $(count train/loss "$dir/resumed") records"
a=$(wc -c <"$dir/whole/events.out.tfevents.solera") b=$(wc -c <"$dir/resumed/events.out.tfevents.solera")
[ "$a" -eq "$b" ] || fail "the event file has $b bytes after the resume, $a without"
! grep -aq torn "$dir/resumed/events.out.tfevents.solera" || fail "a torn record stays"
