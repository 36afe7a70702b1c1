#!/bin/sh
# What src/README.md says is so: its rooms, layers and owners of headers are those of
# scripts/check_layers.sh and the folders of src, every path that it names exists, every name of the
# code stands in the code, every .c file opens with a comment that names files which exist, no two
# files have one name, and each section fits on a screen. checkpoints/SCHEMA.md names what is written.
set -u
export LC_ALL=C # awk counts bytes
cd "$(dirname "$0")/.." || exit 1
page=src/README.md
bad=0
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
wrong() {
    echo "$page: $*"
    bad=1
}

sed -n 's/^| \([0-9]\) | `\([a-z0-9]*\)` |.*/\2:\1/p' "$page" | sort >"$dir/told"
{
    sed -n 's/.*split("\([a-z0-9: ]*\)", l, " ").*/\1/p' scripts/check_layers.sh | tr ' ' '\n'
    echo "train:$(sed -n 's/.*"train" ? \([0-9]\) : layer.*/\1/p' scripts/check_layers.sh)"
} | sort >"$dir/layers"
diff "$dir/told" "$dir/layers" || wrong "its layers (<) are not those of scripts/check_layers.sh (>)"
{
    for room in src/*/; do basename "$room"; done
    echo train
} | sort >"$dir/rooms"
sed 's/:.*//' "$dir/told" | diff - "$dir/rooms" || wrong "its rooms (<) are not the folders (>)"

# "`a.h` and `b.h` in `room`; ...", as "a.h:room", against owner["a.h"] = "room ..." of the script.
sed -n '/^A header of another library/,/^$/p' "$page" | tr '\n' ' ' | sed 's/^[^:]*://' | tr ';' '\n' | awk -F'[^a-z]in `' '{
    n = split($1, part, "`")
    m = split("`" $2, room, "`")
    for (i = 2; i <= n; i += 2) for (k = 2; k <= m; k += 2) print part[i] ":" room[k]
}' | sort >"$dir/told"
grep -o 'owner\["[^"]*"\] = "[^"]*"' scripts/check_layers.sh | sed 's/owner\["//; s/"\] = "/ /; s/"$//' |
    awk '{ for (i = 2; i <= NF; i++) print $1 ":" $i }' | sort >"$dir/owners"
diff "$dir/told" "$dir/owners" || wrong "the owners of headers (<) are not those of scripts/check_layers.sh (>)"

grep -o '`[^`]*`' "$page" | tr -d '`' | sort -u >"$dir/quoted"
# <name> stands for any file that is there.
grep / "$dir/quoted" | grep -v '^oneapi/' | sed 's/<[a-z]*>/*/g' >"$dir/paths"
[ "$(wc -l <"$dir/paths")" -ge 20 ] || wrong "names fewer than 20 paths"
while read -r path; do
    # shellcheck disable=SC2086
    ls -d $path >/dev/null 2>&1 || wrong "$path is not there"
done <"$dir/paths"

grep -E '^(sol|SOL|net|NET)_[A-Za-z0-9_]+$' "$dir/quoted" >"$dir/names"
[ "$(wc -l <"$dir/names")" -ge 30 ] || wrong "names fewer than 30 things of the code"
cat src/*.h src/*/*.h src/*/*.def train/*.h >"$dir/code"
while read -r name; do
    grep -qw "$name" "$dir/code" || wrong "$name is in no header"
done <"$dir/names"

for file in src/*/*.c src/*/*/*.c train/*.c; do
    case $(head -n 1 "$file") in "/* "*) ;; *) wrong "$file does not open with what it does" ;; esac
done

# Files that openers name are there (llama2.c is another program).
find src train tests -name '*.[ch]' >"$dir/files"
for file in src/*/*.c src/*/*/*.c train/*.c; do
    sed '/\*\//q' "$file" | grep -o '[a-z0-9_/]*[a-z0-9_]\.[ch]\>' | sed "s|^|$file |"
done | grep -v ' llama2\.c$' >"$dir/openers"
awk 'NR == FNR { n = split($0, part, "/"); for (at = ""; n > 0; n--) { at = at == "" ? part[n] : part[n] "/" at; known[at] } next }
     !($2 in known) { print $1 " names " $2 }' "$dir/files" "$dir/openers" >"$dir/unknown"
[ ! -s "$dir/unknown" ] || wrong "openers name files that are not there: $(cat "$dir/unknown")"

# A name says which file is meant.
find src train -name '*.[ch]' -o -name '*.def' | sed 's|.*/||' | sort | uniq -d >"$dir/twice"
[ ! -s "$dir/twice" ] || wrong "two files of one name: $(tr '\n' ' ' <"$dir/twice")"

awk '/^## / { if (n > 60) print name; name = $0; n = 0 } { n++ } END { if (n > 60) print name }' "$page" >"$dir/long"
[ ! -s "$dir/long" ] || wrong "more than a screen of 60 lines: $(cat "$dir/long")"
awk 'length > 100 && !/^\|/ { print FNR }' "$page" >"$dir/wide"
[ ! -s "$dir/wide" ] || wrong "lines of more than 100 columns: $(tr '\n' ' ' <"$dir/wide")"

# Every name that the code writes into a file stands in the schema.
page=checkpoints/SCHEMA.md
grep -ohE '(FIELD|sol_h5_(set|put|add|write)[a-z0-9_]*)\(([a-z_&>.-]+, )*"[a-z_/0-9]+"' src/*/*.c |
    sed 's/.*"\(.*\)"/\1/' | sort -u >"$dir/written"
[ "$(wc -l <"$dir/written")" -ge 50 ] || wrong "fewer than 50 names are written: how does the code write them now?"
while read -r name; do
    grep -qwF -- "$name" "$page" || wrong "does not name $name"
done <"$dir/written"
exit $bad
