# Whatever a run directory holds that the run did not make is there afterwards, byte for byte: after a refusal everything, after a run
# everything but the run's own files.
. tests/cli/common
make_job
sums() { # names, checksums and where links lead, of everything in DIR
    (cd "$1" && find . -type f -exec cksum {} + -o -print -type l -exec readlink {} \; | sort)
}
refuse() { # TEXT COMMAND...: the last line on stderr holds TEXT, and nothing changed in $dir/w
    text=$1
    shift
    sums "$dir/w" >"$dir/before"
    code=0
    "$@" >"$dir/out" 2>"$dir/err" || code=$?
    [ "$code" -eq 2 ] && tail -n 1 "$dir/err" | grep -qF -- "$text" || fail "'$text' is not what $* says: $code $(cat "$dir/err")"
    sums "$dir/w" | cmp -s - "$dir/before" || fail "changed by a refused '$*': $(sums "$dir/w" | diff "$dir/before" -)"
}
fresh() { # an empty $dir/w/run
    rm -rf "$dir/w"
    mkdir -p "$dir/w/run"
}
train() {
    "$SOLERA" train "$dir/job.yaml" --set run.dir="$dir/w/run" "$@"
}
mine="somebody's file"
head -n 400 "$dir/text.txt" >"$dir/other.txt"
"$SOLERA" tokenize --tokenizer "$dir/tokenizer.json" --input "$dir/other.txt" -o "$dir/other.h5" 2>/dev/null

# A refused job leaves what it found: files of the names that a run makes, an empty directory, the lock of an earlier process.
bad=--set=data.train=$dir/none.h5
for name in tokens-train.h5 tokens-train-2.h5 tokens-train-16.h5 tokens-eval.h5 tokens-self.h5 tokens-self-part.h5 metrics.jsonl study.h5 ckpt/best.h5; do
    fresh
    mkdir "$dir/w/run/ckpt"
    echo "$mine" >"$dir/w/run/$name"
    refuse "$dir/w/run: holds no run, but $name" train
    refuse "$dir/w/run: holds no run, but $name" train --resume "$bad"
done
fresh
echo "$mine" >"$dir/w/run/config.yaml"
refuse "holds a run already" train
refuse "config.yaml:1:" train --resume
fresh
echo "$mine" >"$dir/w/run/lock"
refuse "run/lock: is not the lock of a run" train
refuse "run/lock: is not the lock of a run" train --resume
# What a process that was killed, or a machine that lost its power, in the middle of it leaves is one: the run begins.
for torn in 123 '\0\0\0\0\0\0' ''; do
    fresh
    printf "$torn" >"$dir/w/run/lock"
    expect 0 "" train -q
done
fresh
echo 123 >"$dir/w/run/lock"
echo "$mine" >"$dir/w/run/log.txt"
echo "$mine" >"$dir/w/run/notes.tmp"
for wrong in data.train=none.h5 data.eval=none.h5 model.tokenizer=none.json quant.group_size=48 train.seq=100000 study.layers=nothing distill.teacher=none.h5; do
    refuse "" train --set study.every=1 --set "$wrong"
    refuse "" train --set study.every=1 --set data.train="$dir/text.txt" --set "$wrong"
done
for wrong in data.eval=none.h5 distill.teacher=none.h5; do # a mixture of text files makes a dataset of each
    refuse "none.h5" train --set data.train="[{path: $dir/text.txt, weight: 1}, {path: $dir/other.txt, weight: 2}]" --set "$wrong"
done
rm -r "$dir/w/run"
refuse "none.h5" train "$bad"
refuse "none.h5" train --set run.dir="$dir/w/a/b/c" "$bad"

