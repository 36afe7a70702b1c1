# A text of any size is tokenized in less than 200 MB, also where it is one word, and one line of JSON.
. tests/cli/common
# Sanitizers take memory of their own.
! "$SOLERA" version | grep -q -e asan -e tsan || exit 0

yes wordandmore | head -n 1000000 | tr -d '\n' >"$dir/word.txt"
{ printf '{"text": "'; yes "word and more" | head -n 3600000 | tr '\n' ' '; printf '"}\n'; } >"$dir/line.jsonl"
for file in word.txt line.jsonl; do
    (ulimit -v 300000; exec "$SOLERA" tokenize --tokenizer checkpoints/embedded.h5 --input "$dir/$file" -o "$dir/$file.h5" -t 2) 2>"$dir/err" ||
        fail "$file: $(cat "$dir/err")"
done
