#!/usr/bin/env python3
"""Speed and ids of `solera tokenize` beside Hugging Face `tokenizers`, same text, same run.

    python3 -m venv build/venv && build/venv/bin/pip install tokenizers==0.23.3
    build/release/solera export checkpoints/embedded.h5 -o build/hf --format safetensors
    build/venv/bin/python scripts/compare_tokenizers_speed.py build/hf/tokenizer.json data/sample/stories.txt

Any tokenizer.json and texts do, gzipped or not; --mb 8 is how much of them, --threads 1,2.

Documents are what <|endoftext|> lines separate. Times are of encoding alone for `tokenizers` (encode_batch); for solera they
are of the whole verb after loading: reading, encoding and writing the dataset. The runs alternate; the best of 3 counts.
"""
import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time


def read(path):
    opener = gzip.open if path.endswith(".gz") else open
    with opener(path, "rb") as f:
        return f.read()


def hf_run(tokenizer, docs_path, what):
    """In a process of its own, because the number of threads is fixed at the first use."""
    from tokenizers import Tokenizer
    tok = Tokenizer.from_str(read(tokenizer).decode())
    docs = json.load(open(docs_path))
    start = time.perf_counter()
    out = tok.encode_batch(docs)
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "ids": [e.ids for e in out] if what == "ids" else None}))


def hf(args, docs_path, threads, what="speed"):
    env = dict(os.environ, TOKENIZERS_PARALLELISM="true" if threads > 1 else "false", RAYON_NUM_THREADS=str(threads))
    command = [sys.executable, __file__, "--hf", what, args.tokenizer, docs_path]
    return json.loads(subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE).stdout)


def solera(args, text_path, out_path, threads):
    command = [args.solera, "tokenize", "--tokenizer", args.tokenizer, "--input", text_path, "-o", out_path, "--json", "-t", str(threads)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return json.loads(done.stdout)["seconds"]


def solera_ids(args, docs):
    lines = "".join(json.dumps({"text": d}) + "\n" for d in docs)
    done = subprocess.run([args.solera, "tokenize", "--tokenizer", args.tokenizer, "--ids"], input=lines.encode(), check=True,
                          stdout=subprocess.PIPE)
    return [json.loads(line) for line in done.stdout.splitlines()]


def main():
    if len(sys.argv) == 5 and sys.argv[1] == "--hf":
        return hf_run(sys.argv[3], sys.argv[4], sys.argv[2])
    p = argparse.ArgumentParser()
    p.add_argument("tokenizer")
    p.add_argument("text", nargs="+")
    p.add_argument("--mb", type=float, default=8)
    p.add_argument("--threads", default="1,2")
    p.add_argument("--solera", default="build/release/solera")
    args = p.parse_args()
    docs, size = [], 0
    for path in args.text:
        for doc in read(path).decode("utf-8", "ignore").replace("\r\n", "\n").split("\n<|endoftext|>\n"):
            doc = doc.strip(" \t\n\v\f\r")
            if doc and size < args.mb * 1e6:
                docs.append(doc)
                size += len(doc.encode())
    if not docs:
        p.error("no document in " + ", ".join(args.text))
    with tempfile.TemporaryDirectory() as d:
        docs_path, text_path, out_path = (os.path.join(d, n) for n in ("docs.json", "text.txt", "out.h5"))
        json.dump(docs, open(docs_path, "w"))
        open(text_path, "w").write("\n<|endoftext|>\n".join(docs))
        ids, ours = hf(args, docs_path, 1, "ids")["ids"], solera_ids(args, docs)
        different = sum(a != b for a, b in zip(ids, ours)) + abs(len(ids) - len(ours))
        print(f"{len(docs)} documents, {size / 1e6:.1f} MB, {sum(map(len, ids))} ids, {different} documents differ")
        for threads in map(int, args.threads.split(",")):
            best = [1e9, 1e9]
            for _ in range(3):
                best[0] = min(best[0], hf(args, docs_path, threads)["seconds"])
                best[1] = min(best[1], solera(args, text_path, out_path, threads))
            print(f"{threads} threads: tokenizers {size / 1e6 / best[0]:6.1f} MB/s, solera {size / 1e6 / best[1]:6.1f} MB/s, "
                  f"{best[0] / best[1]:.1f} times as fast")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
