# The name and the licence of a model, from an import through training and every export, and back.
. tests/cli/common
make_job
"$SOLERA" import --random tiny --tokenizer "$dir/tokenizer.json" --base-model acme/Tiny-1M --license apache-2.0 -o "$dir/m.h5" 2>/dev/null
"$SOLERA" export "$dir/m.h5" -o "$dir/from" --format safetensors 2>/dev/null
printf '\357\273\277' >"$dir/from/README.md"
cat >>"$dir/from/README.md" <<'MD'
---
language:
- en
license: other # than the usual ones
license_name: "acme-1" # quoted
license_link: https://example.org/acme-1
base_model:
- acme/older
---
# Tiny
MD
mv "$dir/from" "$dir/Tiny-2M"
knows() { # FILE NAME REPO LICENSE
    "$SOLERA" inspect "$1" --json | tr -d '\n ' >"$dir/known"
    grep -qF "\"origin\":{$2}" "$dir/known" || fail "$1: $(cat "$dir/known")"
}
other='"name":"Tiny-2M","license":"other","license_name":"acme-1","license_link":"https://example.org/acme-1"'
apache='"name":"Tiny-1M","repo":"acme/Tiny-1M","license":"apache-2.0"'

# A folder says its licence in README.md; what it was made from is not what it is.
expect 0 "base model Tiny-2M, licence other" "$SOLERA" import "$dir/Tiny-2M" -o "$dir/other.h5"
knows "$dir/other.h5" "$other"
knows "$dir/m.h5" "$apache"

# Training, packing, GGUF, a folder; and each of them read again.
"$SOLERA" train "$dir/job.yaml" --set model.init="$dir/m.h5" --set model.tokenizer= --set train.steps=6 2>/dev/null
run=$dir/run/ckpt/step-000006.h5
knows "$run" "$apache"
"$SOLERA" export "$run" -o "$dir/packed.h5" 2>/dev/null
knows "$dir/packed.h5" "$apache"
for from in "$run" "$dir/packed.h5"; do
    "$SOLERA" export "$from" -o "$dir/x.gguf" --type f16 --force 2>/dev/null
    "$SOLERA" import "$dir/x.gguf" -o "$dir/x.h5" --force 2>/dev/null
    knows "$dir/x.h5" "$apache"
done
for key in general.license general.base_model.0.name general.base_model.0.organization general.base_model.0.repo_url; do
    grep -qaF "$key" "$dir/x.gguf" || fail "no $key in the GGUF"
done
"$SOLERA" export "$run" -o "$dir/hf" --format safetensors --dequantize 2>/dev/null
head -n 1 "$dir/hf/README.md" | grep -qx -- --- || fail "no front matter: $(head "$dir/hf/README.md")"
for line in "license: apache-2.0" "base_model: acme/Tiny-1M" "pipeline_tag: text-generation"; do
    grep -qxF -- "$line" "$dir/hf/README.md" || fail "'$line' is not in the front matter: $(head -20 "$dir/hf/README.md")"
done
# Beside the front matter: how far from full precision, measured before step 1; whose licence.
for words in "| full precision, before the training |" "- licence: apache-2.0" "- weight_decay: " "- grad_clip: " "bits each, embedding and scales included"; do
    grep -qF -- "$words" "$dir/hf/README.md" || fail "'$words' is not in the card: $(cat "$dir/hf/README.md")"
done
"$SOLERA" export "$dir/packed.h5" -o "$dir/x.gguf" --type f16 --force 2>/dev/null
grep -qF "| after step 6 |" "$dir/x.gguf.md" || fail "the card of a GGUF forgets what the packed file's says: $(cat "$dir/x.gguf.md")"
"$SOLERA" import "$dir/hf" -o "$dir/x.h5" --force 2>/dev/null
knows "$dir/x.h5" "$apache"
