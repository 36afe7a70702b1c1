# hf-bytes: an added token at the padded end of the vocabulary, ids 480 to 510 are nobody
s/"added_tokens": \[/"added_tokens": [{"id": 511, "content": "<pad>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true},/
