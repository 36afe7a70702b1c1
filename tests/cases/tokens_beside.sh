# Tokens that files beside tokenizer.json name: the ids are those of AutoTokenizer of transformers.
. tests/cli/common

# expect TEXT IDS: of the folder, whose vocabulary has a place for one more token, 479
expect() {
    "$SOLERA" import "$dir/hf" -o "$dir/m.h5" --force 2>"$dir/err" || fail "$(cat "$dir/err")"
    ids=$(printf '{"text": "%s"}\n' "$1" | "$SOLERA" tokenize --tokenizer "$dir/m.h5" --ids)
    [ "$ids" = "$2" ] || fail "$1: $ids, not $2"
}
new_folder() {
    rm -rf "$dir/hf"
    cp -R tests/golden/hf-bytes "$dir/hf"
    tr -d '\n' <tests/golden/hf-bytes/tokenizer.json |
        sed 's/, *"Ġvery": 479//; s/, *\[ *"Ġ", *"very" *\]//' >"$dir/hf/tokenizer.json"
}

new_folder
echo '{"pad_token": "<x>", "added_tokens_decoder": {"479": {"content": "<x>", "lstrip": true,
    "rstrip": false, "single_word": false, "normalized": false}}}' >"$dir/hf/tokenizer_config.json"
expect 'a <x>b' '[0,67,479,68]'
"$SOLERA" export "$dir/m.h5" -o "$dir/out" --format safetensors 2>/dev/null
tr -d ' \n' <"$dir/out/tokenizer.json" | grep -q '"content":"<x>"' || fail "the export lacks <x>"

new_folder
echo '{"added_tokens_decoder": {"2": {"content": "<|eot_id|>", "rstrip": true}}}' \
    >"$dir/hf/tokenizer_config.json"
expect 'a<|eot_id|> b' '[0,67,2,68]'

new_folder
echo '{"pad_token": "Ġgirl", "additional_special_tokens": ["<x>"]}' >"$dir/hf/special_tokens_map.json"
expect 'aĠgirl<x>b' '[0,67,478,479,68]'

new_folder
echo '{"<y>": 480, "<x>": 479}' >"$dir/hf/added_tokens.json"
expect 'a<x>' '[0,67,479]'
grep -q "left out: 1, the first is <y>" "$dir/err" || fail "nothing of <y>: $(cat "$dir/err")"
