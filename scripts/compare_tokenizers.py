#!/usr/bin/env python3
"""Ids and texts of solera beside those of Hugging Face `tokenizers`, for kinds of tokenizer that are made here.

    python3 -m venv build/venv && build/venv/bin/pip install tokenizers==0.23.3
    build/venv/bin/python scripts/compare_tokenizers.py [--strings 5000] [--seed 1] [--only NAME]
    build/venv/bin/python scripts/compare_tokenizers.py --golden       # writes tests/golden/tokenizers.json, for tests/test_tokenizer_golden.c

Every kind is trained on a small text (seconds), written as tokenizer.json, and both programs are asked for the ids of the same hostile
strings: with and without special tokens in the text, from the file, from a model file that solera imported it into, and, by `tokenizers`,
from the tokenizer.json that solera exported out of that. One line a kind: the strings, how many differ, or the refusal of solera.
Exit 1 when anything differs, and when a kind of tests/golden/tokenizers.json is refused.
"""
import argparse
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers as N, pre_tokenizers as P, processors, trainers

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
TEXT = ["the cat sat on the mat and the dog ran to the cat", "a man and a hat, it's 1984 or 42!", "The Quick Brown Fox  jumps\n\nover",
        "caf\u00e9 na\u00efve \u00fcber \u4f60\u597d \u4e16\u754c \u3053\u3093\u306b\u3061\u306f \ud55c\uad6d\uc5b4", "def f(x):\n    return x_1 + 2\r\n", "fi VIII one half"] * 20
SPECIAL = ["<unk>", "<s>", "</s>"]
MERGES = 200


def train(model, size, alphabet=(), special=SPECIAL, **parts):
    t = Tokenizer(model)
    for name, part in parts.items():
        setattr(t, name, part)
    t.train_from_iterator(TEXT, trainers.BpeTrainer(vocab_size=size + MERGES, special_tokens=special, initial_alphabet=list(alphabet), show_progress=False))
    return t


def byte_level(pre=None, added=(), post=None, **parts):
    t = train(models.BPE(), 259, P.ByteLevel.alphabet(), pre_tokenizer=pre or P.ByteLevel(add_prefix_space=False), decoder=decoders.ByteLevel(), **parts)
    t.add_tokens(list(added))
    if post:
        t.post_processor = post
    return t


LLAMA_DECODER = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]


def sentencepiece(pre=None, norm=None, added=(), decoder=None, **model):
    parts = {k: v for k, v in (("pre_tokenizer", pre), ("normalizer", norm)) if v}
    model = {"unk_token": "<unk>", "byte_fallback": True, "fuse_unk": True, **model}
    special = SPECIAL + [f"<0x{b:02X}>" for b in range(256)] if model["byte_fallback"] else SPECIAL
    t = train(models.BPE(**model), 340 if model["byte_fallback"] else 85, special=special, **parts)
    t.decoder = decoder or decoders.Sequence(LLAMA_DECODER)
    file = json.loads(t.to_str())
    file["added_tokens"] = [a for a in file["added_tokens"] if not a["content"].startswith("<0x")]
    t = Tokenizer.from_str(json.dumps(file))
    t.add_tokens(list(added))
    return t


def edited(t, change):
    file = json.loads(t.to_str())
    change(file)
    return json.dumps(file)


