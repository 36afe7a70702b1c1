. tests/cli/common
make_job
bad() { # text of the error, text of the job
    printf "$2" >"$dir/bad.yaml"
    expect 2 "$1" "$SOLERA" train "$dir/bad.yaml"
    expect 2 "$1" "$SOLERA" plan "$dir/bad.yaml"
}
bad "bad.yaml:2:3: key 'train.step': unknown key; did you mean 'train.steps'?" 'train:\n  step: 5\n'
bad "bad.yaml:2:10: key 'train.steps': 'x' is not a whole number" 'train:\n  steps: x\n'
bad "bad.yaml:2:10: key 'train.steps': 0 is out of range: 1 to" 'train:\n  steps: 0\n'
bad "bad.yaml:3:3: key 'train.steps': is there twice: first in line 2" 'train:\n  steps: 1\n  steps: 2\n'
bad "bad.yaml:2:10: aliases (*) are not supported" 'train:\n  steps: *a\n'
bad "bad.yaml: key 'run.dir': is needed" ''
bad "bad.yaml: byte" '\377\376\375'
expect 2 "no.yaml: cannot open: No such file or directory" "$SOLERA" train "$dir/no.yaml"
expect 2 "is a directory, and no run" "$SOLERA" train "$dir"
expect 2 "--set train.step=5: key 'train.step': unknown key" "$SOLERA" train "$dir/job.yaml" --set train.step=5
expect 2 "unknown model shape 'tinny'" "$SOLERA" train "$dir/job.yaml" --set model.init=random:tinny
expect 2 "key 'model.tokenizer': $dir/text.txt" "$SOLERA" train "$dir/job.yaml" --set model.tokenizer="$dir/text.txt"
expect 2 "key 'data.train': $dir/text.h5" "$SOLERA" train "$dir/job.yaml" --set data.train="$dir/text.h5"
expect 2 "/dev/null" "$SOLERA" train "$dir/job.yaml" --set run.dir=/dev/null/run
printf 'a,b\n1,2\n' >"$dir/table.csv"
printf '[{"text": "a"}, {"content": "b"}]' >"$dir/list.json"
expect 2 "key 'data.train': $dir/table.csv: is a table (CSV)" "$SOLERA" train "$dir/job.yaml" --set data.train="$dir/table.csv"
expect 2 "key 'data.train': $dir/list.json:1: no string under \"text\": strings are under \"content\"" "$SOLERA" train "$dir/job.yaml" --set data.train="$dir/list.json"
head -c 3000 "$dir/data.h5" >"$dir/cut.h5"
expect 2 "key 'data.train': $dir/cut.h5" "$SOLERA" train "$dir/job.yaml" --set data.train="$dir/cut.h5"
if [ "$(id -u)" -ne 0 ]; then
    mkdir "$dir/closed"
    chmod a-w "$dir/closed"
    expect 2 "$dir/closed/run: cannot make directory: Permission denied" "$SOLERA" train "$dir/job.yaml" --set run.dir="$dir/closed/run"
fi
[ ! -e "$dir/run" ] || fail "a refused job left a run directory"
