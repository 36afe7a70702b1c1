#!/usr/bin/env python3
"""Compares solera with llama.cpp on one model: ids, per-token log-probabilities (perplexity), greedy text.

    python3 -m venv build/venv
    CMAKE_ARGS=-DLLAMA_BUILD=OFF build/venv/bin/pip install llama-cpp-python==0.3.34
    mkdir -p build/llamacpp && cd build/llamacpp && npm pack @node-llama-cpp/linux-x64@3.19.1 && cd ../..
    tar xzf build/llamacpp/*.tgz -C build/llamacpp --strip-components=3 --wildcards '*.so'
    (cd build/llamacpp && ln -s libllama.*.so libllama.so && ln -s libggml.b*.so libggml.so)
    build/release/solera export checkpoints/embedded.h5 -o build/f16.gguf --type f16
    LLAMA_CPP_LIB_PATH=build/llamacpp build/venv/bin/python scripts/compare_llamacpp.py \
        --model checkpoints/embedded.h5 --gguf build/f16.gguf --text data/sample/stories.txt

--model is what `solera score` and `generate` read (checkpoint, model file or packed model), --gguf
what was exported from it, or what it was imported from. The Python package is installed without the
llama.cpp that it would build for an hour; the npm package has one that is built, of the same weeks
(b10068): the two must agree on the structs of llama.h, and others need not. Without npm leave
CMAKE_ARGS and LLAMA_CPP_LIB_PATH out.
Not a test: third-party programs, run by hand. Exit code 1 when an id differs, or the perplexities by
more than --tolerance. Where greedy texts part, the margin says how near to each other llama.cpp's two best tokens were: different roundings may turn a small one.

llama.cpp keeps keys and values in fp16 unless told otherwise; here it keeps them in fp32, as solera does (--cache f16: its default, which moved a
log-probability of a small model by 0.17). It rounds activations to 8 bits before it multiplies by quantized weights. solera rounds in the same
blocks with --kind=--activations=q8_k (TQ1_0, TQ2_0; --model is the packed model) or q8_0 (Q8_0; --model is the file imported again). What is left
is chaos: a sum that differs in its last bit turns a rounding, which turns more. Without any rounding: compare the same weights as F32
(`solera export m.h5 -o f32.gguf --type f32 --embed-type f32`, --kind=--activations=float).
"""
import argparse
import ctypes
import functools
import json
import math
import os
import subprocess
import sys

import numpy as np


def load_backends():
    path = os.environ.get("LLAMA_CPP_LIB_PATH")
    if path:
        ggml = ctypes.CDLL(os.path.join(path, "libggml.so"), mode=ctypes.RTLD_GLOBAL)
        ggml.ggml_backend_load_all_from_path.argtypes = [ctypes.c_char_p]
        ggml.ggml_backend_load_all_from_path(path.encode())


@functools.cache
def library():
    """The loaded library, without its log. llama.cpp goes on calling the callback: it lives as long as the program."""
    import llama_cpp as lc
    lc.quiet = lc.llama_log_callback(lambda level, text, user: None)
    lc.llama_log_set(lc.quiet, None)
    lc.llama_backend_init()
    load_backends()
    return lc


class Llama:
    def __init__(self, path, n_ctx, threads, cache):
        self.lc = lc = library()
        self.model = lc.llama_model_load_from_file(path.encode(), lc.llama_model_default_params())
        if not self.model:
            sys.exit(f"{path}: llama.cpp does not load it")
        p = lc.llama_context_default_params()
        p.n_ctx = n_ctx
        p.n_batch = p.n_ubatch = n_ctx
        p.n_threads = p.n_threads_batch = threads
        if cache == "f32":
            p.type_k = p.type_v = 0  # GGML_TYPE_F32
            p.flash_attn_type = 0  # which would want fp16
        self.ctx = lc.llama_init_from_model(self.model, p)
        self.vocab = lc.llama_model_get_vocab(self.model)
        self.n_vocab = lc.llama_vocab_n_tokens(self.vocab)

    def tokenize(self, text, bos):
        data = text.encode()
        out = (ctypes.c_int32 * (len(data) + 8))()
        n = self.lc.llama_tokenize(self.vocab, data, len(data), out, len(out), bos, False)
        return list(out[:n])

    def piece(self, token):
        out = ctypes.create_string_buffer(256)
        n = self.lc.llama_token_to_piece(self.vocab, token, out, len(out), 0, False)
        return out.raw[:n]

    def logits(self, ids, all_rows=True, start=0):
        """Rows of logits for ids at positions start, start + 1, ...; start 0 forgets what came before."""
        lc = self.lc
        if start == 0:
            lc.llama_memory_clear(lc.llama_get_memory(self.ctx), True)
        batch = lc.llama_batch_init(len(ids), 0, 1)
        for i, t in enumerate(ids):
            batch.token[i] = t
            batch.pos[i] = start + i
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = 0
            batch.logits[i] = all_rows or i == len(ids) - 1
        batch.n_tokens = len(ids)
        if lc.llama_decode(self.ctx, batch) != 0:
            sys.exit("llama_decode failed")
        rows = len(ids) if all_rows else 1
        p = lc.llama_get_logits(self.ctx)
        x = np.ctypeslib.as_array(p, shape=(rows * self.n_vocab,)).reshape(rows, self.n_vocab).astype(np.float64)
        lc.llama_batch_free(batch)
        return x


