#!/usr/bin/env python3
"""Writes the right values of tests/cases: ids by `tokenizers` of the tokenizers in tests/cases/tokenizers, log-probabilities by transformers
of the models in tests/cases/configs. Each is a file of tests/golden that the sed script beside the values edits; its first line
names that file. From the top of the repository:

    python3 -m venv /tmp/golden && /tmp/golden/bin/pip install torch==2.15.0 transformers==5.24.0 tokenizers==0.23.3
    /tmp/golden/bin/python scripts/make_golden_cases.py
"""
import json
import os
import shutil
import subprocess
import tempfile

import torch
import transformers
from tokenizers import Tokenizer

IDS = [(7 * i * i + 3 * i) % 480 for i in range(60)]


def edited(script, base, name):
    """What tests/cases/tokenizers.sh and configs.sh do: the file in one line, through sed."""
    text = open(f"tests/golden/{base}/{name}", encoding="utf-8").read().replace("\n", "")
    return subprocess.run(["sed", "-f", script], input=text + "\n", capture_output=True, text=True, check=True).stdout


def scripts(folder):
    for name in sorted(os.listdir(folder)):
        if name.endswith(".sed"):
            script = os.path.join(folder, name)
            yield script, open(script, encoding="utf-8").readline().split()[1].rstrip(":"), script[:-4]


def tokenizers():
    texts = [json.loads(line)["text"] for line in open("tests/cases/tokenizers/texts.jsonl", encoding="utf-8")]
    for script, base, out in scripts("tests/cases/tokenizers"):
        t = Tokenizer.from_str(edited(script, base, "tokenizer.json"))
        with open(out + ".ids", "w") as f:
            f.writelines(json.dumps(t.encode(s).ids, separators=(",", ":")) + "\n" for s in texts)


def configs():
    for script, base, out in scripts("tests/cases/configs"):
        with tempfile.TemporaryDirectory() as folder:
            shutil.copytree("tests/golden/" + base, folder, dirs_exist_ok=True)
            with open(folder + "/config.json", "w") as f:
                f.write(edited(script, base, "config.json"))
            m = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
            with torch.no_grad():
                scores = torch.log_softmax(m(torch.tensor([IDS])).logits[0].double(), -1)
        with open(out + ".logprobs", "w") as f:
            f.write(json.dumps([round(scores[k, v].item(), 6) for k, v in enumerate(IDS[1:])]) + "\n")


def main():
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    with open("tests/cases/configs/ids.txt", "w") as f:
        f.write(json.dumps(IDS, separators=(",", ":")) + "\n")
    tokenizers()
    configs()


if __name__ == "__main__":
    main()
