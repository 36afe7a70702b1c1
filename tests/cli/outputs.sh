. tests/cli/common
# An output is replaced where this program wrote it, or with --force; anything else stays as it is. Permissions stay, too.
make_job
e=$dir/e.h5
"$SOLERA" import --random tiny --tokenizer "$dir/tokenizer.json" -o "$e" 2>/dev/null
o=$dir/o
mkdir "$o"

# refused NAME COMMAND...: NAME is there, is not ours, and does not change; --force replaces it, a second run needs no --force.
refused() {
    name=$1
    shift
    cp "$o/$name" "$dir/before"
    expect 2 "$o/$name: exists, and " "$@"
    cmp -s "$dir/before" "$o/$name" || fail "$name changed: $*"
    [ ! -e "$o/$name.tmp" ] || fail "$name.tmp was left: $*"
    chmod 600 "$o/$name"
    expect 0 "" "$@" --force
    cmp -s "$dir/before" "$o/$name" && fail "--force does nothing: $*"
    [ "$(ls -l "$o/$name" | cut -c1-10)" = -rw------- ] || fail "$name: other permissions"
    expect 0 "" "$@"
}
verbs() { # make NAME: puts what is not ours under that name
    for name in p.h5 m.h5 m.gguf i.h5 d.h5 t.json; do
        "$1" "$o/$name"
        case $name in
        p.h5) refused $name "$SOLERA" export "$e" -o "$o/$name" --method sherry --group-size 64 --no-card ;;
        m.h5) refused $name "$SOLERA" export "$e" -o "$o/$name" --format model --no-card ;;
        m.gguf) refused $name "$SOLERA" export "$e" -o "$o/$name" --type q8_0 --no-card ;;
        i.h5) refused $name "$SOLERA" import --random tiny -o "$o/$name" ;;
        d.h5) refused $name "$SOLERA" tokenize --tokenizer "$dir/tokenizer.json" --input "$dir/text.txt" -o "$o/$name" ;;
        t.json) refused $name "$SOLERA" train-tokenizer --vocab 270 --input "$dir/text.txt" -o "$o/$name" ;;
        esac
    done
}
a_text() { echo "my own words" >"$1"; }
an_empty_file() { : >"$1"; }
a_torn_file() { head -c 3000 "$e" >"$1"; }
a_foreign_gguf() { # one without values and tensors
    printf 'GGUF\003\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000' >"$1"
}
verbs a_text
verbs an_empty_file
verbs a_torn_file
verbs a_foreign_gguf


# The samples of an evaluation, likewise.
echo '{"ctx": "the cat", "choices": ["sees", "likes"], "gold": 0}' >"$dir/piqa.jsonl"
a_text "$o/s.jsonl"
refused s.jsonl "$SOLERA" eval "$e" --task piqa="$dir/piqa.jsonl" --samples "$o/s.jsonl"
an_empty_file "$o/s.jsonl"
refused s.jsonl "$SOLERA" eval "$e" --task piqa="$dir/piqa.jsonl" --samples "$o/s.jsonl"

expect 2 "text.txt: is read, too" "$SOLERA" train-tokenizer --vocab 270 --input "$dir/text.txt" -o "$dir/text.txt" --force

# A name that another format has.
expect 2 "x.gguf: is called .gguf, but --format is packed: give --format gguf" "$SOLERA" export "$e" -o "$o/x.gguf" --method sherry --group-size 64
expect 2 "x.safetensors: is called .safetensors, but --format is gguf" "$SOLERA" export "$e" -o "$o/x.safetensors" --type q8_0
[ ! -e "$o/x.gguf" ] && [ ! -e "$o/x.safetensors" ] || fail "a refused export left something"

# Ours, of another kind: a model becomes another model, and never a dataset.
expect 0 "" "$SOLERA" export "$e" -o "$o/m.gguf" --type q8_0 --no-card
expect 0 "" "$SOLERA" export "$e" -o "$o/m.gguf" --type f16 --no-card
expect 0 "" "$SOLERA" import --random tiny -o "$o/p.h5"
cp "$o/p.h5" "$dir/before"
expect 2 "is no dataset that solera wrote" "$SOLERA" tokenize --tokenizer "$dir/tokenizer.json" --input "$dir/text.txt" -o "$o/p.h5"
cmp -s "$dir/before" "$o/p.h5" || fail "a model was changed"
expect 2 "is no model that solera wrote" "$SOLERA" export "$e" -o "$o/d.h5" --format model
"$SOLERA" inspect "$o/d.h5" >/dev/null || fail "the dataset is gone"

# Folders: any file that an export would replace counts.
for name in config.json generation_config.json model.safetensors tokenizer.json tokenizer_config.json; do
    mkdir "$o/hf"
    echo "my own words" >"$o/hf/$name"
    expect 2 "$o/hf/$name: exists, and solera did not write it" "$SOLERA" export "$e" -o "$o/hf" --format safetensors
    [ "$(ls "$o/hf")" = "$name" ] && [ "$(cat "$o/hf/$name")" = "my own words" ] || fail "hf/$name: changed"
    expect 0 "" "$SOLERA" export "$e" -o "$o/hf" --format safetensors --force
    expect 0 "" "$SOLERA" export "$e" -o "$o/hf" --format safetensors --dtype f32
    rm -r "$o/hf"
done
for name in chat_template.jinja added_tokens.json special_tokens_map.json adapter_config.json; do
    expect 0 "" "$SOLERA" export "$e" -o "$o/hf" --format safetensors
    echo "my own words" >"$o/hf/$name"
    expect 2 "$o/hf/$name: exists, and would change" "$SOLERA" export "$e" -o "$o/hf" --format safetensors
    [ "$(cat "$o/hf/$name")" = "my own words" ] || fail "hf/$name: changed"
    expect 0 "" "$SOLERA" export "$e" -o "$o/hf" --format safetensors --force
    [ ! -e "$o/hf/$name" ] || fail "hf/$name stays"
    rm -r "$o/hf"
done
mkdir "$o/hf"
echo "my own words" >"$o/hf/notes.txt"
expect 0 "" "$SOLERA" export "$e" -o "$o/hf" --format safetensors
[ "$(cat "$o/hf/notes.txt")" = "my own words" ] || fail "a file that no export writes was changed"

# A model without tokenizer does not inherit the one of an earlier export; a slash behind the folder changes nothing.
expect 0 "" "$SOLERA" import --random tiny -o "$o/mute.h5"
expect 0 "no tokenizer.json" "$SOLERA" export "$o/mute.h5" -o "$o/hf/" --format safetensors
[ ! -e "$o/hf/tokenizer.json" ] && [ ! -e "$o/hf/tokenizer_config.json" ] || fail "the tokenizer of another model stays in the folder"
grep -q '^# hf$' "$o/hf/README.md" || fail "the card does not name its folder"
