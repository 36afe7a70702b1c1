# A plan fails where the run would fail before its first step: the same line, the same exit code, and nothing left behind.
. tests/cli/common
make_job
"$SOLERA" train "$dir/job.yaml" --set run.dir="$dir/base" --set train.steps=4 --set train.eval_every=0 --set checkpoint.every=2 2>/dev/null
base=$dir/base/ckpt/step-000004.h5
"$SOLERA" train "$dir/job.yaml" --set run.dir="$dir/full" --set train.steps=4 --set train.eval_every=0 --set quant.method=none 2>/dev/null
full=$dir/full/ckpt/step-000004.h5
"$SOLERA" export "$base" -o "$dir/packed.h5" --no-card 2>/dev/null
"$SOLERA" train-tokenizer --vocab 290 --input "$dir/text.txt" -o "$dir/other.json" 2>/dev/null
"$SOLERA" tokenize --tokenizer "$dir/other.json" --input "$dir/text.txt" -o "$dir/other.h5" 2>/dev/null
"$SOLERA" import --random tiny --tokenizer "$dir/other.json" -o "$dir/tongue.h5" 2>/dev/null
"$SOLERA" import --random embedded --tokenizer "$dir/tokenizer.json" -o "$dir/wide.h5" 2>/dev/null
"$SOLERA" import --random tiny --tokenizer "$dir/tokenizer.json" -o "$dir/plain.h5" 2>/dev/null
echo "the cat" >"$dir/short.txt"
: >"$dir/empty.txt"
printf '{"text": "the cat sees"}\n{"text": 3}\n' >"$dir/broken.jsonl"
printf 'caf\351 au lait, the cat sees the dog and the bird\n' >"$dir/latin.txt"
head -c 3000 "$dir/data.h5" >"$dir/cut.h5"
head -c 100000 "$full" >"$dir/half.h5"
mkdir "$dir/foreign" "$dir/tasks"
echo mine >"$dir/foreign/metrics.jsonl"
echo file >"$dir/file"
printf '{"ctx": "the cat sees", "choices": ["a dog", "them"], "gold": 2}\n' >"$dir/tasks/piqa_valid.jsonl"
sed '/^model:/d' "$dir/job.yaml" >"$dir/init.yaml"

files() {
    find "$dir" -newer "$dir/start" -type f ! -name "plan.*" ! -name train.err ! -name out ! -name err | sort
}
both() { # job, exit code, text, settings
    job=$1 want=$2 text=$3
    shift 3
    touch "$dir/start"
    for verb in plan train; do
        code=0
        "$SOLERA" $verb "$job" "$@" >"$dir/out" 2>"$dir/$verb.err" || code=$?
        [ $code -eq "$want" ] || fail "$verb $*: exit code $code, not $want: $(cat "$dir/$verb.err")"
    done
    grep -v "^sampl" "$dir/plan.err" | tail -n 1 | sed 's/^solera plan: //' >"$dir/plan.line"
    tail -n 1 "$dir/train.err" | sed 's/^solera train: //' | cmp -s - "$dir/plan.line" ||
        fail "$*: plan says '$(cat "$dir/plan.err")', train '$(cat "$dir/train.err")'"
    grep -qF -- "$text" "$dir/plan.line" || fail "$*: '$text' is not in '$(cat "$dir/plan.line")'"
    [ ! -e "$dir/run" ] && [ -z "$(files)" ] || fail "$*: something is left: $(files)"
}
set_of() { # job, text, settings without --set
    job=$1 text=$2
    shift 2
    for word; do
        set -- "$@" --set "$word"
        shift
    done
    both "$job" 2 "$text" "$@"
}
j=$dir/job.yaml i=$dir/init.yaml