# A run beside files of others, killed in the middle, resumed.
fresh
mkdir "$dir/w/run/ckpt"
for name in notes.tmp x.h5.tmp log.tmp lock.tmp ckpt/notes.tmp ckpt/best.tmp ckpt/step-1.h5.tmp ckpt/step-7.h5 ckpt/x.h5 ckpt/step-000003.h5.bak; do echo "$mine" >"$dir/w/run/$name"; done
train --set data.train="$dir/text.txt" --set study.every=4 2>/dev/null || fail "a run beside files of others"
echo half >"$dir/w/run/ckpt/step-000099.h5.tmp"
echo half >"$dir/w/run/config.yaml.tmp"
sums "$dir/w" >"$dir/before"
refuse "optim.lr: 0.001 -> 0.5" train --resume --set optim.lr=0.5 --set data.train="$dir/text.txt"
refuse "not the data" train --resume --set study.every=4 --set data.train="$dir/other.h5" --set data.eval="$dir/text.txt"
refuse "other.txt: cannot resume, this is not the text that the run began with" train --resume --set study.every=4 --set data.train="$dir/other.txt"
refuse "none.txt: cannot read" train --resume --set study.every=4 --set data.train="$dir/none.txt"
refuse "other layers" train --resume --set data.train="$dir/text.txt" --set study.every=4 --set study.layers=0
sed 's/^  batch: .*/  batch: 7/' "$dir/w/run/config.yaml" >"$dir/edited.yaml"
cp "$dir/w/run/config.yaml" "$dir/kept.yaml"
cp "$dir/edited.yaml" "$dir/w/run/config.yaml"
refuse "another run: train.batch: 7 -> 1" train --resume --set data.train="$dir/text.txt" --set study.every=4
cp "$dir/kept.yaml" "$dir/w/run/config.yaml"
train --resume --set data.train="$dir/text.txt" --set study.every=4 2>/dev/null || fail "a resume beside files of others"
cp "$dir/text.txt" "$dir/moved.txt"
train --resume --set data.train="$dir/moved.txt" --set study.every=4 2>/dev/null || fail "a resume with a text that was moved"
train --resume --set data.train="$dir/text.txt" --set study.every=4 2>/dev/null || fail "and moved back"
touch "$dir/text.txt"
train --resume --set data.train="$dir/text.txt" --set study.every=4 2>"$dir/err" || fail "a resume beside a newer text"
grep -q "warning: $dir/text.txt: is newer than $dir/w/run/tokens-train.h5" "$dir/err" || fail "no word of a newer text: $(cat "$dir/err")"
[ ! -e "$dir/w/run/ckpt/step-000099.h5.tmp" ] && [ ! -e "$dir/w/run/config.yaml.tmp" ] || fail "a leftover stayed"
for name in notes.tmp x.h5.tmp log.tmp lock.tmp ckpt/notes.tmp ckpt/best.tmp ckpt/step-1.h5.tmp ckpt/step-7.h5 ckpt/x.h5 ckpt/step-000003.h5.bak; do
    [ "$(cat "$dir/w/run/$name")" = "$mine" ] || fail "$name is gone"
done

# What would be in the way of the link to the best checkpoint is refused before the first step.
for name in best.h5.tmp best.h5; do
    if [ $name = best.h5 ]; then rm -f "$dir/w/run/ckpt/$name"; mkdir "$dir/w/run/ckpt/$name"; else echo "$mine" >"$dir/w/run/ckpt/$name"; fi
    refuse "ckpt/$name: is in the place of the link" train --resume --set data.train="$dir/text.txt" --set study.every=4
    rm -r "$dir/w/run/ckpt/$name"
done

# Links that lie where a file of the run would be: nothing is written through them.
for name in lock log.txt config.yaml.tmp tokens-train.h5.tmp study.h5.tmp ckpt/step-000003.h5.tmp; do
    for kind in -s ""; do
        fresh
        mkdir "$dir/w/run/ckpt"
        echo "$mine" >"$dir/w/precious"
        ln $kind "$dir/w/precious" "$dir/w/run/$name"
        code=0
        train --set data.train="$dir/text.txt" --set study.every=4 2>"$dir/err" || code=$?
        [ "$code" -eq 2 ] && tail -n 1 "$dir/err" | grep -q "$name: " || fail "a link as $name: $code $(cat "$dir/err")"
        [ "$(cat "$dir/w/precious")" = "$mine" ] || fail "written through $name"
        [ "$(cat "$dir/w/run/$name")" = "$mine" ] || fail "$name is gone"
    done
done
fresh
train --set study.every=4 --set study.layers=down_proj 2>/dev/null
for name in lock log.txt metrics.jsonl study.h5; do
    for kind in -s ""; do
        cp "$dir/w/run/$name" "$dir/kept"
        mv "$dir/w/run/$name" "$dir/w/elsewhere"
        ln $kind "$dir/w/elsewhere" "$dir/w/run/$name"
        refuse "$name: " train --resume --set study.every=4 --set study.layers=down_proj
        rm "$dir/w/run/$name"
        mv "$dir/w/elsewhere" "$dir/w/run/$name"
        cmp -s "$dir/kept" "$dir/w/run/$name" || fail "$name changed"
    done
