#!/usr/bin/env python3
"""Makes the tables and the data of the figure of study tokens from its runs.

    scripts/study_tokens.py RUNS PARAMETERS SOLERA OUT

RUNS/STEPS/ARM/seed-N are the runs of scripts/reproduce_study.sh; unfinished ones are left out.
PARAMETERS: of the model. SOLERA: the program, which reads the measures of a run. It writes
OUT/tables.md and OUT/tokens.dat, which configs/study/tokens.gp draws. Losses are of the deployed
model (lambda 0, Q(W)). Intervals are of 95 %: Student's t over the seeds, for a difference over the
differences seed by seed; for a rank correlation the bootstrap over cells (arm, budget).
"""
import csv
import json
import math
import os
import random
import re
import statistics
import subprocess
import sys

ARMS = {"naive": "naive", "paper": "paper", "blend-0.4": "blend to 0.4",
        "naive--teacher": "naive, teacher", "calibrated--teacher": "calibrated, teacher",
        "full": "full precision"}
MEASURES = ["near_alpha", "valley_mass", "kurtosis", "zero_flips", "sign_flips", "er_dw", "er_dx"]
STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306}  # 97.5 % points, by samples


def numbers(record):
    return {m: float(record[m]) if record[m] else math.nan for m in MEASURES}


def read_run(path, steps, solera):
    """Loss at the end of a run, measures of its first and last record; None: not finished."""
    try:
        with open(f"{path}/metrics.jsonl") as f:
            last = json.loads(f.readlines()[-1])
    except (OSError, IndexError, ValueError):
        return None
    if last["step"] != steps or "eval_loss" not in last:
        return None
    text = subprocess.check_output([solera, "study", "--csv", path], text=True)
    records = list(csv.DictReader(text.splitlines()))
    return {"loss": last["eval_loss"], "tokens": last["tokens"],
            "first": numbers(records[0]), "last": numbers(records[-1])}


def read_all(top, solera):
    """{(arm, steps): {seed: run}}"""
    cells = {}
    for steps in sorted(int(d) for d in os.listdir(top) if d.isdigit()):
        for arm in ARMS:
            for seed in range(1, 10):
                run = read_run(f"{top}/{steps}/{arm}/seed-{seed}", steps, solera)
                if run:
                    cells.setdefault((arm, steps), {})[seed] = run
    return cells


def cell_text(x, sign=""):
    if not x:
        return ""
    if len(x) == 1:
        return f"{x[0]:{sign}.3f} (1)"
    half = STUDENT[len(x)] * statistics.stdev(x) / math.sqrt(len(x))
    return f"{statistics.fmean(x):{sign}.3f} ± {half:.3f}" + (f" ({len(x)})" if len(x) < 3 else "")


def write_table(out, title, head, rows):
    width = [max(len(r[i]) for r in [head] + rows) for i in range(len(head))]
    rule = "|" + "|".join("-" * (w + 2) for w in width) + "|"
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(r, width)) + " |" for r in [head] + rows]
    out.write("\n".join([title, "", lines[0], rule] + lines[1:]) + "\n\n")


def ranks(x):
    order = sorted(range(len(x)), key=lambda i: x[i])
    r, i = [0.0] * len(x), 0
    while i < len(x):
        j = i
        while j + 1 < len(x) and x[order[j + 1]] == x[order[i]]:
            j += 1
        for k in range(i, j + 1):
            r[order[k]] = (i + j) / 2
        i = j + 1
    return r


def correlation(x, y):
    mx, my = statistics.fmean(x), statistics.fmean(y)
    xx, yy = sum((a - mx) ** 2 for a in x), sum((b - my) ** 2 for b in y)
    xy = sum((a - mx) * (b - my) for a, b in zip(x, y))
    return xy / math.sqrt(xx * yy) if xx and yy else math.nan


def spearman(points):
    """points: (budget, measure, loss), ranked all together."""
    return correlation(ranks([p[1] for p in points]), ranks([p[2] for p in points]))


def spearman_within(points):
    """The same with shares of ranks inside each budget: what tokens alone explain is gone."""
    x, y = [], []
    for budget in {p[0] for p in points}:
        here = [p for p in points if p[0] == budget]
        if len(here) >= 3:
            x += [r / (len(here) - 1) for r in ranks([p[1] for p in here])]
            y += [r / (len(here) - 1) for r in ranks([p[2] for p in here])]
    return correlation(x, y) if x else math.nan


