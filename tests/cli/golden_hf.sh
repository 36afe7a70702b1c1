# What transformers and tokenizers compute with two models of ours (scripts/make_golden_transformers.py): ids of hostile texts, and the
# log-probability of every token, from the Hugging Face folder, from a GGUF file of it, and after a way out and in again.
. tests/cli/common

far() { # file: its largest difference to the log-probabilities in $golden
    paste -d'\n' "$golden/logprobs.txt" "$1" | tr -d '[] ' | awk -F, 'NR % 2 { n = split($0, want); next } {
        if (NF != n) { print "line", NR / 2, "has", NF, "numbers, not", n; exit }
        for (i = 1; i <= n; i++) { d = $i - want[i]; if (d < 0) d = -d; if (d > worst) worst = d }
    } END { printf "%.2g\n", worst }'
}
for kind in bytes pieces; do
    golden=tests/golden/hf-$kind
    "$SOLERA" import "$golden" -o "$dir/m.h5" 2>"$dir/err" || fail "$kind: $(cat "$dir/err")"
    "$SOLERA" export "$dir/m.h5" -o "$dir/$kind" --format safetensors 2>"$dir/err" || fail "$kind: $(cat "$dir/err")"
    "$SOLERA" import "$dir/$kind" -o "$dir/again.h5" 2>"$dir/err" || fail "$kind: $(cat "$dir/err")"
    models="m again"
    if [ -e "$golden/m.gguf" ]; then
        models="$models gguf"
        "$SOLERA" import "$golden/m.gguf" -o "$dir/gguf.h5" 2>"$dir/err" || fail "$kind: $(cat "$dir/err")"
    fi
    for model in $models; do
        "$SOLERA" tokenize --tokenizer "$dir/$model.h5" --ids <"$golden/texts.jsonl" >"$dir/ids" 2>"$dir/err" || fail "$kind: $(cat "$dir/err")"
        diff "$golden/ids.txt" "$dir/ids" >"$dir/out" || fail "$kind, $model.h5: other ids: $(head -n 4 "$dir/out")"
        "$SOLERA" score "$dir/$model.h5" --ids "$golden/ids.txt" >"$dir/scores" 2>"$dir/err" || fail "$kind: $(cat "$dir/err")"
        worst=$(far "$dir/scores")
        awk -v d="$worst" 'BEGIN { exit !(d + 0 == d && d < 1e-4) }' || fail "$kind, $model.h5: log-probabilities: $worst"
    done
    for tokenizer in "$golden/tokenizer.json" "$dir/$kind/tokenizer.json"; do
        "$SOLERA" tokenize --tokenizer "$tokenizer" --ids <"$golden/texts.jsonl" >"$dir/ids" 2>"$dir/err" || fail "$tokenizer: $(cat "$dir/err")"
        diff "$golden/ids.txt" "$dir/ids" >"$dir/out" || fail "$tokenizer: other ids: $(head -n 4 "$dir/out")"
    done
done
