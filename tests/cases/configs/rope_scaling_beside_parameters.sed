# hf-bytes: rope_scaling wins over rope_parameters
s/"rope_parameters": {[^}]*}/"rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}, "rope_theta": 500000.0, "rope_scaling": {"rope_type": "llama3", "factor": 16.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}/