def correlation_text(cells, statistic):
    """cells: lists of points, which the bootstrap draws as wholes."""
    rng, drawn = random.Random(1), []
    for _ in range(4000):
        value = statistic([p for c in rng.choices(cells, k=len(cells)) for p in c])
        if not math.isnan(value):
            drawn.append(value)
    if not drawn:
        return ""
    drawn.sort()
    low, high = drawn[int(0.025 * len(drawn))], drawn[int(0.975 * len(drawn))]
    return f"{statistic([p for c in cells for p in c]):+.2f} [{low:+.2f}, {high:+.2f}]"


def write_tables(out, cells, ratio):
    arms = [a for a in ARMS if any(arm == a for arm, _ in cells)]
    head = [f"{r:.2g}" for r in ratio.values()]

    def losses(arm, steps):
        return [r["loss"] for r in cells.get((arm, steps), {}).values()]

    def differences(arm, steps):
        runs, naive = cells.get((arm, steps), {}), cells.get(("naive", steps), {})
        return [runs[k]["loss"] - naive[k]["loss"] for k in runs if k in naive]

    write_table(out, "Loss against tokens a parameter; in brackets the seeds, where not three",
                ["arm"] + head,
                [[ARMS[a]] + [cell_text(losses(a, s)) for s in ratio] for a in arms])
    write_table(out, "Minus naive, seed by seed", ["arm"] + head,
                [[ARMS[a]] + [cell_text(differences(a, s), "+") for s in ratio] for a in arms[1:]])
    for m in MEASURES:
        rows = []
        for a in arms:
            runs = [r for (arm, _), c in cells.items() if arm == a for r in c.values()]
            start = statistics.fmean(r["first"][m] for r in runs)
            rows.append([ARMS[a], "" if math.isnan(start) else f"{start:.4f}"])
            for s in ratio:
                last = [r["last"][m] for r in cells.get((a, s), {}).values()]
                rows[-1].append(f"{statistics.fmean(last):.4f}" if last else "")
        write_table(out, f"`{m}` before the first step and at the last record",
                    ["arm", "start"] + head, rows)
    quantized = {key: c for key, c in cells.items() if key[0] != "full"}
    rows = []
    for m in MEASURES:
        points = [[(s, r["last"][m], r["loss"]) for r in c.values()]
                  for (_, s), c in quantized.items()]
        rows.append([m] + [correlation_text(points, f) for f in (spearman, spearman_within)])
    n_runs = sum(map(len, quantized.values()))
    write_table(out, "Rank correlation of a measure, last record, and the loss, quantized arms",
                ["measure", f"all {n_runs} runs", "inside a budget"], rows)


def write_data(out, cells, ratio):
    out.write("# Made by scripts/study_tokens.py: a block an arm. Tokens a parameter, mean loss,\n"
              "# lowest and highest seed.\n")
    blocks = []
    for arm, name in ARMS.items():
        lines = [f'"{name}"']
        for s, r in ratio.items():
            x = [run["loss"] for run in cells.get((arm, s), {}).values()]
            if x:
                lines.append(f"{r:.4g} {statistics.fmean(x):.4f} {min(x):.4f} {max(x):.4f}")
        if len(lines) > 1:
            blocks.append("\n".join(lines))
    out.write("\n\n\n".join(blocks) + "\n")


def main():
    if len(sys.argv) != 5:
        sys.exit(re.search(r"\n +(scripts/.*)\n", __doc__).group(1))
    cells = read_all(sys.argv[1], sys.argv[3])
    ratio = {}
    for (_, steps), runs in sorted(cells.items(), key=lambda item: item[0][1]):
        ratio[steps] = next(iter(runs.values()))["tokens"] / float(sys.argv[2])
    with open(f"{sys.argv[4]}/tables.md", "w") as out:
        write_tables(out, cells, ratio)
    with open(f"{sys.argv[4]}/tokens.dat", "w") as out:
        write_data(out, cells, ratio)


if __name__ == "__main__":
    main()
