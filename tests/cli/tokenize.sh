# solera train-tokenizer and solera tokenize, from the command line.
. tests/cli/common
stories=data/sample/stories.txt

refused() { # PART COMMAND...: nothing on stdout, no out.h5 left
    expect 2 "$@" </dev/null
    [ ! -s "$dir/out" ] || fail "something on stdout: $*"
    nothing_left
}
nothing_left() {
    for left in "$dir"/out.h5*; do [ ! -e "$left" ] || fail "left behind: $left"; done
}

"$SOLERA" train-tokenizer --vocab 600 --input $stories -o "$dir/t.json" 2>/dev/null || fail "cannot train"
"$SOLERA" train-tokenizer --vocab 600 --input $stories -o "$dir/again.json" 2>/dev/null || fail "cannot train again"
cmp "$dir/t.json" "$dir/again.json" || fail "training is not repeatable"

# ids of lines: BOS in front, special tokens as the tokenizer says
ids=$(printf '{"text":""}\n{"text":"a<|end_of_text|>"}\n' | "$SOLERA" tokenize --tokenizer "$dir/t.json" --ids) || fail "--ids"
[ "$ids" = "[598]
[598,64,599]" ] || fail "--ids gave $ids"
ids=$(printf '{"text":"<|end_of_text|>"}' | "$SOLERA" tokenize --tokenizer "$dir/t.json" --ids --special no) || fail "--special no"
case $ids in *599*) fail "--special no gave $ids" ;; esac
# a program at the other end of a pipe gets each line at once
mkfifo "$dir/in"
"$SOLERA" tokenize --tokenizer "$dir/t.json" --ids <"$dir/in" >"$dir/lines" 2>"$dir/said" &
pid=$!
exec 3>"$dir/in"
echo '{"text":""}' >&3
until_true "a line of ids" [ -s "$dir/lines" ]
exec 3>&-
ended 0

# a dataset: the same bytes for any number of threads, from .txt, .txt.gz, .jsonl and .jsonl.gz
i=0
while [ $i -lt 60 ]; do
    cat $stories
    echo '<|endoftext|>'
    i=$((i + 1))
done >"$dir/many.txt"
gzip -c "$dir/many.txt" >"$dir/many.txt.gz"
for n in 1 2 3; do
    "$SOLERA" tokenize --tokenizer "$dir/t.json" --input "$dir/many.txt" $stories -o "$dir/$n.h5" -t $n --json >"$dir/$n.json" 2>/dev/null ||
        fail "-t $n"
done
cmp "$dir/1.h5" "$dir/2.h5" && cmp "$dir/1.h5" "$dir/3.h5" || fail "the threads changed the dataset"
grep -q '"documents": 5002,' "$dir/1.json" || fail "documents: $(cat "$dir/1.json")"
"$SOLERA" tokenize --tokenizer "$dir/t.json" --input "$dir/many.txt.gz" $stories -o "$dir/gz.h5" 2>/dev/null || fail "gzip"
cmp "$dir/1.h5" "$dir/gz.h5" || fail "gzip changed the dataset"
awk 'BEGIN { printf "{\"text\": \"" } $0 == "<|endoftext|>" { printf "\"}\n{\"text\": \""; part = 0; next }
     { gsub(/"/, "\\\""); printf "%s%s", part++ ? "\\n" : "", $0 } END { printf "\"}\n" }' $stories >"$dir/s.jsonl"
"$SOLERA" tokenize --tokenizer "$dir/t.json" --input $stories -o "$dir/s1.h5" 2>/dev/null || fail ".txt"
"$SOLERA" tokenize --tokenizer "$dir/t.json" --input "$dir/s.jsonl" -o "$dir/s2.h5" 2>/dev/null || fail ".jsonl"
cmp "$dir/s1.h5" "$dir/s2.h5" || fail "JSON lines changed the dataset"
printf '\357\273\277' | cat - "$dir/s.jsonl" >"$dir/bom.jsonl"
"$SOLERA" tokenize --tokenizer "$dir/t.json" --input "$dir/bom.jsonl" -o "$dir/s3.h5" 2>/dev/null || fail "byte order mark"
cmp "$dir/s1.h5" "$dir/s3.h5" || fail "a byte order mark changed the dataset"