done
train --resume --set study.every=4 --set study.layers=down_proj 2>/dev/null || fail "the links are gone, but no resume"

printf 'base: job.yaml\ndir: x\nseeds: [1]\n' >"$dir/sweep.yaml"

# The same for outputs of other verbs: a link in the place of the temporary file, a link in the place of the file itself.
model=$dir/w/run/ckpt/step-000024.h5
mkdir "$dir/o"
outputs() { # NAME COMMAND...
    name=$1
    shift
    for kind in -s ""; do
        echo "$mine" >"$dir/o/precious"
        ln $kind "$dir/o/precious" "$dir/o/$name.tmp"
        expect 2 "$name.tmp: " "$@"
        [ "$(cat "$dir/o/$name.tmp")" = "$mine" ] || fail "$name.tmp: written through"
        rm "$dir/o/$name.tmp"
    done
}
outputs p.h5 "$SOLERA" export "$model" -o "$dir/o/p.h5" --no-card
outputs m.gguf "$SOLERA" export "$model" -o "$dir/o/m.gguf" --format gguf --type f16 --no-card
outputs model.safetensors "$SOLERA" export "$model" -o "$dir/o" --format safetensors --no-card
outputs r.h5 "$SOLERA" import --random tiny -o "$dir/o/r.h5"
outputs d.h5 "$SOLERA" tokenize --tokenizer "$dir/tokenizer.json" --input "$dir/text.txt" -o "$dir/o/d.h5"
outputs t.json "$SOLERA" train-tokenizer --vocab 280 --input "$dir/text.txt" -o "$dir/o/t.json"

# A folder, or what a teacher's cache begins with, that a refused command made is gone again; what was there is not.
sums "$dir/o" >"$dir/before"
expect 1 "File too large" sh -c 'ulimit -f 20 && exec "$SOLERA" export "$0" -o "$1" --format safetensors' "$model" "$dir/o/hf"
"$SOLERA" import --random tiny --tokenizer "$dir/tokenizer.json" -o "$dir/plain.h5" 2>/dev/null
teach() {
    "$SOLERA" distill-cache "$dir/job.yaml" --set data.train="$dir/text.txt" --set model.init="$dir/plain.h5" --set model.tokenizer= \
        --set distill.cache="$dir/o/cache.h5" --set distill.top_k=8 "$@"
}
expect 2 "none.h5" teach --set distill.teacher=none.h5
sums "$dir/o" | cmp -s - "$dir/before" || fail "left: $(ls "$dir/o")"
expect 0 "" teach --set distill.teacher="$dir/plain.h5"
sums "$dir/o" >"$dir/before"
expect 2 "none.h5" teach --set distill.teacher=none.h5
expect 2 "top_k" teach --set distill.teacher="$dir/plain.h5" --set distill.top_k=9
sums "$dir/o" | cmp -s - "$dir/before" || fail "a refused distill-cache changed $(ls "$dir/o")"
for kind in -s ""; do
    mv "$dir/o/cache.h5" "$dir/o/elsewhere.h5"
    ln $kind "$dir/o/elsewhere.h5" "$dir/o/cache.h5"
    sums "$dir/o" >"$dir/linked"
    expect 2 "cache.h5: " teach --set distill.teacher="$dir/plain.h5"
    sums "$dir/o" | cmp -s - "$dir/linked" || fail "a cache was written through a link"
    rm "$dir/o/cache.h5"
    mv "$dir/o/elsewhere.h5" "$dir/o/cache.h5"
done

# No directory is called ~ or $HOME.
mkdir "$dir/cwd"
(
    cd "$dir/cwd"
    expect 2 "is not expanded here" "$SOLERA" import --random tiny -o "~"
    for path in '~/x' '~root/x' '$HOME/x' '${HOME}/x' 'a/$USER'; do
        expect 2 "is not expanded here" "$SOLERA" train "$dir/job.yaml" --set run.dir="$path"
        expect 2 "is not expanded here" "$SOLERA" train "$dir/job.yaml" --set data.train="$path"
        expect 2 "is not expanded here" "$SOLERA" export "$model" -o "$path" --format safetensors
        expect 2 "is not expanded here" "$SOLERA" export "$model" -o "$path"
        expect 2 "is not expanded here" "$SOLERA" import --random tiny -o "$path"
        expect 2 "is not expanded here" "$SOLERA" sweep "$dir/sweep.yaml" --dir "$path"
    done
    [ -z "$(ls -A)" ] || fail "made: $(ls -A)"
)

