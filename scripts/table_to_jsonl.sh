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
            yield from csv.DictReader(file, dialect="excel-tab" if table.endswith(".tsv") else "excel")
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


for n, row in enumerate(rows(), 1):
    if column and column not in row:
        sys.exit("%s: row %d: there is no column '%s': %s" % (table, n, column, ", ".join(map(str, row))))
    print(json.dumps({"text": row[column]} if column else row, ensure_ascii=False, default=str))
PY
