#!/usr/bin/env python3
"""Training speed beside PyTorch on the CPU: the same shape, batch and method, steps of both in turns in one run.

    python3 -m venv build/venv && build/venv/bin/pip install torch==2.15.0
    build/venv/bin/python scripts/compare_torch.py --shape smollm2-135m --batch 4 --seq 256

The PyTorch model is written for this comparison: LLaMA blocks whose linear layers are fake-quantized to 3:4 sparse ternary weights,
straight-through, with a residual lambda X W^T. Two forms of it: `two`, as published, X Q(W)^T + lambda X W^T as two products;
`one`, X (Q(W) + lambda W)^T. Each eager or compiled, in fp32 or under bf16 autocast; AdamW fused, gradient clipping. Solera's side
is `solera bench --train`. Prints tokens/s, peak memory and the ratios; one JSON object with --json. Not a test.
"""
import argparse
import json
import statistics
import subprocess
import sys
import time

SHAPES = {  # vocabulary, hidden, ffn, layers, heads, kv heads, head_dim
    "embedded": (2048, 256, 768, 4, 4, 2, 64),
    "15m": (32000, 288, 768, 6, 6, 6, 48),
    "smollm2-135m": (49152, 576, 1536, 30, 9, 3, 64),
    "llama-3.2-1b-layer": (256, 2048, 8192, 1, 32, 8, 64),
}


def group_size(shape):
    _, C, F, _, H, _, D = shape
    return next(g for g in (128, 64, 32) if C % g == 0 and F % g == 0 and H * D % g == 0)


