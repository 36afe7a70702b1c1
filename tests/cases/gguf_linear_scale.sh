# A GGUF file that scales RoPE by a factor without saying how: some programs scale by it, some do not. Refused by the name of the key; a factor
# of 1 is none. The key takes the place of one that is read by solera alone, and the name of the model makes up for its length.
. tests/cli/common

zero='\x00\x00\x00\x00\x00\x00\x00'
"$SOLERA" export checkpoints/embedded.h5 -o "$dir/m.gguf" --type f16 --no-card 2>/dev/null
key() { # LENGTH_OLD OLD LENGTH_NEW NEW LENGTH_NAME NAME
    sed "s/\x$1$zero$2/\x$3$zero$4/; s/\x06${zero}m\.gguf/\x$5$zero$6/" "$dir/m.gguf" >"$dir/x.gguf"
    [ "$(wc -c <"$dir/x.gguf")" -eq "$(wc -c <"$dir/m.gguf")" ] || fail "$4: the file was not changed as it should"
    grep -aqF "$4" "$dir/x.gguf" || fail "$4: is not in the file"
}
for new in "19 llama.rope.scaling.factor 09 xxxm.gguf" "17 llama.rope.scale_linear 0b xxxxxm.gguf"; do
    # shellcheck disable=SC2086
    key 1c 'solera\.rope\.high_freq_factor' $new
    expect 2 "llama.rope.scal" "$SOLERA" import "$dir/x.gguf" -o "$dir/x.h5"
    [ ! -e "$dir/x.h5" ] || fail "$new: imported"
done
for new in "19 llama.rope.scaling.factor 08 xxm.gguf" "17 llama.rope.scale_linear 0a xxxxm.gguf"; do
    # shellcheck disable=SC2086
    key 1b 'solera\.rope\.low_freq_factor' $new # 1
    expect 0 "" "$SOLERA" import "$dir/x.gguf" -o "$dir/y.h5"
done