# the same text by every road: lines and an array of JSON, objects and strings, under any name, gzipped, through a pipe
{
    printf '['
    sed 's/$/,/; $s/,$//' "$dir/s.jsonl"
    printf ']'
} >"$dir/s.json"
sed 's/^{"text": //; s/}$//' "$dir/s.jsonl" >"$dir/strings.jsonl"
cp "$dir/s.jsonl" "$dir/lines.txt"
gzip -c "$dir/s.json" >"$dir/array.json.gz"
for road in s.json strings.jsonl lines.txt array.json.gz; do
    for n in 1 2; do
        "$SOLERA" tokenize --tokenizer "$dir/t.json" --input "$dir/$road" -o "$dir/road.h5" -t $n 2>"$dir/err" || fail "$road: $(cat "$dir/err")"
        cmp "$dir/s1.h5" "$dir/road.h5" || fail "$road changed the dataset"
        rm "$dir/road.h5"
    done
    warned=$(grep -c 'lines.txt: begins as JSON and was read as such; --format text' "$dir/err" || true)
    [ "$warned" -eq $([ $road = lines.txt ] && echo 1 || echo 0) ] || fail "$road: warned $warned times"
done
"$SOLERA" tokenize --tokenizer "$dir/t.json" --input /dev/stdin --format json -o "$dir/road.h5" 2>/dev/null <"$dir/s.jsonl" || fail "stdin"
cmp "$dir/s1.h5" "$dir/road.h5" || fail "stdin changed the dataset"
cat "$dir/s.jsonl" | "$SOLERA" tokenize --tokenizer "$dir/t.json" --input /dev/stdin -o "$dir/piped.h5" 2>"$dir/err" || fail "a pipe"
cmp "$dir/s1.h5" "$dir/piped.h5" || fail "a pipe changed the dataset"
grep -q '/dev/stdin: begins as JSON' "$dir/err" || fail "a pipe of JSON: no warning"

# and as the data of a job
"$SOLERA" train-tokenizer --vocab 500 --input "$dir/s.json" -o "$dir/few.json" 2>/dev/null || fail "a tokenizer from an array of JSON"
"$SOLERA" tokenize --tokenizer "$dir/few.json" --input $stories -o "$dir/few.h5" 2>/dev/null || fail "500 tokens"
printf 'run: {dir: %s/run}\nmodel: {init: "random:tiny", tokenizer: %s/few.json}\nquant: {method: none}\ntrain: {steps: 1, batch: 1, seq: 32, eval_every: 0}\n' "$dir" "$dir" >"$dir/job.yaml"
gzip -c "$dir/s.json" >"$dir/nameless"
for road in $stories "$dir/s.jsonl" "$dir/strings.jsonl" "$dir/nameless"; do
    rm -rf "$dir/run"
    "$SOLERA" train "$dir/job.yaml" --set data.train="$road" 2>"$dir/err" || fail "data.train $road: $(cat "$dir/err")"
    cmp "$dir/few.h5" "$dir/run/tokens-train.h5" || fail "data.train $road changed the dataset"
done
rm -rf "$dir/run"
mkfifo "$dir/fifo"
cat "$dir/s.json" >"$dir/fifo" &
"$SOLERA" train "$dir/job.yaml" --set data.train="$dir/fifo" 2>"$dir/err" || fail "data.train, a pipe: $(cat "$dir/err")"
cmp "$dir/few.h5" "$dir/run/tokens-train.h5" || fail "data.train, a pipe: another dataset"

