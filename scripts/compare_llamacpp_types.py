#!/usr/bin/env python3
"""Size and loss of a model in llama.cpp's smallest types: llama.cpp quantizes it, solera reads the file and evaluates it as it does its own.

    (cd build && npm pack @node-llama-cpp/linux-x64@3.22.1 && tar xzf node-llama-cpp-linux-x64-3.22.1.tgz)
    build/release/solera export models/smollm2.h5 -o build/f16.gguf --type f16
    scripts/compare_llamacpp_types.py --lib build/package/bins/linux-x64 --gguf build/f16.gguf --text wiki.txt

Prints one row a type: size of the file, loss and perplexity of --text in windows of 512. llama.cpp
falls back to types of 4 and more bits where a row is no multiple of 256 weights; the last column says which types the file holds in truth.
The types that need an importance matrix (IQ1, IQ2) are left out. --package: a packed model of solera's, measured alike as the last row.
Python's standard library is enough. Not a test: a third-party program, run by hand.
"""
import argparse
import collections
import ctypes
import json
import os
import re
import subprocess
import sys
import tempfile

from compare_llamacpp_speed import LOG, Library, Params

FILE_TYPES = {"Q4_0": 2, "Q2_K": 10, "Q3_K_S": 11, "IQ4_NL": 25, "IQ4_XS": 30, "TQ1_0": 36, "TQ2_0": 37}


def quantize(library, source, path, kind, threads):
    """Writes path; the types that its matrices got, with their numbers."""
    lib, kinds = library.llama, collections.Counter()

    def note(level, line, user):
        found = re.search(rb"converting to (\w+) ", line)
        if found:
            kinds[found[1].decode().upper()] += 1

    log = LOG(note)
    lib.llama_log_set(log, None)
    lib.llama_model_quantize_default_params.restype = Params
    lib.llama_model_quantize.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(Params)]
    params = lib.llama_model_quantize_default_params()
    params.word[0], params.word[1] = threads, FILE_TYPES[kind]  # nthread, ftype
    failed = lib.llama_model_quantize(source.encode(), path.encode(), ctypes.byref(params))
    lib.llama_log_set(library.log_fn, None)
    if failed:
        sys.exit(f"{source}: llama.cpp does not quantize it to {kind}")
    return ", ".join(f"{n} {k}" for k, n in kinds.most_common())


def run(o, *arguments):
    return subprocess.run([o.solera, *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout


def evaluate(o, model):
    r = json.loads(run(o, "eval", model, "--text", o.text, "--context", "512", "--json", "-t", str(o.threads)))
    return r["loss"], r["ppl"]


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--lib", required=True, metavar="DIR", help="folder with libllama.so and libggml*.so")
    a.add_argument("--solera", default="build/release/solera")
    a.add_argument("--gguf", required=True, help="the model in F16")
    a.add_argument("--text", required=True)
    a.add_argument("--types", default="Q4_0,IQ4_XS,Q3_K_S,Q2_K,TQ1_0")
    a.add_argument("--package", help="a packed model of solera's")
    a.add_argument("--threads", type=int, default=2)
    o = a.parse_args()
    unknown = [t for t in o.types.split(",") if t not in FILE_TYPES]
    if unknown:
        a.error(f"--types {unknown[0]}: one of {', '.join(FILE_TYPES)}")
    library = Library(os.path.abspath(o.lib), None)
    print("| type | MB | loss | perplexity | matrices |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as work:
        for kind in o.types.split(","):
            path, model = os.path.join(work, "q.gguf"), os.path.join(work, "q.h5")
            kinds = quantize(library, o.gguf, path, kind, o.threads)
            size = os.path.getsize(path)
            run(o, "import", path, "-o", model, "--force", "-q")
            print("| {} | {:.1f} | {:.3f} | {:,.2f} | {} |".format(kind, size / 1e6, *evaluate(o, model), kinds), flush=True)
    if o.package:
        print("| {} | {:.1f} | {:.3f} | {:,.2f} | |".format(
            os.path.basename(o.package), os.path.getsize(o.package) / 1e6, *evaluate(o, o.package)))


if __name__ == "__main__":
    main()
