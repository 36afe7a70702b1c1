# hf-pieces: \w in a class, which takes fewer characters than \w alone
s/"normalizer": {.*}, *"pre_tokenizer": null/"normalizer": {"type": "Replace", "pattern": {"Regex": "[^\\\\w ]"}, "content": "x"}, "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": false}/
