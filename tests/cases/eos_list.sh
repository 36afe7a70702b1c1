# A model with several tokens that end a text keeps them all, in order, through every form.
. tests/cli/common

"$SOLERA" import tests/golden/hf-bytes -o "$dir/m.h5" 2>/dev/null
"$SOLERA" export "$dir/m.h5" -o "$dir/hf" --format safetensors 2>/dev/null
for file in config.json generation_config.json; do
    tr -d ' \n' <"$dir/hf/$file" | grep -q '"eos_token_id":\[1,2\]' || fail "$file: $(grep -A 3 eos_token_id "$dir/hf/$file")"
done
"$SOLERA" export "$dir/m.h5" -o "$dir/p.h5" --method sherry --granularity per_channel 2>/dev/null
for model in m p; do
    "$SOLERA" inspect "$dir/$model.h5" --json | tr -d ' ' | grep -q '"eos_token_id":\[1,2\]\|"eos_token_id":1.*"more_eos[a-z_]*":\[2\]' ||
        fail "$model.h5: $("$SOLERA" inspect "$dir/$model.h5" --json)"
done
