# Numbers beside the text that no double holds, and NaN as Python writes it, do not matter.
. tests/cli/common

echo '{"text": "one"}' | "$SOLERA" tokenize --tokenizer checkpoints/embedded.h5 --ids >"$dir/want"
for number in 123456789012345678901234567890 1e400 -1e400 NaN Infinity -Infinity; do
    echo "{\"id\": $number, \"text\": \"one\", \"list\": [$number]}" |
        "$SOLERA" tokenize --tokenizer checkpoints/embedded.h5 --ids >"$dir/ids" 2>"$dir/err" || fail "$number: $(cat "$dir/err")"
    cmp "$dir/want" "$dir/ids" || fail "$number: other ids"
done