def make_model(o):
    import torch
    from torch import nn
    import torch.nn.functional as F

    vocab, hidden, ffn, layers, heads, kv, dim = SHAPES[o.shape]
    group, lam = group_size(SHAPES[o.shape]), 0.5

    def ternary(w):
        """3:4: of four neighbours the smallest magnitude becomes 0; the scale is the mean magnitude of the others."""
        b = w.view(-1, group // 4, 4)
        size = b.abs()
        kept = torch.ones_like(b).scatter_(2, size.argmin(2, keepdim=True), 0.0)
        scale = (size * kept).sum((1, 2), keepdim=True) / (0.75 * group)
        return (torch.where(b < 0, -scale, scale) * kept).view_as(w)

    class Linear(nn.Module):
        def __init__(self, inner, outer):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(outer, inner) * 0.02)

        def forward(self, x):
            q = self.weight + (ternary(self.weight.detach()) - self.weight.detach())
            if o.form == "two":
                return F.linear(x, q) + lam * F.linear(x, self.weight)
            return F.linear(x, q + lam * self.weight)

    def norm(x, w):
        return x * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + 1e-5) * w

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.n1, self.n2 = nn.Parameter(torch.ones(hidden)), nn.Parameter(torch.ones(hidden))
            self.q, self.k, self.v = Linear(hidden, heads * dim), Linear(hidden, kv * dim), Linear(hidden, kv * dim)
            self.o = Linear(heads * dim, hidden)
            self.gate, self.up, self.down = Linear(hidden, ffn), Linear(hidden, ffn), Linear(ffn, hidden)

        def forward(self, x, cos, sin):
            B, T, _ = x.shape

            def turned(y, n):
                y = y.view(B, T, n, dim).transpose(1, 2)
                a, b = y.chunk(2, -1)
                return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)

            h = norm(x, self.n1)
            q, k = turned(self.q(h), heads), turned(self.k(h), kv)
            v = self.v(h).view(B, T, kv, dim).transpose(1, 2)
            k, v = (t.repeat_interleave(heads // kv, 1) for t in (k, v))
            a = F.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v, is_causal=True)
            x = x + self.o(a.transpose(1, 2).reshape(B, T, heads * dim))
            h = norm(x, self.n2)
            return x + self.down(F.silu(self.gate(h)) * self.up(h))

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Parameter(torch.randn(vocab, hidden) * 0.02)
            self.blocks = nn.ModuleList(Block() for _ in range(layers))
            self.n = nn.Parameter(torch.ones(hidden))
            angle = torch.outer(torch.arange(o.seq).float(), 10000.0 ** (-torch.arange(0, dim, 2).float() / dim))
            self.register_buffer("cos", angle.cos())
            self.register_buffer("sin", angle.sin())

        def forward(self, ids, targets):
            x = F.embedding(ids, self.embed)
            for block in self.blocks:
                x = block(x, self.cos, self.sin)
            logits = F.linear(norm(x, self.n), self.embed)
            return F.cross_entropy(logits.view(-1, vocab).float(), targets.view(-1))

    return Model(), vocab


def peak_memory():
    """Bytes of this process alone: getrusage would give the parent's peak where that was larger."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))


def worker(o):
    """A process for one form: a line on stdin asks for a step, a line on stdout gives its seconds."""
    import torch

    torch.set_num_threads(o.threads)
    torch.manual_seed(1)
    model, vocab = make_model(o)
    optim = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.0, fused=True)
    ids, targets = (torch.randint(vocab, (o.batch, o.seq)) for _ in range(2))
    run = torch.compile(model) if o.mode == "compile" else model

    def step():
        begun = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=o.compute == "bf16"):
            loss = run(ids, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optim.step()
        optim.zero_grad(set_to_none=True)
        return time.perf_counter() - begun

    for _ in range(2):
        step()
    print("ready", flush=True)
    for _ in sys.stdin:
        print(step(), peak_memory(), flush=True)


class Torch:
    def __init__(self, o, form, mode, compute):
        self.name, self.seconds, self.memory = f"torch {form} {mode} {compute}", [], 0
        words = ["--worker", "--shape", o.shape, "--batch", o.batch, "--seq", o.seq, "--threads", o.threads]
        words += ["--form", form, "--mode", mode, "--compute", compute]
        self.process = subprocess.Popen([sys.executable, __file__, *map(str, words)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline().strip() != "ready":
            raise SystemExit(f"{self.name}: the process ended")

    def step(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        seconds, memory = map(float, self.process.stdout.readline().split())
        self.seconds.append(seconds)
        self.memory = memory

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Solera:
    def __init__(self, o, compute):
        self.o, self.compute, self.name, self.seconds, self.memory = o, compute, f"solera {compute}", [], 0

    def step(self):
        o = self.o
        words = [o.solera, "bench", "--train", "--json", "--shape", o.shape, "--batch", o.batch, "--seq", o.seq, "--compute",
                 self.compute, "--moments", o.moments, "--seconds", o.seconds, "-t", o.threads]
        r = json.loads(subprocess.run(list(map(str, words)), check=True, capture_output=True, text=True).stdout)
        self.seconds.append(r["step_seconds"])
        self.memory = r["peak_memory_bytes"]

    def close(self):
        pass


def compare(o, compute):
    """All forms of one type, a step of each in turn."""
    runners = [Solera(o, compute)]
    runners += [Torch(o, form, mode, compute) for form in ("two", "one") for mode in o.modes.split(",")]
    for _ in range(o.rounds):
        for r in runners:
            r.step()
    rows = {}
    for r in runners:
        r.close()
        seconds = statistics.median(r.seconds)
        rows[r.name] = {"tok_s": o.batch * o.seq / seconds, "memory_bytes": r.memory}
    ours = rows[runners[0].name]
    for name, row in rows.items():
        row["solera_speed"] = ours["tok_s"] / row["tok_s"]
        row["solera_memory"] = ours["memory_bytes"] / row["memory_bytes"]
    return rows


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--solera", default="build/release/solera")
    a.add_argument("--shape", default="smollm2-135m", choices=SHAPES)
    a.add_argument("--batch", type=int, default=4)
    a.add_argument("--seq", type=int, default=256)
    a.add_argument("--threads", type=int, default=2)
    a.add_argument("--rounds", type=int, default=5)
    a.add_argument("--seconds", type=float, default=5, help="of each run of solera bench")
    a.add_argument("--types", default="fp32,bf16")
    a.add_argument("--modes", default="eager,compile")
    a.add_argument("--moments", default="fp32", help="of solera: fp32, bf16 or 8bit; those of torch are fp32")
    a.add_argument("--json", action="store_true")
    a.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    for name in ("--form", "--mode", "--compute"):
        a.add_argument(name, help=argparse.SUPPRESS)
    o = a.parse_args()
    if o.worker:
        worker(o)
        return
    rows = {}
    for compute in o.types.split(","):
        rows.update(compare(o, compute))
    if o.json:
        print(json.dumps({"shape": o.shape, "batch": o.batch, "seq": o.seq, "threads": o.threads, "rows": rows}))
        return
    print(f"{o.shape}, {o.batch} x {o.seq} tokens, {o.threads} threads")
    print(f"{'':26} {'tokens/s':>9} {'memory GB':>10} {'solera is':>10} {'in memory':>10}")
    for name, r in rows.items():
        print(f"{name:26} {r['tok_s']:9.1f} {r['memory_bytes'] / 1e9:10.2f} {r['solera_speed']:9.2f}x {r['solera_memory']:9.2f}x")


if __name__ == "__main__":
    main()
