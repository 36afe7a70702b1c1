# hf-bytes: theta nowhere is 10000
s/"rope_parameters": {[^}]*}/"rope_parameters": {"rope_type": "default"}/
