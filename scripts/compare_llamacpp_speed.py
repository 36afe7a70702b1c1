#!/usr/bin/env python3
"""Speed of solera against a ternary type of llama.cpp (TQ2_0, Q2_0) or of ik_llama.cpp (IQ2_BN): one shape, head in the same precision, measured in
turns on this machine.

    (cd build && npm pack @node-llama-cpp/linux-x64@3.22.1 && tar xzf node-llama-cpp-linux-x64-3.22.1.tgz)
    scripts/compare_llamacpp_speed.py --lib build/package/bins/linux-x64 --threads 1,2 --head q6,q4 --type tq2_0,q2_0

ik_llama.cpp has no packages: build its libraries, and put both into one folder:

    cmake -B build -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON && cmake --build build --target llama && mkdir lib && cp build/*/*.so build/*/*/*.so lib
    scripts/compare_llamacpp_speed.py --lib ik_llama.cpp/lib --type iq2_bn --head q4

Random weights in both: llama.cpp reads a GGUF file that is written here (in --work, 0.4 GB), solera makes its own; values change no time. Each round
runs llama.cpp, then `solera bench`; the ratios are of medians over the rounds. Decode starts behind an empty context, prefill is --prompt tokens.
--backend names one of the libggml-cpu-*.so of DIR; without it llama.cpp takes the one it scores best for this processor, and the output says
which. Python's standard library is enough. Not a test: a third-party program, run by hand.
"""
import argparse
import ctypes
import json
import os
import random
import statistics
import struct
import subprocess
import sys
import time

SHAPES = {  # hidden, layers, ffn, heads, kv heads, head_dim, vocab
    "llama-3.2-1b": (2048, 16, 8192, 32, 8, 64, 128256),
    "llama-3.2-3b": (3072, 28, 8192, 24, 8, 128, 128256),
}
# ggml type id, weights of a block, its bytes, where its float16 scale lies; None: a float32 before each row
F32 = (0, 1, 4, 0)
TYPES = {"tq2_0": (35, 256, 66, 64), "q2_0": (42, 64, 18, 0), "iq2_bn": (135, 64, 16, None)}
HEADS = {"q8": (8, 32, 34, 0), "q6": (14, 256, 210, 208), "q4": (2, 32, 18, 0)}  # Q8_0, Q6_K, Q4_0
HEAD_NAMES = {"q8": "Q8_0", "q6": "Q6_K", "q4": "Q4_0"}
DECODE_TOKENS = 16


def tensors(shape, kind, head):
    C, L, F, H, K, D, V = shape
    yield "token_embd.weight", (C, V), head
    yield "output_norm.weight", (C,), F32
    for i in range(L):
        yield f"blk.{i}.attn_norm.weight", (C,), F32
        yield f"blk.{i}.ffn_norm.weight", (C,), F32
        for name, dims in (("attn_q", (C, H * D)), ("attn_k", (C, K * D)), ("attn_v", (C, K * D)), ("attn_output", (H * D, C)),
                           ("ffn_gate", (C, F)), ("ffn_up", (C, F)), ("ffn_down", (F, C))):
            yield f"blk.{i}.{name}.weight", dims, kind


def text(s):
    return struct.pack("<Q", len(s)) + s.encode()


def key(name, value):
    if isinstance(value, str):
        return text(name) + struct.pack("<I", 8) + text(value)
    kind, code = (6, "f") if isinstance(value, float) else (4, "I")
    return text(name) + struct.pack("<I", kind) + struct.pack("<" + code, value)


def row_size(columns, kind):
    return columns // kind[1] * kind[2] + (4 if kind[3] is None else 0)


def size_of(dims, kind):
    return (dims[1] if len(dims) > 1 else 1) * row_size(dims[0], kind)


