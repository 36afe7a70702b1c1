# What the program shows: on a terminal of 40 columns, without colours, without a terminal, to a reader that goes away.
. tests/cli/common
make_job
if ! script -qec true /dev/null >/dev/null 2>&1; then
    echo "skipped: needs script(1) for a terminal"
    exit 0
fi

on_terminal() { # columns, environment, run directory: the bytes that a terminal gets
    script -qec "stty cols $1; env TERM=xterm $2 '$SOLERA' train '$dir/job.yaml' --set run.dir='$3' --set train.log_every=5 -t 1" /dev/null </dev/null
}

# Live lines are redrawn in place: none is longer than the terminal is wide, and the loss and the time
# left stay. Lines for good may wrap.
on_terminal 40 A=1 "$dir/narrow" >"$dir/screen" || fail "on 40 columns: $(cat "$dir/screen")"
awk 'BEGIN { RS = "\r" } /\033\[K/ { sub(/^\n/, ""); sub(/\033\[K.*/, ""); lines++; if (length($0) > 39) { print "too long: " $0; bad = 1 }
     if (/loss/ && !/^step.*loss [0-9.]+ .* left$/) { print "no time left: " $0; bad = 1 } } END { exit bad || lines < 3 }' \
    "$dir/screen" || fail "live lines on 40 columns"

# The other long phases: the time left is the last thing on the line, at 40 columns, too. The first
# line is drawn at once, others ten times a second at most.
phases() { # words that the line begins with, command...
    what=$1
    shift
    script -qec "stty cols 40; env TERM=xterm $(printf "'%s' " "$SOLERA" "$@")" /dev/null </dev/null >"$dir/screen" || fail "$*: $(cat "$dir/screen")"
    awk -v what="$what" 'BEGIN { RS = "\r" } /\033\[K/ { sub(/^\n/, ""); sub(/\033\[K.*/, ""); if (length($0) > 39) { print "too long: " $0; bad = 1 }
         if (index($0, what) == 1) { n++; if (!/ left$/) { print "no time left: " $0; bad = 1 } } } END { exit bad || n < 1 }' \
        "$dir/screen" || fail "'$what' at 40 columns: $(cat -v "$dir/screen")"
}
last=$dir/narrow/ckpt/best.h5
phases "training a tokenizer" train-tokenizer --vocab 280 --input "$dir/text.txt" -o "$dir/t.json"
phases "tokenizing" tokenize --tokenizer "$dir/tokenizer.json" --input "$dir/text.txt" -o "$dir/d.h5"
"$SOLERA" export "$last" -o "$dir/p.h5" 2>/dev/null
phases "exporting" export "$last" -o "$dir/p.gguf" --type f16
phases "exporting" export "$last" -o "$dir/hf" --format safetensors
for what in reading exporting; do
    phases $what export "$last" -o "$dir/m.h5" --format model --force
done
phases "reading" export "$last" -o "$dir/p2.h5"
phases "reading" generate "$dir/p.h5" -p the -n 1
# What is said cannot move the cursor: no control characters, be they of one byte or of two (U+009B).
script -qec "'$SOLERA' generate '$dir/p.h5' -n 1 --temp 0 -p '$(printf 'a\033[2Jb\302\2332Jc\303\251')'" /dev/null </dev/null >"$dir/screen"
grep -qF "$(printf 'a[2Jb2Jc\303\251')" "$dir/screen" || fail "control characters of a text: $(cat -v "$dir/screen")"
phases "reading" generate "$last" -p the -n 1
# A second thread may have copied these few weights before the tokenizer is read, unseen.
phases "importing" import "$dir/hf" -o "$dir/i.h5" -t 1
phases "evaluating" eval "$dir/p.h5" --data "$dir/data.h5"
cp -R "$dir/narrow" "$dir/read"
phases "reading the checkpoint" train "$dir/job.yaml" --resume --set run.dir="$dir/read"
for what in "reading the model" "reading the teacher"; do
    rm -rf "$dir/read"
    phases "$what" train "$dir/job.yaml" --set run.dir="$dir/read" --set model.init="$last" \
        --set model.tokenizer= --set distill.teacher=self
done

# -q leaves warnings, -v says on the screen what log.txt gets.
"$SOLERA" train "$dir/job.yaml" --set run.dir="$dir/quiet" -q >"$dir/screen" 2>&1
[ ! -s "$dir/screen" ] || fail "-q says: $(cat "$dir/screen")"
script -qec "env TERM=xterm '$SOLERA' train '$dir/job.yaml' -v --set run.dir='$dir/verbose' --set train.log_every=5" /dev/null </dev/null |
    grep -q "step 5/.*norm" || fail "-v says no more than without"

