# Jobs over several ranks of MPI, all of them on this machine: what ranks do together, the same bits for any number of them, what ends a job.
. tests/cli/common
if "$SOLERA" version | grep -q '^mpi *none'; then
    expect 2 "none.yaml: cannot open" env PMIX_RANK=0 SLURM_PROCID=0 SLURM_STEP_NUM_TASKS=1 "$SOLERA" train none.yaml
    expect 2 "was built without MPI" env PMIX_RANK=0 SLURM_PROCID=0 SLURM_STEP_NUM_TASKS=2 "$SOLERA" train none.yaml
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

for n in 2 4; do
    CK_FORK=no ranks $n "$BUILD/tests/test_dist" >"$dir/out" 2>&1 || fail "test_dist on $n: $(cat "$dir/out")"
    [ "$(grep -c '^100%' "$dir/out")" = $n ] || fail "test_dist on $n: $(cat "$dir/out")"
done
if [ -x "$BUILD/tests/test_faults" ]; then # a rank without memory keeps no other one waiting
    SOL_FAULT_AT=3 CK_RUN_CASE=ranks CK_FORK=no ranks 2 "$BUILD/tests/test_faults" >"$dir/out" 2>&1 || fail "no memory on one rank: $(cat "$dir/out")"
fi

# The same bits on any number of ranks. A run lies in a folder of its own, so that its job has the same words: `on N FOLDER SETTINGS...`.
make_job
on() {
    n=$1 here=$2
    shift 2
    mkdir -p "$dir/$here"
    (cd "$dir/$here" && ranks "$n" "$SOLERA" train "$dir/job.yaml" --set run.dir=run --set train.batch=4 --set train.accumulate=2 \
        --set train.steps=6 --set train.eval_every=3 "$@") >"$dir/$here.out" 2>"$dir/$here.err" || fail "$n ranks, $here: $(cat "$dir/$here.err")"
}
# A checkpoint says how long metrics.jsonl was, which the speeds in it make longer or shorter; its digest covers that: 24 bytes in all.
same() { # A B
    [ "$(metrics_of "$dir/$1/run" | sed 's/, "version".*/}/')" = "$(metrics_of "$dir/$2/run" | sed 's/, "version".*/}/')" ] || fail "$1, $2: other metrics"
    for file in ckpt/step-000003.h5 ckpt/step-000006.h5; do
        [ "$(wc -c <"$dir/$1/run/$file")" -eq "$(wc -c <"$dir/$2/run/$file")" ] || fail "$1, $2: $file has another length"
        count=$(cmp -l "$dir/$1/run/$file" "$dir/$2/run/$file" | wc -l)
        [ "$count" -le 24 ] || fail "$1, $2: $file differs in $count bytes"
    done
    [ ! -e "$dir/$1/run/study.h5" ] || cmp "$dir/$1/run/study.h5" "$dir/$2/run/study.h5" || fail "$1, $2: another study"
}
kind() { # NAME, LANES, settings: a job of this kind on one rank, on two, and on one a lane, side by side:
    # most of their time is spent starting MPI. To a sanitizer fused and bf16 are on ranks what they are on one.
    case $BUILD-$1 in */asan-bf16 | */asan-fused) return ;; esac
    name=$1 lanes=$2 pids=
    shift 2
    for n in 1 2 "$lanes"; do
        on $n "$name-$n" --set train.lanes="$lanes" "$@" -t $((n > 1 ? 1 : 2)) &
        pids="$pids $!"
    done
    for one in $pids; do wait "$one" || exit 1; done
    for n in 2 "$lanes"; do same "$name-1" "$name-$n"; done
}
kind fp32 8 --set train.activation_checkpoints=true
kind bf16 4 --set train.compute=bf16 --set train.param_dtype=bf16_stochastic --set optim.moments=8bit --set dist.transport=bf16
kind fused 4 --set optim.fused=true --set train.grad_clip=0 --set train.accumulate=1 --set train.batch=8 --set train.activation_checkpoints=true
# Rank 0 alone makes what lies in the directory: datasets of text. A calibration is shared.
for n in 1 4; do
    on $n calibrated-$n --set train.lanes=4 --set data.train="$dir/text.txt" --set calibrate.data="$dir/text.txt" --set calibrate.enabled=true \
        --set calibrate.windows=8 --set calibrate.held_out=2 --set calibrate.steps=2 --set calibrate.batch=2 -t 1
