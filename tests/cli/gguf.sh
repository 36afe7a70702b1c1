. tests/cli/common
# GGUF files of other programs: what is read otherwise than expected is said, what cannot be read is one line; vocabularies of two sizes.
expect 0 "" "$SOLERA" export checkpoints/embedded.h5 -o "$dir/e.gguf" --type q8_0 --no-card
expect 0 "" "$SOLERA" import "$dir/e.gguf" -o "$dir/e.h5"
grep -q warning "$dir/err" && fail "a warning about a whole file: $(cat "$dir/err")"

# Without the name of its pre-tokenizer: as llama.cpp, with a warning; another tokenizer leaves nothing to warn of.
sed 's/tokenizer\.ggml\.pre/xokenizer.ggml.pre/' "$dir/e.gguf" >"$dir/x.gguf"
expect 0 "warning: there is no tokenizer.ggml.pre: " "$SOLERA" import "$dir/x.gguf" -o "$dir/x.h5"
printf '{"text": "She said, \\"It'\''s late!\\" and ran - fast."}\n' >"$dir/text"
"$SOLERA" tokenize --tokenizer "$dir/e.h5" --ids <"$dir/text" >"$dir/named"
"$SOLERA" tokenize --tokenizer "$dir/x.h5" --ids <"$dir/text" >"$dir/nameless"
cmp -s "$dir/named" "$dir/nameless" && fail "the pre-tokenizer makes no difference: $(cat "$dir/named")"
make_job
expect 0 "" "$SOLERA" import "$dir/x.gguf" --tokenizer "$dir/tokenizer.json" -o "$dir/x.h5"
grep -q warning "$dir/err" && fail "a warning about a tokenizer that is not read: $(cat "$dir/err")"

# Big-endian: the version is the first number that shows it.
{ printf 'GGUF\000\000\000\003'; tail -c +9 "$dir/e.gguf"; } >"$dir/b.gguf"
expect 2 "b.gguf: is a big-endian GGUF file" "$SOLERA" import "$dir/b.gguf" -o "$dir/b.h5"
[ ! -e "$dir/b.h5" ] || fail "a refused import left something"

# A model whose vocabulary is larger than its tokenizer's.
expect 0 "" "$SOLERA" import --random embedded --tokenizer "$dir/tokenizer.json" -o "$dir/p.h5"
expect 0 "" "$SOLERA" export "$dir/p.h5" -o "$dir/p.gguf" --type f16 --no-card
grep -aqF '[PAD280]' "$dir/p.gguf" && grep -aqF '[PAD2047]' "$dir/p.gguf" || fail "no placeholders"
grep -aqF '[PAD279]' "$dir/p.gguf" && fail "a token of the tokenizer has a placeholder"
expect 0 "" "$SOLERA" import "$dir/p.gguf" -o "$dir/again.h5"
printf '{"text": "the cat sees [PAD300] our bird."}\n' >"$dir/text"
"$SOLERA" tokenize --tokenizer "$dir/p.h5" --ids <"$dir/text" >"$dir/before"
"$SOLERA" tokenize --tokenizer "$dir/again.h5" --ids <"$dir/text" >"$dir/after"
cmp "$dir/before" "$dir/after" || fail "other ids after an export and an import"

# A tokenizer without EOS, which a GGUF file cannot say.
sed 's/tokenizer\.ggml\.eos/xokenizer.ggml.eos/; s/solera\.eos_token_ids/xolera.eos_token_ids/' "$dir/e.gguf" >"$dir/x.gguf"
expect 0 "" "$SOLERA" import "$dir/x.gguf" -o "$dir/x.h5"
expect 0 "the tokenizer has no EOS, and llama.cpp takes token 11 for it" "$SOLERA" export "$dir/x.h5" -o "$dir/x2.gguf" --type f16 --no-card
