# hf-bytes: BOS and EOS
s/"post_processor": {.*}, *"decoder": {/"post_processor": {"type": "RobertaProcessing", "sep": ["<|end_of_text|>", 1], "cls": ["<|begin_of_text|>", 0], "trim_offsets": true, "add_prefix_space": true}, "decoder": {/