def hole(file):
    file["added_tokens"].append({"id": 900, "content": "<pad>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True})


def unused_ids(file):
    file["model"]["vocab"]["zzzz"] = 700


def old_merges(file):
    file["model"]["merges"] = ["#version: 0.2"] + [" ".join(m) for m in file["model"]["merges"]]


def split(pattern, behavior, invert=False):
    return P.Sequence([P.Split(pattern, behavior, invert), P.ByteLevel(add_prefix_space=False, use_regex=False)])


def sequence(*steps):
    return P.Sequence(list(steps) + [P.ByteLevel(add_prefix_space=False)])


STRIPS = [AddedToken("<mask>", lstrip=True, normalized=False), AddedToken("[R]", rstrip=True, normalized=False), AddedToken("ran", single_word=True, normalized=False),
          AddedToken("\u4e16", single_word=True, normalized=True), AddedToken("[N]", lstrip=True, rstrip=True, normalized=True), AddedToken("  ", normalized=False)]
BOS_EOS = processors.TemplateProcessing(single="<s> $A </s>", pair="<s> $A $B", special_tokens=[("<s>", 1), ("</s>", 2)])
LLAMA_NORM = N.Sequence([N.Prepend("\u2581"), N.Replace(" ", "\u2581")])

KINDS = {
    "llama3": lambda: byte_level(split(Regex(LLAMA3), "isolated"), post=BOS_EOS),
    "gpt2": lambda: byte_level(),
    "gpt2 prefix space": lambda: byte_level(P.ByteLevel(add_prefix_space=True), post=processors.RobertaProcessing(("</s>", 2), ("<s>", 1))),
    "bytes without regex": lambda: byte_level(P.ByteLevel(add_prefix_space=False, use_regex=False), post=processors.BertProcessing(("</s>", 2), ("<s>", 1))),
    "qwen2 with NFC": lambda: byte_level(split(Regex(QWEN2), "isolated"), normalizer=N.NFC()),
    "smollm digits": lambda: byte_level(sequence(P.Digits(True)), post=BOS_EOS),
    "digits together": lambda: byte_level(sequence(P.Digits(False))),
    "ignore_merges": lambda: edited(byte_level(split(Regex(LLAMA3), "isolated")), lambda f: f["model"].update(ignore_merges=True)),
    "split removed": lambda: byte_level(split(Regex(r"\s+"), "removed")),
    "split merged_with_previous": lambda: byte_level(split(Regex(r"[\p{P}\p{S}]"), "merged_with_previous")),
    "split merged_with_next": lambda: byte_level(split(" ", "merged_with_next")),
    "split contiguous, inverted": lambda: byte_level(split(Regex(r"\p{L}"), "contiguous", True)),
    "split empty matches": lambda: byte_level(split(Regex(r"a*|(?=\p{Lu})"), "isolated")),
    "split \\w \\d": lambda: byte_level(split(Regex(r"\d|\w+|[^\w\s]+"), "isolated")),
    "punctuation": lambda: byte_level(sequence(P.Punctuation("contiguous"), P.Digits(False))),
    "whitespace": lambda: byte_level(sequence(P.Whitespace())),
    "whitespace split": lambda: byte_level(sequence(P.WhitespaceSplit())),
    "bert pre-tokenizer": lambda: byte_level(sequence(P.BertPreTokenizer())),
    "char delimiter": lambda: byte_level(sequence(P.CharDelimiterSplit("a"))),
    "added tokens that strip": lambda: byte_level(split(Regex(LLAMA3), "isolated"), added=STRIPS),
    "added tokens and NFKC, lowercase": lambda: byte_level(added=STRIPS + [AddedToken("CAT", normalized=True)], normalizer=N.Sequence([N.NFKC(), N.Lowercase()])),
    "added token behind a hole": lambda: edited(byte_level(), hole),
    "ids with holes": lambda: edited(byte_level(), unused_ids),
    "#version in merges": lambda: edited(byte_level(), old_merges),
    "llama legacy": lambda: sentencepiece(norm=LLAMA_NORM, decoder=decoders.Sequence(LLAMA_DECODER + [decoders.Strip(" ", 1, 0)])),
    "llama legacy, added tokens": lambda: sentencepiece(norm=LLAMA_NORM, added=STRIPS + [AddedToken("\u2581[X]", normalized=False), AddedToken("<y>", normalized=True)]),
    "gemma": lambda: sentencepiece(norm=N.Replace(" ", "\u2581"), pre=P.Split(" ", "merged_with_previous"), added=[AddedToken("\n\n", normalized=False)]),
    "metaspace first": lambda: sentencepiece(P.Metaspace(prepend_scheme="first", split=False), decoder=decoders.Metaspace(prepend_scheme="first", split=False)),
    "metaspace always": lambda: sentencepiece(P.Metaspace(prepend_scheme="always", split=False)),
    "metaspace never, split": lambda: sentencepiece(P.Metaspace(prepend_scheme="never", split=True), added=STRIPS),
    "metaspace first, split, _": lambda: sentencepiece(P.Metaspace(replacement="_", prepend_scheme="first", split=True), decoder=decoders.Metaspace(replacement="_")),
    "metaspace, NFKC": lambda: sentencepiece(P.Metaspace(prepend_scheme="first"), N.NFKC()),
    "metaspace, lowercase": lambda: sentencepiece(P.Metaspace(prepend_scheme="never", split=False), N.Lowercase()),
    "metaspace, strip": lambda: sentencepiece(P.Metaspace(prepend_scheme="always", split=False), N.Strip()),
    "metaspace, NFD, replace": lambda: sentencepiece(P.Metaspace(prepend_scheme="always"), N.Sequence([N.NFD(), N.Replace(Regex(r"[\p{Mn}\s]{2,}|x?"), "~"), N.Strip(left=False, right=True)])),
    "NFKD, no blanks replaced": lambda: sentencepiece(norm=N.NFKD(), byte_fallback=False, unk_token="<unk>", fuse_unk=False),
    "characters, unknown fused": lambda: sentencepiece(P.Whitespace(), byte_fallback=False),
    "characters without unknown": lambda: sentencepiece(P.Sequence([P.WhitespaceSplit(), P.Punctuation(), P.Digits(True)]), byte_fallback=False, unk_token=None),
    "some bytes, unknown": lambda: edited(sentencepiece(norm=LLAMA_NORM), lambda f: [f["model"]["vocab"].pop(f"<0x{b:02X}>") for b in range(0xC0, 0xF5, 3)] and None),
    "bytes that are added tokens": lambda: sentencepiece(norm=LLAMA_NORM, added=[AddedToken("<0x20>", normalized=False), AddedToken("<0xC3>", normalized=False), AddedToken("<0x2D>", special=True)], decoder=decoders.Sequence(LLAMA_DECODER + [decoders.Strip(" ", 1, 0)])),
    "StripAccents": lambda: sentencepiece(P.Metaspace(), N.StripAccents()),
    "BertNormalizer": lambda: byte_level(normalizer=N.BertNormalizer()),
    "UnicodeScripts": lambda: byte_level(sequence(P.UnicodeScripts())),
    "dropout": lambda: edited(byte_level(), lambda f: f["model"].update(dropout=0.1)),
    "end_of_word_suffix": lambda: edited(byte_level(), lambda f: f["model"].update(end_of_word_suffix="</w>")),
    "continuing_subword_prefix": lambda: edited(byte_level(), lambda f: f["model"].update(continuing_subword_prefix="##")),
    "Unigram": lambda: Tokenizer(models.Unigram([("<unk>", 0.0), ("a", -1.0)], 0)),
    "WordPiece": lambda: Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1})),
    "WordLevel": lambda: Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]")),
}