# Warnings are yellow, but not with NO_COLOR; an empty one asks for nothing.
damage() { # run directory: its newest checkpoint loses its end
    newest=$(ls "$1"/ckpt/step-*.h5 | tail -n 1)
    head -c 100000 "$newest" >"$dir/cut" && mv "$dir/cut" "$newest"
}
esc=$(printf '\033')
for color in A=1 NO_COLOR= NO_COLOR=1; do
    rm -rf "$dir/color"
    "$SOLERA" train "$dir/job.yaml" --set run.dir="$dir/color" 2>/dev/null
    damage "$dir/color"
    script -qec "env TERM=xterm $color '$SOLERA' train '$dir/job.yaml' --resume --set run.dir='$dir/color'" /dev/null </dev/null >"$dir/screen" || fail "$color"
    grep -q "going back to step" "$dir/screen" || fail "no warning: $(cat "$dir/screen")"
    yellow=no
    ! grep -q "$esc\[33m" "$dir/screen" || yellow=yes
    case $color in NO_COLOR=1) want=no ;; *) want=yes ;; esac
    [ "$yellow" = "$want" ] || fail "$color: yellow is $yellow"
done

# No terminal, or one that cannot redraw: plain lines, no control characters.
"$SOLERA" train "$dir/job.yaml" --set run.dir="$dir/plain" 2>"$dir/screen"
! grep -q "$esc" "$dir/screen" || fail "control characters without a terminal"
on_terminal 80 TERM=dumb "$dir/dumb" >"$dir/screen" || fail "TERM=dumb"
! grep -q "$esc" "$dir/screen" || fail "control characters on TERM=dumb"

# A reader of stdout that goes away ends the program without a word; a full disk behind stdout is an error.
"$SOLERA" inspect --all "$dir/plain/ckpt/best.h5" 2>"$dir/err" | head -n 0
[ ! -s "$dir/err" ] || fail "a word to a reader that went away: $(cat "$dir/err")"
(code=0; "$SOLERA" help config || code=$?; echo "$code" >"$dir/code") 2>>"$dir/err" | true
[ "$(cat "$dir/code")" -eq 0 ] || fail "exit code $(cat "$dir/code") after SIGPIPE"
model=$dir/plain/ckpt/best.h5
(code=0; "$SOLERA" generate "$model" -p "the cat" -n 12 2>"$dir/err" || code=$?; echo "$code" >"$dir/code") | head -c 1 >"$dir/first"
[ "$(cat "$dir/code")" -eq 0 ] && ! grep -q written "$dir/err" || fail "generate for a reader that went away: $(cat "$dir/code" "$dir/err")"
code=0
"$SOLERA" version >/dev/full 2>"$dir/err" || code=$?
[ "$code" -eq 1 ] && grep -q "stdout: not all of the output could be written" "$dir/err" || fail "/dev/full: exit code $code"

# The lock of a process that is gone does not hold a run up, whatever its file says; a living one is named.
echo $$ >"$dir/plain/lock"
expect 0 "resumed at step 24" "$SOLERA" train "$dir/job.yaml" --resume --set run.dir="$dir/plain"

# The first record of each process says what computed it.
first=$(head -n 1 "$dir/plain/metrics.jsonl")
commit=$("$SOLERA" version | sed -n 's/^commit *//p')
for part in "\"version\": \"$("$SOLERA" version | sed -n '1s/solera //p')\"" '"tier": "' '"features": "' '"threads": ' '"config_digest": "' '"data_digest": "' '"eval_digest": "'; do
    case $first in *"$part"*) ;; *) fail "no $part in $first" ;; esac
done
case $commit in unknown) ;; *) case $first in *"\"commit\": \"$commit\""*) ;; *) fail "no commit $commit in $first" ;; esac ;; esac
[ "$(grep -c '"version"' "$dir/plain/metrics.jsonl")" -eq 1 ] || fail "more than one record names the version"
same() { sed -n 's/.*"version"/"version"/p' "$1/metrics.jsonl" | sed 's/"threads": [0-9]*//'; }
"$SOLERA" train "$dir/job.yaml" --set run.dir="$dir/again" -t 1 2>/dev/null
"$SOLERA" train "$dir/job.yaml" --set run.dir="$dir/other" --set run.seed=4 -t 1 2>/dev/null
[ "$(same "$dir/plain")" != "$(same "$dir/other")" ] || fail "another job has the same digest"
[ "$(same "$dir/plain")" = "$(same "$dir/again")" ] || fail "another run names something else: $(same "$dir/again")"
