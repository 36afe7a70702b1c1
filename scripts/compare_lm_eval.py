#!/usr/bin/env python3
"""Compares `solera eval --task` with lm-evaluation-harness on one model, sample by sample.

    solera export m.h5 -o folder --format safetensors --dtype f32
    scripts/compare_lm_eval.py --solera build/release/solera --model m.h5 --folder folder --data DIR [--limit 100]

DIR holds the prepared task files (arc_easy_test.jsonl.gz, ...; README, "Zero-shot tasks"). Prints both scores of every task and the samples
whose answer (acc or acc_norm) is another one, with how far apart the two best scores are. Needs the Python packages lm_eval, torch (CPU is
enough) and transformers. Not a test: third-party programs, run by hand. Exit code 1 when an answer differs.
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


def pieces(data, name, limit, size, folder):
    """Files of at most `size` items each (0: one file)."""
    path = os.path.join(data, FILES[name] + ".jsonl")
    with (open(path, "rb") if os.path.exists(path) else gzip.open(path + ".gz")) as src:
        lines = src.read().splitlines(True)[: limit or None]
    for at in range(0, len(lines), size or len(lines)):
        out = os.path.join(folder, f"{name}-{at}.jsonl")
        with open(out, "wb") as dst:
            dst.write(b"".join(lines[at : at + (size or len(lines))]))
        yield at, out


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
    out = subprocess.run([o.solera, "eval", o.model, "--task", f"{name}={path}", "--json", "--samples", samples], check=True,
                         capture_output=True, text=True).stdout
    return json.loads(out)["results"][name], [json.loads(line) for line in open(samples)]


def compare(name, first, ours, theirs, docs):
    """Answers that differ; the largest difference of a score. first: number of the first item."""
    different, worst = [], 0.0
    for line, sample, doc in zip(ours, theirs, docs):
        scores = [float(r[0]) for r in sample["filtered_resps"]]
        worst = max([worst] + [abs(a - b) for a, b in zip(scores, line["scores"])])
        lengths = [1.0] * len(scores) if name == "winogrande" else [float(len(c)) for c in doc["choices"]]
        for key, divide in (("picked", [1.0] * len(scores)), ("picked_norm", lengths)):
            values = [s / d for s, d in zip(scores, divide)]
            best = values.index(max(values))
            if best != line[key] and not (name == "winogrande" and key == "picked_norm"):
                top = sorted(values)
                different.append(f"{name} item {first + line['item']}, {key}: {line[key]} here, {best} there, which leads by {top[-1] - top[-2]:.2g}")
    return different, worst


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--solera", default="build/release/solera")
    a.add_argument("--model", required=True, help="what `solera eval` reads")
    a.add_argument("--folder", required=True, help="the same model as a Hugging Face folder")
    a.add_argument("--data", required=True)
    a.add_argument("--tasks", default=",".join(FILES))
    a.add_argument("--limit", type=int, default=0)
    a.add_argument("--piece", type=int, default=0, help="items at a time, so that figures come early; 0: a task at a time")
    a.add_argument("--batch", type=int, default=16)
    a.add_argument("--dtype", default="float32")
    o = a.parse_args()
    from lm_eval.models.huggingface import HFLM
    lm = HFLM(pretrained=o.folder, dtype=o.dtype, device="cpu", batch_size=o.batch)
    different = []
    with tempfile.TemporaryDirectory() as folder:
        left = {n: pieces(o.data, n, o.limit, o.piece, folder) for n in o.tasks.split(",")}
        while left:  # a piece of every task, then the next of every task
            for n in list(left):
                first, path = next(left[n], (None, None))
                if path is None:
                    del left[n]
                    continue
                ours, lines = solera(o, n, path, folder)
                theirs = harness(lm, n, path)
                samples = sorted(theirs["samples"][n], key=lambda s: s["doc_id"])
                more, worst = compare(n, first, lines, samples, [s["doc"] for s in samples])
                for m in ("acc", "acc_stderr", "acc_norm", "acc_norm_stderr"):
                    if m in ours:
                        print(f"{n:14} {m:16} solera {ours[m]:.6f}  lm-eval {theirs['results'][n][m + ',none']:.6f}")
                print(f"{n:14} {len(samples)} items from {first} on, {len(more)} other answers, largest difference of a score {worst:.3g}")
                print("".join(line + "\n" for line in more), end="", flush=True)
                different += more
    print(f"{len(different)} answers differ" if different else "every answer is the same")
    sys.exit(bool(different))


if __name__ == "__main__":
    main()
