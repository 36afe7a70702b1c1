# hf-pieces: words apart
s/"normalizer": {.*}, *"pre_tokenizer": null/"normalizer": null, "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": true}/
