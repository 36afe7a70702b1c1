. tests/cli/common
# import --random, export, inspect; then the same on files that are cut, foreign, of the wrong kind or in an impossible place.
nothing_at() { # no file of this name, and no temporary one
    [ ! -e "$1" ] && [ ! -e "$1.tmp" ] || fail "$1 was left behind"
}
m=$dir/m.h5 p=$dir/p.h5
expect 0 "M parameters in bf16" "$SOLERA" import --random embedded --seed 7 --dtype bf16 -o "$m"
expect 0 "1.375 bits" "$SOLERA" export "$m" -o "$p" --method sherry --group-size 128
expect 0 "" "$SOLERA" inspect "$m" --verify
grep -q "model, .* datasets, .* M weights" "$dir/out" || fail "inspect says: $(cat "$dir/out")"
grep -q "undamaged" "$dir/out" || fail "inspect --verify says: $(cat "$dir/out")"
expect 0 "" "$SOLERA" inspect "$p" --json --verify
grep -q '"kind":"packed".*"bits_per_weight":1.375.*"method":"sherry"' "$dir/out" || fail "inspect --json says: $(cat "$dir/out")"
"$SOLERA" import --random embedded --seed 7 --dtype bf16 -o "$dir/again.h5" -t 1 2>/dev/null
cmp -s "$m" "$dir/again.h5" || fail "the same seed gives another file"

expect 2 "needs either SRC or --random" "$SOLERA" import -o "$dir/x.h5"
expect 2 "needs either SRC or --random" "$SOLERA" import "$m" --random embedded -o "$dir/x.h5"
expect 2 "embeded" "$SOLERA" import --random embeded -o "$dir/x.h5"
expect 2 "none.bin" "$SOLERA" import "$dir/none.bin" -o "$dir/x.h5"
expect 2 "$dir/no/x.h5: cannot write" "$SOLERA" import --random embedded -o "$dir/no/x.h5"
expect 2 "is not a regular file" "$SOLERA" import --random embedded -o "$dir"
expect 2 "--method shery: there is no such quantizer; did you mean 'sherry'?" "$SOLERA" export "$m" -o "$dir/x.h5" --method shery
expect 2 "was trained in full precision" "$SOLERA" export "$m" -o "$dir/x.h5"
expect 2 "absmean weights have no 1.25-bit form" "$SOLERA" export "$m" -o "$dir/x.h5" --method absmean
expect 2 "q_proj" "$SOLERA" export "$m" -o "$dir/x.h5" --method sherry --group-size 96
expect 2 "is a solera-packed, expected a solera-checkpoint" "$SOLERA" export "$p" -o "$dir/x.h5"
nothing_at "$dir/x.h5"
nothing_at "$dir/no/x.h5"

for file in "$m" "$p"; do
    size=$(wc -c <"$file")
    for part in 0 1 3 32 63; do
        head -c $((size * part / 64)) "$file" >"$dir/cut.h5"
        expect 2 "cut.h5: " "$SOLERA" inspect "$dir/cut.h5"
    done
    # One byte in the middle: inspect does not read the data, --verify does.
    cp "$file" "$dir/flipped.h5"
    printf '\125' | dd of="$dir/flipped.h5" bs=1 seek=$((size / 2)) conv=notrunc 2>/dev/null
    cmp -s "$file" "$dir/flipped.h5" && printf '\252' | dd of="$dir/flipped.h5" bs=1 seek=$((size / 2)) conv=notrunc 2>/dev/null
    expect 2 "it is damaged" "$SOLERA" inspect "$dir/flipped.h5" --verify
    grep -q "flipped.h5: /params/model\." "$dir/err" || fail "the damaged object is not named: $(cat "$dir/err")"
    [ "$file" = "$p" ] || expect 2 "it is damaged" "$SOLERA" export "$dir/flipped.h5" -o "$dir/x.h5" --method sherry
done
nothing_at "$dir/x.h5"
printf 'once upon a time there was a file of text' >"$dir/text.h5"
expect 2 "text.h5: is not an HDF5 file" "$SOLERA" inspect "$dir/text.h5"
expect 2 "text.h5: is neither GGUF nor a llama2.c model" "$SOLERA" import "$dir/text.h5" -o "$dir/x.h5"
cp checkpoints/embedded.h5 "$dir/own.h5"
expect 2 "own.h5: is an HDF5 file, as solera's own models are" "$SOLERA" import "$dir/own.h5" -o "$dir/x.h5"
cp "$dir/text.h5" "$dir/model.safetensors"
expect 2 "model.safetensors: import the folder that it lies in" "$SOLERA" import "$dir/model.safetensors" -o "$dir/x.h5"
expect 2 "model.safetensors: is read, too" "$SOLERA" import "$dir/model.safetensors" -o "$dir/model.safetensors"
: >"$dir/empty"
expect 2 "empty: has 0 bytes" "$SOLERA" import "$dir/empty" -o "$dir/x.h5"
nothing_at "$dir/x.h5"