# A sweep: its words go through no link, and only the run's own checkpoints are removed.
sed 's/, eval_every: 8, eval_windows: 2//' "$dir/job.yaml" >"$dir/base.yaml"
printf 'base: base.yaml\ndir: %s/w/s\nseeds: [1]\nkeep_checkpoints: false\n' "$dir" >"$dir/sweep.yaml"
for kind in -s ""; do
    rm -rf "$dir/w/s"
    mkdir -p "$dir/w/s/job/seed-1/ckpt"
    echo "$mine" >"$dir/w/precious"
    ln $kind "$dir/w/precious" "$dir/w/s/job/seed-1.txt"
    refuse "seed-1.txt: " "$SOLERA" sweep "$dir/sweep.yaml"
done
rm "$dir/w/s/job/seed-1.txt"
for name in x.h5 step-1.h5 best.h5.bak; do echo "$mine" >"$dir/w/s/job/seed-1/ckpt/$name"; done
expect 0 "" "$SOLERA" sweep "$dir/sweep.yaml"
[ "$(ls "$dir/w/s/job/seed-1/ckpt" | tr '\n' ' ')" = "best.h5.bak step-1.h5 x.h5 " ] || fail "$(ls "$dir/w/s/job/seed-1/ckpt")"

# Tables and reports replace their like alone; --force says otherwise.
echo "$mine" >"$dir/w/s/table.md"
refuse "table.md: exists, and solera did not write it" "$SOLERA" sweep "$dir/sweep.yaml"
refuse "table.md: exists, and solera did not write it" "$SOLERA" sweep "$dir/sweep.yaml" --table
expect 0 "" "$SOLERA" sweep "$dir/sweep.yaml" --table --force
expect 0 "" "$SOLERA" sweep "$dir/sweep.yaml" --table
rm "$dir/w/s/table.md"
echo "$mine" >"$dir/w/s/table.csv"
refuse "table.csv: exists, and solera did not write it" "$SOLERA" sweep "$dir/sweep.yaml" --table
mkdir "$dir/w/page"
for name in index.html measures.csv; do
    echo "$mine" >"$dir/w/page/$name"
    refuse "$name: exists, and solera did not write it" "$SOLERA" study "$dir/w/run" -o "$dir/w/page"
    rm "$dir/w/page/$name"
done
empty_figures
expect 0 "" "$SOLERA" study "$dir/w/run" -o "$dir/w/page"
expect 0 "" "$SOLERA" study "$dir/w/run" -o "$dir/w/page"
for kind in -s ""; do
    rm "$dir/w/page/layers.svg"
    echo "$mine" >"$dir/w/precious"
    ln $kind "$dir/w/precious" "$dir/w/page/layers.svg"
    expect 2 "layers.svg: " "$SOLERA" study "$dir/w/run" -o "$dir/w/page"
    [ "$(cat "$dir/w/precious")" = "$mine" ] || fail "a figure was written through a link"
done

# Damaged checkpoints are put aside by a resume that goes on, not by one that is refused, and none takes the place of another.
rm -rf "$dir/w/hurt"
cp -R "$dir/w/run" "$dir/w/hurt"
for step in 24 30; do echo "$mine" >"$dir/w/hurt/ckpt/step-0000$step.h5"; done
echo "$mine, earlier" >"$dir/w/hurt/ckpt/step-000024.h5.damaged"
refuse "optim.lr: 0.001 -> 0.5" train --resume --set run.dir="$dir/w/hurt" --set study.every=4 --set study.layers=down_proj --set optim.lr=0.5
train --resume --set run.dir="$dir/w/hurt" --set study.every=4 --set study.layers=down_proj 2>/dev/null || fail "a resume behind damaged checkpoints"
[ "$(cat "$dir/w/hurt/ckpt/step-000024.h5.damaged")" = "$mine, earlier" ] && [ "$(cat "$dir/w/hurt/ckpt/step-000024.h5.damaged2")" = "$mine" ] &&
    [ "$(cat "$dir/w/hurt/ckpt/step-000030.h5.damaged")" = "$mine" ] || fail "$(ls "$dir/w/hurt/ckpt")"

