. tests/cli/common
make_job
"$SOLERA" import --random embedded --tokenizer "$dir/tokenizer.json" -o "$dir/m.h5" 2>/dev/null
"$SOLERA" import --random embedded -o "$dir/mute.h5" 2>/dev/null
"$SOLERA" export "$dir/m.h5" -o "$dir/p.h5" --method sherry --group-size 64 2>/dev/null

# The same seed gives the same text, for a packed model too; the prompt comes first unless it is not wanted.
for model in m p; do
    "$SOLERA" generate "$dir/$model.h5" -p "the cat" -n 20 --seed 4 >"$dir/a" 2>"$dir/err"
    "$SOLERA" generate "$dir/$model.h5" -p "the cat" -n 20 --seed 4 -t 1 >"$dir/b" 2>/dev/null
    cmp -s "$dir/a" "$dir/b" || fail "$model: the same seed, another text"
    grep -q " new tokens, " "$dir/err" || fail "$model: $(cat "$dir/err")"
    head -c 7 "$dir/a" | grep -q "^the cat$" || fail "$model: the prompt is not in front"
    "$SOLERA" generate "$dir/$model.h5" -p "the cat" -n 20 --seed 4 --no-echo >"$dir/b" 2>/dev/null
    printf 'the cat' | cat - "$dir/b" | cmp -s - "$dir/a" || fail "$model: --no-echo"
    "$SOLERA" generate "$dir/$model.h5" -p "the cat" -n 20 --seed 5 >"$dir/b" 2>/dev/null
    cmp -s "$dir/a" "$dir/b" && fail "$model: another seed, the same text"
    iconv -f UTF-8 -t UTF-8 "$dir/a" >/dev/null || fail "$model: not UTF-8"
done
"$SOLERA" generate "$dir/m.h5" -n 5 --temp 0.5 --top-k 5 --top-p 0.5 --min-p 0.1 --repeat-penalty 1.2 --repeat-window 8 --kv f16 >/dev/null 2>&1 ||
    fail "every option at once"

"$SOLERA" generate checkpoints/embedded.h5 -p "Once" -n 0 --temp 0 --kv i8 >"$dir/a" 2>"$dir/err" || fail "-n 0: $(cat "$dir/err")"
[ "$(sed -n 's/.*; \([0-9]*\) new tokens.*/\1/p' "$dir/err")" -gt 30 ] || fail "-n 0: $(cat "$dir/err")"
"$SOLERA" generate checkpoints/embedded.h5 -p "Once" --temp 0 --stop "." --stop "," >"$dir/a" 2>"$dir/err" || fail "--stop: $(cat "$dir/err")"
grep -q '^Once upon a time,*$' "$dir/a" || fail "two --stop: $(cat "$dir/a")"

for flag in "" --special; do
    "$SOLERA" generate "$dir/m.h5" -p "the<|end_of_text|>" -n 1 --temp 0 $flag >/dev/null 2>"$dir/err$flag" || fail "generate $flag"
done
[ "$(sed 's/.*prompt \([0-9]*\) .*/\1/' "$dir/err--special")" -lt "$(sed 's/.*prompt \([0-9]*\) .*/\1/' "$dir/err")" ] ||
    fail "--special does not read a special token: $(cat "$dir/err--special")"

expect 2 "context overflow: a prompt of 2 tokens and 3000 new ones; the model has room for 2048" \
    "$SOLERA" generate "$dir/m.h5" -p "the" -n 3000
[ ! -s "$dir/out" ] || fail "a prompt that does not fit is printed"
expect 2 "no.h5: cannot open" "$SOLERA" generate "$dir/no.h5" -p x
expect 2 "holds no tokenizer" "$SOLERA" generate "$dir/mute.h5" -p x
expect 2 "a dataset" "$SOLERA" generate "$dir/data.h5" -p x
expect 2 "text.txt" "$SOLERA" generate "$dir/text.txt" -p x
expect 2 "--stop 'nothing like it': the vocabulary has no such token" "$SOLERA" generate "$dir/m.h5" --stop "nothing like it"
expect 2 "option '--temp': -1 is out of range" "$SOLERA" generate "$dir/m.h5" --temp -1
expect 2 "a packed model has no full-precision weights" "$SOLERA" generate "$dir/p.h5" --full-precision
head -c 5000 "$dir/p.h5" >"$dir/cut.h5"
expect 2 "cut.h5" "$SOLERA" generate "$dir/cut.h5" -p x

# The greedy text of transformers.
field() { sed "s/.*\"$1\":\"\([^\"]*\)\".*/\1/" tests/golden/torch.json; }
"$SOLERA" generate checkpoints/embedded.h5 -p "$(field prompt)" -n 24 --temp 0 >"$dir/a" 2>/dev/null
[ "$(cat "$dir/a")" = "$(field greedy)" ] || fail "not the greedy text of transformers: $(cat "$dir/a")"

