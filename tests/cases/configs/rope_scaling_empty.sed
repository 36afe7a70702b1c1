# hf-bytes: an empty rope_scaling is none
s/"rope_parameters": {[^}]*}/"rope_theta": 50000.0, "rope_scaling": {}/
