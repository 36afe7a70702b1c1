# Conversations: the chat template and the settings of generation travel from import to every export.
. tests/cli/common
golden=tests/golden/families/qwen3

# A folder of a tiny model with a template in chatml.
cp -r "$golden" "$dir/model"
chat="{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}"
printf '%s' "$chat" >"$dir/model/chat_template.jinja"
echo '{"eos_token_id": 3, "temperature": 0.5}' >"$dir/model/generation_config.json"
expect 0 "" "$SOLERA" import "$dir/model" -o "$dir/m.h5"

# From there to a packed file, GGUF and a folder, and in again.
kept() { # folder
    grep -qF "{{ '<|im_start|>' + m.role" "$1/tokenizer_config.json" || fail "$1: the template is lost"
    grep -qE '"temperature": 0.5' "$1/generation_config.json" || fail "$1: the temperature is lost"
}
expect 0 "" "$SOLERA" export "$dir/m.h5" -o "$dir/p.h5" --method sherry --granularity per_channel
expect 0 "" "$SOLERA" export "$dir/p.h5" -o "$dir/hf" --format safetensors
kept "$dir/hf"
expect 0 "" "$SOLERA" export "$dir/m.h5" -o "$dir/m.gguf" --type f32
grep -qaF tokenizer.chat_template "$dir/m.gguf" || fail "GGUF: the template is lost"
expect 0 "" "$SOLERA" import "$dir/m.gguf" -o "$dir/again.h5"
expect 0 "" "$SOLERA" export "$dir/again.h5" -o "$dir/hf2" --format safetensors
kept "$dir/hf2"