done
same calibrated-1 calibrated-4
cp "$dir/fp32-1/run/ckpt/step-000006.h5" "$dir/start.h5"
sed "s|^model: .*|model: {init: $dir/start.h5}|" "$dir/job.yaml" >"$dir/student.yaml"
mv "$dir/student.yaml" "$dir/job.yaml"
kind distill 4 --set distill.teacher=self --set distill.loss=cakld --set distill.hidden_weight=0.1 --set distill.grad_norms=2 --set study.every=2

# A rank that is killed ends the job; a resume goes on with another number of ranks, with the same bits.
mkdir -p "$dir/killed"
cd "$dir/killed"
mpirun -n 4 "$SOLERA" train "$dir/job.yaml" --set run.dir=run --set train.batch=4 --set train.accumulate=2 --set train.lanes=4 -t 1 \
    --set train.steps=6 --set train.eval_every=3 --set distill.teacher=self --set distill.loss=cakld --set distill.hidden_weight=0.1 \
    --set distill.grad_norms=2 --set study.every=2 >"$dir/said" 2>&1 &
pid=$!
until_true "step 3" [ -e run/ckpt/step-000003.h5 ]
victim=$(pgrep -P "$pid" | tail -n 1)
kill -9 "$victim" 2>/dev/null || true
code=0
wait "$pid" || code=$?
pid=
[ "$code" -ne 0 ] && grep -q "rank [0-3] .* on node $(uname -n) exited on signal 9" "$dir/said" || fail "a rank that dies: $code, $(cat "$dir/said")"
on 2 killed --set train.lanes=4 --set distill.teacher=self --set distill.loss=cakld --set distill.hidden_weight=0.1 --set distill.grad_norms=2 --set study.every=2 \
    --resume -t 2
same distill-1 killed

# Lanes stay what they were at the start, and ranks divide them.
cd "$dir"
grep -q '^  lanes: 4$' killed/run/config.yaml || fail "the run does not say its lanes"
# mpirun waits a second for ranks that it ends; these have said all before they leave MPI together.
refused() { # N TEXT COMMAND...: one line from rank 0, which mpirun says more about; a sanitizer reads no lines, and its ranks are slow to start
    case $BUILD in */asan) return ;; esac
    n=$1 text=$2
    shift 2
    code=0
    OMPI_MCA_odls_base_sigkill_timeout=0 ranks "$n" "$@" >"$dir/out" 2>"$dir/err" || code=$?
    [ "$code" -eq 2 ] || fail "exit code $code, not 2: $*: $(cat "$dir/err")"
    [ "$(grep -c '^solera [a-z]*: ' "$dir/err")" -eq 1 ] && grep -qF -- "$text" "$dir/err" || fail "'$text' is not the line of: $*: $(cat "$dir/err")"
}
refused 3 "3 lanes, one a rank, do not share the 4 windows of a step, train.accumulate 1 times train.batch 4: 1, 2 or 4 do" \
    "$SOLERA" train "$dir/job.yaml" --set train.batch=4
