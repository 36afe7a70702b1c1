#!/usr/bin/env python3
"""Compares `solera eval --task` with lm-evaluation-harness on one model, sample by sample.

    python3 -m venv build/venv && build/venv/bin/pip install torch==2.15.0 transformers==5.24.0 "lm_eval[hf]==0.4.13"
    PYTHON=build/venv/bin/python scripts/fetch_tasks.sh data/eval
    build/release/solera export checkpoints/embedded.h5 -o build/hf --format safetensors --dtype f32
    build/venv/bin/python scripts/compare_lm_eval.py --model checkpoints/embedded.h5 --folder build/hf \
        --data data/eval --limit 100

Prints both scores of every task and the samples whose answer (acc or acc_norm) is another one, with how
far the best score leads in each program. Not a test: third-party programs, run by hand. Exit code 1
when an answer differs, or a task has no items.
"""
import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
FILES = {"arc_easy": "arc_easy_test", "arc_challenge": "arc_challenge_test", "hellaswag": "hellaswag_val", "piqa": "piqa_valid",
         "winogrande": "winogrande_xl_dev"}


def pieces(o, name, folder):
    """The items to compare as files of at most o.piece items each (0: one file), with the numbers of the items."""
    path = os.path.join(o.data, FILES[name] + ".jsonl")
    with (open(path, "rb") if os.path.exists(path) else gzip.open(path + ".gz")) as src:
        lines = src.read().splitlines(True)
    items = range(len(lines))[o.first :: o.every][: o.limit or None]
    for at in range(0, len(items), o.piece or len(items)):
        some = items[at : at + (o.piece or len(items))]
        out = os.path.join(folder, f"{name}-{at}.jsonl")
        with open(out, "wb") as dst:
            dst.write(b"".join(lines[i] for i in some))
        yield some, out


def harness_task(name, path):
    from lm_eval.api.task import ConfigurableTask
    metrics = ["acc"] if name == "winogrande" else ["acc", "acc_norm"]
    config = {"task": name, "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": path}}, "test_split": "test",
              "output_type": "multiple_choice", "doc_to_text": "{{ctx}}", "doc_to_choice": "choices", "doc_to_target": "gold",
              "metric_list": [{"metric": m, "aggregation": "mean", "higher_is_better": True} for m in metrics]}
    if name == "winogrande":  # one continuation under two contexts
        config.update(doc_to_text=lambda d: d["gold"], doc_to_target=lambda d: d["continuation"], doc_to_choice=lambda d: d["contexts"])
    return ConfigurableTask(config=config)


def harness(lm, name, path):
    import lm_eval
    return lm_eval.evaluate(lm=lm, task_dict={name: harness_task(name, path)}, log_samples=True)


def solera(o, name, path, folder):
    """Result of the task, and the samples."""
    samples = os.path.join(folder, "ours.jsonl")
    out = subprocess.run([o.solera, "eval", o.model, "--task", f"{name}={path}", "--json", "--samples", samples, "-t", str(o.threads)],
                         check=True, capture_output=True, text=True).stdout
    return json.loads(out)["results"][name], [json.loads(line) for line in open(samples)]


def picks(scores, lengths):
    """Answer and lead over the second of each metric."""
    for key, values in (("picked", scores), ("picked_norm", [s / n for s, n in zip(scores, lengths)])):
        first, second = sorted(values)[:-3:-1]
        yield key, values.index(first), first - second


def compare(name, items, ours, theirs):
    """Answers that differ; the largest difference of a score."""
    different, worst = [], 0.0
    for i, line, sample in zip(items, ours, theirs, strict=True):
        scores = [float(r[0]) for r in sample["filtered_resps"]]
        worst = max([worst] + [abs(a - b) for a, b in zip(scores, line["scores"], strict=True)])
        lengths = [len(c) for c in sample["doc"].get("choices", ["1"] * len(scores))]
        for key, best, lead in picks(scores, lengths):
            if best != line[key]:
                mine = next(p[2] for p in picks(line["scores"], lengths) if p[0] == key)
                different.append(f"{name} item {i}, {key}: {line[key]} here by {mine:.2g}, {best} there by {lead:.2g}")
    return different, worst


class Total:
    """What is the same over all pieces of a task."""

    def __init__(self):
        self.items, self.different, self.worst = 0, 0, 0.0

    def add(self, items, different, worst):
        self.items, self.different, self.worst = self.items + items, self.different + different, max(self.worst, worst)

    def __str__(self):
        return f"{self.items} items, {self.different} other answers, largest difference of a score {self.worst:.3g}"


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--solera", default="build/release/solera")
    a.add_argument("--model", required=True, help="what `solera eval` reads")
    a.add_argument("--folder", required=True, help="the same model as a Hugging Face folder")
    a.add_argument("--data", required=True)
    a.add_argument("--tasks", default=",".join(FILES))
    a.add_argument("--limit", type=int, default=0)
    a.add_argument("--first", type=int, default=0, help="number of the first item")
    a.add_argument("--every", type=int, default=1, help="every N-th item only")
    a.add_argument("--piece", type=int, default=0, help="items at a time, so that figures come early; 0: a task at a time")
    a.add_argument("--batch", type=int, default=16)
    a.add_argument("--threads", type=int, default=2, help="of both programs")
    a.add_argument("--dtype", default="float32")
    o = a.parse_args()
    import torch
    from lm_eval.models.huggingface import HFLM
    torch.set_num_threads(o.threads)
    lm = HFLM(pretrained=o.folder, dtype=o.dtype, device="cpu", batch_size=o.batch)
    total = {n: Total() for n in o.tasks.split(",")}
    with tempfile.TemporaryDirectory() as folder:
        for n in total:
            for items, path in pieces(o, n, folder):
                ours, lines = solera(o, n, path, folder)
                theirs = harness(lm, n, path)
                more, worst = compare(n, items, lines, sorted(theirs["samples"][n], key=lambda s: s["doc_id"]))
                for m in ("acc", "acc_stderr", "acc_norm", "acc_norm_stderr"):
                    if m in ours:
                        print(f"{n:14} {m:16} solera {ours[m]:.6f}  lm-eval {theirs['results'][n][m + ',none']:.6f}")
                total[n].add(len(items), len(more), worst)
                print("".join(line + "\n" for line in more) + f"{n:14} up to item {items[-1]}: {total[n]}", flush=True)
    for n, t in total.items():
        print(f"{n:14} {t}")
    sys.exit(any(t.different or not t.items for t in total.values()))


if __name__ == "__main__":
    main()
