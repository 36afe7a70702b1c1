#!/usr/bin/env python3
"""Compares llama.cpp with transformers on the models of tests/golden/families, exported to GGUF by
solera as F32, and with solera on the embedded model as Q2_0, where activations are rounded as
llama.cpp does: the log-probability of every token. Not a test: a third-party program, run by hand.

    python3 -m venv /tmp/llama && /tmp/llama/bin/pip install xllamacpp==2026.10.11549 gguf==0.19.0
    /tmp/llama/bin/python scripts/compare_families.py --solera build/release/solera

xllamacpp is llama.cpp's server as a Python module. It gives the distribution of the next token, so
each token is asked for by itself. Its keys and values are F32 here, as solera's are. The package
gguf reads the file, too: its tensors are those of the folder. Exit code 1 when a log-probability
differs by more than --tolerance.
"""
import argparse
import glob
import json
import os
import subprocess
import sys
import tempfile

import gguf
import numpy as np
import xllamacpp as llama

TOKENIZER = "tests/golden/families/qwen3/tokenizer.json"


def open_server(path):
    p = llama.CommonParams()
    p.model.path = path
    p.n_ctx, p.n_parallel, p.warmup, p.ui = 64, 1, False, False
    p.cache_type_k = p.cache_type_v = llama.ggml_type.GGML_TYPE_F32
    p.flash_attn_type = llama.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    p.cpuparams.n_threads = 1
    return llama.Server(p)


def next_logprob(server, ids, token, vocab):
    """By the distribution that comes with a drawn token; with EOS none comes, so another is drawn."""
    for seed in range(100):
        answer = server.handle_completions({"prompt": ids, "max_tokens": 1, "logprobs": vocab,
                                            "temperature": 1.0, "samplers": [], "seed": seed,
                                            "cache_prompt": False})
        if answer["choices"][0]["logprobs"]:
            top = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
            return next(t["logprob"] for t in top if t["id"] == token)
    sys.exit("llama.cpp draws nothing but EOS")


def compare(o, folder):
    name = os.path.basename(folder)
    golden = json.load(open(folder + "/golden.json"))
    config = json.load(open(folder + "/config.json"))
    vocab = config["vocab_size"]
    # llama.cpp has no windows here: the file gives it a context as long as one, where a drawn token
    # must fit, too.
    tokens = min(o.tokens, (config.get("sliding_window") or o.tokens + 1) - 1)
    with tempfile.TemporaryDirectory() as d:
        run = lambda *words: subprocess.run([o.solera, *words], check=True, capture_output=True)
        run("import", folder, "--tokenizer", TOKENIZER, "-o", d + "/m.h5")
        run("export", d + "/m.h5", "-o", d + "/m.gguf", "--type", "f32", "--embed-type", "f32")
        architecture = gguf.GGUFReader(d + "/m.gguf").fields["general.architecture"].contents()
        server = open_server(d + "/m.gguf")
        differences = []
        for ids, want in zip(golden["ids"], golden["logprobs"], strict=True):
            for t in range(min(tokens, len(want))):
                got = next_logprob(server, ids[: t + 1], ids[t + 1], vocab)
                differences.append(abs(got - want[t]))
    worst = np.max(differences)  # NaN where one of them is
    print(f"{name}: {architecture} in GGUF, {len(differences)} tokens, largest difference {worst:.2g}", flush=True)
    return worst


def compare_q2_0(o, group):
    model, how = "checkpoints/embedded.h5", ["--method", "sherry", "--group-size", str(group)]
    text = json.dumps({"text": "Once upon a time there was a little girl named Lily."}) + "\n"
    with tempfile.TemporaryDirectory() as d:
        run = lambda *words, **kw: subprocess.run([o.solera, *words], check=True, text=True,
                                                  capture_output=True, **kw).stdout
        for form in (["gguf", "--type", "q2_0"], ["packed"]):
            run("export", model, "-o", f"{d}/m.{form[0]}", "--format", *form, "--embed-type", "f32", *how)
        line = run("tokenize", "--tokenizer", model, "--ids", input=text)
        want = json.loads(run("score", d + "/m.packed", "--activations", "q8_0", input=line))
        ids, server = json.loads(line), open_server(d + "/m.gguf")
        got = [next_logprob(server, ids[: t + 1], ids[t + 1], 2048) for t in range(len(want))]
        worst = np.max(np.abs(np.subtract(want, got)))
    print(f"Q2_0, groups of {group}: {len(got)} tokens, largest difference {worst:.2g}", flush=True)
    return worst


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--solera", default="build/release/solera")
    a.add_argument("--tokens", type=int, default=24, help="of each row")
    a.add_argument("--tolerance", type=float, default=1e-3)
    o = a.parse_args()
    folders = sorted(f for f in glob.glob("tests/golden/families/*") if os.path.isdir(f))
    differences = [compare(o, f) for f in folders] + [compare_q2_0(o, group) for group in (64, 128)]
    sys.exit(not folders or not np.max(differences) <= o.tolerance)


if __name__ == "__main__":
    main()
