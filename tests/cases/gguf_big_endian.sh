# A GGUF file of a big-endian machine is called what it is.
. tests/cli/common

"$SOLERA" export checkpoints/embedded.h5 -o "$dir/m.gguf" --type q8_0 --no-card 2>/dev/null
printf '\000\000\000\003' | dd of="$dir/m.gguf" bs=1 seek=4 conv=notrunc 2>/dev/null
expect 2 "big-endian" "$SOLERA" import "$dir/m.gguf" -o "$dir/m.h5"