# with --unix-lines a text of Windows is that of Unix
printf 'the cat saw\r\nthe cat saw\r\n<|endoftext|>\r\nthe cat\r\n' >"$dir/crlf.txt"
tr -d '\r' <"$dir/crlf.txt" >"$dir/lf.txt"
for ends in lf crlf; do
    "$SOLERA" tokenize --tokenizer "$dir/t.json" --unix-lines --input "$dir/$ends.txt" -o "$dir/$ends.h5" 2>/dev/null || fail "--unix-lines"
    "$SOLERA" train-tokenizer --vocab 260 --unix-lines --input "$dir/$ends.txt" -o "$dir/$ends.json" 2>/dev/null || fail "train-tokenizer --unix-lines"
done
cmp "$dir/lf.h5" "$dir/crlf.h5" && cmp "$dir/lf.json" "$dir/crlf.json" || fail "--unix-lines: CR LF is not LF"
"$SOLERA" tokenize --tokenizer "$dir/t.json" --input "$dir/crlf.txt" -o "$dir/crlf.h5" 2>/dev/null
! cmp -s "$dir/lf.h5" "$dir/crlf.h5" || fail "CR LF is LF without --unix-lines"

# text_bytes counts the text alone; values without one are left out and counted if asked
printf '{"text":"hi","meta":"a long field"}\n{"text":null}\n{"text":"\\ud800"}\n{"text":"\\u00e9"}\n' >"$dir/some.jsonl"
"$SOLERA" tokenize --tokenizer "$dir/t.json" --input "$dir/some.jsonl" -o "$dir/some.h5" --skip-bad --json >"$dir/counts" 2>"$dir/err" || fail "--skip-bad"
grep -q '"documents": 2, .*"text_bytes": 4, "skipped": 2,' "$dir/counts" || fail "--skip-bad: $(cat "$dir/counts")"
grep -q '2 values of JSON were left out, the first: .*some.jsonl:2: no string under "text": it is null' "$dir/err" || fail "--skip-bad: $(cat "$dir/err")"
"$SOLERA" train-tokenizer --vocab 258 --input "$dir/some.jsonl" --skip-bad -o "$dir/some.json" 2>"$dir/err" || fail "train-tokenizer --skip-bad"
grep -q '2 values of JSON were left out' "$dir/err" || fail "train-tokenizer --skip-bad: $(cat "$dir/err")"

# special tokens that a text spells: one warning, with the place and a way out, and their count
printf '{"text":"a"}\n{"text":"b<|end_of_text|>"}\n{"text":"<|end_of_text|><|begin_of_text|>"}\n' >"$dir/special.jsonl"
special() {
    "$SOLERA" tokenize --tokenizer "$dir/t.json" --input "$dir/special.jsonl" "$@"
}
special -o "$dir/special.h5" 2>"$dir/err" || fail "special tokens"
[ "$(grep -c 'warning: ' "$dir/err")" -eq 2 ] || fail "special tokens: $(cat "$dir/err")"
grep -q 'special.jsonl:2: the text spells the special token <|end_of_text|>, .*--special yes' "$dir/err" || fail "special: $(cat "$dir/err")"
grep -q 'encoded as plain text: 3$' "$dir/err" || fail "special tokens: $(cat "$dir/err")"
for when in yes no; do
    special -o "$dir/special-$when.h5" --special $when 2>"$dir/err" || fail "--special $when"
    grep -q 'warning: ' "$dir/err" && fail "--special $when: $(cat "$dir/err")"
done
cmp -s "$dir/special-yes.h5" "$dir/special-no.h5" && fail "--special changes nothing"