GOLDEN = ["llama3", "gpt2 prefix space", "bytes without regex", "qwen2 with NFC", "smollm digits", "ignore_merges", "split removed", "split merged_with_previous",
          "split merged_with_next", "split contiguous, inverted", "split empty matches", "split \\w \\d", "punctuation", "whitespace", "char delimiter", "added tokens that strip",
          "added tokens and NFKC, lowercase", "added token behind a hole", "ids with holes", "#version in merges", "llama legacy", "llama legacy, added tokens", "gemma",
          "metaspace first", "metaspace always", "metaspace never, split", "metaspace first, split, _", "metaspace, strip", "metaspace, NFD, replace",
          "NFKD, no blanks replaced", "characters, unknown fused", "characters without unknown", "some bytes, unknown", "bytes that are added tokens"]


def hostile(rng, n):
    words = " ".join(TEXT[:6]).split(" ") + ["the", "The", "THE", "'s", "'LL", "it'S", "1234567", "..", "!?", "x_1", "</s", "<s", "<0x0A>", "<|", "zzzz"]
    odd = [" ", "  ", "   ", "\n", "\r\n", "\r", "\t", "\u2581", "\u2581\u2581", " \u2581", "\u00a0", "\u3000", "\u200b", "\u200d", "\x00", "\x01", "\x7f", "\x85", "\ufeff",
           "e\u0301", "\u0301", "\u0327\u0301", "a\u0300\u0323", "\u1e9b\u0323", "\u212b", "\ufb01", "\ufb03", "\u2167", "\u00bd", "\u00b2", "\u24b6", "\u0130", "\u1e9e", "\u03a3\u03c2",
           "\u017f", "\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea", "\u4e16\u754c", "\ud55c\uad6d", "\u1112\u1161\u11ab", "\uac00\u11a8", "\u05d0\u05bc", "\u0e01\u0e33",
           "_", "__", "-", "~", "\ue000", "\U0010ffff", "\u180e", "\U00011de3", "\u0897", "\U000105d2\u0307", "\u32ff"]
    special = SPECIAL + ["<mask>", "[R]", "[N]", "ran", "\u4e16", "CAT", "cat", "<pad>", "[X]", "\u2581[X]", "<y>", "\n\n"]

    def point():
        while True:
            c = rng.choice((rng.randrange(0x3000), rng.randrange(0x20000), rng.randrange(0x110000)))
            if not 0xD800 <= c <= 0xDFFF:
                return chr(c)

    out = ["", " ", "  ", "a", " a", "a ", "\u2581", "\u2581a", "\n"]
    while len(out) < n:
        parts = []
        for _ in range(rng.randrange(1, 14)):
            kind = rng.random()
            parts.append(rng.choice(words) if kind < 0.4 else rng.choice(odd) if kind < 0.65 else rng.choice(special) if kind < 0.75 else point() if kind < 0.9 else
                         rng.choice(words + odd) * rng.randrange(2, 60))
            if rng.random() < 0.4:
                parts.append(" ")
        out.append("".join(parts))
    return out[:n]


def first_difference(theirs, ours, strings):
    for s, a, b in zip(strings, theirs, ours):
        if a != b:
            at = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
            return f"\n    {ascii(s)[:300]}\n    tokenizers {a[max(0, at - 2):at + 8]}\n    solera     {b[max(0, at - 2):at + 8]} (from id {max(0, at - 2)})"
    return ""


