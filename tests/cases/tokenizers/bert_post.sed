# hf-bytes: BOS and EOS
s/"post_processor": {.*}, *"decoder": {/"post_processor": {"type": "BertProcessing", "sep": ["<|end_of_text|>", 1], "cls": ["<|begin_of_text|>", 0]}, "decoder": {/
