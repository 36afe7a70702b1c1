. tests/cli/common
# Hugging Face folders as other programs write them: made by export, then changed by hand.
expect 0 "" "$SOLERA" export checkpoints/embedded.h5 -o "$dir/hf" --format safetensors
config=$(cat "$dir/hf/config.json")

# with KEY VALUE: config.json with this key in place of its own.
with() {
    printf '%s\n' "$config" | grep -v "^  \"$1\":" | sed "s|^{|{\n  \"$1\": $2,|" >"$dir/hf/config.json"
}

# shows TEXT: what inspect --json says of the imported model.
shows() {
    expect 0 "" "$SOLERA" import "$dir/hf" -o "$dir/m.h5"
    "$SOLERA" inspect "$dir/m.h5" --json >"$dir/shown"
    grep -qF -- "$1" "$dir/shown" || fail "'$1' is not in: $(head -c 900 "$dir/shown")"
}

# EOS lists go through import, packing and both exports; generation stops at each of them.
new_tokens() {
    "$SOLERA" generate "$1" -p "Once upon a time" -n 40 --temp 0 >"$dir/text" 2>"$dir/err" || fail "generate $1: $(cat "$dir/err")"
    sed -n 's/.* \([0-9]*\) new tokens.*/\1/p' "$dir/err"
}
free=$(new_tokens checkpoints/embedded.h5)
[ "$free" -gt 5 ] || fail "the model stops at once: $free"
printf '{"text": "%s"}\n' "$(head -c 60 "$dir/text" | tr '\n"\\' '   ')" |
    "$SOLERA" tokenize --tokenizer checkpoints/embedded.h5 --ids >"$dir/ids"
id=$(tr -d '[] ' <"$dir/ids" | cut -d, -f8)
rm "$dir/hf/generation_config.json"
with eos_token_id "[2047, 3, $id]"
shows "\"eos_token_id\":[2047,3,$id]"
short=$(new_tokens "$dir/m.h5")
[ "$short" -lt "$free" ] || fail "generate runs past an EOS: $short of $free tokens"
expect 0 "" "$SOLERA" export "$dir/m.h5" -o "$dir/p.h5" --method sherry --group-size 128
"$SOLERA" inspect "$dir/p.h5" | grep -qF "eos_token_id [2047,3,$id]" || fail "inspect: $("$SOLERA" inspect "$dir/p.h5")"
expect 0 "" "$SOLERA" export "$dir/m.h5" -o "$dir/again" --format safetensors
for file in config generation_config; do
    tr -d '\n ' <"$dir/again/$file.json" | grep -qF "\"eos_token_id\":[2047,3,$id]" || fail "$file.json: $(cat "$dir/again/$file.json")"
done
expect 0 "" "$SOLERA" export "$dir/m.h5" -o "$dir/m.gguf" --type f16
expect 0 "" "$SOLERA" import "$dir/m.gguf" -o "$dir/g.h5"
"$SOLERA" inspect "$dir/g.h5" | grep -qF "eos_token_id [2047,3,$id]" || fail "GGUF: $("$SOLERA" inspect "$dir/g.h5")"
printf '{"eos_token_id": [3, 2047]}\n' >"$dir/hf/generation_config.json"
shows '"eos_token_id":[3,2047]'
rm "$dir/hf/generation_config.json"

# RoPE: an empty rope_scaling is none, another wins over rope_parameters; linear scaling goes through both exports.
with rope_parameters '{"rope_type": "default", "rope_theta": 70000}'
shows '"rope_scaling":{"rope_type":"llama3","factor":32.0'
shows '"rope_theta":500000.0'
config=$(printf '%s\n' "$config" | sed '/"rope_scaling": {/,/}/d')
with rope_scaling '{"type": "linear", "factor": 4}'
shows '"factor":4.0,"low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":1'
expect 0 "" "$SOLERA" export "$dir/m.h5" -o "$dir/again" --format safetensors
tr -d '\n ' <"$dir/again/config.json" | grep -qF '"rope_scaling":{"rope_type":"linear","factor":4.0}' || fail "$(cat "$dir/again/config.json")"
expect 0 "" "$SOLERA" export "$dir/m.h5" -o "$dir/m.gguf" --type f16
expect 0 "" "$SOLERA" import "$dir/m.gguf" -o "$dir/g.h5"
"$SOLERA" inspect "$dir/g.h5" --json | grep -qF '"factor":4.0,"low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":1' ||
    fail "GGUF: $("$SOLERA" inspect "$dir/g.h5" --json)"
with rope_scaling '{"type": "dynamic", "factor": 4}'
expect 0 "warning: RoPE scaling \"dynamic\" begins beyond max_position_embeddings" "$SOLERA" import "$dir/hf" -o "$dir/m.h5"
with rope_scaling '{"type": "yarn", "factor": 4}'
expect 2 'rope_type is "yarn": only default, linear, llama3 and dynamic are computed' "$SOLERA" import "$dir/hf" -o "$dir/x.h5"

# Numbers as Python writes them do no harm where nobody reads them.
with head_dim '64.0, "a": [NaN, -Infinity, 1e400, 123456789012345678901234567890]'
shows '"head_dim":64'
with sliding_window 128
expect 2 "sliding_window is 128: every layer must attend to the whole text" "$SOLERA" import "$dir/hf" -o "$dir/x.h5"
[ ! -e "$dir/x.h5" ] || fail "a refused import leaves a file"

# What no model file can hold of texts is left out, and said.
cp -R tests/golden/hf-bytes "$dir/long"
long=$(printf '%070000d' 0)
printf '{"eos_token_id": 2, "_note": "%s"}\n' "$long" >"$dir/long/generation_config.json"
printf '%s\n' "$long" >"$dir/long/chat_template.jinja"
expect 0 "warning: generation_config.json has more than 60000 bytes" "$SOLERA" import "$dir/long" -o "$dir/m.h5"
expect 0 "warning: the chat template has more than 60000 bytes" "$SOLERA" import "$dir/long" -o "$dir/m.h5"

# Of two tensors that are broken the first one is named, with any number of threads.
rm -r "$dir/hf"
expect 0 "" "$SOLERA" export checkpoints/embedded.h5 -o "$dir/hf" --format safetensors
size=$(wc -c <"$dir/hf/model.safetensors")
for back in 4 8192; do
    printf '\000\000\300\177' | dd of="$dir/hf/model.safetensors" bs=1 seek=$((size - back)) conv=notrunc 2>/dev/null
done
for threads in 1 2; do
    expect 2 "model.layers.3.mlp.down_proj.weight: element" "$SOLERA" import "$dir/hf" -o "$dir/x.h5" -t $threads
done

# What `git clone` leaves where Git LFS was not there to fetch it.
for name in model.safetensors tokenizer.json; do
    mv "$dir/hf/$name" "$dir/kept"
    printf 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n' >"$dir/hf/$name"
    expect 2 "$name: is a pointer of Git LFS" "$SOLERA" import "$dir/hf" -o "$dir/m.h5"
    expect 2 "$name: is a pointer of Git LFS" "$SOLERA" import "$dir/hf/$name" -o "$dir/m.h5"
    mv "$dir/kept" "$dir/hf/$name"
done

# A program of the model's own is not run.
rm -r "$dir/hf"
expect 0 "" "$SOLERA" export checkpoints/embedded.h5 -o "$dir/hf" --format safetensors
with auto_map '{"AutoModelForCausalLM": "modeling.Own"}'
expect 0 "warning: auto_map of config.json names a program" "$SOLERA" import "$dir/hf" -o "$dir/m.h5"