def log_probs(logits, targets):
    top = logits.max(axis=1, keepdims=True)
    norm = np.log(np.exp(logits - top).sum(axis=1)) + top[:, 0]
    return logits[np.arange(len(targets)), targets] - norm


def prompts(text, n):
    """The first words of n paragraphs."""
    long = [p.strip() for p in text.split("\n") if len(p.split()) > 24]
    return [" ".join(p.split()[:12]) for p in long[:n]]


def compare_greedy(o, run, llama, prompt):
    """Whether both programs go on in the same way; prints where they part."""
    ours = run("generate", o.model, "-p", prompt, "-n", str(o.greedy), "--temp", "0", "--no-echo", "--kv", "f32", *o.kind)
    ours = ours.replace("\ufffd", "")  # bytes that are no text yet
    line = json.loads(run("tokenize", "--tokenizer", o.model, "--ids", "--special", "no", input=json.dumps({"text": prompt}) + "\n"))
    theirs, row = b"", llama.logits(line, all_rows=False)
    for _ in range(o.greedy):
        best = int(row[0].argmax())
        if llama.lc.llama_vocab_is_eog(llama.vocab, best):
            break
        piece = llama.piece(best)
        if not ours.startswith((theirs + piece).decode(errors="ignore")):
            second = np.sort(row[0])[-2]
            print(f"greedy: {prompt!r}: parts after {theirs.decode(errors='replace')!r}: llama.cpp goes on with {piece!r}, "
                  f"margin {row[0].max() - second:.4f} in logits")
            return False
        theirs += piece
        line.append(best)
        row = llama.logits(line[-1:], all_rows=False, start=len(line) - 1)
    return True


def compare_perplexity(o, run, llama, windows):
    """The relative difference; a few windows at a time, so that a long run says how far it is."""
    total = {"solera": 0.0, "llama.cpp": 0.0}
    worst, n, step = 0.0, 0, 16
    for first in range(0, len(windows), step):
        some = windows[first : first + step]
        ours = run("score", o.model, "-t", str(o.threads), *o.kind, input="".join(json.dumps(w) + "\n" for w in some)).splitlines()
        for w, line in zip(some, ours, strict=True):
            p = np.array(json.loads(line))
            q = log_probs(llama.logits(w)[:-1], np.array(w[1:]))
            total["solera"] += p.sum()
            total["llama.cpp"] += q.sum()
            worst = np.maximum(worst, np.abs(q - p).max())
            n += len(p)
        ppl = {k: math.exp(-v / n) for k, v in total.items()}
        ratio = ppl["solera"] / ppl["llama.cpp"] - 1
        text = (f"perplexity over {n} tokens in {first + len(some)} of {len(windows)} windows: solera {ppl['solera']:.5f}, "
                f"llama.cpp {ppl['llama.cpp']:.5f}, {100 * ratio:+.4f} %, largest difference of a log-probability {worst:.4g}")
        print(text, file=sys.stdout if first + step >= len(windows) else sys.stderr, flush=True)
    return ratio


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--solera", default="build/release/solera")
    a.add_argument("--model", required=True)
    a.add_argument("--gguf", required=True)
    a.add_argument("--text", required=True)
    a.add_argument("--tokens", type=int, default=512, help="length of a window")
    a.add_argument("--windows", type=int, default=4)
    a.add_argument("--prompts", type=int, default=8)
    a.add_argument("--greedy", type=int, default=24, help="tokens of greedy text after each prompt")
    a.add_argument("--kind", nargs="*", default=[], help="words for score and generate, as --kind=--activations=q8_k")
    a.add_argument("--threads", type=int, default=2, help="of both programs")
    a.add_argument("--cache", default="f32", choices=("f32", "f16"), help="keys and values in llama.cpp")
    a.add_argument("--tolerance", type=float, default=0.005)
    o = a.parse_args()
    whole = open(o.text, encoding="utf-8").read()
    text = whole[: o.tokens * o.windows * 8]
    run = lambda *words, **kw: subprocess.run([o.solera, *words], check=True, capture_output=True, text=True, **kw).stdout
    ids = json.loads(run("tokenize", "--tokenizer", o.model, "--ids", "--special", "no", input=json.dumps({"text": text}) + "\n"))
    llama = Llama(o.gguf, o.tokens + 8, o.threads, o.cache)
    theirs = llama.tokenize(text, bool(ids) and ids[0] == llama.lc.llama_vocab_bos(llama.vocab))
    print(f"ids: {'equal' if theirs == ids else 'DIFFERENT'} ({len(ids)} and {len(theirs)})")
    windows = [ids[i : i + o.tokens] for i in range(0, len(ids) - 1, o.tokens)][: o.windows]
    ratio = compare_perplexity(o, run, llama, windows)
    ids_again = [compare_greedy(o, run, llama, p) for p in prompts(whole, o.prompts)]
    print(f"greedy: {sum(ids_again)} of {len(ids_again)} texts of {o.greedy} tokens are equal")
    sys.exit(theirs != ids or not abs(ratio) <= o.tolerance)


if __name__ == "__main__":
    main()
