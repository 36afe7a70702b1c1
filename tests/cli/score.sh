. tests/cli/common
make_job
"$SOLERA" import --random embedded --tokenizer "$dir/tokenizer.json" -o "$dir/m.h5" 2>/dev/null
printf '[1, 2, 3, 4]\n[9]\n [7,8] \n' >"$dir/ids"
"$SOLERA" score "$dir/m.h5" --ids "$dir/ids" >"$dir/a"
"$SOLERA" score "$dir/m.h5" -t 1 <"$dir/ids" >"$dir/b"
cmp -s "$dir/a" "$dir/b" || fail "a file and standard input differ"
printf '\357\273\277' | cat - "$dir/ids" | "$SOLERA" score "$dir/m.h5" | cmp -s - "$dir/a" || fail "a byte order mark"
[ "$(wc -l <"$dir/a")" -eq 3 ] || fail "not a line for a line"
[ "$(sed -n 2p "$dir/a")" = "[]" ] || fail "one id has no log-probability: $(sed -n 2p "$dir/a")"
sed -n 1p "$dir/a" | grep -Eq '^\[-[0-9.]+, -[0-9.]+, -[0-9.]+\]$' || fail "line 1: $(sed -n 1p "$dir/a")"
# A longer context does not change what came before.
echo '[1, 2, 3, 4, 5, 6]' | "$SOLERA" score "$dir/m.h5" >"$dir/b"
[ "$(sed -n 1p "$dir/a" | tr -d ']')" = "$(cut -d, -f1-3 "$dir/b")" ] || fail "a later token changes earlier ones"

bad() { # text, line
    printf '%s\n' "$2" >"$dir/bad"
    expect 2 "bad:1$1" "$SOLERA" score "$dir/m.h5" --ids "$dir/bad"
}
bad ": item 2 is 2048: the vocabulary is 0..2047" '[1, 2048]'
bad ": item 1 is -1" '[-1, 5]'
bad ": item 3 is not a whole number" '[1, 2, 3.5]'
bad ": item 1 is not a whole number" '["a"]'
bad ": a JSON array of at least one token id is expected" '[]'
bad ": a JSON array of at least one token id is expected" '{"ids": [1]}'
bad ":" 'hello'
bad ":" '[1, 2'
bad ": a context of 2099 tokens was asked for" "[$(seq -s, 1 2100 | sed 's/[0-9]*/1/g')]"
: >"$dir/empty"
expect 2 "empty: is empty" "$SOLERA" score "$dir/m.h5" --ids "$dir/empty"
expect 2 "no.json: cannot open" "$SOLERA" score "$dir/m.h5" --ids "$dir/no.json"
expect 2 "no.h5: cannot open" "$SOLERA" score "$dir/no.h5" --ids "$dir/ids"
expect 2 "wants MODEL" "$SOLERA" score

# A program at the other end of a pipe gets each answer at once; while the next line is waited for, a signal ends it.
mkfifo "$dir/in"
"$SOLERA" score "$dir/m.h5" <"$dir/in" >"$dir/answers" 2>"$dir/said" &
pid=$!
exec 3>"$dir/in"
echo "[1, 2, 3]" >&3
until_true "an answer" [ -s "$dir/answers" ]
kill -TERM "$pid"
exec 3>&-
ended 143
