# solera train-tokenizer and solera tokenize, from the command line.
set -u
d=$(mktemp -d) || exit 1
trap 'rm -rf "$d"' EXIT
stories=data/sample/stories.txt

die() {
    echo "tokenize.sh: $*" >&2
    exit 1
}

# want_error PART COMMAND...: exit code 2, one line on stderr that contains PART, nothing on stdout, no out.h5 left.
want_error() {
    part=$1
    shift
    "$@" >"$d/stdout" 2>"$d/stderr" </dev/null
    code=$?
    [ $code -eq 2 ] || die "exit code $code instead of 2: $*"
    [ "$(wc -l <"$d/stderr")" -eq 1 ] || die "not one line: $(cat "$d/stderr")"
    grep -qF -- "$part" "$d/stderr" || die "'$part' is not in: $(cat "$d/stderr")"
    [ ! -s "$d/stdout" ] || die "something on stdout: $*"
    for left in "$d"/out.h5*; do [ ! -e "$left" ] || die "left behind: $left"; done
}

"$SOLERA" train-tokenizer --vocab 600 --input $stories -o "$d/t.json" 2>/dev/null || die "cannot train"
"$SOLERA" train-tokenizer --vocab 600 --input $stories -o "$d/again.json" 2>/dev/null || die "cannot train again"
cmp "$d/t.json" "$d/again.json" || die "training is not repeatable"

# ids of lines: BOS in front, special tokens as the tokenizer says
ids=$(printf '{"text":""}\n{"text":"a<|end_of_text|>"}\n' | "$SOLERA" tokenize --tokenizer "$d/t.json" --ids) || die "--ids"
[ "$ids" = "[598]
[598,64,599]" ] || die "--ids gave $ids"
ids=$(printf '{"text":"<|end_of_text|>"}' | "$SOLERA" tokenize --tokenizer "$d/t.json" --ids --special no) || die "--special no"
case $ids in *599*) die "--special no gave $ids" ;; esac
# a program at the other end of a pipe gets each line at once
mkfifo "$d/in"
"$SOLERA" tokenize --tokenizer "$d/t.json" --ids <"$d/in" >"$d/lines" &
exec 3>"$d/in"
echo '{"text":""}' >&3
until [ -s "$d/lines" ]; do
    kill -0 $! || die "--ids ended before its first line"
    sleep 0.01
done
exec 3>&-
wait $! || die "--ids through a pipe"

# a dataset: the same bytes for any number of threads, from .txt, .txt.gz, .jsonl and .jsonl.gz
i=0
while [ $i -lt 60 ]; do
    cat $stories
    echo '<|endoftext|>'
    i=$((i + 1))
done >"$d/many.txt"
gzip -c "$d/many.txt" >"$d/many.txt.gz"
for n in 1 2 3; do
    "$SOLERA" tokenize --tokenizer "$d/t.json" --input "$d/many.txt" $stories -o "$d/$n.h5" -t $n --json >"$d/$n.json" 2>/dev/null ||
        die "-t $n"
done
cmp "$d/1.h5" "$d/2.h5" && cmp "$d/1.h5" "$d/3.h5" || die "the threads changed the dataset"
grep -q '"documents": 5002,' "$d/1.json" || die "documents: $(cat "$d/1.json")"
"$SOLERA" tokenize --tokenizer "$d/t.json" --input "$d/many.txt.gz" $stories -o "$d/gz.h5" 2>/dev/null || die "gzip"
cmp "$d/1.h5" "$d/gz.h5" || die "gzip changed the dataset"
awk 'BEGIN { printf "{\"text\": \"" } $0 == "<|endoftext|>" { printf "\"}\n{\"text\": \""; part = 0; next }
     { gsub(/"/, "\\\""); printf "%s%s", part++ ? "\\n" : "", $0 } END { printf "\"}\n" }' $stories >"$d/s.jsonl"
"$SOLERA" tokenize --tokenizer "$d/t.json" --input $stories -o "$d/s1.h5" 2>/dev/null || die ".txt"
"$SOLERA" tokenize --tokenizer "$d/t.json" --input "$d/s.jsonl" -o "$d/s2.h5" 2>/dev/null || die ".jsonl"
cmp "$d/s1.h5" "$d/s2.h5" || die "JSON lines changed the dataset"
printf '\357\273\277' | cat - "$d/s.jsonl" >"$d/bom.jsonl"
"$SOLERA" tokenize --tokenizer "$d/t.json" --input "$d/bom.jsonl" -o "$d/s3.h5" 2>/dev/null || die "byte order mark"
cmp "$d/s1.h5" "$d/s3.h5" || die "a byte order mark changed the dataset"

