#!/usr/bin/env python3
"""Writes tests/golden/hf-bytes and tests/golden/hf-pieces: two models as Hugging Face keeps them, small, random, with tokenizers trained on
data/sample/stories.txt, and what transformers and tokenizers compute with them, for tests/cli/golden_hf.sh. From the top of the
repository:

    python3 -m venv /tmp/golden && /tmp/golden/bin/pip install torch==2.15.0 transformers==5.24.0 tokenizers==0.23.3 gguf==0.19.0
    /tmp/golden/bin/python scripts/make_golden_transformers.py

hf-bytes: a byte-level tokenizer with the regex of LLaMA 3, RoPE scaled as LLaMA 3 has it, untied, float32. hf-pieces: a SentencePiece-like
tokenizer with byte fallback as LLaMA 2 has it, plain RoPE, tied, bfloat16. Beside each model: texts.jsonl, ids.txt (a JSON array a line),
and logprobs.txt (of the ids of the same line, by transformers in float32). All strings are made here. hf-pieces/m.gguf is that model as
llama.cpp keeps it, written by the package gguf. tests/golden/ggml_tq.json: what that package quantizes 1024 numbers to, for
tests/test_ggml.c, and Q2_0 by its description.
"""
import json
import os
import random
import shutil

import gguf
import numpy as np
import torch
import transformers
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

TEXT, VOCAB = "data/sample/stories.txt", 480
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def documents():
    return open(TEXT, encoding="utf-8").read().split("<|endoftext|>")