# bad input
: >"$dir/empty.txt"
printf '{"text":"a"}\n{"text":\n' >"$dir/bad.jsonl"
printf '{"text": 7}' >"$dir/number.jsonl"
head -c 1000 "$dir/many.txt.gz" >"$dir/cut.txt.gz"
head -c 1000 "$dir/t.json" >"$dir/cut.json"
set -- "$SOLERA" tokenize --tokenizer "$dir/t.json" -o "$dir/out.h5"
refused "no text in it" "$@" --input "$dir/empty.txt"
refused "bad.jsonl:2:" "$@" --input $stories "$dir/bad.jsonl"
refused 'number.jsonl:1: no string under "text"' "$@" --input "$dir/number.jsonl"
refused "damaged gzip file" "$@" --input "$dir/cut.txt.gz"
printf '[{"text":"a"},\n{"text":null}]' >"$dir/null.json"
printf 'a,b\n' >"$dir/table.csv"
printf 'caf\351\n' >"$dir/latin.txt"
{
    gzip -c $stories
    echo "and more"
} >"$dir/more.txt.gz"
refused 'null.json:2: no string under "text": it is null' "$@" --input "$dir/null.json"
refused "table.csv: is a table" "$@" --input $stories "$dir/table.csv"
refused "Latin-1" "$@" --input "$dir/latin.txt"
refused "9 bytes that are no gzip follow" "$@" --input "$dir/more.txt.gz"
refused "is a table" "$SOLERA" train-tokenizer --vocab 258 --input "$dir/table.csv" -o "$dir/out.h5"
refused "'-o' has no effect with --ids" "$@" --ids
refused "'--skip-bad' has no effect with --ids" "$SOLERA" tokenize --tokenizer "$dir/t.json" --ids --skip-bad
refused "nowhere.txt: cannot" "$@" --input $stories "$dir/nowhere.txt"
refused "is a directory" "$@" --input "$dir"
refused "is an HDF5 file" "$@" --input "$dir/1.h5"
ln "$dir/number.jsonl" "$dir/link.jsonl"
refused "link.jsonl: is read, too" "$SOLERA" tokenize --tokenizer "$dir/t.json" --input $stories "$dir/number.jsonl" -o "$dir/link.jsonl"
refused "t.json: is read, too" "$SOLERA" tokenize --tokenizer "$dir/t.json" --input $stories -o "$dir/t.json"
refused "cut.json:1:" "$SOLERA" tokenize --tokenizer "$dir/cut.json" --input $stories -o "$dir/out.h5"
# Of two texts that fail side by side the first one is named.
sed 's/"Regex":"[^"]*"/"Regex":"(a+)+[bc]"/' "$dir/t.json" >"$dir/slow.json"
awk 'BEGIN {
    for (a = "aaaa"; length(a) < 64;) a = a a
    for (b = "b"; length(b) < 200000;) b = b b
    print "{\"text\":\"" a "\"}\n{\"text\":\"" b "\"}\n{\"text\":\"" a "\"}"
}' >"$dir/slow.jsonl"
refused "slow.jsonl:1: the tokenizer's regex fails" "$SOLERA" tokenize --tokenizer "$dir/slow.json" --input "$dir/slow.jsonl" -o "$dir/out.h5"
refused "not a tokenizer" "$SOLERA" tokenize --tokenizer $stories --input $stories -o "$dir/out.h5"
refused "holds no tokenizer" "$SOLERA" tokenize --tokenizer "$dir/1.h5" --input $stories -o "$dir/out.h5"
# An import takes the tokenizer of a solera file, too.
"$SOLERA" import --random embedded --tokenizer "$dir/t.json" -o "$dir/lender.h5" 2>/dev/null
"$SOLERA" import --random embedded --tokenizer "$dir/lender.h5" -o "$dir/borrower.h5" 2>/dev/null
cmp "$dir/lender.h5" "$dir/borrower.h5" || fail "import --tokenizer of a model file makes another model"
refused "holds no tokenizer" "$SOLERA" import --random embedded --tokenizer "$dir/1.h5" -o "$dir/out.h5"
refused "nowhere/out.h5" "$SOLERA" tokenize --tokenizer "$dir/t.json" --input $stories -o "$dir/nowhere/out.h5"
refused "wants either" "$@"
refused "wants -o" "$SOLERA" tokenize --tokenizer "$dir/t.json" --input $stories
refused "wants --tokenizer" "$SOLERA" tokenize --ids
refused "too little for a vocabulary of 60000" "$SOLERA" train-tokenizer --vocab 60000 --input $stories -o "$dir/out.h5"
refused "out of range" "$SOLERA" train-tokenizer --vocab 100 --input $stories -o "$dir/out.h5"
bad_line() { echo x | "$SOLERA" tokenize --tokenizer "$dir/t.json" --ids; }
refused "stdin:1:1: not a JSON object" bad_line