def random_run(rng, columns, kind):
    """About a megabyte of random rows with small scales."""
    _, _, size, at = kind
    row = row_size(columns, kind)
    run = bytearray(rng.randbytes((1 << 20) // row * row))
    if at is None:
        for r in range(0, len(run), row):
            run[r : r + 4] = struct.pack("<f", 0.02)
        return bytes(run)
    for b in range(0, len(run), size):
        run[b + at : b + at + 2] = struct.pack("<e", 0.0002 if size == 210 else 0.02)
    return bytes(run)


def write_gguf(path, shape, kind, head):
    C, L, F, H, K, D, V = shape
    meta = [key("general.architecture", "llama"), key("llama.block_count", L), key("llama.context_length", 8192),
            key("llama.embedding_length", C), key("llama.feed_forward_length", F), key("llama.attention.head_count", H),
            key("llama.attention.head_count_kv", K), key("llama.rope.dimension_count", D), key("llama.vocab_size", V),
            key("llama.attention.layer_norm_rms_epsilon", 1e-5), key("llama.rope.freq_base", 500000.0),
            key("tokenizer.ggml.model", "no_vocab")]
    table = list(tensors(shape, kind, head))
    out, at = struct.pack("<IIQQ", 0x46554747, 3, len(table), len(meta)) + b"".join(meta), 0
    for name, dims, kind in table:
        out += text(name) + struct.pack("<I", len(dims)) + struct.pack(f"<{len(dims)}Q", *dims) + struct.pack("<IQ", kind[0], at)
        at += (size_of(dims, kind) + 31) // 32 * 32
    rng, runs = random.Random(1), {}
    with open(path, "wb") as f:
        f.write(out + bytes(-len(out) % 32))
        for _, dims, kind in table:
            left = size_of(dims, kind)
            if kind is F32:
                f.write(struct.pack("<f", 1.0) * (left // 4))
            else:
                run = runs.setdefault((dims[0], kind), random_run(rng, dims[0], kind))
                for done in range(0, left, len(run)):
                    f.write(run[: left - done])
            f.write(bytes(-left % 32))


class Params(ctypes.Structure):
    """A parameter struct of any version: passed by value in memory, of which the callee reads what it knows."""
    _fields_ = [("word", ctypes.c_uint32 * 256), ("align", ctypes.c_uint64)]


class Batch(ctypes.Structure):
    """llama_batch, by value; ik_llama.cpp's has the last three, llama.cpp does not read them."""
    _fields_ = ([("n_tokens", ctypes.c_int32)] + [(n, ctypes.c_void_p) for n in ("token", "embd", "pos", "n_seq_id", "seq_id", "logits")]
                + [(n, ctypes.c_int32) for n in ("all_pos_0", "all_pos_1", "all_seq_id")])


LOG = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)


class Library:
    def __init__(self, folder, backend):
        for name in ("ggml-base", "ggml", "llama"):
            found = [n for n in sorted(os.listdir(folder)) if n.startswith(f"lib{name}.") and ".so" in n]
            if found:
                lib = ctypes.CDLL(os.path.join(folder, found[0]), mode=ctypes.RTLD_GLOBAL)
                setattr(self, name.replace("-", "_"), lib)
            elif name != "ggml-base":
                sys.exit(f"{folder}: has no lib{name}.so")
        self.log_fn = LOG(lambda level, line, user: None)
        self.llama.llama_log_set(self.log_fn, None)
        self.ik = not hasattr(self.llama, "llama_get_memory")
        if self.ik:
            self.llama.llama_backend_init()
            return
        self.ggml.ggml_backend_load.restype = ctypes.c_void_p
        self.ggml.ggml_backend_load.argtypes = [ctypes.c_char_p]
        self.ggml.ggml_backend_load_all_from_path.argtypes = [ctypes.c_char_p]
        if backend:
            if not self.ggml.ggml_backend_load(os.path.join(folder, f"libggml-cpu-{backend}.so").encode()):
                sys.exit(f"{folder}: backend {backend} does not load here")
        else:
            self.ggml.ggml_backend_load_all_from_path(folder.encode())
        self.llama.llama_backend_init()

    def backend(self):
        """The CPU library that is mapped into this process."""
        if self.ik:
            return "ik_llama.cpp"
        with open("/proc/self/maps", encoding="utf-8") as f:
            names = {os.path.basename(line.split()[-1]) for line in f if "libggml-cpu-" in line}
        return " ".join(sorted(names))


class Llama:
    def __init__(self, library, path, threads, prompt):
        lib = self.lib = library.llama
        self.ik = library.ik
        clear = ((("llama_kv_cache_clear", None, [ctypes.c_void_p]),) if self.ik else
                 (("llama_get_memory", ctypes.c_void_p, [ctypes.c_void_p]), ("llama_memory_clear", None, [ctypes.c_void_p, ctypes.c_bool])))
        place = [ctypes.c_int32, ctypes.c_int32] if self.ik else []
        free_model = "llama_free_model" if self.ik else "llama_model_free"
        for name, result, args in clear + (("llama_model_default_params", Params, []), ("llama_context_default_params", Params, []),
                                   ("llama_model_load_from_file", ctypes.c_void_p, [ctypes.c_char_p, Params]),
                                   ("llama_init_from_model", ctypes.c_void_p, [ctypes.c_void_p, Params]),
                                   ("llama_set_n_threads", None, [ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32]),
                                   ("llama_n_batch", ctypes.c_uint32, [ctypes.c_void_p]), ("llama_n_ubatch", ctypes.c_uint32, [ctypes.c_void_p]),
                                   ("llama_synchronize", None, [ctypes.c_void_p]),
                                   ("llama_batch_get_one", Batch, [ctypes.POINTER(ctypes.c_int32), ctypes.c_int32] + place),
                                   ("llama_decode", ctypes.c_int32, [ctypes.c_void_p, Batch]),
                                   ("llama_free", None, [ctypes.c_void_p]), (free_model, None, [ctypes.c_void_p])):
            fn = getattr(lib, name)
            fn.restype, fn.argtypes = result, args
        self.free_model = getattr(lib, free_model)
        self.model = lib.llama_model_load_from_file(path.encode(), lib.llama_model_default_params())
        if not self.model:
            sys.exit(f"{path}: llama.cpp does not load it")
        p = lib.llama_context_default_params()
        first = 1 if self.ik else 0  # a seed stands before them there
        p.word[first], p.word[first + 1], p.word[first + 2] = 2 * prompt, prompt, prompt  # n_ctx, n_batch, n_ubatch
        self.ctx = lib.llama_init_from_model(self.model, p)
        if not self.ctx or lib.llama_n_batch(self.ctx) != prompt or lib.llama_n_ubatch(self.ctx) != prompt:
            sys.exit("this libllama.so orders its context parameters in another way")
        lib.llama_set_n_threads(self.ctx, threads, threads)
        self.prompt = prompt
        self.clear()
        self.feed(0, 1)

    def clear(self):
        self.fed = 0
        if self.ik:
            self.lib.llama_kv_cache_clear(self.ctx)
        else:
            self.lib.llama_memory_clear(self.lib.llama_get_memory(self.ctx), True)

    def feed(self, first, n):
        ids = (ctypes.c_int32 * n)(*[(first + i) * 7919 % 100000 for i in range(n)])
        place = (self.fed, 0) if self.ik else ()
        if self.lib.llama_decode(self.ctx, self.lib.llama_batch_get_one(ids, n, *place)) != 0:
            sys.exit("llama_decode failed")
        self.fed += n
        self.lib.llama_synchronize(self.ctx)

    def rates(self):
        """Tokens a second: decode, prefill."""
        self.clear()
        start = time.monotonic()
        self.feed(0, self.prompt)
        prefill = self.prompt / (time.monotonic() - start)
        self.clear()
        self.feed(0, 1)
        start = time.monotonic()
        for i in range(DECODE_TOKENS):
            self.feed(i, 1)
        return DECODE_TOKENS / (time.monotonic() - start), prefill

    def close(self):
        self.lib.llama_free(self.ctx)
        self.free_model(self.model)


def solera(o, threads, head):
    words = [o.solera, "bench", "--shape", o.shape, "--embed-type", head, "--kv", "f16", "-t", str(threads), "--prompt", str(o.prompt), "--seconds",
             str(o.seconds), "--json"]
    r = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    return r["decode_tok_s"], r["prefill_tok_s"], r["bytes_per_token"], r["tier"]


def compare(o, library, kind, head, threads):
    path = os.path.join(o.work, f"{o.shape}-{kind}-{head}.gguf")
    if not os.path.exists(path):
        write_gguf(path + ".tmp", SHAPES[o.shape], TYPES[kind], HEADS[head])
        os.replace(path + ".tmp", path)
    llama = Llama(library, path, threads, o.prompt)
    theirs, ours = [], []
    for _ in range(o.rounds):
        theirs.append(llama.rates())
        ours.append(solera(o, threads, head))
    llama.close()
    read = sum(size_of(d, k) for _, d, k in tensors(SHAPES[o.shape], TYPES[kind], HEADS[head]))
    middle = lambda rows, i: statistics.median(r[i] for r in rows)
    decode, prefill = [(middle(ours, i), middle(theirs, i)) for i in (0, 1)]
    print(f"{kind.upper()}, {threads} threads, head {head} / {HEAD_NAMES[head]}: decode {decode[0]:.1f} / {decode[1]:.1f} = {decode[0] / decode[1]:.2f}; "
          f"prefill {prefill[0]:.1f} / {prefill[1]:.1f} = {prefill[0] / prefill[1]:.2f}; "
          f"{ours[0][2] / 1e6:.0f} / {read / 1e6:.0f} MB a token", flush=True)


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--lib", required=True, metavar="DIR", help="folder with libllama.so and libggml*.so")
    a.add_argument("--backend", help="e.g. zen4, icelake, sapphirerapids")
    a.add_argument("--solera", default="build/release/solera")
    a.add_argument("--shape", default="llama-3.2-1b", choices=SHAPES)
    a.add_argument("--type", default="tq2_0", help="types of the layers, with commas: tq2_0, q2_0, iq2_bn")
    a.add_argument("--head", default="q6", help="types of embedding and head, with commas: q8, q6, q4")
    a.add_argument("--threads", default="1,2")
    a.add_argument("--prompt", type=int, default=512)
    a.add_argument("--rounds", type=int, default=5)
    a.add_argument("--seconds", type=float, default=2, help="of each run of solera bench")
    a.add_argument("--work", default="build", metavar="DIR", help="where the GGUF file goes, and stays")
    o = a.parse_args()
    for option, given, known in (("--type", o.type, TYPES), ("--head", o.head, HEADS)):
        unknown = [name for name in given.split(",") if name not in known]
        if unknown:
            a.error(f"{option} {unknown[0]}: one of {', '.join(known)}")
    library = Library(os.path.abspath(o.lib), o.backend)
    print(f"solera / llama.cpp ({library.backend()}), {o.shape}, prompt of {o.prompt}: tokens/s, medians of {o.rounds} rounds in turns")
    for kind in o.type.split(","):
        for head in o.head.split(","):
            for threads in o.threads.split(","):
                compare(o, library, kind, head, int(threads))


if __name__ == "__main__":
    main()