# Without any of the checkpoints that it made, a run says that it begins again; not where its metrics
# end by the step of its first one.
again() {
    train --resume --set run.dir="$dir/w/hurt" --set study.every=4 --set study.layers=down_proj
}
head -n 3 "$dir/w/hurt/metrics.jsonl" >"$dir/first"
rm "$dir"/w/hurt/ckpt/step-*.h5
expect 0 "hurt: metrics.jsonl has step 24, but ckpt holds no checkpoint: the run begins again at step 0" again
rm "$dir"/w/hurt/ckpt/step-*.h5
cp "$dir/first" "$dir/w/hurt/metrics.jsonl"
expect 0 "resumed at step 0 of 24" again
! grep -q "holds no checkpoint" "$dir/err" || fail "$(cat "$dir/err")"

# A torn end of metrics.jsonl: every line is whole after a resume, and no step is there twice.
train --set run.dir="$dir/w/ref" 2>/dev/null
metrics_of "$dir/w/ref" >"$dir/ref"
torn() { # what happened, shell words that change metrics.jsonl of a run that ended at step 12 of 24
    rm -rf "$dir/w/torn"
    cp -R "$dir/w/ref" "$dir/w/torn"
    rm "$dir"/w/torn/ckpt/step-000024.h5
    m=$dir/w/torn/metrics.jsonl
    eval "$2"
    train --resume --set run.dir="$dir/w/torn" 2>"$dir/err" || fail "$1: $(cat "$dir/err")"
    metrics_of "$dir/w/torn" >"$dir/got"
    grep -qv '^{"step": [0-9]*, .*}$' "$dir/got" && fail "$1: $(grep -v '^{"step": .*}$' "$dir/got")"
    [ "$(tail -n 3 "$dir/got")" = "$(tail -n 3 "$dir/ref")" ] || fail "$1: the last steps differ"
    [ "$(sed 's/,.*//' "$dir/got" | sort | uniq -d)" = "" ] || fail "$1: a step is there twice"
    [ -z "$3" ] || cmp -s "$dir/ref" "$dir/got" || fail "$1: differs from the run in one piece"
    [ -n "$3" ] || grep -q "lacks lines" "$dir/err" || fail "$1: no warning"
}
keep() { # the first N bytes
    head -c "$1" "$m" >"$m.x" && mv "$m.x" "$m"
}
torn "untouched" : same
torn "lines behind the checkpoint" 'printf "{\"step\": 25, \"tok" >>"$m"' same
torn "cut in the first line" 'keep 30' ""
torn "cut in the third line" 'keep $(($(head -n 2 "$m" | wc -c) + 30))' ""
torn "the line break alone is missing" 'keep $(($(head -n 3 "$m" | wc -c) - 1))' ""
torn "several lines are missing" 'keep $(head -n 5 "$m" | wc -c)' ""
torn "zeros in place of the last lines" 'n=$(wc -c <"$m"); keep $(($(head -n 6 "$m" | wc -c) + 20)); head -c $((n - $(wc -c <"$m"))) /dev/zero >>"$m"' ""
torn "the first lines are missing" 'tail -n +9 "$m" >"$m.x" && mv "$m.x" "$m"' ""
torn "zeros alone" 'n=$(wc -c <"$m"); head -c $n /dev/zero >"$m"' ""
torn "empty" ': >"$m"' ""
printf 'half a line' >>"$dir/w/torn/log.txt"
train --resume --set run.dir="$dir/w/torn" 2>/dev/null
grep -q '^half a line$' "$dir/w/torn/log.txt" || fail "log.txt: a torn line was continued"

# Standard descriptors that are closed: nothing of a log line gets into a file.
train --set run.dir="$dir/w/closed" --set study.every=4 <&- >&- 2>&- || fail "closed descriptors: exit code $?"
train --set run.dir="$dir/w/open" --set study.every=4 2>/dev/null
for name in study.h5 ckpt/step-000024.h5; do
    "$SOLERA" inspect "$dir/w/closed/$name" --verify >/dev/null || fail "$name of a run with closed descriptors"
done
cmp -s "$dir/w/closed/study.h5" "$dir/w/open/study.h5" || fail "study.h5 of a run with closed descriptors"
"$SOLERA" export "$model" -o "$dir/w/closed.h5" 2>&- || fail "export with stderr closed"
"$SOLERA" export "$model" -o "$dir/w/open.h5" 2>/dev/null
cmp -s "$dir/w/closed.h5" "$dir/w/open.h5" || fail "an export with stderr closed"
expect 1 "stdout: not all of the output could be written" sh -c '"$SOLERA" inspect "$0" >&-' "$model"
