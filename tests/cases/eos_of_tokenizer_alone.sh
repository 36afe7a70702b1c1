# BOS and EOS that the tokenizer has and config.json does not name, or names otherwise, through GGUF.
. tests/cli/common

mkdir "$dir/hf"
cp tests/golden/hf-bytes/model.safetensors tests/golden/hf-bytes/tokenizer.json "$dir/hf"
for ids in 'null,"eos_token_id":null' '5,"eos_token_id":479' '479,"eos_token_id":[479,1]'; do
    tr -d ' \n' <tests/golden/hf-bytes/config.json |
        sed "s/\"bos_token_id\":0/\"bos_token_id\":$ids/; s/\"eos_token_id\":\[1,2\],//" \
            >"$dir/hf/config.json"
    "$SOLERA" import "$dir/hf" -o "$dir/m.h5" --force 2>/dev/null
    "$SOLERA" export "$dir/m.h5" -o "$dir/m.gguf" --type f32 --force 2>/dev/null
    "$SOLERA" import "$dir/m.gguf" -o "$dir/again.h5" --force 2>/dev/null
    for model in m again; do
        "$SOLERA" export "$dir/$model.h5" -o "$dir/$model" --format safetensors --force 2>/dev/null
    done
    tr -d ' \n' <"$dir/m/config.json" | grep -qF "$ids" || fail "$ids: $(cat "$dir/m/config.json")"
    for file in config.json generation_config.json tokenizer_config.json; do
        diff "$dir/m/$file" "$dir/again/$file" >"$dir/out" || fail "$ids: $file: $(cat "$dir/out")"
    done
done