def ids_of(args, path, lines, special):
    done = subprocess.run([args.solera, "tokenize", "--ids", "--special", special, "--tokenizer", path], input=lines, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode == 2:
        return None, done.stderr.decode().strip().split(": ", 2)[-1]
    done.check_returncode()
    return [json.loads(x) for x in done.stdout.splitlines()], ""


def through_a_model(args, folder, vocab):
    """solera's model file with the tokenizer, and the folder that it exports of that."""
    hidden, tensors, data = 8, {}, b""
    layer = {f"self_attn.{x}_proj.weight": (hidden, hidden) for x in "qkvo"} | {f"mlp.{x}_proj.weight": (hidden, hidden) for x in ("gate", "up", "down")}
    layer |= {"input_layernorm.weight": (hidden,), "post_attention_layernorm.weight": (hidden,)}
    shapes = {"model.embed_tokens.weight": (vocab, hidden), "model.norm.weight": (hidden,)} | {"model.layers.0." + k: v for k, v in layer.items()}
    for name, shape in shapes.items():
        n = 4 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        tensors[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + n]}
        data += bytes(n)
    head = json.dumps(tensors).encode()
    open(os.path.join(folder, "model.safetensors"), "wb").write(struct.pack("<Q", len(head)) + head + data)
    json.dump({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": vocab, "hidden_size": hidden, "intermediate_size": hidden,
               "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
               "tie_word_embeddings": True, "hidden_act": "silu", "bos_token_id": 1, "eos_token_id": 2}, open(os.path.join(folder, "config.json"), "w"))
    model, out = folder + ".h5", folder + ".out"
    shutil.rmtree(out, ignore_errors=True)
    for command in (["import", folder, "-o", model, "--force"], ["export", model, "--format", "safetensors", "-o", out]):
        subprocess.run([args.solera, *command], check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return model, os.path.join(out, "tokenizer.json")


def compare(args, name, strings, folder):
    made = KINDS[name]()
    made = made if isinstance(made, str) else made.to_str()
    path, lines = os.path.join(folder, "tokenizer.json"), "".join(json.dumps({"text": s}) + "\n" for s in strings).encode()
    open(path, "w").write(made)
    ours, why = ids_of(args, path, lines, "yes")
    if ours is None:
        return None, why
    t = Tokenizer.from_str(made)
    vocab = max(t.get_vocab().values()) + 1
    model, exported = through_a_model(args, folder, vocab)
    theirs = [t.encode(s).ids for s in strings]
    again = Tokenizer.from_file(exported)
    pairs = [("", theirs, ours), ("from the model file", theirs, ids_of(args, model, lines, "yes")[0]), ("exported", [again.encode(s).ids for s in strings], theirs)]
    t.encode_special_tokens = True
    pairs.append(("--special no", [t.encode(s).ids for s in strings], ids_of(args, path, lines, "no")[0]))
    bad, where = 0, ""
    for way, a, b in pairs:
        n = sum(x != y for x, y in zip(a, b)) + abs(len(a) - len(b))
        where = where or (" " + way + first_difference(a, b, strings) if n else "")
        bad += n
    return bad, where


def write_golden(path):
    """A kind a line: the file, texts, their ids, and what those decode to."""
    global MERGES
    MERGES = 24
    with open(path, "w") as f:
        for i, name in enumerate(GOLDEN):
            made = KINDS[name]()
            made = made if isinstance(made, str) else made.to_str()
            t, texts = Tokenizer.from_str(made), [s for s in hostile(random.Random(i), 150) if len(s) <= 40][:28]
            f.write("[\n" if i == 0 else ",\n")
            ids = [t.encode(s).ids for s in texts]
            f.write(json.dumps({"name": name, "tokenizer": json.loads(made), "texts": texts, "ids": ids, "decoded": [t.decode(x) for x in ids]}, separators=(",", ":")))
        f.write("\n]\n")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--strings", type=int, default=5000)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--only")
    p.add_argument("--golden", action="store_true")
    p.add_argument("--solera", default="build/release/solera")
    args = p.parse_args()
    if args.golden:
        return write_golden("tests/golden/tokenizers.json")
    strings, failed = hostile(random.Random(args.seed), args.strings), 0
    with tempfile.TemporaryDirectory() as top:
        folder = os.path.join(top, "model")
        os.mkdir(folder)
        names = [name for name in KINDS if not args.only or args.only in name]
        if not names:
            p.error(f"--only {args.only}: no kind is called so")
        for name in names:
            bad, what = compare(args, name, strings, folder)
            failed += name in GOLDEN if bad is None else bad > 0
            print(f"{name:34} " + (f"refused: {what}" if bad is None else f"{len(strings)} strings, {bad} differences{what}"), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
