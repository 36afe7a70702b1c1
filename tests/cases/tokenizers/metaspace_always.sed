# hf-pieces: a blank in front of the text and behind each special token
s/"normalizer": {.*}, *"pre_tokenizer": null/"normalizer": null, "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": false}/
