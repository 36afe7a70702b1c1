# text_bytes are the bytes of the text, not of the JSON around it.
. tests/cli/common

printf '{"text": "hi", "meta": "%01000d"}\n{"text": "\\u00e9"}\n' 0 >"$dir/a.jsonl"
"$SOLERA" tokenize --tokenizer checkpoints/embedded.h5 --input "$dir/a.jsonl" -o "$dir/a.h5" --json >"$dir/out" 2>/dev/null
grep -q '"text_bytes": 4,' "$dir/out" || fail "$(cat "$dir/out")"
