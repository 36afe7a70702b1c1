# hf-pieces: one normalizer that is no Sequence
s/"normalizer": {.*}, *"pre_tokenizer": null/"normalizer": {"type": "Lowercase"}, "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": false}/
