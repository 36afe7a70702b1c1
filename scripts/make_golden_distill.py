#!/usr/bin/env python3
"""Writes tests/golden/distill.txt: distillation losses and their gradients, by the autograd of PyTorch in float64, with
the formulas as PyTorch users write them (kl_div, log_softmax). tests/test_distill.c compares.

    python3 -m venv /tmp/golden && /tmp/golden/bin/pip install torch==2.15.0
    /tmp/golden/bin/python scripts/make_golden_distill.py > tests/golden/distill.txt
"""
import torch
import torch.nn.functional as F

N, C, CT, V = 6, 4, 5, 19
KINDS = {"forward_kl": 0, "reverse_kl": 1, "cakld": 2}
CASES = [  # kind, temperature, top_k, weight, ce_weight, gamma
    ("forward_kl", 1.0, 0, 1.0, 0.0, 0.0), ("reverse_kl", 1.0, 0, 1.0, 0.0, 0.0), ("cakld", 1.0, 0, 1.0, 0.0, 0.35),
    ("forward_kl", 2.0, 0, 0.5, 0.5, 0.0), ("reverse_kl", 2.0, 0, 0.5, 0.5, 0.0), ("cakld", 2.0, 0, 0.75, 0.25, 0.35),
    ("forward_kl", 1.0, 5, 1.0, 0.25, 0.0), ("reverse_kl", 1.0, 5, 1.0, 0.25, 0.0), ("cakld", 1.5, 5, 1.0, 0.25, 0.35),
]


def group(logits, ids, t):
    """Log-probabilities of k tokens and of the rest at temperature t."""
    logp = F.log_softmax(logits / t, -1)
    if ids is None:
        return logp
    inside = torch.zeros_like(logp, dtype=torch.bool).scatter(-1, ids, True)
    rest = torch.logsumexp(logp.masked_fill(inside, float("-inf")), -1, keepdim=True)
    return torch.cat([logp.gather(-1, ids), rest], -1)


def run(case, x, w, xt, wt, targets):
    kind, t, k, weight, ce_weight, gamma = case
    x, w = x.clone().requires_grad_(), w.clone().requires_grad_()
    z, zt = x @ w.T, xt @ wt.T
    ids = zt.topk(k, -1).indices if k else None
    q, p = group(z, ids, t), group(zt, ids, t)
    forward = F.kl_div(q, p, reduction="none", log_target=True).sum(-1)
    reverse = F.kl_div(p, q, reduction="none", log_target=True).sum(-1)
    divergence = {"forward_kl": forward, "reverse_kl": reverse, "cakld": gamma * reverse + (1 - gamma) * forward}[kind]
    ce = F.cross_entropy(z, targets.clamp(min=0), reduction="none")
    teacher = F.softmax(zt, -1).gather(-1, targets.clamp(min=0)[:, None])[:, 0]
    counts = targets >= 0
    loss = (weight * t * t * divergence + ce_weight * ce) * counts
    (loss * torch.arange(1, N + 1)).sum().backward()
    return loss, ce * counts, t * t * divergence * counts, teacher * counts, x.grad, w.grad


def show(name, tensor):
    print(name, " ".join("%.9g" % v for v in tensor.detach().flatten().tolist()))


def main():
    torch.manual_seed(7)
    x, w, xt, wt = (torch.randn(*s).double() for s in ((N, C), (V, C), (N, CT), (V, CT)))
    targets = torch.tensor([3, 18, -1, 0, 7, 7])
    print("shape", N, C, CT, V, len(CASES))
    for name, tensor in (("x", x), ("w", w), ("xt", xt), ("wt", wt)):
        show(name, tensor)
    print("targets", " ".join(str(v) for v in targets.tolist()))
    for case in CASES:
        print("case", KINDS[case[0]], *case[1:])
        for name, tensor in zip(("loss", "ce", "divergence", "teacher", "dx", "dw"), run(case, x, w, xt, wt, targets)):
            show(name, tensor)


main()