set_of "$i" "key 'model.init'"
set_of "$i" "none.h5: cannot open" model.init="$dir/none.h5"
set_of "$i" "is a packed model, not a model to train" model.init="$dir/packed.h5"
set_of "$i" "is a dataset, not a model to train" model.init="$dir/data.h5"
set_of "$i" "half.h5" model.init="$dir/half.h5"
set_of "$i" "was made with another tokenizer" model.init="$dir/tongue.h5"
set_of "$j" "key 'model.tokenizer'" model.tokenizer="$dir/none.json"
set_of "$j" "unknown model shape 'tinny'" model.init=random:tinny
set_of "$j" "key 'data.train': $dir/none.h5" data.train="$dir/none.h5"
set_of "$j" "key 'data.train'" data.train="$dir/none.txt"
set_of "$j" "key 'data.train': $dir/cut.h5" data.train="$dir/cut.h5"
set_of "$j" "key 'data.train': $dir/other.h5: was made with another tokenizer" data.train="$dir/other.h5"
set_of "$j" "key 'data.train': $dir/short.txt: the data holds" data.train="$dir/short.txt"
# Before the text of data.source self is sampled, for hours it may be.
set_of "$i" "key 'data.train': $dir/none.txt" model.init="$full" data.source=self data.train="$dir/none.txt"
set_of "$i" "key 'data.train': $dir/short.txt: the data holds" model.init="$full" data.source=self data.train="$dir/short.txt"
set_of "$j" "key 'data.train': $dir/empty.txt" data.train="$dir/empty.txt"
set_of "$j" "key 'data.train': $dir/broken.jsonl:2" data.train="$dir/broken.jsonl"
set_of "$j" "key 'data.train': $dir/latin.txt" data.train="$dir/latin.txt"
set_of "$j" "key 'data.eval': $dir/none.h5" data.eval="$dir/none.h5"
set_of "$j" "key 'data.eval': $dir/other.h5: was made with another tokenizer" data.eval="$dir/other.h5"
set_of "$j" "key 'quant.group_size'" quant.group_size=96
set_of "$j" "key 'train.seq': 100000 is more than the model's" train.seq=100000
set_of "$j" "names no linear layer" study.every=2 study.layers=nothing
set_of "$j" "key 'eval.tasks'" eval.tasks=piqa eval.task_dir="$dir/none"
set_of "$j" '"gold" is 2: there are 2 choices' eval.tasks=piqa eval.task_dir="$dir/tasks"
set_of "$i" "key 'distill.teacher': $dir/none.h5" model.init="$full" distill.teacher="$dir/none.h5"
set_of "$i" "has another tokenizer than the model" model.init="$full" distill.teacher="$dir/tongue.h5"
set_of "$i" "has a vocabulary of 2048 tokens, the model one of 512" model.init="$full" distill.teacher="$dir/wide.h5"
set_of "$i" "was trained with quant.method sherry" model.init="$full" distill.teacher="$base"
set_of "$i" "key 'distill.teacher': $dir/packed.h5" model.init="$full" distill.teacher="$dir/packed.h5"
set_of "$i" "key 'distill.top_k': 600 is more than the vocabulary" model.init="$full" distill.teacher=self distill.top_k=600
set_of "$i" "key 'distill.cache': $dir/none.h5" model.init="$full" distill.teacher=self distill.cache="$dir/none.h5"
set_of "$i" "a cache holds no hidden states" model.init="$full" distill.teacher=self distill.cache="$dir/none.h5" distill.hidden_weight=1
set_of "$i" "key 'data.self_length': documents of 100000 tokens: the model has 2" model.init="$full" data.source=self data.self_length=100000 data.train=
set_of "$j" "/file" run.dir="$dir/file/run"
set_of "$j" "holds no run, but metrics.jsonl" run.dir="$dir/foreign"
if [ "$(id -u)" -ne 0 ]; then
    mkdir "$dir/closed"
    chmod a-w "$dir/closed"
    set_of "$j" "$dir/closed/run: cannot make directory: Permission denied" run.dir="$dir/closed/run"
fi

# What a plan opens for a look is gone, and a run that is there stays as it is.
for d in run base; do
    find "$dir/base" -type f -exec cksum {} + >"$dir/before"
    TMPDIR=$dir "$SOLERA" plan "$j" --gflops 50 --set run.dir="$dir/$d" --set data.train="$dir/text.txt" >"$dir/out" 2>"$dir/err" || fail "$(cat "$dir/err")"
    [ ! -e "$dir/run" ] || fail "plan leaves a run directory"
    [ "$(find "$dir" -name 'solera-*')" = "" ] || fail "plan leaves what it looked at"
    find "$dir/base" -type f -exec cksum {} + | cmp -s - "$dir/before" || fail "plan changes a run"
done
grep -q "base holds a run that does not go on with these keys: train.steps: 4 -> 24; another run.dir" "$dir/err" ||
    fail "no word about the run that is there: $(cat "$dir/err")"
expect 0 "base holds a run already: train goes on with it" "$SOLERA" plan "$dir/base/config.yaml" --gflops 50

# A pipe is left to the run that reads it.
mkfifo "$dir/pipe"
expect 2 "pipe: is no regular file" "$SOLERA" plan "$dir/job.yaml" --set data.train="$dir/pipe"
