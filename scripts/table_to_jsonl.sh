#!/bin/sh
# Turns a table (Parquet, Arrow file, CSV, TSV) into lines of JSON on stdout, an object a row, as `solera tokenize` reads them:
#   scripts/table_to_jsonl.sh TABLE [COLUMN] > OUT.jsonl
# COLUMN: only that one, as "text". Needs python3; for all but CSV and TSV also pip, which puts pyarrow into a virtual environment
# that lives as long as this script.
set -eu
table=${1:?usage: scripts/table_to_jsonl.sh TABLE [COLUMN] > OUT.jsonl}
[ -r "$table" ] || { echo "$table: cannot read" >&2; exit 2; }
python=${PYTHON:-python3}
case $table in
*.csv | *.tsv) ;;
*)
    temp=$(mktemp -d)
    trap 'rm -rf "$temp"' EXIT
    "$python" -m venv "$temp/venv"
    python=$temp/venv/bin/python
    "$python" -m pip install --quiet --disable-pip-version-check pyarrow >&2
    ;;
esac
"$python" - "$table" "${2:-}" <<'PY'
import csv, json, sys

table, column = sys.argv[1], sys.argv[2]


def rows():
    if table.endswith((".csv", ".tsv")):
        csv.field_size_limit(1 << 30)
        with open(table, encoding="utf-8-sig", newline="") as file:
            lines = csv.DictReader(file, dialect="excel-tab" if table.endswith(".tsv") else "excel")
            names = lines.fieldnames or []
            twice = [name for name in names if names.count(name) > 1]
            if twice:
                sys.exit("%s: has two columns '%s'" % (table, twice[0]))
            for row in lines:
                if None in row or None in row.values():
                    sys.exit("%s: line %d: has not %d fields" % (table, lines.line_num, len(names)))
                yield row
        return
    with open(table, "rb") as file:
        is_parquet = file.read(4) == b"PAR1"
    if is_parquet:
        import pyarrow.parquet
        batches = pyarrow.parquet.ParquetFile(table).iter_batches()
    else:
        import pyarrow.dataset
        batches = pyarrow.dataset.dataset(table, format="feather").to_batches()
    for batch in batches:
        yield from batch.to_pylist()


try:
    for n, row in enumerate(rows(), 1):
        if column and column not in row:
            sys.exit("%s: row %d: there is no column '%s': %s" % (table, n, column, ", ".join(map(str, row))))
        print(json.dumps({"text": row[column]} if column else row, ensure_ascii=False, default=str))
except UnicodeDecodeError as why:
    sys.exit("%s: is no UTF-8 (%s): convert it with iconv first" % (table, why.reason))
PY
