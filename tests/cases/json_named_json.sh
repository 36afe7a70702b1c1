# JSON is known by its content: lines and an array under any name are the same documents.
. tests/cli/common

printf '{"text": "hello"}\n{"text": "world"}\n' >"$dir/lines.jsonl"
cp "$dir/lines.jsonl" "$dir/lines.json"
cp "$dir/lines.jsonl" "$dir/lines.txt"
printf '[{"text": "hello"},\n {"text": "world"}]\n' >"$dir/array.json"
for file in lines.jsonl lines.json lines.txt array.json; do
    "$SOLERA" tokenize --tokenizer checkpoints/embedded.h5 --input "$dir/$file" -o "$dir/d.h5" --force 2>"$dir/err" || fail "$file: $(cat "$dir/err")"
    [ -e "$dir/want.h5" ] || cp "$dir/d.h5" "$dir/want.h5"
    cmp "$dir/want.h5" "$dir/d.h5" || fail "$file gives other tokens"
done
