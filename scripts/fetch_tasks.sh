#!/bin/sh
# Fetches the five zero-shot tasks in the form of their original datasets, as `solera eval --task --task-dir DIR` reads them. Needs
# python3 with the package `datasets`, and a network.
set -eu
dir=${1:?usage: scripts/fetch_tasks.sh DIR}
mkdir -p "$dir"
"${PYTHON:-python3}" - "$dir" <<'PY'
import json, os, sys
from datasets import load_dataset
TASKS = [  # file, dataset, configuration, split, fields
    ("arc_easy_test", "allenai/ai2_arc", "ARC-Easy", "test", ["question", "choices", "answerKey"]),
    ("arc_challenge_test", "allenai/ai2_arc", "ARC-Challenge", "test", ["question", "choices", "answerKey"]),
    ("hellaswag_val", "Rowan/hellaswag", None, "validation", ["activity_label", "ctx_a", "ctx_b", "endings", "label"]),
    ("piqa_valid", "baber/piqa", None, "validation", ["goal", "sol1", "sol2", "label"]),
    ("winogrande_xl_dev", "allenai/winogrande", "winogrande_xl", "validation", ["sentence", "option1", "option2", "answer"]),
]
for name, dataset, configuration, split, fields in TASKS:
    path = os.path.join(sys.argv[1], name + ".jsonl")
    with open(path + ".tmp", "w", encoding="utf-8") as out:
        for row in load_dataset(dataset, configuration, split=split):
            out.write(json.dumps({f: row[f] for f in fields}, ensure_ascii=False) + "\n")
    os.replace(path + ".tmp", path)
    print(path)
PY
