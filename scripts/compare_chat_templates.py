#!/usr/bin/env python3
"""Compares what solera writes by published chat templates with what transformers writes. Not a
test: the templates are other people's, so none is kept here.

    git clone --depth 1 https://github.com/ggml-org/llama.cpp /tmp/llama.cpp
    python3 -m venv /tmp/golden && /tmp/golden/bin/pip install transformers==5.24.0 jinja2 h5py tokenizers
    /tmp/golden/bin/python scripts/compare_chat_templates.py /tmp/llama.cpp/models/templates

Any folder of .jinja files will do: trl/chat_templates of github.com/huggingface/trl, or what
`tokenizer_config.json` of a model holds under chat_template. A line a file: refused, by a message
that names what is not known and the way out, or how many of --conversations come out the same
from solera (a model with a tokenizer of bytes is imported, the conversations tokenized, the ids
read as bytes) and how many solera refuses though the template writes them, with the first message.
Prompts of `solera generate --chat` have as many tokens as those of the template with a generation
prompt. Exit code 1 when anything differs.
"""
import argparse
import glob
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile

import h5py
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers.utils.chat_template_utils import render_jinja_template

from make_golden_chat import WORDS

FOLDER = "tests/golden/families/qwen3"
SPECIAL = ["<|endoftext|>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|begin_of_text|>",
           "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
MODES = ["", "/no_think", " /think ", "/system_override\n", "/no_think/system_override"]


def byte_tokenizer(folder):
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    t = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    t.decoder = decoders.ByteLevel()
    t.add_tokens([AddedToken(s, special=True, normalized=False) for s in SPECIAL])
    t.save(folder + "/tokenizer.json")
    return t


def content(rng, role):
    text = "".join(rng.choice(WORDS) for _ in range(rng.randint(0, 9)))
    if role == "system" and rng.random() < 0.4:
        return text + rng.choice(MODES)
    if role == "assistant" and rng.random() < 0.3:
        return rng.choice(["<think>\n", "\n<think>", ""]) + "so" + text + "</think>" + text
    return text


def conversation(rng):
    """Mostly what every template takes; some with tools, some that end with a question."""
    roles = ["system"] if rng.random() < 0.4 else []
    tools = rng.random() < 0.2
    for _ in range(rng.randint(1, 4)):
        roles.append("user")
        if tools and rng.random() < 0.5:
            roles += ["assistant"] + ["tool"] * rng.randint(1, 3)
        roles.append("assistant")
    if rng.random() < 0.3:
        roles.pop()
    return [{"role": r, "content": content(rng, r)} for r in roles]


def tokens(template):
    llama3 = "<|start_header_id|>" in template
    return ("<|begin_of_text|>", "<|eot_id|>") if llama3 else ("<s>", "</s>")


def render(template, messages, is_open=False):
    """None: the template refuses them."""
    bos, eos = tokens(template)
    try:
        return render_jinja_template([messages], chat_template=template, add_generation_prompt=is_open,
                                     bos_token=bos, eos_token=eos)[0][0]
    except Exception:
        return None


class Solera:
    def __init__(self, program, folder):
        self.program, self.folder, self.model = program, folder, folder + "/model"
        shutil.copytree(FOLDER, self.model)
        self.tokenizer = byte_tokenizer(self.model)
        config = json.load(open(self.model + "/config.json"))
        json.dump({**config, "max_position_embeddings": 4096}, open(self.model + "/config.json", "w"))

    def run(self, *words):
        return subprocess.run([self.program, *words], capture_output=True, text=True)

    def take(self, template):
        with open(self.model + "/chat_template.jinja", "w") as f:
            f.write(template)
        bos, eos = tokens(template)
        with open(self.model + "/tokenizer_config.json", "w") as f:
            json.dump({"bos_token": bos, "eos_token": {"content": eos, "special": True}}, f)
        self.run("import", self.model, "-o", self.folder + "/m.h5", "--force").check_returncode()

    def texts(self, conversations):
        """What a dataset of them holds, by their places, and the refusals of the others."""
        refusals, left = {}, dict(enumerate(conversations))
        lines, data = self.folder + "/c.jsonl", self.folder + "/c.h5"
        while left:
            with open(lines, "w") as f:
                f.writelines(json.dumps({"messages": m}) + "\n" for m in left.values())
            r = self.run("tokenize", "--tokenizer", self.folder + "/m.h5", "--format", "chat", "--input", lines,
                         "-o", data, "--force")
            if not r.returncode:
                break
            at = re.search(re.escape(lines) + r":(\d+): (.*)", r.stderr)
            if not at or r.returncode != 2:
                sys.exit(f"{' '.join(r.args)}: exit code {r.returncode}: {r.stderr.strip()}")
            key = list(left)[int(at.group(1)) - 1]
            refusals[key] = at.group(2)
            del left[key]
        if not left:
            return {}, refusals
        with h5py.File(data) as f:
            ids, ends = f["tokens"][:].tolist(), f["doc_offsets"][:].tolist()
        texts = [self.tokenizer.decode(ids[a:b], skip_special_tokens=False) for a, b in zip(ends, ends[1:])]
        return dict(zip(left, texts, strict=True)), refusals

    def prompt_tokens(self, system, user):
        r = self.run("generate", self.folder + "/m.h5", "--chat", "-p", user, "--system", system, "-n", "1")
        found = re.search(r"prompt (\d+) tokens", r.stderr)
        return int(found.group(1)) if found else r.stderr


def compare(o, solera, path):
    name, template = os.path.basename(path).removesuffix(".jinja"), open(path).read()
    rng = random.Random(f"{o.seed} {name}")
    conversations = [conversation(rng) for _ in range(o.conversations)]
    solera.take(template)
    got, refusals = solera.texts(conversations)
    why = next(iter(refusals.values()), "")
    if "--chat-format" in why:
        print(f"{name}: refused: {why}", flush=True)
        return False
    same, refused, different = 0, [], None
    for k, messages in enumerate(conversations):
        want = render(template, messages)
        if got.get(k) == want:
            same += 1
        elif k in refusals:
            refused.append(refusals[k])
        else:
            different = different or (messages, want, got[k])
    system, user = "be brief", "hello"
    prompt = render(template, [{"role": "system", "content": system}, {"role": "user", "content": user}], True)
    if prompt is not None:
        prompt = solera.tokenizer.encode(prompt).ids
        if len(prompt) != solera.prompt_tokens(system, user):
            different = different or ("the prompt of generate --chat", len(prompt), solera.prompt_tokens(system, user))
    print(f"{name}: {same} of {len(conversations)} the same, {len(refused)} refused", *refused[:1], flush=True)
    if different:
        print("  {}\n  template: {!r}\n  solera:   {!r}".format(*different), flush=True)
    return bool(different)


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("folder", help="of .jinja files")
    a.add_argument("--solera", default="build/release/solera")
    a.add_argument("--conversations", type=int, default=50)
    a.add_argument("--seed", type=int, default=1)
    o = a.parse_args()
    with tempfile.TemporaryDirectory() as d:
        solera = Solera(o.solera, d)
        files = sorted(glob.glob(o.folder + "/*.jinja"))
        if not files:
            a.error(f"{o.folder}: holds no .jinja files")
        sys.exit(sum([compare(o, solera, f) for f in files]) > 0)


if __name__ == "__main__":
    main()
