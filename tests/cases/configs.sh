# Settings of config.json that are there twice, at another place, under an old name, or not at all: the numbers of transformers.
. tests/cli/common

for edit in tests/cases/configs/*.sed; do
    base=$(sed -n '1s/# \([^:]*\):.*/\1/p' "$edit")
    rm -rf "$dir/hf"
    cp -R "tests/golden/$base" "$dir/hf"
    { tr -d '\n' <"tests/golden/$base/config.json"; echo; } | sed -f "$edit" >"$dir/hf/config.json"
    "$SOLERA" import "$dir/hf" -o "$dir/m.h5" 2>"$dir/err" || fail "$edit: $(cat "$dir/err")"
    "$SOLERA" score "$dir/m.h5" --ids tests/cases/configs/ids.txt >"$dir/scores"
    paste -d'\n' "${edit%.sed}.logprobs" "$dir/scores" | tr -d '[] ' | awk -F, 'NR == 1 { n = split($0, want) } NR == 2 {
        if (NF != n) bad = 1
        for (i = 1; i <= n; i++) if (($i - want[i]) ^ 2 > 1e-8) { print "number " i ": " $i ", not " want[i]; bad = 1; exit }
    } END { exit bad || NR != 2 }' >"$dir/out" || fail "$edit: $(cat "$dir/out")"
    case $edit in *tied_other_head*) grep -q "warning: .*lm_head" "$dir/err" || fail "no word about the other head: $(cat "$dir/err")" ;; esac
done
