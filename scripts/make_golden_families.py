#!/usr/bin/env python3
"""Writes tests/golden/families: a tiny random model of each family as Hugging Face keeps it, and
what transformers and PyTorch compute with it, for tests/test_golden_families.c and
tests/cli/families.sh. From the top of the repository:

    python3 -m venv /tmp/golden
    /tmp/golden/bin/pip install torch==2.15.0 transformers==5.24.0 tokenizers==0.23.3
    /tmp/golden/bin/python scripts/make_golden_families.py

NAME/config.json, NAME/model.safetensors: the model. NAME/golden.json: ids [2, 24]; the
log-probability of each but the first; the mean loss, and of each gradient its norm and its products
with vectors of +-1 (those of make_golden_torch.py). qwen3 has a tokenizer as Qwen has it (NFC, its
regex, fewer tokens than the model has rows), and ids.txt of texts.jsonl by tokenizers. The weights
are random, the tokenizer learns from data/sample/stories.txt.
"""
import json
import os
import shutil

import torch
import transformers
from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers,
                        trainers)

from make_golden_torch import digest

ROOT, TEXT = "tests/golden/families", "data/sample/stories.txt"
TOKENS, VOCAB, BATCH, SEQ, WINDOW = 290, 304, 2, 24, 7
EAGER = dict(attn_implementation="eager")
SHAPE = dict(vocab_size=VOCAB, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
             num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
             bos_token_id=None, eos_token_id=1, pad_token_id=None, **EAGER)
QWEN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+")
# What is said here beside SHAPE; the rest is the default of transformers.
FAMILIES = {
    "llama": ("Llama", dict(head_dim=8)),
    "mistral": ("Mistral", dict(sliding_window=WINDOW)),
    "mistral-null": ("Mistral", dict(sliding_window=None, head_dim=8)),
    "qwen2": ("Qwen2", dict(tie_word_embeddings=True)),
    "qwen2-window": ("Qwen2", dict(use_sliding_window=True, sliding_window=WINDOW,
                                   max_window_layers=1)),
    "qwen3": ("Qwen3", dict(head_dim=8, tie_word_embeddings=False)),
    "qwen3-tied": ("Qwen3", dict(head_dim=4, tie_word_embeddings=True)),
    "smollm3": ("SmolLM3", dict(num_hidden_layers=5)),
    "bitnet": ("BitNet", dict(hidden_act="silu", tie_word_embeddings=True)),
}


def qwen_tokenizer():
    t = Tokenizer(models.BPE())
    t.normalizer = normalizers.NFC()
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(QWEN), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    text = open(TEXT, encoding="utf-8").read().split("<|endoftext|>")
    t.train_from_iterator(text, trainers.BpeTrainer(
        vocab_size=TOKENS, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    special = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    t.add_tokens([AddedToken(s, special=True, normalized=False) for s in special])
    t.add_tokens([AddedToken("<think>", special=False, normalized=False)])
    return t


def texts():
    return ["Once upon a time", "don't WE'LL", "1234567 years", "x" * 40, "<think>so</think>",
            "cafe\u0301 \u1e9b\u0323 \u0041\u030a \u212b", "\u1100\u1161\u11a8", "\u00c5ngstr\u00f6m",
            "a\u0323\u0307 q\u0307\u0323", "  two  blanks \n\n x\r\n", "\U0001F600 \u65e5\u672c\u8a9e"]


def write_tokenizer(folder):
    t = qwen_tokenizer()
    t.save(folder + "/tokenizer.json")
    with open(folder + "/texts.jsonl", "w") as f:
        f.writelines(json.dumps({"text": s}) + "\n" for s in texts())
    with open(folder + "/ids.txt", "w") as f:
        f.writelines(json.dumps(t.encode(s).ids, separators=(",", ":")) + "\n" for s in texts())


def make(name, family, options):
    folder = os.path.join(ROOT, name)
    shutil.rmtree(folder, ignore_errors=True)
    causal = getattr(transformers, family + "ForCausalLM")
    torch.manual_seed(7)
    m = causal(getattr(transformers, family + "Config")(**{**SHAPE, **options}))
    with torch.no_grad():
        for key, p in m.named_parameters():
            p.copy_(0.3 * torch.randn_like(p) + (1 if "norm" in key else 0))
    m.to(torch.bfloat16).save_pretrained(folder)
    if os.path.exists(folder + "/generation_config.json"):
        os.remove(folder + "/generation_config.json")
    os.chmod(folder + "/model.safetensors", 0o644)
    m = causal.from_pretrained(folder, dtype=torch.float32, **EAGER).eval()
    ids = torch.randint(0, TOKENS, (BATCH, SEQ))
    rows = torch.log_softmax(m(ids).logits.double(), -1)[:, :-1]
    scores = rows.gather(2, ids[:, 1:, None])[..., 0]
    loss = -scores.mean()
    loss.backward()
    golden = {"ids": ids.tolist(), "loss": loss.item(),
              "logprobs": [[round(x, 7) for x in row] for row in scores.tolist()],
              "grads": {key: digest(p.grad) for key, p in m.named_parameters()}}
    with open(folder + "/golden.json", "w") as f:
        json.dump(golden, f, separators=(",", ":"))
        f.write("\n")


def main():
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    for name, (family, options) in FAMILIES.items():
        make(name, family, options)
    write_tokenizer(ROOT + "/qwen3")


if __name__ == "__main__":
    main()
