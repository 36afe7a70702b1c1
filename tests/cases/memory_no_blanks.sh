# A text of any size is tokenized in less than 200 MB, also where it is one word, and one line of JSON;
# and a text of this size where the tokenizer, for what its normalizer strips, lets it be cut nowhere.
. tests/cli/common
# Addresses of 160 MB: the program takes 85 of them for a text of a line, and 130 for these; ten bytes more for each of a text
# are too many. Sanitizers take memory of their own, and glibc reserves 64 MB of addresses for a thread that meets another in malloc.
! "$SOLERA" version | grep -q -e asan -e tsan || exit 0

tokenize() { # TOKENIZER FILE
    (ulimit -v 160000; MALLOC_ARENA_MAX=1 OPENBLAS_NUM_THREADS=1 exec "$SOLERA" tokenize --tokenizer "$1" --input "$2" -o "$2.h5" -t 2 --force) 2>"$dir/err" ||
        fail "$1, $2: $(cat "$dir/err")"
}
yes wordandmore | head -n 300000 | tr -d '\n' >"$dir/word.txt"
{ printf '{"text": "'; yes "word and more" | head -n 600000 | tr '\n' ' '; printf '"}\n'; } >"$dir/line.jsonl"
tokenize checkpoints/embedded.h5 "$dir/word.txt"
tokenize checkpoints/embedded.h5 "$dir/line.jsonl"
make_job
sed 's/"normalizer": *null/"normalizer": {"type": "Strip", "strip_left": true, "strip_right": true}/' "$dir/tokenizer.json" >"$dir/strip.json"
cat "$dir/word.txt" "$dir/word.txt" "$dir/word.txt" >"$dir/words.txt"
tokenize "$dir/strip.json" "$dir/words.txt"
