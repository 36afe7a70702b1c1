# Each family of tests/golden/families (scripts/make_golden_families.py) on the road that a user
# takes: import, train, evaluate, pack, export, import again; Qwen's tokenizer as tokenizers
# computes it, also from GGUF; and what is refused is refused by its name.
. tests/cli/common
golden=tests/golden/families

same_ids() { # tokenizer: ids of $golden/qwen3/texts.jsonl are those of tokenizers
    "$SOLERA" tokenize --tokenizer "$1" --ids <"$golden/qwen3/texts.jsonl" >"$dir/ids" 2>"$dir/err" ||
        fail "$(cat "$dir/err")"
    diff "$golden/qwen3/ids.txt" "$dir/ids" >"$dir/out" ||
        fail "$1: other ids: $(head -n 4 "$dir/out")"
}
t=$golden/qwen3/tokenizer.json
same_ids "$t"
expect 0 "" "$SOLERA" tokenize --tokenizer "$t" --input data/sample/stories.txt -o "$dir/d.h5"
cat >"$dir/job.yaml" <<END
model: {init: $dir/m.h5}
data: {train: $dir/d.h5}
quant: {granularity: per_channel}
train: {steps: 2, batch: 2, seq: 16}
run: {dir: $dir/run}
END
for family in mistral qwen2-window qwen3 smollm3 bitnet; do
    rm -rf "$dir/run" "$dir/m.h5" "$dir/p.h5" "$dir/m.gguf" "$dir/hf" "$dir/again.h5"
    expect 0 "" "$SOLERA" import "$golden/$family" --tokenizer "$t" -o "$dir/m.h5"
    same_ids "$dir/m.h5"
    expect 0 "" "$SOLERA" train "$dir/job.yaml"
    expect 0 "" "$SOLERA" export "$dir/run/ckpt/step-000002.h5" -o "$dir/p.h5"
    expect 0 "" "$SOLERA" eval "$dir/p.h5" --data "$dir/d.h5" --windows 2 --seq 16
    expect 0 "" "$SOLERA" generate "$dir/p.h5" -p "Once" -n 4
    expect 0 "" "$SOLERA" inspect "$dir/p.h5"
    said=
    case $family in mistral | *-window) said="the file names a context of 7, as long as the window" ;; esac
    expect 0 "$said" "$SOLERA" export "$dir/p.h5" -o "$dir/m.gguf" --type f32 --embed-type f32
    expect 0 "" "$SOLERA" export "$dir/p.h5" -o "$dir/hf" --format safetensors
    for form in m.gguf hf; do
        rm -f "$dir/again.h5"
        expect 0 "" "$SOLERA" import "$dir/$form" -o "$dir/again.h5"
        same_ids "$dir/again.h5"
        "$SOLERA" score "$dir/again.h5" --ids "$golden/qwen3/ids.txt" >"$dir/scores.$form" ||
            fail "score $form"
    done
    cmp "$dir/scores.m.gguf" "$dir/scores.hf" || fail "$family: GGUF and the folder differ"
done

# What a file of the family has no place for, and what is none of ours.
refused() { # text, sed command on config.json of qwen3
    rm -rf "$dir/bad"
    cp -r "$golden/qwen3" "$dir/bad"
    sed "$2" "$golden/qwen3/config.json" >"$dir/bad/config.json"
    expect 2 "$1" "$SOLERA" import "$dir/bad" -o "$dir/bad.h5"
    [ ! -e "$dir/bad.h5" ] || fail "a file in spite of: $1"
}
refused "model_type is 'gemma3': norms behind attention and MLP" 's/"qwen3"/"gemma3"/'
refused "model_type is 'newest', which is not known here: a model of llama, mistral" \
    's/"qwen3"/"newest"/'
refused "attention_bias is true" 's/"attention_bias": false/"attention_bias": true/'
refused 'layer_types is ["sliding_attention","full_attention"]: only the last layers may have a window' \
    '0,/"full_/s//"sliding_/'
refused 'layer_types is ["sliding_attention","sliding_attention"]: has windows, but use_sliding_window' \
    's/"full_/"sliding_/'
refused "k_norm.weight: is not a parameter of the model" 's/"qwen3"/"llama"/'

# A bitnet model: what its class means where config.json is silent, and the one thing that it must
# say.
silent() { # sed command: scores of $golden/bitnet with another config.json
    rm -rf "$dir/bad" "$dir/b.h5"
    cp -r "$golden/bitnet" "$dir/bad"
    sed "$1" "$golden/bitnet/config.json" >"$dir/bad/config.json"
    expect 0 "" "$SOLERA" import "$dir/bad" --tokenizer "$t" -o "$dir/b.h5"
    "$SOLERA" score "$dir/b.h5" --ids "$golden/qwen3/ids.txt" >"$dir/$2" || fail "score $2"
}
silent '' scores.said
silent '/rms_norm_eps/d; /rope_parameters/,/}/d' scores.silent
cmp "$dir/scores.said" "$dir/scores.silent" || fail "a silent bitnet model computes otherwise"
sed '/hidden_act/d' "$golden/bitnet/config.json" >"$dir/bad/config.json"
expect 2 "hidden_act is null: only silu is computed" "$SOLERA" import "$dir/bad" -o "$dir/bad.h5"

# The same of GGUF, under a name of as many bytes.
"$SOLERA" import "$golden/qwen3" -o "$dir/q.h5" 2>"$dir/err" || fail "$(cat "$dir/err")"
"$SOLERA" export "$dir/q.h5" -o "$dir/q.gguf" --type f32 2>"$dir/err" || fail "$(cat "$dir/err")"
sed 's/qwen3/gemma/g' "$dir/q.gguf" >"$dir/bad.gguf"
expect 2 "general.architecture is 'gemma': norms behind" "$SOLERA" import "$dir/bad.gguf" -o "$dir/bad.h5"
