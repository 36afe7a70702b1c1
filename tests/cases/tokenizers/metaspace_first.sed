# hf-pieces: a blank in front of the text alone
s/"normalizer": {.*}, *"pre_tokenizer": null/"normalizer": null, "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": false}/
