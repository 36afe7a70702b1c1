#!/usr/bin/env python3
"""Writes tests/golden/torch.json: what PyTorch and Hugging Face transformers compute with the embedded model and with a random one of the
shape `tiny`, for tests/test_golden_torch.c, tests/cli/eval.sh and tests/cli/generate.sh. From the top of the repository:

    python3 -m venv /tmp/golden && /tmp/golden/bin/pip install torch==2.15.0 transformers==5.24.0 h5py==3.16.0
    make && /tmp/golden/bin/python scripts/make_golden_torch.py --solera build/release/solera > tests/golden/torch.json

All of it is computed in fp64, with weights that are rounded to fp32 after each step, also where transformers falls back to fp32 (norms,
softmax, the angles of RoPE): a training of 20 steps carries a rounding of fp32 to the second digit of a loss, so that a reference in
fp32 is another one on every processor and in every version of a library (0.0116 in steps 15 to 19). Whoever runs this gets a file that
agrees with the one in the repository within what the test allows.

The network is transformers' own LlamaForCausalLM, whose seven linear layers a block are replaced by the published QAT layer: 3:4 sparse
ternary weights (of four neighbours the smallest magnitude becomes 0, the scale is the mean magnitude of the others),
straight-through gradients for every weight, and the residual as a second product, Y = X Q(W)^T + lambda X W^T.

For each model: logits and loss in full precision; loss and gradients in full precision and for each granularity and lambda; a step of
AdamW; a training of 20 steps with the cosine schedule of lambda after a warm-up. Of a tensor the file holds its norm and its products with
fixed vectors of +-1 (`signs`), of the logits a sample. Beside what a step or a training changes stands how far two runs come apart whose
weights differ by one rounding at the start: no two programs agree on more. Run it again when the embedded model or the random weights
of solera change on purpose.
"""
import argparse
import json
import math
import os
import subprocess
import sys
import tempfile

import h5py
import numpy as np
import torch
import torch.nn.functional as F
import transformers
from tokenizers import Tokenizer
from transformers.models.llama import modeling_llama

BATCH, SEQ, STEPS, PROJECTIONS, SAMPLED, NEIGHBOURS = 2, 64, 20, 4, 16, 3
EVAL_SEQ, EVAL_WINDOWS, NEW_TOKENS = 64, 8, 24
PROMPT = "Once upon a time, there was a little girl named"
TEXT = "data/sample/stories.txt"
QUANTS = [("per_tensor", 0), ("per_channel", 0), ("per_group", 64)]
LAMBDAS = [0.0, 0.5, 1.0]
TRAIN = ("per_group", 64)


def signs(n, k):
    """The k-th vector of n values +-1; sign() of tests/test_golden_torch.c."""
    h = (np.arange(n, dtype=np.uint64) * 4 + k) * 2654435761 & 0xFFFFFFFF
    h ^= h >> 15
    h = h * 2246822519 & 0xFFFFFFFF
    h ^= h >> 13
    return 1.0 - 2.0 * (h & 1)


def digest(t):
    x = t.detach().double().numpy().ravel()
    return [float("%.9g" % v) for v in [np.linalg.norm(x)] + [x @ signs(x.size, k) for k in range(PROJECTIONS)]]


class Ternary(torch.autograd.Function):
    """3:4 sparse ternary weights; straight-through backward."""

    @staticmethod
    def forward(ctx, w, granularity, size):
        group = {"per_tensor": w.numel(), "per_channel": w.shape[1], "per_group": size}[granularity]
        blocks = w.reshape(-1, group // 4, 4)
        kept = torch.ones_like(blocks).scatter_(2, blocks.abs().argmin(2, keepdim=True), 0.0)
        scale = (blocks.abs() * kept).sum((1, 2), keepdim=True) / (0.75 * group)
        return (torch.where(blocks < 0, -scale, scale) * kept).reshape(w.shape)

    @staticmethod
    def backward(ctx, grad):
        return grad, None, None


class QatLinear(torch.nn.Module):
    how, lam = None, 0.0  # how: (granularity, group size); None: full precision. For all layers at once

    def __init__(self, weight):
        super().__init__()
        self.weight = weight

    def forward(self, x):
        if QatLinear.how is None:
            return F.linear(x, self.weight)
        return F.linear(x, Ternary.apply(self.weight, *QatLinear.how)) + QatLinear.lam * F.linear(x, self.weight)


def norm(self, x):
    """LlamaRMSNorm.forward without its fp32."""
    return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)


