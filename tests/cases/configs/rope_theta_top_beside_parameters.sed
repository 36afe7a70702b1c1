# hf-bytes: theta at the top
s/"rope_parameters": {[^}]*}/"rope_parameters": {"rope_type": "default"}, "rope_theta": 50000.0/