refused 3 "3 ranks do not share the 8 lanes of the run: 1, 2, 4 or 8 do" "$SOLERA" train "$dir/job.yaml" --set train.batch=8 --set train.lanes=8
refused 2 "holds a run already" "$SOLERA" train "$dir/job.yaml" --set run.dir=killed/run
refused 2 "key 'train.seq'" "$SOLERA" train "$dir/job.yaml" --set train.seq=x
refused 2 "is not the directory that rank 0 has under this name" sh -c '[ "$OMPI_COMM_WORLD_RANK" = 0 ] || cd /; exec "$0" "$@"' \
    "$SOLERA" train "$dir/job.yaml" --set run.dir=unshared --set train.batch=8
refused 2 "rank 1 on $(uname -n): has another job than rank 0: train.steps: 5 -> 6" sh -c 'exec "$0" "$@" --set train.steps=$((OMPI_COMM_WORLD_RANK + 5))' \
    "$SOLERA" train "$dir/job.yaml" --set train.batch=8
refused 2 "wants CONFIG.yaml|RUN" "$SOLERA" train
refused 1 "rank 1 on $(uname -n) has another verb than rank 0 on $(uname -n)" "$SOLERA" train "$dir/job.yaml" : -n 1 "$SOLERA" eval "$dir/start.h5"
code=0
ranks 2 "$SOLERA" inspect killed/run >"$dir/out" 2>"$dir/err" || code=$?
[ "$code" -eq 2 ] && [ "$(grep -c 'solera inspect: runs in one process, not on 2 ranks' "$dir/err")" -eq 1 ] || fail "inspect on 2 ranks: $(cat "$dir/err")"
commit=$("$SOLERA" version | sed -n 's/^commit *//p')
if [ "$commit" != unknown ]; then
    sed "s/$commit/$(echo "$commit" | tr '0-9a-f' '1-9a-f0')/g" "$SOLERA" >"$dir/other"
    chmod +x "$dir/other"
    refused 1 "rank 1 on $(uname -n) has another version of solera than rank 0 on $(uname -n)" "$SOLERA" train "$dir/job.yaml" : -n 1 "$dir/other" train "$dir/job.yaml"
fi
# Files of one name that differ from rank to rank: here each has a folder of its own.
mkdir 0 1
tr a-z b-za <text.txt >1/text.txt
"$SOLERA" tokenize --tokenizer tokenizer.json --input 1/text.txt -o 1/data.h5 2>/dev/null
"$SOLERA" train-tokenizer --vocab 280 --input 1/text.txt -o 1/tokenizer.json 2>/dev/null
"$SOLERA" tokenize --tokenizer 1/tokenizer.json --input 1/text.txt -o 1/own.h5 2>/dev/null
cp tokenizer.json 0
cp data.h5 0/data.h5
cp data.h5 0/own.h5
unlike() { # TEXT settings...
    text=$1
    shift
    refused 2 "rank 1 on $(uname -n) has $text than rank 0 on $(uname -n)" sh -c 'cd "$OMPI_COMM_WORLD_RANK" && exec "$0" "$@"' "$SOLERA" train "$dir/job.yaml" \
        --set run.dir="$dir/unlike" --set model.init=random:tiny --set model.tokenizer="$dir/tokenizer.json" --set train.batch=8 "$@"
    [ ! -e unlike ] || fail "a refused job leaves a directory"
}
unlike "other training data" --set data.train=data.h5
unlike "other evaluation data" --set data.eval=data.h5
cp start.h5 0/m.h5
cp killed/run/ckpt/step-000003.h5 1/m.h5
unlike "another model" --set model.init=m.h5 --set model.tokenizer=
unlike "another tokenizer" --set model.tokenizer=tokenizer.json --set data.train=own.h5 --set train.eval_every=0
expect 2 "Slurm started 2 tasks without MPI" env SLURM_NTASKS=2 SLURM_PROCID=1 "$SOLERA" train "$dir/job.yaml"

# Evaluations: ranks share the windows and items, the result has the same bits.
for i in $(seq 150); do
    echo "{\"ctx\": \"the cat $i sees\", \"choices\": [\" a dog\", \" our bird of $i\"], \"gold\": $((i % 2))}"
