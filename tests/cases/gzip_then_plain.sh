# What follows the compressed data of a .gz file is not dropped without a word.
. tests/cli/common

printf '{"text": "one"}\n' | gzip >"$dir/a.jsonl.gz"
printf '{"text": "two"}\n' >>"$dir/a.jsonl.gz"
expect 2 "a.jsonl.gz" "$SOLERA" tokenize --tokenizer checkpoints/embedded.h5 --input "$dir/a.jsonl.gz" -o "$dir/d.h5"
{ printf '{"text": "one"}\n' | gzip; printf '{"text": "two"}\n' | gzip; } >"$dir/b.jsonl.gz" # two members are one file
"$SOLERA" tokenize --tokenizer checkpoints/embedded.h5 --input "$dir/b.jsonl.gz" -o "$dir/d.h5" --json 2>/dev/null | grep -q '"documents": 2,' ||
    fail "two members"