# the same text by every road: lines and an array of JSON, objects and strings, under any name, gzipped, through a pipe
{
    printf '['
    sed 's/$/,/; $s/,$//' "$d/s.jsonl"
    printf ']'
} >"$d/s.json"
sed 's/^{"text": //; s/}$//' "$d/s.jsonl" >"$d/strings.jsonl"
cp "$d/s.jsonl" "$d/lines.txt"
gzip -c "$d/s.json" >"$d/array.json.gz"
for road in s.json strings.jsonl lines.txt array.json.gz; do
    for n in 1 2; do
        "$SOLERA" tokenize --tokenizer "$d/t.json" --input "$d/$road" -o "$d/road.h5" -t $n 2>"$d/stderr" || die "$road: $(cat "$d/stderr")"
        cmp "$d/s1.h5" "$d/road.h5" || die "$road changed the dataset"
        rm "$d/road.h5"
    done
    warned=$(grep -c 'lines.txt: begins as JSON and was read as such; --format text' "$d/stderr")
    [ "$warned" -eq $([ $road = lines.txt ] && echo 1 || echo 0) ] || die "$road: warned $warned times"
done
"$SOLERA" tokenize --tokenizer "$d/t.json" --input /dev/stdin --format json -o "$d/road.h5" 2>/dev/null <"$d/s.jsonl" || die "stdin"
cmp "$d/s1.h5" "$d/road.h5" || die "stdin changed the dataset"
cat "$d/s.jsonl" | "$SOLERA" tokenize --tokenizer "$d/t.json" --input /dev/stdin -o "$d/piped.h5" 2>"$d/stderr" || die "a pipe"
cmp "$d/s1.h5" "$d/piped.h5" || die "a pipe changed the dataset"
grep -q '/dev/stdin: begins as JSON' "$d/stderr" || die "a pipe of JSON: no warning"

# and as the data of a job
"$SOLERA" train-tokenizer --vocab 500 --input "$d/s.json" -o "$d/few.json" 2>/dev/null || die "a tokenizer from an array of JSON"
"$SOLERA" tokenize --tokenizer "$d/few.json" --input $stories -o "$d/few.h5" 2>/dev/null || die "500 tokens"
printf 'run: {dir: %s/run}\nmodel: {init: "random:tiny", tokenizer: %s/few.json}\nquant: {method: none}\ntrain: {steps: 1, batch: 1, seq: 32, eval_every: 0}\n' "$d" "$d" >"$d/job.yaml"
gzip -c "$d/s.json" >"$d/nameless"
for road in $stories "$d/s.jsonl" "$d/strings.jsonl" "$d/nameless"; do
    rm -rf "$d/run"
    "$SOLERA" train "$d/job.yaml" --set data.train="$road" 2>"$d/stderr" || die "data.train $road: $(cat "$d/stderr")"
    cmp "$d/few.h5" "$d/run/tokens-train.h5" || die "data.train $road changed the dataset"
done
rm -rf "$d/run"
mkfifo "$d/fifo"
cat "$d/s.json" >"$d/fifo" &
"$SOLERA" train "$d/job.yaml" --set data.train="$d/fifo" 2>"$d/stderr" || die "data.train, a pipe: $(cat "$d/stderr")"
cmp "$d/few.h5" "$d/run/tokens-train.h5" || die "data.train, a pipe: another dataset"

# text_bytes counts the text alone; values without one are left out and counted if asked
printf '{"text":"hi","meta":"a long field"}\n{"text":null}\n{"text":"\\ud800"}\n{"text":"\\u00e9"}\n' >"$d/some.jsonl"
"$SOLERA" tokenize --tokenizer "$d/t.json" --input "$d/some.jsonl" -o "$d/some.h5" --skip-bad --json >"$d/counts" 2>"$d/stderr" || die "--skip-bad"
grep -q '"documents": 2, .*"text_bytes": 4, "skipped": 2,' "$d/counts" || die "--skip-bad: $(cat "$d/counts")"
grep -q '2 values of JSON were left out, the first: .*some.jsonl:2: no string under "text": it is null' "$d/stderr" || die "--skip-bad: $(cat "$d/stderr")"
"$SOLERA" train-tokenizer --vocab 258 --input "$d/some.jsonl" --skip-bad -o "$d/some.json" 2>"$d/stderr" || die "train-tokenizer --skip-bad"
grep -q '2 values of JSON were left out' "$d/stderr" || die "train-tokenizer --skip-bad: $(cat "$d/stderr")"

