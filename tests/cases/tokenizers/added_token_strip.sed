# hf-bytes: an added token that takes the blanks around it, and one that stands alone
s/"added_tokens": \[/"added_tokens": [{"id": 480, "content": "<l>", "single_word": false, "lstrip": true, "rstrip": true, "normalized": false, "special": false}, {"id": 481, "content": "cat", "single_word": true, "lstrip": false, "rstrip": false, "normalized": true, "special": false},/
