# data.train as a list of files with weights: drawn the same after a resume, shown by plan, log and card, refused in one line.
. tests/cli/common
make_job
"$SOLERA" tokenize --tokenizer "$dir/tokenizer.json" --input "$dir/text.txt" -o "$dir/b.h5" 2>/dev/null
head -c 6000 "$dir/text.txt" >"$dir/c.txt"
mix="[{path: $dir/data.h5, weight: 3}, {path: $dir/c.txt, weight: 1}]"

expect 0 "" "$SOLERA" plan "$dir/job.yaml" --set data.train="$mix"
grep -q "^data         75 % $dir/data.h5: .* an epoch [0-9]* steps, [0-9.]* epochs$" "$dir/out" || fail "plan does not show the mixture"
grep -q "^             25 % $dir/c.txt: " "$dir/out" || fail "plan does not show its second file"
expect 0 "data 25 % $dir/c.txt" "$SOLERA" train "$dir/job.yaml" --set data.train="$mix"

# From a checkpoint in between, files at another place, of one name: the same end. Other weights: refused.
metrics_of "$dir/run" | sed 's/, "version".*/}/' >"$dir/whole"
rm "$dir/run/ckpt/step-000024.h5"
mkdir "$dir/one" "$dir/two"
cp "$dir/data.h5" "$dir/one/moved"
cp "$dir/c.txt" "$dir/two/moved"
expect 2 "data.train: cannot resume, these files with these weights are not the data" \
    "$SOLERA" train -q "$dir/run" --resume --set data.train="[{path: $dir/data.h5, weight: 2}, $dir/c.txt]"
# The same weights in other words are the same, 6 and 2 as 3 and 1.
expect 0 "resumed at step" "$SOLERA" train "$dir/run" --resume --set data.train="[{path: $dir/one/moved, weight: 6}, {path: $dir/two/moved, weight: 2}]"
metrics_of "$dir/run" | sed 's/, "version".*/}/' | cmp -s - "$dir/whole" || fail "another end"
expect 0 "" "$SOLERA" export "$dir/run" -o "$dir/packed.h5"
grep -q '^- train: moved 8.0$' "$dir/packed.h5.md" || fail "the card does not name both files: $(grep train: "$dir/packed.h5.md")"

expect 2 "$dir/none.h5: cannot open" "$SOLERA" plan -q "$dir/job.yaml" --set data.train="[$dir/data.h5, $dir/none.h5]"
ln -s data.h5 "$dir/link.h5"
expect 2 "key 'data.train': $dir/data.h5 and $dir/link.h5 are the same file: name it once" "$SOLERA" plan -q "$dir/job.yaml" --set data.train="[$dir/data.h5, $dir/link.h5]"
printf 'tiny' >"$dir/tiny.txt"
expect 2 "$dir/tiny.txt: the data holds" "$SOLERA" plan -q "$dir/job.yaml" --set data.train="[$dir/data.h5, $dir/tiny.txt]"
"$SOLERA" train-tokenizer --vocab 270 --input "$dir/text.txt" -o "$dir/other.json" 2>/dev/null
"$SOLERA" tokenize --tokenizer "$dir/other.json" --input "$dir/text.txt" -o "$dir/other.h5" 2>/dev/null
expect 2 "$dir/other.h5: was made with another tokenizer" "$SOLERA" plan -q "$dir/job.yaml" --set data.train="[$dir/data.h5, $dir/other.h5]"
expect 2 "data.loss_on': answers: $dir/data.h5 has no answers" "$SOLERA" plan -q "$dir/job.yaml" --set data.train="$mix" \
    --set data.loss_on=answers --set run.dir="$dir/answers"

# A teacher's cache is for the files, whatever their weights.
"$SOLERA" import --random tiny --tokenizer "$dir/tokenizer.json" -o "$dir/m.h5" 2>/dev/null
cached() { # WEIGHT
    "$SOLERA" "$verb" "$dir/job.yaml" --set data.train="[{path: $dir/data.h5, weight: $1}, {path: $dir/c.txt}]" \
        --set run.dir="$dir/taught" --set distill.cache="$dir/cache.h5" --set distill.teacher="$dir/m.h5" --set distill.top_k=8
}
verb=distill-cache expect 0 "windows of 16 tokens" cached 3
verb=train expect 0 "done: 24 steps" cached 5

# Text from the model itself is one more file, of weight data.self_weight.
own() { # VERB DATA...
    "$SOLERA" "$1" "$dir/job.yaml" --set run.dir="$dir/own" --set model.init="$dir/m.h5" --set model.tokenizer= --set train.steps=5 \
        --set data.source=self --set data.self_tokens=200 --set data.self_weight=3 --set data.train="$2"
}
expect 2 "data.train': $dir/other.h5: was made with another tokenizer" own plan "$dir/other.h5"
expect 0 "" own plan "$dir/c.txt"
grep -q '^data         75 % from the model itself: 200 tokens$' "$dir/out" && grep -q "^             25 % $dir/c.txt$" "$dir/out" ||
    fail "plan does not show the sampled text: $(cat "$dir/out")"
expect 0 "data 75 % from the model itself: " own train "$dir/c.txt"
expect 0 "" "$SOLERA" export "$dir/own" -o "$dir/own.h5"
grep -q '^- train: sampled from the base model 3.0, c.txt 1.0$' "$dir/own.h5.md" || fail "the card: $(grep train: "$dir/own.h5.md")"

# Text that is already rendered: with data.special: yes its special tokens are tokens, and its BOS is not doubled.
printf '<|begin_of_text|>the cat<|end_of_text|>' >"$dir/special.txt"
for i in 1 2 3 4 5 6 7; do printf 'the cat sees a dog.<|end_of_text|>' >>"$dir/special.txt"; done
tokens_of() { # KEY=VALUE: how the text is read for a plan
    "$SOLERA" plan -q "$dir/job.yaml" --set data.train="$dir/special.txt" --set train.seq=4 --set run.dir="$dir/special" --set "$1" 2>"$dir/err" |
        sed -n 's/^data .*: \([0-9]*\) tokens.*/\1/p'
}
as_text=$(tokens_of data.special=auto)
grep -q 'the text spells the special token <|begin_of_text|>.*data.special: yes makes' "$dir/err" || fail "no warning: $(cat "$dir/err")"
[ "$(tokens_of data.special=no)" -eq "$as_text" ] && [ ! -s "$dir/err" ] || fail "data.special no: $(cat "$dir/err")"
as_tokens=$(tokens_of data.special=yes)
[ "$as_tokens" -lt "$as_text" ] || fail "data.special yes: $as_tokens tokens, $as_text as text"