# special tokens that a text spells: one warning, with the place and a way out, and their count
printf '{"text":"a"}\n{"text":"b<|end_of_text|>"}\n{"text":"<|end_of_text|><|begin_of_text|>"}\n' >"$d/special.jsonl"
special="$SOLERA tokenize --tokenizer $d/t.json --input $d/special.jsonl"
$special -o "$d/special.h5" 2>"$d/stderr" || die "special tokens"
[ "$(grep -c 'warning: ' "$d/stderr")" -eq 2 ] || die "special tokens: $(cat "$d/stderr")"
grep -q 'special.jsonl:2: the text spells the special token <|end_of_text|>, .*--special yes' "$d/stderr" || die "special: $(cat "$d/stderr")"
grep -q 'encoded as plain text: 3$' "$d/stderr" || die "special tokens: $(cat "$d/stderr")"
for when in yes no; do
    $special -o "$d/special-$when.h5" --special $when 2>"$d/stderr" || die "--special $when"
    grep -q 'warning: ' "$d/stderr" && die "--special $when: $(cat "$d/stderr")"
done
cmp -s "$d/special-yes.h5" "$d/special-no.h5" && die "--special changes nothing"

# bad input
: >"$d/empty.txt"
printf '{"text":"a"}\n{"text":\n' >"$d/bad.jsonl"
printf '{"text": 7}' >"$d/number.jsonl"
head -c 1000 "$d/many.txt.gz" >"$d/cut.txt.gz"
head -c 1000 "$d/t.json" >"$d/cut.json"
t="$SOLERA tokenize --tokenizer $d/t.json -o $d/out.h5"
want_error "no text in it" $t --input "$d/empty.txt"
want_error "bad.jsonl:2:" $t --input $stories "$d/bad.jsonl"
want_error 'number.jsonl:1: no string under "text"' $t --input "$d/number.jsonl"
want_error "damaged gzip file" $t --input "$d/cut.txt.gz"
printf '[{"text":"a"},\n{"text":null}]' >"$d/null.json"
printf 'a,b\n' >"$d/table.csv"
printf 'caf\351\n' >"$d/latin.txt"
{
    gzip -c $stories
    echo "and more"
} >"$d/more.txt.gz"
want_error 'null.json:2: no string under "text": it is null' $t --input "$d/null.json"
want_error "table.csv: is a table" $t --input $stories "$d/table.csv"
want_error "Latin-1" $t --input "$d/latin.txt"
want_error "9 bytes that are no gzip follow" $t --input "$d/more.txt.gz"
want_error "is a table" "$SOLERA" train-tokenizer --vocab 258 --input "$d/table.csv" -o "$d/out.h5"
want_error "'-o' has no effect with --ids" $t --ids
want_error "'--skip-bad' has no effect with --ids" "$SOLERA" tokenize --tokenizer "$d/t.json" --ids --skip-bad
want_error "nowhere.txt: cannot" $t --input $stories "$d/nowhere.txt"
want_error "is a directory" $t --input "$d"
want_error "is an HDF5 file" $t --input "$d/1.h5"
ln "$d/number.jsonl" "$d/link.jsonl"
want_error "link.jsonl: is read, too" "$SOLERA" tokenize --tokenizer "$d/t.json" --input $stories "$d/number.jsonl" -o "$d/link.jsonl"
want_error "t.json: is read, too" "$SOLERA" tokenize --tokenizer "$d/t.json" --input $stories -o "$d/t.json"
want_error "cut.json:1:" "$SOLERA" tokenize --tokenizer "$d/cut.json" --input $stories -o "$d/out.h5"
# Of two texts that fail side by side the first one is named.
sed 's/"Regex":"[^"]*"/"Regex":"(a+)+[bc]"/' "$d/t.json" >"$d/slow.json"
awk 'BEGIN {
    for (a = "aaaa"; length(a) < 64;) a = a a
    for (b = "b"; length(b) < 200000;) b = b b
    print "{\"text\":\"" a "\"}\n{\"text\":\"" b "\"}\n{\"text\":\"" a "\"}"
}' >"$d/slow.jsonl"
want_error "slow.jsonl:1: the tokenizer's regex fails" "$SOLERA" tokenize --tokenizer "$d/slow.json" --input "$d/slow.jsonl" -o "$d/out.h5"
want_error "not a tokenizer" "$SOLERA" tokenize --tokenizer $stories --input $stories -o "$d/out.h5"
want_error "holds no tokenizer" "$SOLERA" tokenize --tokenizer "$d/1.h5" --input $stories -o "$d/out.h5"
# An import takes the tokenizer of a solera file, too.
"$SOLERA" import --random embedded --tokenizer "$d/t.json" -o "$d/lender.h5" 2>/dev/null
"$SOLERA" import --random embedded --tokenizer "$d/lender.h5" -o "$d/borrower.h5" 2>/dev/null
cmp "$d/lender.h5" "$d/borrower.h5" || die "import --tokenizer of a model file makes another model"
want_error "holds no tokenizer" "$SOLERA" import --random embedded --tokenizer "$d/1.h5" -o "$d/out.h5"
want_error "nowhere/out.h5" "$SOLERA" tokenize --tokenizer "$d/t.json" --input $stories -o "$d/nowhere/out.h5"
want_error "wants either" $t
want_error "wants -o" "$SOLERA" tokenize --tokenizer "$d/t.json" --input $stories
want_error "wants --tokenizer" "$SOLERA" tokenize --ids
want_error "too little for a vocabulary of 60000" "$SOLERA" train-tokenizer --vocab 60000 --input $stories -o "$d/out.h5"
want_error "out of range" "$SOLERA" train-tokenizer --vocab 100 --input $stories -o "$d/out.h5"
printf 'x\n' | "$SOLERA" tokenize --tokenizer "$d/t.json" --ids >/dev/null 2>"$d/stderr"
[ $? -eq 2 ] && grep -q 'stdin:1:1: not a JSON object' "$d/stderr" || die "bad line on stdin: $(cat "$d/stderr")"

