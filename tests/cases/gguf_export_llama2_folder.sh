# A folder with a tokenizer like that of LLaMA 2, merges and no scores, becomes a GGUF file whose scores give the same ids.
. tests/cli/common

golden=tests/golden/hf-pieces
"$SOLERA" import $golden -o "$dir/m.h5" 2>/dev/null
expect 0 "" "$SOLERA" export "$dir/m.h5" -o "$dir/m.gguf" --type f16 --no-card
expect 0 "" "$SOLERA" import "$dir/m.gguf" -o "$dir/back.h5"
"$SOLERA" tokenize --tokenizer "$dir/back.h5" --ids <$golden/texts.jsonl >"$dir/ids"
diff $golden/ids.txt "$dir/ids" || fail "other ids after a way through GGUF"
