# The commands of every README run as they stand there, from one folder, but for the size of the work:
# fewer steps, tokens and windows, and files of our own in place of the reader's. Of scripts and make
# targets, which take long or need a network, it is tested that they are there.
. tests/cli/common
root=$PWD
mkdir "$dir/bin"
cat >"$dir/bin/solera" <<WRAP
#!/bin/sh
calibrate="--set calibrate.windows=4 --set calibrate.held_out=1 --set calibrate.seq=16 --set calibrate.steps=2
    --set calibrate.sweeps=0 --set calibrate.starts=1"
verb=\$1
case \$verb in
plan) set -- "\$@" --gflops 50 --set calibrate.enabled=false ;; # no probes
esac
case \$verb in
train | plan) set -- "\$@" --set train.steps=4 --set train.batch=1 --set train.seq=16 --set data.self_tokens=60 --set optim.warmup_steps=1 \\
    --set study.layers=down_proj \$calibrate
    case "\$*" in *llama-3.2*) ;; *) set -- "\$@" --set train.eval_every=4 --set train.eval_windows=1 ;; esac ;;
eval) case "\$*" in *--text*) ;; *) set -- "\$@" --windows 1 --seq 16 ;; esac ;;
calibrate) set -- "\$@" --set train.seq=16 \$calibrate ;;
distill-cache) set -- "\$@" --set train.seq=16 --set train.batch=8 ;;
generate) set -- "\$@" -n 8 ;;
bench) set -- "\$@" --seconds 0.1
    case "\$*" in *--shape*) set -- "\$@" --shape tiny ;; esac
    case "\$*" in *--train*) set -- "\$@" --batch 1 --seq 16 ;; *--shape*) set -- "\$@" --group-size 32 --prompt 16 ;; *) set -- "\$@" --prompt 16 ;; esac ;;
esac
exec "$SOLERA" "\$@"
WRAP
chmod +x "$dir/bin/solera"
empty_figures
cd "$dir"
ln -s "$root/configs" "$root/checkpoints" .

# What the reader has: a model of Hugging Face, a GGUF file that a script fetches, texts; no folder
# for what is made.
"$SOLERA" export checkpoints/embedded.h5 -o LLAMA_FOLDER --format safetensors 2>/dev/null
"$SOLERA" export checkpoints/embedded.h5 -o SmolLM2-135M-Instruct.Q4_1.gguf --type q8_0 2>/dev/null
mkdir -p data/sample
head -c 8000 "$root/data/sample/stories.txt" >data/sample/stories.txt
cp data/sample/stories.txt wiki.test.raw
for text in TEXT BOOKS OTHERS; do gzip -c wiki.test.raw >$text.txt.gz; done

# A command: one line, or more where a backslash ends it.
commands() {
    awk '/^```sh$/ { on = 1; next } /^```$/ { on = 0 }
         on { line = line $0; if (sub(/\\$/, "", line)) next; print line; line = "" }' "$1" |
        sed 's/study\.every=[0-9]*/study.every=2/; s/sample_every=[0-9]*/sample_every=2/; s/step-[0-9]*\.h5/step-000004.h5/'
}
pages=$(cd "$root" && ls README.md CONTRIBUTING.md configs/README.md configs/*/README.md scripts/*.md src/README.md)
for page in $pages; do
    commands "$root/$page" >commands
    rm -rf models runs # each page from a fresh clone
    while read -r line; do
        echo "$page: $line"
        case $line in
        mkdir\ -p\ * | solera\ *) sh -c "$line" >log 2>&1 </dev/null || fail "$page: $line: $(tail -n 3 log)" ;;
        make\ *) make -s -n -C "$root" $(echo "${line#make}" | sed 's/ *[A-Z]*=[^ ]*//g') >log 2>&1 || fail "$page: $line: $(tail -n 3 log)" ;;
        gnuplot\ *) echo "${line#gnuplot }" | { read -r script rest; [ -f "$root/$script" ]; } || fail "$page: $line" ;;
        "scripts/fetch_smollm2.sh models") mkdir -p models && mv SmolLM2-*.gguf models ;;
        scripts/*) [ -x "$root/${line%% *}" ] || fail "$page: ${line%% *} is not there" ;;
        *) fail "$page: a command that this test does not know: $line" ;;
        esac
    done <commands
    cat commands >>all
    [ "$page" != README.md ] || { [ -s runs/packed.h5 ] && [ -s runs/llama.gguf ]; } ||
        fail "no packed model, or no GGUF file"
done
[ "$(grep -c '^solera ' all)" -ge 30 ] || fail "the pages have fewer than 30 commands"

# The front page fits, and leads to files that are there.
[ "$(wc -l <"$root/README.md")" -le 200 ] || fail "README.md has more than 200 lines"
long=$(LC_ALL=C.UTF-8 grep -nE '^.{101}' "$root/README.md" | head -n 1)
[ -z "$long" ] || fail "README.md has more than 100 columns: $long"
for page in $pages; do
    grep -o '](\([^)#]*\)[)#]' "$root/$page" | sed 's/^](//; s/[)#]$//' | grep -v '^http' | sort -u | while read -r link; do
        [ -z "$link" ] || [ -e "$root/$(dirname "$page")/$link" ] || fail "$page leads to $link, which is not there"
    done
done
