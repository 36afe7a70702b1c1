# scripts/demo.sh, with a program in place of solera that answers at once: its table and summary.json
# hold the numbers that it was told, in any locale; where a step fails, the demo does and says so.
. tests/cli/common
cat >"$dir/solera" <<'STUB'
#!/bin/sh
[ "$1" != "${FAILS:-}" ] || { echo "solera $1: fails" >&2; exit 1; }
case $1 in
eval) echo "{\"loss\": ${LOSS:-3.25}, \"ppl\": 25.79, \"bits_per_weight\": 1.375}" ;;
bench) echo "{\"threads\": 2, \"decode_tok_s\": 1234.56}" && echo "$*" >>"${0%/*}/benches" ;;
generate) echo "Once upon a time" ;;
esac
while [ $# -gt 1 ]; do
    [ "$1" != -o ] || echo model >"$2"
    shift
done
STUB
chmod +x "$dir/solera"
demo() {
    rm -rf "$dir/demo" "$dir/benches"
    env "$@" sh scripts/demo.sh "$dir/solera" "$dir/demo" 20
}
for locale in C de_DE.UTF-8; do # where there is one: it writes 0,25
    expect 0 "" demo LC_ALL=$locale
    grep -q '^the packed file of that *3\.2500 *25\.79 *1\.38 *6 *1234$' "$dir/out" || fail "the table: $(cat "$dir/out")"
    [ "$(grep -cE '^(full|3:4|QAT|calibrated|the packed)' "$dir/out")" -eq 7 ] || fail "other rows: $(cat "$dir/out")"
    grep -q -- '--seconds 0\.25 ' "$dir/benches" || fail "how long a bench takes: $(cat "$dir/benches")"
    grep -qE '^\{("[a-z_]*": [0-9.]+(, )?)+\}$' "$dir/demo/summary.json" || fail "$(cat "$dir/demo/summary.json")"
done
for verb in train calibrate tokenize export eval bench generate; do
    expect 1 "solera $verb: fails" demo FAILS=$verb
done
expect 1 "demo: no loss in {" demo LOSS=null
mkdir "$dir/mine"
expect 2 "mine exists and was not made by the demo" sh scripts/demo.sh "$dir/solera" "$dir/mine"