# an interrupted run leaves nothing behind; the pipe holds it open until the signal has come, and holds less than is sent before that
mkfifo "$d/pipe.txt"
$t --input "$d/pipe.txt" 2>"$d/stderr" &
run=$!
{
    cat "$d/many.txt"
    kill -INT $run
    cat $stories
} >"$d/pipe.txt"
wait $run
code=$?
[ $code -eq 130 ] || die "interrupted: exit code $code"
for left in "$d"/out.h5*; do [ ! -e "$left" ] || die "interrupted: left behind $left"; done

# - is standard input, a pipe as well as a file.
"$SOLERA" tokenize --tokenizer checkpoints/embedded.h5 --input "$stories" -o "$d/file.h5" 2>/dev/null || die "a file"
cat "$stories" | "$SOLERA" tokenize --tokenizer checkpoints/embedded.h5 --input - -o "$d/pipe.h5" 2>/dev/null || die "--input - from a pipe"
"$SOLERA" tokenize --tokenizer checkpoints/embedded.h5 --input - -o "$d/stdin.h5" <"$stories" 2>/dev/null || die "--input - from a file"
cmp -s "$d/file.h5" "$d/pipe.h5" && cmp -s "$d/file.h5" "$d/stdin.h5" || die "--input - makes another dataset"

# a table is refused with the one command that makes lines of JSON of it, which works
printf 'id,body\n1,"a ""b"", c"\n2,x\n' >"$d/table.csv"
"$SOLERA" tokenize --tokenizer "$d/t.json" --input "$d/table.csv" -o "$d/table.h5" 2>"$d/stderr" && die "a table is read"
grep -qF 'scripts/table_to_jsonl.sh TABLE [COLUMN] > OUT.jsonl' "$d/stderr" || die "no way out of a table: $(cat "$d/stderr")"
if command -v python3 >/dev/null; then
    PYTHON=python3 scripts/table_to_jsonl.sh "$d/table.csv" body >"$d/table.jsonl" || die "table_to_jsonl.sh"
    "$SOLERA" tokenize --tokenizer "$d/t.json" --input "$d/table.jsonl" -o "$d/table.h5" --json >"$d/counts" 2>/dev/null || die "its lines are not read"
    grep -q '"documents": 2,' "$d/counts" || die "table: $(cat "$d/counts")"
    # no field is lost in silence: a row of another length, two columns of one name, another encoding
    for bad in 'id,body\n1,a, b\n' 'id,body\n1\n' 'body,body\n1,a\n' 'id,body\n1,\0351\n'; do
        printf '%b' "$bad" >"$d/bad.csv"
        PYTHON=python3 scripts/table_to_jsonl.sh "$d/bad.csv" body >"$d/stdout" 2>"$d/stderr" && die "table: $bad"
        [ "$(wc -l <"$d/stderr")" -eq 1 ] || die "table: $bad: $(cat "$d/stderr")"
    done
fi
