#!/usr/bin/env python3
"""Writes tests/golden/hf-configs.jsonl: for tests/test_golden_configs.c, what transformers computes with the weights of
tests/golden/hf-bytes when keys of its config.json are others. A line each: {"config": the keys, null where one is taken out,
"logprobs": of the ids (7 k k + 3 k) mod 480, k = 0..39}. From the top of the repository, in the environment of
scripts/make_golden_transformers.py, which comes first:

    /tmp/golden/bin/python scripts/make_golden_configs.py
"""
import json
import os
import shutil
import tempfile

import torch
import transformers

FOLDER = "tests/golden/hf-bytes"
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16}

SMOLLM3 = {"model_type": "smollm3", "pad_token_id": 0}


def llama3(without=(), **other):
    return {k: v for k, v in {**LLAMA3, **other}.items() if k not in without}


# rope_parameters is taken out unless it is named here.
CONFIGS = [
    {},
    {"rope_theta": 500000},
    {"rope_parameters": {"rope_type": "default"}, "rope_theta": 5e5},
    {"rope_parameters": {"rope_type": "default", "rope_theta": 7e4}, "rope_theta": 5e5},
    {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}, "rope_theta": 4e5, "rope_scaling": LLAMA3},
    {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}, "rope_scaling": LLAMA3},
    {"rope_parameters": llama3(rope_theta=5e5), "rope_scaling": {}},
    {"rope_parameters": llama3(rope_theta=5e5), "rope_scaling": []},
    {"rope_parameters": llama3(rope_theta=5e5), "rope_scaling": {"type": "default"}},
    {"rope_parameters": {}, "rope_theta": 3e4},
    {"rope_scaling": llama3(rope_theta=2e5), "rope_theta": 3e4},
    {"rope_scaling": llama3(without=["rope_type"], type="llama3"), "rope_theta": 5e5},
    {"rope_scaling": llama3(rope_type="default", type="llama3"), "rope_theta": 5e5},
    {"rope_scaling": llama3(type="linear", attention_factor=2.0), "rope_theta": 5e5},
    {"rope_scaling": {"factor": 4.0}, "rope_theta": 5e5},
    {"rope_scaling": LLAMA3, "original_max_position_embeddings": 64},
    {"rope_scaling": llama3(without=["original_max_position_embeddings"]), "original_max_position_embeddings": 32},
    {"rope_scaling": llama3(without=["original_max_position_embeddings"])},
    {"rope_scaling": {"type": "linear", "factor": 4}},
    {"rope_parameters": {"rope_type": "linear", "factor": 2.5, "rope_theta": 2e4}, "rope_theta": 5e5},
    {"rope_scaling": {"type": "dynamic", "factor": 4.0}, "rope_theta": 5e5},
    {"rope_scaling": {"type": "default", "mrope_section": [1, 1, 2]}, "partial_rotary_factor": 1.0},
    {"tie_word_embeddings": True},  # the file holds a head of its own
    {"rms_norm_eps": 1e-2, "pretraining_tp": 2, "sliding_window": None, "attention_dropout": 0.5},
    # The families whose parameters are LLaMA's, and what they mean where the file is silent.
    {"model_type": "mistral", "sliding_window": 5},
    {"model_type": "mistral", "max_position_embeddings": None},
    {**SMOLLM3},
    {**SMOLLM3, "no_rope_layer_interval": 2},
    {**SMOLLM3, "no_rope_layer_interval": 1},
    {**SMOLLM3, "no_rope_layers": [1, 0], "rope_theta": 5e5},
    {**SMOLLM3, "no_rope_layers": [0, 0], "use_sliding_window": False, "sliding_window": 4},
    {**SMOLLM3, "no_rope_layers": [1, 1], "tie_word_embeddings": None},
]


def logprobs(folder, ids):
    m = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        scores = torch.log_softmax(m(torch.tensor([ids])).logits[0].double(), -1)
    return [round(scores[k, v].item(), 6) for k, v in enumerate(ids[1:])]


def main():
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    ids = [(7 * k * k + 3 * k) % 480 for k in range(40)]
    plain = json.load(open(FOLDER + "/config.json"))
    with tempfile.TemporaryDirectory() as folder, open("tests/golden/hf-configs.jsonl", "w") as out:
        shutil.copy(FOLDER + "/model.safetensors", folder)
        for keys in CONFIGS:
            keys = {"rope_parameters": None, **keys}
            config = {k: v for k, v in {**plain, **keys}.items() if v is not None}
            json.dump(config, open(os.path.join(folder, "config.json"), "w"))
            out.write(json.dumps({"config": keys, "logprobs": logprobs(folder, ids)}) + "\n")


if __name__ == "__main__":
    main()
