#!/usr/bin/env python3
"""Makes starts for the studies of trapping from a llama2.c model.

    scripts/make_starts.py MODEL.bin squeezed SHARE OUT.bin
    scripts/make_starts.py MODEL.bin random DEVIATION OUT.bin

squeezed: the matrices of the blocks keep the signs, zeros and scales of their 3:4 form in groups of
64, so that the deployed model is the same, but each |w| moves to alpha + SHARE (|w| - alpha): latent
weights piled up at alpha, the valley empty, where the paper says that training ends.
random: matrices and embedding are Gaussian, norms are 1. The same file every time.
"""
import array
import random
import re
import struct
import sys

GROUP = 64


def squeeze(values, share):
    for at in range(0, len(values), GROUP):
        size = [abs(w) for w in values[at:at + GROUP]]
        blocks = [size[i:i + 4] for i in range(0, GROUP, 4)]
        alpha = sum(sum(b) - min(b) for b in blocks) / (GROUP * 3 / 4)
        for i in range(GROUP):
            moved = alpha + share * (size[i] - alpha)
            values[at + i] = -moved if values[at + i] < 0 else moved
    return values


def main():
    if len(sys.argv) != 5 or sys.argv[2] not in ("squeezed", "random"):
        sys.exit("\n".join(re.findall(r"\n +(scripts/.*)", __doc__)))
    source, kind, number, out = sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4]
    with open(source, "rb") as f:
        header = f.read(28)
        data = array.array("f", f.read())
    dim, hidden, layers, heads, kv_heads, vocab, _ = struct.unpack("<7i", header)
    kv = dim // heads * kv_heads
    # In the order of the file: rows, columns and what they are.
    parts = [(vocab, dim, "embedding"), (layers, dim, "norm"), (layers * dim, dim, "matrix"),
             (layers * kv, dim, "matrix"), (layers * kv, dim, "matrix"),
             (layers * dim, dim, "matrix"), (layers, dim, "norm"), (layers * hidden, dim, "matrix"),
             (layers * dim, hidden, "matrix"), (layers * hidden, dim, "matrix"), (1, dim, "norm")]
    rng, at = random.Random(1), 0
    for rows, columns, what in parts:
        end = at + rows * columns
        if kind == "squeezed" and what == "matrix":
            data[at:end] = squeeze(data[at:end], number)
        elif kind == "random" and what == "norm":
            data[at:end] = array.array("f", [1.0] * (end - at))
        elif kind == "random":
            data[at:end] = array.array("f", (rng.gauss(0, number) for _ in range(end - at)))
        at = end
    with open(out, "wb") as f:
        f.write(header)
        data.tofile(f)


if __name__ == "__main__":
    main()
