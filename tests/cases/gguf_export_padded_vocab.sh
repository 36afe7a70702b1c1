# An embedding with more rows than the tokenizer has tokens becomes a GGUF file that a reader takes.
. tests/cli/common

make_job # tokens 0..279, rows 0..511
"$SOLERA" import --random tiny --tokenizer "$dir/tokenizer.json" -o "$dir/m.h5" 2>/dev/null
expect 0 "" "$SOLERA" export "$dir/m.h5" -o "$dir/m.gguf" --type f16 --no-card
expect 0 "" "$SOLERA" import "$dir/m.gguf" -o "$dir/back.h5"
for model in m back; do
    echo '{"text": "the cat sees our bird"}' | "$SOLERA" tokenize --tokenizer "$dir/$model.h5" --ids >"$dir/$model.ids"
done
cmp "$dir/m.ids" "$dir/back.ids" || fail "other ids: $(cat "$dir/m.ids" "$dir/back.ids")"
