#!/usr/bin/env python3
"""Loads a folder of `solera export --format safetensors` with Hugging Face transformers and compares it with solera.

    python3 -m venv build/venv && build/venv/bin/pip install torch==2.15.0 transformers==5.24.0
    build/release/solera export checkpoints/embedded.h5 -o build/hf --format safetensors
    build/venv/bin/python scripts/compare_transformers.py --model checkpoints/embedded.h5 --folder build/hf \
        --text data/sample/stories.txt

Prints whether the ids are equal and the difference of the per-token log-probabilities. Not a test:
third-party programs, run by hand. Exit code 1 when an id differs, or a log-probability by more than
--tolerance.
"""
import argparse
import json
import os
import subprocess
import sys

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--solera", default="build/release/solera")
    a.add_argument("--model", required=True, help="what `solera score` reads")
    a.add_argument("--folder", required=True)
    a.add_argument("--text", required=True)
    a.add_argument("--tokens", type=int, default=256)
    a.add_argument("--tolerance", type=float, default=1e-3)
    o = a.parse_args()
    text = open(o.text, encoding="utf-8").read()[: o.tokens * 6]

    def run(*words, given):
        return subprocess.run([o.solera, *words], check=True, capture_output=True, text=True, input=given).stdout

    same = True
    ids = json.loads(run("tokenize", "--tokenizer", o.model, "--ids", given=json.dumps({"text": text}) + "\n"))
    if os.path.exists(os.path.join(o.folder, "tokenizer.json")):
        theirs = AutoTokenizer.from_pretrained(o.folder)(text)["input_ids"]
        same = theirs == ids
        print(f"ids: {'equal' if same else 'DIFFERENT'} ({len(ids)} and {len(theirs)})")
    ids = ids[: o.tokens]
    ours = np.array(json.loads(run("score", o.model, given=json.dumps(ids) + "\n")))
    model = AutoModelForCausalLM.from_pretrained(o.folder, dtype=torch.float32).eval()
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0].double()
    theirs = torch.log_softmax(logits, dim=-1)[torch.arange(len(ids) - 1), torch.tensor(ids[1:])].numpy()
    worst = np.abs(ours - theirs).max()
    print(f"{len(ours)} tokens: loss solera {-ours.mean():.6f}, transformers {-theirs.mean():.6f}, "
          f"largest difference of a log-probability {worst:.3g}")
    sys.exit(not same or not worst <= o.tolerance)


if __name__ == "__main__":
    main()
