# hf-pieces: another pattern than the blank
s/"normalizer": {.*}, *"pre_tokenizer": null/"normalizer": {"type": "Replace", "pattern": {"Regex": "[0-9]+"}, "content": "x"}, "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": false}/
