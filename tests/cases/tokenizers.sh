# Tokenizers that differ in one setting: the ids of the library `tokenizers`.
. tests/cli/common

for edit in tests/cases/tokenizers/*.sed; do
    base=$(sed -n '1s/# \([^:]*\):.*/\1/p' "$edit")
    { tr -d '\n' <"tests/golden/$base/tokenizer.json"; echo; } | sed -f "$edit" >"$dir/tokenizer.json"
    "$SOLERA" tokenize --tokenizer "$dir/tokenizer.json" --ids <tests/cases/tokenizers/texts.jsonl >"$dir/ids" 2>"$dir/err" ||
        fail "$edit: $(cat "$dir/err")"
    diff "${edit%.sed}.ids" "$dir/ids" >"$dir/out" || fail "$edit: other ids than those of tokenizers: $(cat "$dir/out")"
done
