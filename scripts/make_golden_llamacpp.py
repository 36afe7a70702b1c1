#!/usr/bin/env python3
"""Writes tests/golden/llamacpp.json: what llama.cpp computes with GGUF files of the embedded model, for tests/test_golden_llamacpp.c.

    scripts/make_golden_llamacpp.py --solera build/release/solera --version "llama.cpp RELEASE" > tests/golden/llamacpp.json

For each type: FNV-1a of the file's tensor data (so that the test knows that it speaks of the same file), the mean loss of windows of
data/sample/stories.txt, and greedy text with the margin between the two best logits at each token. Run it again when the embedded model, the
quantizer or the GGUF export changes on purpose. Needs what compare_llamacpp.py needs. Run it from the top of the repository.
"""
import argparse
import ctypes
import json
import os
import subprocess
import sys
import tempfile

import numpy as np

from compare_llamacpp import Llama, log_probs, prompts

MODEL, TEXT = "checkpoints/embedded.h5", "data/sample/stories.txt"
WINDOW, WINDOWS, PROMPTS, GREEDY = 256, 4, 4, 20
CASES = [("tq1_0", "sherry"), ("tq2_0", "sherry"), ("q8_0", None), ("f16", None)]


def fnv1a(data):
    h = 0xCBF29CE484222325
    for b in data:
        h = (h ^ b) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return h


class InitParams(ctypes.Structure):
    _fields_ = [("no_alloc", ctypes.c_bool), ("ctx", ctypes.c_void_p)]


def tensor_data(lib, path):
    lib.gguf_init_from_file.restype = ctypes.c_void_p
    lib.gguf_init_from_file.argtypes = [ctypes.c_char_p, InitParams]
    lib.gguf_get_data_offset.restype = ctypes.c_size_t
    lib.gguf_get_data_offset.argtypes = [ctypes.c_void_p]
    gguf = lib.gguf_init_from_file(path.encode(), InitParams(True, None))
    return open(path, "rb").read()[lib.gguf_get_data_offset(gguf):]


def greedy(llama, prompt):
    line = llama.tokenize(prompt, False)
    n, margins, row = len(line), [], llama.logits(line, all_rows=False)
    while len(line) < n + GREEDY:
        second, first = np.sort(row[0])[-2:]
        line.append(int(row[0].argmax()))
        margins.append(round(float(first - second), 4))
        row = llama.logits(line[-1:], all_rows=False, start=len(line) - 1)
    return {"prompt": prompt, "prompt_ids": line[:n], "ids": line[n:], "margins": margins}


def case(solera, folder, type_, method):
    path = os.path.join(folder, type_ + ".gguf")
    how = ["--method", method, "--granularity", "per_channel"] if method else []
    subprocess.run([solera, "export", MODEL, "-o", path, "--type", type_, *how], check=True, stderr=subprocess.DEVNULL)
    llama = Llama(path, WINDOW + 8, 1, "f32")
    data = tensor_data(llama.lc.llama_cpp._lib, path)
    text = open(TEXT, encoding="utf-8").read()
    ids = llama.tokenize(text, False)
    windows = [ids[i * WINDOW : (i + 1) * WINDOW] for i in range(WINDOWS)]
    q = [log_probs(llama.logits(w)[:-1], np.array(w[1:])) for w in windows]
    return {"type": type_, "method": method or "none", "tensor_bytes": len(data), "tensor_fnv1a": f"{fnv1a(data):016x}",
            "loss": round(float(-np.concatenate(q).mean()), 8), "greedy": [greedy(llama, p) for p in prompts(text, PROMPTS)]}


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--solera", default="build/release/solera")
    a.add_argument("--version", required=True, help="what made the figures")
    o = a.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cases = [case(o.solera, folder, t, m) for t, m in CASES]
    lines = ",\n".join("  " + json.dumps(c) for c in cases)
    head = {"made_by": o.version, "model": MODEL, "text": TEXT, "window": WINDOW, "windows": WINDOWS, "granularity": "per_channel"}
    sys.stdout.write(json.dumps(head)[:-1] + ', "cases": [\n' + lines + "\n]}\n")


if __name__ == "__main__":
    main()