def rotary(self, x, position_ids):
    """LlamaRotaryEmbedding.forward without its fp32."""
    angles = position_ids[..., None].double() * self.inv_freq.double()
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos() * self.attention_scaling, angles.sin() * self.attention_scaling


def read(path):
    """The model of a checkpoint of solera, read by h5py alone."""
    with h5py.File(path) as f:
        a, rope = ({k: v.decode() if isinstance(v, bytes) else v.item() for k, v in group.attrs.items()}
                   for group in (f["model"], f["model/rope_scaling"]))
        a.pop("model_type")
        theta, a["tie_word_embeddings"] = a.pop("rope_theta"), bool(a["tie_word_embeddings"])
        config = transformers.LlamaConfig(**a, rope_parameters={"rope_theta": theta, **rope},
                                          attn_implementation="sdpa")
        model = transformers.LlamaForCausalLM(config).double().eval()
        state = {}
        for name, data in f["params"].items():
            bits = data[...]
            state[name] = torch.from_numpy((bits.astype(np.uint32) << 16).view(np.float32) if bits.dtype == np.uint16 else bits)
    missing, unknown = model.load_state_dict(state, strict=False)
    assert not unknown and set(missing) <= {"lm_head.weight"}, (missing, unknown)
    model.tie_weights()
    for block in model.model.layers:
        for part, names in ((block.self_attn, "q_proj k_proj v_proj o_proj"), (block.mlp, "gate_proj up_proj down_proj")):
            for name in names.split():
                setattr(part, name, QatLinear(getattr(part, name).weight))
    return model


def loss_of(model, rows):
    logits = model(rows[:, :-1], use_cache=False).logits
    return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), rows[:, 1:].reshape(-1))


def gradients(model, rows):
    model.zero_grad()
    loss = loss_of(model, rows)
    loss.backward()
    return loss.item(), {n: digest(p.grad) for n, p in model.named_parameters()}


def logits_sample(model, row):
    """Norm of each row, and SAMPLED of its logits: those of the tokens (131 t + 127 k) mod V."""
    logits = model(row[None], use_cache=False).logits[0].detach().double()
    vocab = logits.shape[1]
    return [[float("%.9g" % v) for v in [r.norm()] + [r[(131 * t + 127 * k) % vocab] for k in range(SAMPLED)]]
            for t, r in enumerate(logits)]


def lambda_at(step):
    """Linear to 1 over the first tenth of the steps, then a cosine to 0."""
    warm = round(0.1 * STEPS)
    return (step + 1) / warm if step < warm else (1 + math.cos(math.pi * (step - warm + 1) / (STEPS - warm + 1))) / 2


def train(model, batches, start, neighbour, lr):
    """Losses before each step and the last one at lambda 0, gradient norms, and the weights after the first and the last step."""
    generator = torch.Generator().manual_seed(neighbour)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(start[name])
            if neighbour:
                ulps = torch.randint(2, (p.numel() // 4, 1), generator=generator).expand(-1, 4).reshape(p.shape) * 2 - 1
                p.mul_(1 + ulps * 2.0**-24)  # the same for four neighbours, so that equal magnitudes stay equal
    optim = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    QatLinear.how = TRAIN
    losses, norms, weights = [], [], []
    for step in range(STEPS):
        QatLinear.lam = lambda_at(step)
        optim.zero_grad()
        loss = loss_of(model, batches[step])
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).item())
        losses.append(loss.item())
        optim.step()
        with torch.no_grad():
            for p in model.parameters():  # kept in fp32, as everywhere: magnitudes that are equal there stay equal
                p.copy_(p.float())
        if step in (0, STEPS - 1):
            weights.append({n: p.detach().clone() for n, p in model.named_parameters()})
    QatLinear.lam = 0.0
    losses.append(loss_of(model, batches[0]).item())
    QatLinear.how = None
    return losses, norms, weights


def training(model, batches, lr):
    start = {n: p.detach().clone() for n, p in model.named_parameters()}
    losses, norms, weights = train(model, batches, start, 0, lr)
    others = [train(model, batches, start, k + 1, lr) for k in range(NEIGHBOURS)]
    spread = [max(abs(o[0][s] - losses[s]) for o in others) for s in range(STEPS + 1)]

    def changes(which):
        result = {}
        for n in start:
            change = weights[which][n] - start[n]
            apart = max((o[2][which][n] - weights[which][n]).norm().item() for o in others)
            result[n] = digest(change) + [float("%.3g" % apart)]
        return result

    return {"granularity": TRAIN[0], "group_size": TRAIN[1], "lr": lr, "lambda": [lambda_at(s) for s in range(STEPS)],
            "loss": [float("%.9g" % v) for v in losses], "spread": [float("%.3g" % v) for v in spread],
            "grad_norm": [float("%.9g" % v) for v in norms], "first_change": changes(0), "whole_change": changes(1)}