done >arc_easy_test.jsonl
evaluated() { # options...
    "$SOLERA" eval start.h5 "$@" --json -q >"$dir/alone"
    [ ! -e samples.jsonl ] || mv samples.jsonl samples.alone
    ranks 3 "$SOLERA" eval start.h5 "$@" --json -q -t 1 >"$dir/shared" 2>"$dir/err" || fail "eval $*: $(cat "$dir/err")"
    for i in alone shared; do sed -i 's/, "seconds".*//' "$dir/$i"; done
    cmp "$dir/alone" "$dir/shared" || fail "eval $*: $(cat "$dir/alone" "$dir/shared")"
}
evaluated --data data.h5 --windows 0 --seq 16
evaluated --text text.txt --context 48 --stride 20 --word-level
evaluated --task arc_easy --task-dir . --samples samples.jsonl
cmp samples.alone samples.jsonl || fail "eval: other samples"
refused 2 "solera eval: none.h5: cannot open" "$SOLERA" eval start.h5 --data none.h5
refused 2 "windows of 1 token predict nothing" "$SOLERA" eval start.h5 --text text.txt --context 1
refused 1 "rank 1 on $(uname -n) has another model than rank 0 on $(uname -n)" "$SOLERA" eval start.h5 --data data.h5 : -n 1 "$SOLERA" eval killed/run/ckpt/step-000003.h5 --data data.h5

# A calibration, alone and goes on after its first block.
calibrate() { # N RUN OUT options...
    n=$1 here=$2 out=$3
    shift 3
    ranks $n "$SOLERA" calibrate calibrate.yaml --set run.dir=$here -o $out -q -t 1 "$@" >"$dir/out" 2>"$dir/err" || fail "calibrate on $n: $(cat "$dir/err")"
}
sed '/^train:/s/.*/train: {seq: 16}/; /^optim:/d; /^checkpoint:/d; s/^model: .*/model: {init: "random:tiny", tokenizer: tokenizer.json}/' job.yaml >calibrate.yaml
echo 'calibrate: {windows: 9, held_out: 2, steps: 2, batch: 3}' >>calibrate.yaml
calibrate 1 calibrated_1 alone.h5
calibrate 3 calibrated_3 shared.h5
cmp alone.h5 shared.h5 || fail "calibrate: another model on 3 ranks"
rm calibrated_3/calibrated/block-001.h5
calibrate 2 calibrated_3 resumed.h5 --resume
cmp alone.h5 resumed.h5 || fail "calibrate: another model after a resume on 2 ranks"
refused 2 "has another job than rank 0: calibrate.steps: 5 -> 6" sh -c 'exec "$0" "$@" --set calibrate.steps=$((OMPI_COMM_WORLD_RANK + 5))' \
    "$SOLERA" calibrate calibrate.yaml --set run.dir="$dir/unlike"

refused 2 "has another model than rank 0" sh -c 'cd "$OMPI_COMM_WORLD_RANK" && exec "$0" "$@"' "$SOLERA" calibrate "$dir/calibrate.yaml" \
    --set run.dir="$dir/unlike" --set model.init=m.h5 --set model.tokenizer=

# A sweep: each run by one rank, as if alone; what is summed up is the same.
cat >sweep.yaml <<YAML
base: job.yaml
dir: $dir/swept
seeds: [1, 2]
set: {train.steps: 5, train.compute: auto, train.eval_every: 5}
points: {naive: {residual.schedule: none}, full: {quant.method: none}}
YAML
"$SOLERA" sweep sweep.yaml --dir swept_alone -t 1 >table 2>"$dir/err" || fail "sweep: $(cat "$dir/err")"
ranks 3 "$SOLERA" sweep sweep.yaml -t 1 >table.3 2>"$dir/err" || fail "sweep on 3 ranks: $(cat "$dir/err")"
cmp table table.3 && cmp swept_alone/table.csv swept/table.csv || fail "sweep on 3 ranks: another table"
for i in naive/seed-1 naive/seed-2 full/seed-1 full/seed-2; do
    [ "$(metrics_of swept_alone/$i)" = "$(metrics_of swept/$i)" ] || fail "sweep on 3 ranks: $i is another run"
