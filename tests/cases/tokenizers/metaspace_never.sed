# hf-pieces: no blank in front
s/"normalizer": {.*}, *"pre_tokenizer": null/"normalizer": null, "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": false}/