data=${SOLERA_DATA:-../shared/data}
if [ -e "$data/models/stories260K.bin" ]; then
    "$SOLERA" import "$data/models/stories260K.bin" --tokenizer "$data/models/tok512.bin" -o "$dir/s.h5" 2>/dev/null
    "$SOLERA" generate "$dir/s.h5" -p "" -n 200 --temp 0 2>/dev/null | cmp - "$data/oracles/stories260K-greedy-expected.txt" ||
        fail "not llama2.c's greedy text"
else
    echo "further: needs models/stories260K.bin"
fi

# Many prompts: each line what -p writes with its own seed, whatever is side by side and however many threads.
printf 'the cat\n\nthe dog and the cat and the dog sat\r\nthe "end"\nthe' >"$dir/prompts"
for model in m p; do
    for how in "--batch 1" "--batch 3 -t 1" "--batch 9 -t 2"; do
        # shellcheck disable=SC2086 # two options
        "$SOLERA" generate "$dir/$model.h5" --prompts "$dir/prompts" -n 12 --seed 7 $how >"$dir/many" 2>"$dir/err" ||
            fail "generate --prompts $how: $(cat "$dir/err")"
        [ ! -e "$dir/many.first" ] || cmp "$dir/many" "$dir/many.first" || fail "$model: $how changes the texts"
        mv "$dir/many" "$dir/many.first"
    done
    [ "$(wc -l <"$dir/many.first")" = 5 ] || fail "$model: 5 prompts are 5 lines"
    printf 'the dog and the cat and the dog sat' >"$dir/one"
    "$SOLERA" generate "$dir/$model.h5" --prompts "$dir/one" -n 12 --seed 9 >"$dir/many" 2>/dev/null
    [ "$(sed -n 3p "$dir/many.first")" = "$(cat "$dir/many")" ] || fail "$model: line 3 has not seed 7 + 2"
    printf '\357\273\277the dog and the cat and the dog sat' >"$dir/one"
    "$SOLERA" generate "$dir/$model.h5" --prompts "$dir/one" -n 12 --seed 9 2>/dev/null |
        cmp -s - "$dir/many" || fail "$model: a BOM is part of a prompt"
    rm "$dir/many.first"
done
# NULs too, which a model without training writes now and then.
rm -f "$dir/texts"
"$SOLERA" import --random tiny --tokenizer "$dir/tokenizer.json" -o "$dir/tiny.h5" 2>/dev/null
yes the | head -12 >"$dir/prompts"
for seed in $(seq 12); do
    "$SOLERA" generate "$dir/tiny.h5" -p the --no-echo -n 400 --seed "$seed" >>"$dir/texts" 2>/dev/null
done
"$SOLERA" generate "$dir/tiny.h5" --prompts "$dir/prompts" -n 400 --seed 1 >"$dir/many" 2>/dev/null
nuls=$(tr -dc '\000' <"$dir/texts" | wc -c)
[ "$nuls" -gt 0 ] || fail "no text holds a NUL"
[ "$(grep -o '\\u0000' "$dir/many" | wc -l)" = "$nuls" ] || fail "--prompts loses NULs: -p writes $nuls"
printf 'The cat\n' >"$dir/one"
"$SOLERA" generate checkpoints/embedded.h5 --prompts "$dir/one" -n 12 >"$dir/many" 2>/dev/null
text=$(sed -n 's/.*"text": "\([^"]*\)", .*/\1/p' "$dir/many")
[ "$text" = "$("$SOLERA" generate checkpoints/embedded.h5 -p "The cat" -n 12 --no-echo 2>/dev/null)" ] ||
    fail "another text than with -p: $text"
printf 'ok\nnot \377 text\n' >"$dir/prompts"
expect 2 "prompts:2: is not UTF-8 text" "$SOLERA" generate "$dir/m.h5" --prompts "$dir/prompts"
printf 'the\nthe cat\n' >"$dir/prompts"
expect 2 "context overflow: a prompt of" "$SOLERA" generate "$dir/m.h5" --prompts "$dir/prompts" -n 3000
: >"$dir/prompts"
expect 2 "prompts: is empty" "$SOLERA" generate "$dir/m.h5" --prompts "$dir/prompts"
expect 2 "cannot open" "$SOLERA" generate "$dir/m.h5" --prompts "$dir/no"
# While it waits for prompts a signal ends it. More than a pipe holds has been written once it reads.
mkfifo "$dir/in"
"$SOLERA" generate "$dir/m.h5" --prompts - -n 1 <"$dir/in" >"$dir/many" 2>"$dir/said" &
pid=$!
exec 3>"$dir/in"
yes the | head -c 70000 >&3
kill -TERM "$pid"
exec 3>&-
ended 143
expect 2 "option '--prompts' has no effect with -p" "$SOLERA" generate "$dir/m.h5" --prompts "$dir/one" -p x
expect 2 "option '--batch' has no effect without --prompts" "$SOLERA" generate "$dir/m.h5" -p x --batch 3
