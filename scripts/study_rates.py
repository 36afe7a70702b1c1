#!/usr/bin/env python3
"""Gives each point of a sweep the learning rate that did best for it in another.

    scripts/study_rates.py TABLE.csv SWEEP.yaml OUT.yaml

TABLE.csv is the table of a sweep with the same points and a grid of optim.lr.
"""
import csv
import re
import sys

if len(sys.argv) != 4:
    sys.exit(re.search(r"\n +(scripts/.*)\n", __doc__).group(1))
best = {}
with open(sys.argv[1]) as f:
    for row in csv.DictReader(f):
        if row["eval loss"]:
            found = float(row["eval loss"]), row["optim.lr"]
            best[row["point"]] = min(best.get(row["point"], found), found)
with open(sys.argv[2]) as f, open(sys.argv[3], "w") as out:
    for line in f:
        point = re.match(r"  ([^:]+): \{", line)
        if point:
            rate = f"optim.lr: {best[point.group(1)][1]}"
            line = line.replace("{", "{" + rate + ", ", 1).replace(", }", "}")
        out.write(line)
