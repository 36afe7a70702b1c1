# hf-bytes: the old name of the type
s/"rope_parameters": {[^}]*}/"rope_theta": 50000.0, "rope_scaling": {"type": "linear", "factor": 4.0}/