# an interrupted run leaves nothing behind; the pipe holds it open until the signal has come, and holds less than is sent before that
mkfifo "$dir/pipe.txt"
"$@" --input "$dir/pipe.txt" 2>"$dir/said" &
pid=$!
{
    cat "$dir/many.txt"
    kill -INT $pid
    cat $stories || true # nobody may be there to read it
} >"$dir/pipe.txt"
ended 130
nothing_left

# a signal ends the wait for a pipe that says nothing more, and for one that nobody writes to; more than a pipe holds has been written once
# it is read, and `timeout` is for a program that does not end
mkfifo "$dir/nobody.txt"
silent() { # COMMAND...: reads $dir/in
    timeout -s KILL 60 "$@" <"$dir/in" >"$dir/said" 2>&1 &
    pid=$!
    exec 3>"$dir/in"
    yes the | head -c 70000 >&3
}
silent "$@" --input -
kill -TERM $pid
ended 130
silent "$@" --input - "$dir/nobody.txt"
exec 3>&-
kill -INT $pid
ended 130
silent "$SOLERA" train-tokenizer --vocab 300 --input - -o "$dir/out.h5"
kill -TERM $pid
ended 130
silent "$SOLERA" train "$dir/job.yaml" --set run.dir="$dir/w" --set data.train="[{path: $dir/in, weight: 1}, {path: $dir/nobody.txt, weight: 1}]"
exec 3>&-
kill -TERM $pid
ended 130
nothing_left
[ ! -e "$dir/w" ] || fail "left behind: $dir/w"

# - is standard input, a pipe as well as a file.
"$SOLERA" tokenize --tokenizer checkpoints/embedded.h5 --input "$stories" -o "$dir/file.h5" 2>/dev/null || fail "a file"
cat "$stories" | "$SOLERA" tokenize --tokenizer checkpoints/embedded.h5 --input - -o "$dir/pipe.h5" 2>/dev/null || fail "--input - from a pipe"
"$SOLERA" tokenize --tokenizer checkpoints/embedded.h5 --input - -o "$dir/stdin.h5" <"$stories" 2>/dev/null || fail "--input - from a file"
cmp -s "$dir/file.h5" "$dir/pipe.h5" && cmp -s "$dir/file.h5" "$dir/stdin.h5" || fail "--input - makes another dataset"

# a table is refused with the one command that makes lines of JSON of it, which works
printf 'id,body\n1,"a ""b"", c"\n2,x\n' >"$dir/table.csv"
"$SOLERA" tokenize --tokenizer "$dir/t.json" --input "$dir/table.csv" -o "$dir/table.h5" 2>"$dir/err" && fail "a table is read"
grep -qF 'scripts/table_to_jsonl.sh TABLE [COLUMN] > OUT.jsonl' "$dir/err" || fail "no way out of a table: $(cat "$dir/err")"
if command -v python3 >/dev/null; then
    PYTHON=python3 scripts/table_to_jsonl.sh "$dir/table.csv" body >"$dir/table.jsonl" || fail "table_to_jsonl.sh"
    "$SOLERA" tokenize --tokenizer "$dir/t.json" --input "$dir/table.jsonl" -o "$dir/table.h5" --json >"$dir/counts" 2>/dev/null || fail "its lines are not read"
    grep -q '"documents": 2,' "$dir/counts" || fail "table: $(cat "$dir/counts")"
    # no field is lost in silence: a row of another length, two columns of one name, another encoding
    for bad in 'id,body\n1,a, b\n' 'id,body\n1\n' 'body,body\n1,a\n' 'id,body\n1,\0351\n'; do
        printf '%b' "$bad" >"$dir/bad.csv"
        PYTHON=python3 scripts/table_to_jsonl.sh "$dir/bad.csv" body >"$dir/out" 2>"$dir/err" && fail "table: $bad"
        [ "$(wc -l <"$dir/err")" -eq 1 ] || fail "table: $bad: $(cat "$dir/err")"
    done
fi