done
refused 2 "rank 1 on $(uname -n) has another sweep than rank 0 on $(uname -n)" sh -c 'exec "$0" "$@" --set train.steps=$((OMPI_COMM_WORLD_RANK + 5))' \
    "$SOLERA" sweep sweep.yaml --dir "$dir/unlike"
refused 2 "rank 1 on $(uname -n) has another directory here, which all ranks must share, than rank 0 on $(uname -n)" \
    sh -c 'cd "$OMPI_COMM_WORLD_RANK" && exec "$0" "$@"' "$SOLERA" sweep "$dir/sweep.yaml" --dir here

# A rank that hangs is named after dist.timeout; SIGUSR1 to mpirun saves and ends with 130.
run_on() { # N RUN settings: in the background, as $pid, until its first step is done
    n=$1 here=$2
    shift 2
    mpirun -n "$n" "$SOLERA" train "$dir/job.yaml" --set run.dir="$dir/$here" --set train.batch=4 --set train.steps=1000000 --set train.eval_every=0 \
        --set checkpoint.every=1000000 -t 1 "$@" >"$dir/said" 2>&1 &
    pid=$!
    until_true "a step" [ -s "$dir/$here/metrics.jsonl" ]
}
run_on 2 hung --set dist.timeout=10 # no rank is silent for so long by itself, on a busy machine either
victim=$(pgrep -P "$pid" | tail -n 1)
kill -STOP "$victim"
code=0
wait "$pid" || code=$?
kill -9 "$victim" 2>/dev/null || true
pid=
[ "$code" -ne 0 ] && grep -Eq 'rank [01] on [^ ]* has sent nothing for 10 s \(dist.timeout\)' "$dir/said" || fail "a rank that hangs: $code, $(cat "$dir/said")"
run_on 2 saved --set train.compute=auto
until_said "train.compute auto: "
grep -q '^train.compute auto: [bfp]*[0-9]* on all ranks, by the processor of rank 0$' "$dir/said" || fail "who chooses the type: $(cat "$dir/said")"
grep -q '2 ranks, 2 lanes, products in [bfp]*[0-9]* on all ranks$' "$dir/saved/log.txt" || fail "the log does not say the ranks"
kill -USR1 "$pid"
ended 130
grep -q 'interrupted after step [0-9]* of 1000000 .*, saved; --resume goes on' "$dir/said" || fail "SIGUSR1: $(cat "$dir/said")"
[ "$(grep -c '^solera train' "$dir/said")" -eq 1 ] || fail "more than one rank says: $(cat "$dir/said")"
ls "$dir/saved/ckpt" | grep -q 'step-[0-9]*\.h5' || fail "SIGUSR1 saved nothing"
grep -q '"exchange": [0-9.e-]*, "exchange_hidden": [0-9.e-]*' "$dir/saved/metrics.jsonl" || fail "no share of the exchange"
run_on 2 one # a signal that one rank alone gets ends all
kill -USR1 "$(pgrep -P "$pid" | tail -n 1)"
ended 130
grep -q 'interrupted after step [0-9]* of 1000000 .*, saved; --resume goes on' "$dir/said" || fail "SIGUSR1 to one rank: $(cat "$dir/said")"

# What rank 0 cannot write ends the job on all ranks: here a directory has the name of the checkpoint's temporary file.
mkdir -p "$dir/full/ckpt/step-000003.h5.tmp"
refused 2 "step-000003.h5" "$SOLERA" train "$dir/job.yaml" --set run.dir="$dir/full" --set train.batch=8 --set train.lanes=2 --set train.eval_every=0 -t 1