def case(model, ids, lr):
    rows = torch.tensor(ids).view(STEPS, BATCH, SEQ + 1)
    forward = []
    for how in [None] + QUANTS:
        for lam in LAMBDAS if how else [0.0]:
            QatLinear.how, QatLinear.lam = how, lam
            loss, grads = gradients(model, rows[0])
            name, size = how or ("none", 0)
            forward.append({"granularity": name, "group_size": size, "lambda": lam, "loss": loss, "grads": grads})
    QatLinear.how = None
    return {"ids": ids, "logits": logits_sample(model, rows[0, 0, :-1]), "forward": forward, "train": training(model, rows, lr)}


def fnv1a(path):
    """Of the parameters in the order of their names: the test knows that it has the same ones."""
    h = 0xCBF29CE484222325
    with h5py.File(path) as f:
        for name in sorted(f["params"]):
            for b in f["params"][name][...].tobytes():
                h = (h ^ b) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return "%016x" % h


def evaluation(solera, folder, model):
    """Mean loss of the first windows of the tokenized text, documents joined; a prompt with greedy text behind it."""
    subprocess.run([solera, "tokenize", "--tokenizer", "checkpoints/embedded.h5", "--input", TEXT, "-o", folder + "/d.h5"], check=True,
                   capture_output=True)
    with h5py.File(folder + "/d.h5") as f:
        ids = torch.from_numpy(f["tokens"][: EVAL_SEQ * EVAL_WINDOWS + 1].astype(np.int64))
    with torch.no_grad():
        loss = np.mean([loss_of(model, ids[None, w * EVAL_SEQ:(w + 1) * EVAL_SEQ + 1]).item() for w in range(EVAL_WINDOWS)])
    line = subprocess.run([solera, "tokenize", "--tokenizer", "checkpoints/embedded.h5", "--ids"], check=True, capture_output=True,
                          text=True, input=json.dumps({"text": PROMPT}) + "\n").stdout
    row, margin = json.loads(line), 1e9
    subprocess.run([solera, "export", "checkpoints/embedded.h5", "-o", folder + "/hf", "--format", "safetensors"], check=True,
                   capture_output=True)
    with torch.no_grad():
        for _ in range(NEW_TOKENS):
            logits = model(torch.tensor([row]), use_cache=False).logits[0, -1]
            second, first = torch.sort(logits).values[-2:].tolist()
            margin = min(margin, first - second)
            row.append(int(logits.argmax()))
    return {"text": TEXT, "seq": EVAL_SEQ, "windows": EVAL_WINDOWS, "loss": float("%.7g" % loss),
            "prompt": PROMPT, "greedy": Tokenizer.from_file(folder + "/hf/tokenizer.json").decode(row), "margin": float("%.3g" % margin)}


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--solera", default="build/release/solera")
    o = a.parse_args()
    torch.set_num_threads(1)
    modeling_llama.LlamaRMSNorm.forward, modeling_llama.LlamaRotaryEmbedding.forward = norm, rotary
    transformers.utils.logging.set_verbosity_error()
    result = {"made_by": f"scripts/make_golden_torch.py: torch {torch.__version__.split('+')[0]}, transformers {transformers.__version__}",
              "batch": BATCH, "seq": SEQ, "steps": STEPS, "models": {}}
    with tempfile.TemporaryDirectory() as folder:
        tiny, embedded = folder + "/tiny.h5", "checkpoints/embedded.h5"
        subprocess.run([o.solera, "import", "--random", "tiny", "--seed", "7", "-o", tiny], check=True, capture_output=True)
        rng = np.random.default_rng(7)
        drawn = rng.integers(0, 512, STEPS * BATCH * (SEQ + 1)).tolist()
        text = open(TEXT, encoding="utf-8").read()
        line = subprocess.run([o.solera, "tokenize", "--tokenizer", embedded, "--ids"], check=True, capture_output=True, text=True,
                              input=json.dumps({"text": text}) + "\n").stdout
        read_ids = json.loads(line)[: STEPS * BATCH * (SEQ + 1)]
        result["models"]["tiny"] = {"fnv1a": fnv1a(tiny), **case(read(tiny), drawn, 1e-3)}
        result["models"]["embedded"] = case(read(embedded), read_ids, 1e-4)
        result["eval"] = evaluation(o.solera, folder, read(embedded))
    json.dump(result, sys.stdout, separators=(",", ":"))
    print()


if __name__ == "__main__":
    main()
