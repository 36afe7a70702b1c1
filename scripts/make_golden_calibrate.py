#!/usr/bin/env python3
"""Writes tests/golden/calibrate.txt: the closed-form calibration of a layer (src/calib/solve.h) by another road, in float64: the target
by a linear solver, the first assignment in GPTQ's own form (the upper Cholesky factor of the inverse, errors pushed to the right),
sweeps that compute the whole objective's change from the definition. tests/test_calib.c compares.

    python3 -m venv /tmp/golden && /tmp/golden/bin/pip install numpy==2.4.6
    /tmp/golden/bin/python scripts/make_golden_calibrate.py > tests/golden/calibrate.txt
"""
import itertools

import numpy as np

N, OUT, IN = 96, 6, 32
CASES = [  # name, kept of block, columns that share a scale, sweeps, first assignment
    ("sherry", (3, 4), 16, 0, "searched"), ("sherry", (3, 4), 16, 1, "searched"), ("sherry", (3, 4), 16, 2, "searched"),
    ("sherry", (3, 4), 32, 2, "searched"), ("nm", (2, 4), 8, 1, "searched"), ("sherry", (3, 4), 16, 0, "nearest"),
    ("nm", (2, 4), 8, 1, "nearest"),
]
DAMPING = 0.02


def patterns(kept, m):
    return np.array([t for t in itertools.product((-1, 0, 1), repeat=m) if sum(map(abs, t)) == kept], float)


def fp16(x):
    return np.float64(np.float16(np.float32(x)))


def nearest_scale(w, pats):
    m = pats.shape[1]
    best = [max(pats, key=lambda t: t @ b) for b in w.reshape(-1, m)]  # all patterns have one norm
    return fp16(sum(t @ b for t, b in zip(best, w.reshape(-1, m))) / sum(t @ t for t in best))


def first(target, h, group, pats, assign):
    m = pats.shape[1]
    u = np.linalg.cholesky(np.linalg.inv(h)).T  # inv(h) = u^T u
    q, t_all, alpha = np.zeros_like(target), np.zeros_like(target), np.zeros((OUT, IN // group))
    for r in range(OUT):
        w = target[r].copy()
        for c in range(0, IN, m):
            if c % group == 0:
                alpha[r, c // group] = nearest_scale(w[c:c + group], pats)
            a, inv = alpha[r, c // group], np.linalg.inv(u[c:c + m, c:c + m])
            errors = [(w[c:c + m] - a * t) @ inv for t in pats]
            away = [w[c:c + m] - a * t for t in pats]
            k = int(np.argmin([e @ e for e in (errors if assign == "searched" else away)]))
            t_all[r, c:c + m] = pats[k]
            w[c + m:] -= errors[k] @ u[c:c + m, c + m:]
    return t_all, alpha


def fit(t, alpha, h, b, group):
    groups = IN // group
    for r in range(OUT):
        s = np.zeros((IN, groups))
        for k in range(groups):
            s[k * group:(k + 1) * group, k] = t[r, k * group:(k + 1) * group]
        mat, vec = s.T @ h @ s, s.T @ b[r]
        fresh = np.linalg.solve(mat + 1e-4 * np.trace(mat) / groups * np.eye(groups), vec)
        fresh = np.array([fp16(f) if f > 0.2 * a else a for f, a in zip(fresh, alpha[r])])
        value = lambda a: a @ mat @ a - 2 * vec @ a
        if value(fresh) < value(alpha[r]):
            alpha[r] = fresh


def spread(t, alpha, group):
    return t * np.repeat(alpha, group, axis=1)


def objective(q, h, b):
    return np.sum((q @ h) * q) - 2 * np.sum(q * b)


def sweep(t, alpha, h, b, group, pats):
    """The best patterns of blocks c and c + m together, for every c; of the last one alone. Runs are as wide as the layer here."""
    m = pats.shape[1]
    for r in range(OUT):
        for c in range(0, IN, m):
            pairs = [np.concatenate(p) for p in itertools.product(pats, repeat=2 if c + m < IN else 1)]
            costs = []
            for p in pairs:
                trial = t[r].copy()
                trial[c:c + len(p)] = p
                q = spread(trial[None], alpha[r:r + 1], group)[0]
                costs.append(q @ h @ q - 2 * q @ b[r])
            t[r, c:c + len(pairs[0])] = pairs[int(np.argmin(costs))]


def show(name, x):
    print(name, " ".join("%.9g" % v for v in np.asarray(x).flatten()))


def main():
    g = np.random.default_rng(5)
    mix = g.normal(size=(IN, IN)) / np.sqrt(IN) + np.eye(IN)
    x = (g.normal(size=(N, IN)) @ mix * np.exp(0.5 * g.normal(size=IN))).astype(np.float32).astype(float)
    w = (0.1 * g.normal(size=(OUT, IN))).astype(np.float32).astype(float)
    y = (x @ w.T + 0.05 * g.normal(size=(N, OUT))).astype(np.float32).astype(float)
    print("shape", N, OUT, IN, len(CASES), DAMPING)
    show("x", x), show("y", y), show("w", w)
    h, b = x.T @ x / N, y.T @ x / N
    show("h", h), show("b", b)
    d = DAMPING * np.mean(np.diag(h))
    h, b = h + d * np.eye(IN), b + d * w
    target = np.linalg.solve(h, b.T).T
    print("optimum", "%.12g" % objective(target, h, b))
    for method, (kept, m), group, sweeps, assign in CASES:
        pats = patterns(kept, m)
        t, alpha = first(target, h, group, pats, assign)
        values = []
        fit(t, alpha, h, b, group)
        values.append(objective(spread(t, alpha, group), h, b))
        for _ in range(sweeps):
            sweep(t, alpha, h, b, group, pats)
            fit(t, alpha, h, b, group)
            values.append(objective(spread(t, alpha, group), h, b))
        print("case", method, kept, m, group, sweeps, assign)
        show("objective", values), show("q", spread(t, alpha, group))


if __name__ == "__main__":
    main()
