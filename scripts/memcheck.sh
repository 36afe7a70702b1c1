#!/bin/sh
# valgrind on a sample: a small job from text to generated text, and the test programs of the containers and the codec. Fails at the
# first read of what was never written, access outside a block, or leak. memcheck.sh TEST...: the test programs, without test_.
# $BUILD: a build without sanitizers (build/release).
BUILD=${BUILD:-build/release}
cd "$(dirname "$0")/.." || exit 1
command -v valgrind >/dev/null 2>&1 || { echo "skipped: the memory check needs valgrind (scripts/deps.sh static gets it on Debian and Ubuntu)"; exit 0; }
check="valgrind -q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite,possible"
SOLERA=$PWD/$BUILD/solera
. tests/cli/common
make_job
program=$SOLERA

checked() { # a verb with its words
    $check "$program" "$@" -t 2 >"$dir/out" 2>"$dir/err" || fail "solera $*: $(tail -n 40 "$dir/err")"
}
checked train "$dir/job.yaml" --set train.steps=1 --set optim.warmup_steps=0 --set train.seq=8 --set train.eval_every=1
checked export "$dir/run/ckpt/step-000001.h5" -o "$dir/packed.h5"
checked export "$dir/packed.h5" -o "$dir/hf" --format safetensors
checked import "$dir/hf" -o "$dir/again.h5"
checked tokenize --tokenizer "$dir/tokenizer.json" --input "$dir/text.txt" -o "$dir/again-data.h5"
checked eval "$dir/packed.h5" --data "$dir/data.h5" --windows 1
checked generate "$dir/packed.h5" -p "the cat" -n 3
checked inspect --verify "$dir/run/ckpt/step-000001.h5"
for t in "$@"; do
    CK_FORK=no CK_DEFAULT_TIMEOUT=600 $check "$BUILD/tests/test_$t" >"$dir/out" 2>&1 || fail "test_$t: $(tail -n 40 "$dir/out")"
done
echo "memory check: clean"
