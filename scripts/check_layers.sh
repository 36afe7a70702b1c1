#!/bin/sh
# The layer check: a room includes its own headers and those of lower layers; the header of another
# library is included only by the rooms that own it; train includes public headers alone, those of
# src/solera.h. One line an offence, exit 1 when there is one.
set -u
cd "$(dirname "$0")/.." || exit 1
grep -rnE '^[[:space:]]*#[[:space:]]*include' src/*/ train | awk '
BEGIN {
    while ((getline header < "src/solera.h") > 0)
        if (header ~ /^#include "/) { split(header, quoted, "\""); public[quoted[2]] = 1 }
    split("base:0 dist:1 kernels:1 text:1 chat:2 h5:2 quant:2 tensor:2 autograd:3 model:4 optim:5 store:6 calib:7 foreign:7 infer:7 study:7 config:8 eval:8", l, " ")
    for (i in l) { split(l[i], kv, ":"); layer[kv[1]] = kv[2] }
    owner["cblas.h"] = "kernels"; owner["lapacke.h"] = "study"; owner["hdf5.h"] = "h5"; owner["yaml.h"] = "config"
    owner["immintrin.h"] = "kernels"; owner["arm_neon.h"] = "kernels"; owner["pcre2.h"] = "text"; owner["utf8proc.h"] = "text"
    owner["pthread.h"] = "base"; owner["zlib.h"] = "base"; owner["jansson.h"] = "base text chat store foreign eval train"
    owner["mpi.h"] = "dist"; owner["oneapi/dnnl/dnnl.h"] = "kernels"
}
{
    file = $0; sub(/:.*/, "", file)
    line = $0; sub(/^[^:]*:/, "", line); sub(/:.*/, "", line)
    inc = $0; sub(/^[^<"]*[<"]/, "", inc); sub(/[>"].*/, "", inc)
    split(file, part, "/")
    me = part[1] == "train" ? "train" : part[2]
    mine = part[1] == "train" ? 9 : layer[me]
    if (inc in owner && index(" " owner[inc] " ", " " me " ") == 0) {
        printf "%s:%s: includes <%s>, which belongs to %s\n", file, line, inc, owner[inc]; bad = 1
    }
    if (inc == "solera.h" && me != "train") {
        printf "%s:%s: includes solera.h, which includes every room\n", file, line; bad = 1
    }
    n = split(inc, p, "/")
    if (n < 2 || !(p[1] in layer) || p[1] == me) next
    if (me == "train" && !(inc in public)) {
        printf "%s:%s: includes %s, which is not of solera.h\n", file, line, inc; bad = 1
    }
    if (layer[p[1]] >= mine) {
        printf "%s:%s: layer %d (%s) includes layer %d (%s)\n", file, line, mine, me, layer[p[1]], p[1]; bad = 1
    }
}
END { exit bad }' && echo "layers: ok"