def bytes_tokenizer():
    t = Tokenizer(models.BPE(ignore_merges=True))
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3), "isolated"),
                                               pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(documents(), trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    t.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing(
        single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", 0)])])
    return t


def pieces_tokenizer():
    t = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    t.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    t.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    words = [w for d in documents() for w in d.split()]  # a piece is a part of a word, as SentencePiece has it
    t.train_from_iterator(words, trainers.BpeTrainer(vocab_size=VOCAB, show_progress=False,
                                                     special_tokens=["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]))
    j = json.loads(t.to_str())
    j["added_tokens"] = [a for a in j["added_tokens"] if not a["content"].startswith("<0x")]
    t = Tokenizer.from_str(json.dumps(j))
    t.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return t


def texts():
    rng = random.Random(7)
    parts = ["the", " cat", "Lily", "'s", "'LL", " ", "  ", "\n", "\r\n", "\t", "1234567", "x", ".", "!?", " ...", "ä", "e\u0301", "ß", "日本",
             "\U0001F600", "\u00a0", "\u200b", "\u2003", "ﬁ", "\u0000", "\x7f", "<", "|>", "</s", "０", "Ω"]
    fixed = ["", " ", "  ", "a", " a", "Once upon a time, there was a little girl.", "hello world", "don't WE'LL I'm", "\n\n\n", " \n \n x",
             "1 22 333 4444 55555", "tabs\tand\r\nlines", "a" * 70, "\U0001F600\U0001F468\u200d\U0001F469", "naïve café", "日本語のテキスト"]
    return fixed + ["".join(rng.choice(parts) for _ in range(rng.randint(1, 14))) for _ in range(64)]


def model(folder, tokenizer, dtype, **config):
    config = transformers.LlamaConfig(vocab_size=VOCAB, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
                                      num_key_value_heads=2, max_position_embeddings=256, attn_implementation="eager", **config)
    torch.manual_seed(7)
    m = transformers.LlamaForCausalLM(config)
    with torch.no_grad():
        for p in m.parameters():
            p.copy_(1 + 0.2 * torch.randn_like(p) if p.dim() == 1 else 0.3 * torch.randn_like(p))
    shutil.rmtree(folder, ignore_errors=True)
    m.to(dtype).save_pretrained(folder)
    tokenizer.save(folder + "/tokenizer.json")
    return transformers.LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def write(folder, m):
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=folder + "/tokenizer.json")
    lines = texts()
    ids = [tokenizer(s)["input_ids"] for s in lines]
    assert ids == [Tokenizer.from_file(folder + "/tokenizer.json").encode(s).ids for s in lines]
    with open(folder + "/texts.jsonl", "w") as t, open(folder + "/ids.txt", "w") as i, open(folder + "/logprobs.txt", "w") as p:
        for s, row in zip(lines, ids):
            t.write(json.dumps({"text": s}) + "\n")
            i.write(json.dumps(row, separators=(",", ":")) + "\n")
            with torch.no_grad():
                scores = torch.log_softmax(m(torch.tensor([row])).logits[0].double(), -1)
            p.write(json.dumps([round(scores[k, v].item(), 6) for k, v in enumerate(row[1:])]) + "\n")


def rotated(w, heads):
    """Rows of q and k in the order of llama.cpp: it rotates neighbours, Hugging Face rotates halves."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, w.shape[1]).swapaxes(1, 2).reshape(w.shape)


def write_gguf(folder, m):
    c, t = m.config, json.load(open(folder + "/tokenizer.json"))
    tokens = [k for k, _ in sorted(t["model"]["vocab"].items(), key=lambda kv: kv[1])]
    w = gguf.GGUFWriter(folder + "/m.gguf", "llama")
    w.add_context_length(c.max_position_embeddings)
    w.add_embedding_length(c.hidden_size)
    w.add_block_count(c.num_hidden_layers)
    w.add_feed_forward_length(c.intermediate_size)
    w.add_rope_dimension_count(c.head_dim)
    w.add_head_count(c.num_attention_heads)
    w.add_head_count_kv(c.num_key_value_heads)
    w.add_layer_norm_rms_eps(c.rms_norm_eps)
    w.add_rope_freq_base(c.rope_parameters["rope_theta"])
    w.add_vocab_size(c.vocab_size)
    w.add_file_type(gguf.LlamaFileType.ALL_F32)
    w.add_tokenizer_model("llama")
    w.add_token_list(tokens)
    w.add_token_scores([0.0 if i < 259 else float(258 - i) for i in range(len(tokens))])  # the sooner merged the better
    w.add_token_types([2, 3, 3] + [6] * 256 + [1] * (len(tokens) - 259))
    w.add_bos_token_id(c.bos_token_id)
    w.add_eos_token_id(c.eos_token_id)
    w.add_unk_token_id(0)
    w.add_add_bos_token(True)
    w.add_add_eos_token(False)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, c.num_hidden_layers)
    for name, p in m.named_parameters():
        x = p.detach().numpy()
        if "q_proj" in name or "k_proj" in name:
            x = rotated(x, c.num_attention_heads if "q_proj" in name else c.num_key_value_heads)
        w.add_tensor(names.get_name(name, try_suffixes=(".weight",)), x)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def q2_0(x):
    """Q2_0 by its description, which the package does not know: blocks of 64, an fp16 scale and 16 bytes of bit pairs, the lowest first;
    a pair stands for (pair - 1) times the scale. Bytes, and what they stand for."""
    x = x.reshape(-1, 64)
    d = np.abs(x).max(1, keepdims=True)
    pairs = (np.floor(np.abs(x * (1 / d)) + 0.5) * np.sign(x) + 1).astype(np.uint8)
    scale = d.astype(np.float16)
    packed = (pairs.reshape(-1, 16, 4) << np.array([0, 2, 4, 6], np.uint8)).sum(2, dtype=np.uint8)
    return np.hstack([scale.view(np.uint8), packed]), (pairs.astype(np.float32) - 1) * scale.astype(np.float32)


def write_tq():
    """1024 numbers whose bits tests/test_ggml.c makes, too; of what the bytes stand for the FNV-1a."""
    i = np.arange(1024, dtype=np.uint64)
    x = (((i * 2654435761 & 0xFFFFFFFF) >> 8).astype(np.float32) / np.float32(2**24) - np.float32(0.5)) * (1 + i // 256).astype(np.float32)
    result = {}
    for name in ("q8_0", "tq1_0", "tq2_0", "q2_0"):
        if name == "q2_0":
            data, values = q2_0(x)
        else:
            data = gguf.quants.quantize(x, gguf.GGMLQuantizationType[name.upper()])
            values = gguf.quants.dequantize(data, gguf.GGMLQuantizationType[name.upper()])
        h = 0xCBF29CE484222325
        for b in values.astype(np.float32).tobytes():
            h = (h ^ b) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
        result[name] = {"bytes": data.tobytes().hex(), "values": "%016x" % h}
    with open("tests/golden/ggml_tq.json", "w") as f:
        json.dump(result, f, indent=1)


def main():
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    folder = "tests/golden/hf-bytes"
    write(folder, model(folder, bytes_tokenizer(), torch.float32, tie_word_embeddings=False, bos_token_id=0, eos_token_id=[1, 2], rope_parameters={
        "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64}))
    folder = "tests/golden/hf-pieces"
    m = model(folder, pieces_tokenizer(), torch.bfloat16, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2,
              rope_parameters={"rope_type": "default", "rope_theta": 10000.0})
    write(folder, m)
    write_gguf(folder, m)
    write_tq()


if __name__ == "__main__":
    main()
